"""From a folder of own images to a retrained classifier, with the README's commands; and images of unknown class."""

import csv
import hashlib
import json
import re
import shlex
import subprocess
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import prepare
from tests.helpers.own_images import CLASSES, draw, draw_badly_named
from tests.helpers.runs import REPOSITORY, call, snapshot
from utils.data.lists import UNKNOWN, read_examples, read_explanations
from utils.people.page_key import Key, read_key

SIZE = 64  # pixels
NETWORK = f"--image-size {SIZE} --workers 1 --device cpu"
TRAINING = f"{NETWORK} --epochs 1 --milestones 1 --batch-size 12 --lr 0.01"
COMMANDS = (  # the README's; what follows two spaces makes them small
    f"python train_butterflies_resnet18.py --dataset my_birds  {TRAINING}",
    f"python get_all_CE_butterflies.py --dataset my_birds  {NETWORK}",
    "python train_butterflies_CMaxGrad.py --dataset my_birds --selection KMaxGrad"
    f"  --pretrained none --iterations 6 {NETWORK}",
    "python teach.py --dataset my_birds  --test-images 12 --workers 1",
    "python simulate_people.py --dataset my_birds --accuracy 0.8  --people 5",
    "python label.py --dataset my_birds --answers my_birds/answers_simulated.json",
    f"python train_butterflies_resnet18.py --dataset my_birds_after_labeling  {TRAINING}",
)


def run(folder: Path, command: str, status: int = 0) -> str:
    """Runs `python <script>.py ...` in a folder. Returns its output, or its error message."""
    _, script, *words = shlex.split(command)
    done = call(script.removesuffix(".py"), *words, cwd=folder)
    assert done.status == status, f"{command}: {done.err}"
    return done.out if status == 0 else done.err.splitlines()[-1]


def prepare_in(folder: Path, *options: object) -> None:
    """`python datasets/prepare.py ...` in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert prepare.main([*map(str, options)]) == 0


def tracked_changes() -> str:
    command = ["git", "status", "--porcelain", "-uno"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).stdout


def table(path: Path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def load(path: Path) -> dict:
    return json.loads(path.read_text())


@dataclass(frozen=True)
class Chain:
    """A working folder in which all commands ran.

    Attributes:
        folder: the working folder; `datasets/my_birds` is the dataset, `my_birds/` the output folder.
        rows: the dataset's lists.
        untouched: whether data root, images and tracked files were left unchanged by the scripts.
    """

    folder: Path
    rows: dict[str, list]
    untouched: bool

    @property
    def out(self) -> Path:
        return self.folder / "my_birds"

    @property
    def classes(self) -> list[str]:
        return load(self.folder / "datasets/my_birds/dataset.json")["classes"]

    @property
    def key(self) -> Key:
        return read_key(self.out / "course_page_key.json", "my_birds", self.classes)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Twelve classes of badly named images, from the folder to the retrained classifier."""
    folder = tmp_path_factory.mktemp("work")
    pictures = draw_badly_named(folder / "Meine Vögel", (40, 36))
    Image.open(pictures / "Admiral/-v.png").save(pictures / "Admiral/-v (copy).bmp")
    Image.open(pictures / "100/-v.png").save(pictures / "20/Twin of another class.png", compress_level=0)
    before = tracked_changes()
    prepare_in(folder, "folder", pictures, "--name", "my_birds", "--expert", 2, "--things", "bird", "birds")
    places = (folder / "datasets", pictures)
    found = [snapshot(place) for place in places]
    for command in COMMANDS:
        run(folder, command)
    made = folder / "datasets/my_birds"
    rows = {name: read_examples(made / f"my_birds_gt_{name}.txt", 12, unique=True) for name in ("tr", "te", "rest_tr")}
    untouched = found == [snapshot(place) for place in places] and before == tracked_changes()
    return Chain(folder, rows, untouched)


def test_scripts_only_read_the_dataset_and_the_repository(chain):
    assert chain.untouched
    assert {path.name for path in chain.folder.iterdir()} == {
        *("Meine Vögel", "datasets", "my_birds", "my_birds_after_labeling")
    }
    assert not [path for path in chain.folder.rglob("*") if ".part" in path.name or path.name.startswith(".")]
    skipped = {row["path"] for row in table(chain.folder / "datasets/my_birds/skipped.csv")}
    assert skipped == {"100/-v.png", "20/Twin of another class.png"}
    assert Counter(row.label for row in chain.rows["tr"]) == dict.fromkeys(range(12), 2)


def test_the_teacher_knows_the_classes(chain):
    content = torch.load(chain.out / "checkpoint_pretrain_resnet18_s300.pth.tar", weights_only=True)
    assert list(content["classes"]) == chain.classes
    assert content["state_dict_m"]["fc.weight"].shape == (12, 512)


def test_every_training_image_is_explained_against_every_other_class(chain):
    wanted = [(row.label, b, row.index) for row in chain.rows["tr"] for b in range(12) if b != row.label]
    for name in ("my_birds_gt_CE.txt", "my_birds_gt_CE_HTML.txt"):
        explanations = read_explanations(chain.out / name, 12)
        assert [(row.label, row.counter, row.index) for row in explanations] == wanted
        for row in explanations:
            assert Image.open(chain.folder / row.path).size == (SIZE, SIZE)
    with np.load(chain.out / "heatmaps.npz") as maps:
        assert maps["class_maps"].shape == (24, 12, 16, 16) and np.isfinite(maps["class_maps"]).all()
        assert maps["path"].tolist() == [row.path for row in chain.rows["tr"]]


def test_the_page_teaches_the_course_with_the_names_that_people_gave(chain):
    course, label_of = load(chain.out / "course_KMaxGrad.json")["lessons"], {r.path: r.label for r in chain.rows["tr"]}
    assert len(course) == 6
    for lesson in course:
        assert label_of[lesson["image"]] == lesson["label"] != lesson["answer"] == label_of[lesson["partner"]["image"]]
        assert set(lesson["explanations"]) == {str(b) for b in range(12) if b != lesson["label"]}
    script = (chain.out / "course_page/data.js").read_text()
    page, key = json.loads(script[script.index("{") : script.rindex("}") + 1]), chain.key
    assert page["classes"] == sorted(CLASSES) and page["things"] == ["bird", "birds"]
    assert [key.images[lesson["image"]].path for lesson in page["lessons"]] == [lesson["image"] for lesson in course]
    for phase, name in (("test", "te"), ("label", "rest_tr")):
        shown = {picture: image for picture, image in key.images.items() if image.phase == phase}
        assert sorted(page[phase]) == sorted(shown)
        listed = {(row.path, row.label) for row in chain.rows[name]}
        assert {(image.path, image.label) for image in shown.values()} <= listed
        for picture in shown:
            assert next((chain.out / "course_page/images").glob(f"{picture}.*")).stat().st_size > 0
    assert len(page["test"]) == 12 and len(page["label"]) == len(chain.rows["rest_tr"])


def test_labels_are_what_most_people_answered(chain):
    rows = read_examples(chain.out / "my_birds_turker_label_gt_KMaxGrad_labeled_tr.txt", 12)
    assert [(row.path, row.label) for row in rows[:24]] == [(row.path, row.label) for row in chain.rows["tr"]]
    assert [row.path for row in rows[24:]] == [row.path for row in chain.rows["rest_tr"]]
    votes, images = defaultdict(Counter), chain.key.images
    for person in load(chain.out / "answers_simulated.json")["participants"]:
        for trial in person["trials"]:
            if trial["phase"] == "label":
                votes[images[trial["stimulus"]].path][trial["response"]] += 1
    assert {sum(counter.values()) for counter in votes.values()} == {3}
    assert all(votes[row.path][row.label] == max(votes[row.path].values()) for row in rows[24:])
    truth = {row.path: row.label for row in chain.rows["rest_tr"]}
    right = [row.label == truth[row.path] for row in rows[24:]]
    assert load(chain.out / "labels_KMaxGrad.json")["label"]["label_accuracy"] == pytest.approx(100 * np.mean(right))
    assert 0.5 < np.mean(right) < 1  # people are right on 80 %


def test_the_retrained_classifier_learned_these_labels(chain):
    out = chain.folder / "my_birds_after_labeling"
    content = torch.load(out / "checkpoint_pretrain_resnet18_s300.pth.tar", weights_only=True)
    assert list(content["classes"]) == chain.classes
    learned = chain.out / "my_birds_turker_label_gt_KMaxGrad_labeled_tr.txt"
    inputs = load(out / "run_train_butterflies_resnet18.json")["inputs"]
    assert inputs["train list"] == hashlib.sha256(learned.read_bytes()).hexdigest()


# ---------------------------------------------------------------- unknown classes

NEW = f"--dataset new_birds {NETWORK}"


def draw_new(folder: Path) -> None:
    """Three classes of five images and four images without a label, prepared as `new_birds`."""
    pictures = folder / "new birds"
    for number, name in enumerate(("Möwe", "Krähe", "Star")):
        for i in range(5):
            draw(pictures / name / f"{i}.png", 100 * number + i, (40, 36))
    for i in range(4):
        draw(pictures / "unlabeled" / f"{i}.png", 900 + i, (40, 36))
    prepare_in(folder, "folder", pictures, "--name", "new_birds")


def teach_in(folder: Path) -> None:
    """Teacher, explanations, course and page of `new_birds`."""
    run(folder, f"python train_butterflies_resnet18.py {NEW} --epochs 1 --milestones 1 --batch-size 12 --lr 0.01")
    run(folder, f"python get_all_CE_butterflies.py {NEW}")
    run(
        folder, f"python train_butterflies_CMaxGrad.py {NEW} --pretrained none --iterations 3 --save-students --draws 1"
    )
    run(folder, "python teach.py --dataset new_birds --test-images 3 --workers 1")


def forget(folder: Path, count: int) -> None:
    """Makes the classes of the first test images unknown."""
    path = folder / "datasets/new_birds/new_birds_gt_te.txt"
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    rows = [(name, -1 if number < count else label, index) for number, (name, label, index) in enumerate(lines)]
    path.write_text("".join(f"{name} {label} {index}\n" for name, label, index in rows))


def test_if_the_images_to_label_are_unknown_scripts_say_what_they_cannot_measure(tmp_path):
    draw_new(tmp_path)
    rest = read_examples(tmp_path / "datasets/new_birds/new_birds_gt_rest_tr.txt", 3, rest=True)
    assert [row.label for row in rest] == [UNKNOWN] * 4
    teach_in(tmp_path)
    out = tmp_path / "new_birds"
    assert "unknown" in run(tmp_path, "python simulate_people.py --dataset new_birds", 2)
    run(tmp_path, f"python simulate_people.py {NEW} --who network")
    assert "unknown" in run(tmp_path, "python label.py --dataset new_birds --answers new_birds/answers_simulated.json")
    labels = load(out / "labels_CMaxGrad.json")
    assert labels["label"]["answer_accuracy"] is None and labels["label"]["label_accuracy"] is None
    assert labels["test"]["answer_accuracy"] is not None and labels["each"][0]["label_accuracy"] is None
    assert [row["truth"] for row in table(out / "labels_CMaxGrad.csv")] == [""] * 4
    training = f"{NETWORK} --epochs 1 --milestones 1 --batch-size 8 --lr 0.01"
    run(tmp_path, f"python train_butterflies_resnet18.py --dataset new_birds_after_labeling {training}")
    assert "unknown" in run(tmp_path, f"python study_annotators.py {NEW} --pretrained none", 2)
    assert "label -1" in run(tmp_path, f"python train_gull_resnet18_linear.py --dataset new_birds_rest {NETWORK}", 2)


def test_if_the_test_images_are_unknown_scripts_run_without_accuracies(tmp_path, capsys):
    draw_new(tmp_path)
    forget(tmp_path, 3)
    prepare_in(tmp_path, "check", "new_birds")
    assert re.search(r"new_birds_gt_te +0 +0 +0 +3 +3\n", capsys.readouterr().out)
    teach_in(tmp_path)
    out = tmp_path / "new_birds"
    for script in ("train_butterflies_resnet18", "train_butterflies_CMaxGrad"):
        measured = load(out / f"run_{script}.json")["measured"]
        assert "unknown" in " ".join(measured["warnings"])
        assert not any(name.startswith("test_accuracy") for name in measured)
    assert [row["test_accuracy"] for row in table(out / "teacher.csv")] == [""]
    assert np.isnan(np.load(out / "all_test_acc_iter_CMaxGrad.npy")).all()
    assert "unknown" in run(tmp_path, "python simulate_people.py --dataset new_birds", 2)
    run(tmp_path, f"python simulate_people.py {NEW} --who network")
    label = "python label.py --dataset new_birds --answers new_birds/answers_simulated.json"
    assert "unknown" in run(tmp_path, label) and not list(out.glob("labels_CMaxGrad_*.png"))
    run(tmp_path, f"{label} --min-accuracy 0.5", 2)


def test_accuracies_and_studies_leave_out_images_of_unknown_class(tmp_path):
    draw_new(tmp_path)
    training = f"python train_butterflies_resnet18.py {NEW} --epochs 1 --milestones 1 --batch-size 12 --lr 0.01"
    forget(tmp_path, 2)
    run(tmp_path, training)
    last = load(tmp_path / "new_birds/run_train_butterflies_resnet18.json")["measured"]["test_accuracy"]
    confused = table(tmp_path / "new_birds/teacher_confusion.csv")
    assert last == (0 if confused else 100) and len(confused) <= 1
    pictures = draw_badly_named(tmp_path / "pictures", (40, 36))
    draw(pictures / "unlabeled/new.png", 9000, (40, 36))
    prepare_in(tmp_path, "folder", pictures, "--name", "my_birds", "--expert", 2)
    study = f"{NETWORK} --pretrained none --accuracy 0.5 --repeats 1 --probe-epochs 2"
    assert "left out" in run(tmp_path, f"python study_annotators.py --dataset my_birds {study}")
    accuracies = [row["annotator_accuracy"] for row in table(tmp_path / "my_birds/study_annotators.csv")]
    assert [float(accuracy) for accuracy in accuracies if accuracy] == [0.5, 1.0]
