# make demo: the whole pipeline on drawn moths. make test: the test suite. Both make .venv first.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
OUT ?= toy
# Of `make results`: where the data is, what networks start from, where results go, and further flags such as --resume.
DATA ?= datasets
PRETRAINED ?= imagenet
RESULTS ?= results
FLAGS ?=

# The demo's settings: small pictures and few epochs, for two CPU cores. SimCLR takes many small steps, since 250 pictures make few.
# Courses from five parts of the pool tell what a selection is worth from what is luck.
TEACHER := --dataset toy --epochs 12 --milestones 8 10 --batch-size 25 --lr 0.02 --image-size 160 --crop-scale 0.4 --eval-every 4
FEATURES := --dataset toy_rest --epochs 12 --batch-size 10 --lr 1e-4 --temperature 0.1 --image-size 80 --crop-scale 0.6
STUDENT := --dataset toy --pretrained $(OUT)/simclr_checkpoint_12.tar --image-size 96 --draws 5

.DEFAULT_GOAL := help
.PHONY: help demo test bench results lint format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	touch $@

datasets/toy/toy_gt_te.txt:
	$(RUN) datasets/prepare.py toy

demo: $(VENV)/installed datasets/toy/toy_gt_te.txt ## teacher, explanations, courses and the page for people on drawn moths
	$(RUN) train_butterflies_resnet18.py $(TEACHER) --out $(OUT)
	$(RUN) get_all_CE_butterflies.py --dataset toy --out $(OUT)
	$(RUN) train_butterflies_simclr.py $(FEATURES) --out $(OUT)
	$(RUN) train_butterflies_CMaxGrad.py $(STUDENT) --out $(OUT)
	$(RUN) train_butterflies_CMaxGrad.py $(STUDENT) --out $(OUT) --selection KMaxGrad
	$(RUN) train_butterflies_CMaxGrad.py $(STUDENT) --out $(OUT) --selection random
	$(RUN) teach.py --dataset toy --out $(OUT) --selection KMaxGrad
	@echo
	@echo "How much of the borders lies on true differences (on T), beside controls:"
	@$(RUN) -m utils.explanations.localization $(OUT)
	@echo
	@echo "What students know after each selection's lessons:"
	@$(RUN) -m utils.teaching.compare_courses $(OUT) KMaxGrad CMaxGrad random
	@echo
	@echo "Open these:"
	@echo "  $(OUT)/teacher_confusion.png     what the teacher confuses"
	@echo "  $(OUT)/explanations.png          why it is class a and not class b"
	@echo "  $(OUT)/course_KMaxGrad.png       the course, lesson by lesson"
	@echo "  $(OUT)/compare_courses.png       how students learn from it, from CMaxGrad's and from random pairs"
	@echo "  $(OUT)/course_page/index.html    the course for people: learn to tell the five moths apart"

# Two processes of one thread each, a file of tests at a time: the runs that a file's tests look at are made once.
test: $(VENV)/installed ## the test suite
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(VENV)/installed datasets/toy/toy_gt_te.txt ## how fast it is, against the released procedure and the limits
	$(RUN) -m benchmarks.bench

results: $(VENV)/installed ## the tables and figures of docs/results.md (2 hours); FLAGS=--resume continues an interrupted run
	$(RUN) -m benchmarks.results --data-root $(DATA) --pretrained $(PRETRAINED) --out $(RESULTS) $(FLAGS)

lint: $(VENV)/installed ## ruff, and mypy over the packages
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy utils models datasets benchmarks

format: $(VENV)/installed ## let ruff lay out the code
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

clean: ## remove the demo's output (not the pictures, not .venv)
	rm -rf $(OUT)
