# make demo: the whole pipeline on drawn moths. make test: the test suite. Both create .venv first.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
OUT ?= toy
# For `make results`: data root, initial weights, output folder, and more flags such as --resume.
DATA ?= datasets
PRETRAINED ?= imagenet
RESULTS ?= results
FLAGS ?=

# Settings of the demo: small images and few epochs, for two CPU cores. Five draws of the pool show the variance of a course.
TEACHER := --dataset toy --epochs 12 --milestones 8 10 --batch-size 25 --lr 0.02 --image-size 160 --crop-scale 0.4 --eval-every 4
FEATURES := --dataset toy_rest --epochs 12 --batch-size 10 --lr 1e-4 --temperature 0.1 --image-size 80 --crop-scale 0.6
STUDENT := --dataset toy --pretrained $(OUT)/simclr_checkpoint_12.tar --image-size 96 --draws 5

.DEFAULT_GOAL := help
.PHONY: help demo test bench results lint format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4) and "Python 3.11.4 or newer is needed. Name one, for example: make PYTHON=python3.12 demo")'
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
	@echo "How much of the marked areas lies on true differences T, compared with controls:"
	@$(RUN) -m utils.explanations.localization $(OUT)
	@echo
	@echo "Accuracy of students after the lessons of each selection:"
	@$(RUN) -m utils.teaching.compare_courses $(OUT) KMaxGrad CMaxGrad random
	@echo
	@echo "Look at these files:"
	@echo "  $(OUT)/teacher_confusion.png     what the teacher confuses"
	@echo "  $(OUT)/explanations.png          explanations: why class a and not class b"
	@echo "  $(OUT)/course_KMaxGrad.png       the course, lesson by lesson"
	@echo "  $(OUT)/compare_courses.png       students' accuracy after KMaxGrad, CMaxGrad and random pairs"
	@echo "  $(OUT)/course_page/index.html    the course for people: learn to distinguish five moths"

# Two processes with one thread each. A file stays in one process, because its tests share runs.
test: $(VENV)/installed ## the test suite
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(VENV)/installed datasets/toy/toy_gt_te.txt ## speed against the released procedure, memory, speed of a course
	$(RUN) -m benchmarks.bench

results: $(VENV)/installed ## the tables and figures of docs/results.md (90 minutes); FLAGS=--resume continues an interrupted run
	$(RUN) -m benchmarks.results --data-root $(DATA) --pretrained $(PRETRAINED) --out $(RESULTS) $(FLAGS)

lint: $(VENV)/installed ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy utils models datasets benchmarks

format: $(VENV)/installed ## format the code with ruff
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

clean: ## remove the demo's output
	rm -rf $(OUT)
