"""From a folder of one's own images to a retrained classifier, command by command as the README has them; then with images whose classes
nobody knows, where every script says what it cannot measure."""

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
from tests.helpers.drawn_course import page_data
from tests.helpers.own_images import CLASSES, draw, draw_badly_named
from tests.helpers.runs import REPOSITORY, Finished, call, snapshot
from utils.base.errors import InputError
from utils.data.lists import UNKNOWN, read_examples, read_explanations
from utils.data.outputs import Layout
from utils.people.page_key import read_key
from utils.teaching import compare_courses

SIZE = 64  # pixels
NETWORK = f"--image-size {SIZE} --workers 1 --device cpu"
TRAINING = f"{NETWORK} --epochs 1 --milestones 1 --batch-size 12 --lr 0.01"
COMMANDS = (  # the README's; what stands behind the two blanks keeps them small
    "python train_butterflies_resnet18.py --dataset my_birds  " + TRAINING,
    "python get_all_CE_butterflies.py --dataset my_birds  " + NETWORK,
    "python train_butterflies_CMaxGrad.py --dataset my_birds --selection KMaxGrad  --pretrained none --iterations 6 "
    + NETWORK,
    "python teach.py --dataset my_birds --selection KMaxGrad  --test-images 12 --workers 1",
    "python simulate_people.py --dataset my_birds --accuracy 0.8  --people 5",
    "python label.py --dataset my_birds --answers my_birds/answers_simulated.json --selection KMaxGrad",
    "python train_butterflies_resnet18.py --dataset my_birds_after_labeling --selection KMaxGrad  " + TRAINING,
)


def run(command: str, folder: Path) -> Finished:
    """Runs `python <script>.py ...` in a folder."""
    _, script, *words = shlex.split(command)
    return call(script.removesuffix(".py"), *words, cwd=folder)


def prepared(folder: Path, *options: object) -> None:
    """`python datasets/prepare.py folder ...`, run where the other commands are run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert prepare.main(["folder", *map(str, options)]) == 0


def tracked_changes() -> str:
    return subprocess.run(
        ["git", "status", "--porcelain", "-uno"], cwd=REPOSITORY, capture_output=True, text=True
    ).stdout


def table(path: Path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def load(path: Path) -> dict:
    return json.loads(path.read_text())


@dataclass(frozen=True)
class Chain:
    """A working folder in which everything was run.

    Attributes:
        folder: the working folder: `datasets/my_birds` is the dataset, `my_birds/` what the scripts made of it.
        pictures: the user's own folder.
        rows: the dataset's lists by split.
        untouched: whether data root, pictures and tracked files were the same before and after the scripts.
        said: what each script printed, in the order of the commands.
    """

    folder: Path
    pictures: Path
    rows: dict[str, list]
    untouched: bool
    said: list[str]

    @property
    def out(self) -> Path:
        return self.folder / "my_birds"


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Twelve classes of badly named images, some of them there twice, all the way to the retrained classifier."""
    folder = tmp_path_factory.mktemp("work")
    pictures = draw_badly_named(folder / "Meine Vögel", (40, 36))
    Image.open(pictures / "Admiral/-v.png").save(pictures / "Admiral/-v (copy).bmp")
    Image.open(pictures / "100/-v.png").save(pictures / "20/Twin of another class.png", compress_level=0)
    before = tracked_changes()
    prepared(folder, pictures, "--name", "my_birds", "--expert", 2, "--things", "bird", "birds")
    places = (folder / "datasets", pictures)
    found, said = [snapshot(place) for place in places], []
    for command in COMMANDS:
        done = run(command, folder)
        assert done.status == 0, f"{command}: {done.err}"
        said.append(done.out)
    made = folder / "datasets/my_birds"
    rows = {name: read_examples(made / f"my_birds_gt_{name}.txt", 12, unique=True) for name in ("tr", "te", "rest_tr")}
    untouched = found == [snapshot(place) for place in places] and before == tracked_changes()
    return Chain(folder, pictures, rows, untouched, said)


def test_adding_a_dataset_changes_no_tracked_file_and_scripts_only_read_it(chain):
    assert chain.untouched
    assert {path.name for path in chain.folder.iterdir()} == {
        "Meine Vögel",
        "datasets",
        "my_birds",
        "my_birds_after_labeling",
    }
    assert not [path for path in chain.folder.rglob("*") if ".part" in path.name or path.name.startswith(".")]


def test_every_image_is_in_one_list_under_the_label_of_its_folder(chain):
    made = chain.folder / "datasets/my_birds"
    about = load(made / "dataset.json")
    assert [about["display_names"][name] for name in about["classes"]] == sorted(CLASSES)
    original = {row["file"]: row["original"] for row in table(made / "original_names.csv")}
    listed = [(name, row) for name, rows in chain.rows.items() for row in rows]
    assert (
        len({row.path for _, row in listed}) == len(listed) == len(original) == 12 * 6 + 1 - 1
    )  # one twin more, one known twin less
    list_of = {}
    for name, row in listed:
        source = original[row.path.removeprefix("./datasets/my_birds/images/")]
        assert sorted(CLASSES)[row.label] == source.split("/")[0]
        assert (chain.folder / row.path).resolve() == (chain.pictures / source).resolve()
        list_of[source] = name
    assert list_of["Admiral/-v.png"] == list_of["Admiral/-v (copy).bmp"]
    assert {row["path"] for row in table(made / "skipped.csv")} == {"100/-v.png", "20/Twin of another class.png"}
    assert Counter(row.label for row in chain.rows["tr"]) == dict.fromkeys(range(12), 2)


def test_the_teacher_knows_the_classes(chain):
    content = torch.load(chain.out / "checkpoint_pretrain_resnet18_s300.pth.tar", weights_only=True)
    assert tuple(content["classes"]) == tuple(load(chain.folder / "datasets/my_birds/dataset.json")["classes"])
    assert content["state_dict_m"]["fc.weight"].shape == (12, 512)
    with open(chain.out / "teacher_confusion.csv", newline="") as file:
        wrong = sum(int(row["count"]) for row in csv.DictReader(file))
    measured = load(chain.out / "run_train_butterflies_resnet18.json")["measured"]
    assert measured["test_accuracy"] == pytest.approx(100 * (1 - wrong / len(chain.rows["te"])), abs=0.01)


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


def test_the_course_pairs_training_images_of_two_classes(chain):
    course = load(chain.out / "course_KMaxGrad.json")
    assert (course["dataset"], len(course["lessons"])) == ("my_birds", 6)
    label_of = {row.path: row.label for row in chain.rows["tr"]}
    for lesson in course["lessons"]:
        assert label_of[lesson["image"]] == lesson["label"] != lesson["answer"] == lesson["partner"]["label"]
        assert label_of[lesson["partner"]["image"]] == lesson["answer"]
        assert set(lesson["explanations"]) == {str(b) for b in range(12) if b != lesson["label"]}
        for wrong, pair in lesson["explanations"].items():
            assert label_of[pair["partner"]] == int(wrong)
            assert re.search(rf"_groundtruth_{lesson['label']}_counter_{wrong}_index_\d+\.png$", pair["human"])
    taught = read_examples(chain.out / "KMaxGrad/my_birds_Lt_gt_CE_tr.txt", 12)
    assert len(taught) == 4 * 6 and [row.path for row in taught[::4]] == [
        lesson["image"] for lesson in course["lessons"]
    ]


def test_the_page_teaches_the_course_in_the_names_that_people_gave(chain):
    page, key = (
        page_data(chain.out),
        read_key(chain.out / "course_page_key.json", *described(chain)),
    )
    assert page["classes"] == sorted(CLASSES) and page["things"] == ["bird", "birds"]
    course = load(chain.out / "course_KMaxGrad.json")["lessons"]
    assert [key.images[lesson["image"]].path for lesson in page["lessons"]] == [lesson["image"] for lesson in course]
    assert [(lesson["label"], lesson["answer"]) for lesson in page["lessons"]] == [
        (one["label"], one["answer"]) for one in course
    ]
    for phase, name in (("test", "te"), ("label", "rest_tr")):
        shown = key.of_phase(phase)
        assert sorted(page[phase]) == sorted(shown)
        assert {(image.path, image.label) for image in shown.values()} <= {
            (row.path, row.label) for row in chain.rows[name]
        }
        for picture in shown:
            assert next((chain.out / "course_page/images").glob(f"{picture}.*")).stat().st_size > 0
    assert Counter(image.label for image in key.of_phase("test").values()) == dict.fromkeys(range(12), 1)
    assert len(page["label"]) == len(chain.rows["rest_tr"])


def described(chain: Chain) -> tuple[str, list[str]]:
    return "my_birds", load(chain.folder / "datasets/my_birds/dataset.json")["classes"]


def votes(chain: Chain) -> dict[str, Counter]:
    """What simulated people answered to each image to label, by its path."""
    key, counted = read_key(chain.out / "course_page_key.json", *described(chain)), defaultdict(Counter)
    for person in load(chain.out / "answers_simulated.json")["participants"]:
        for trial in person["trials"]:
            if trial["phase"] == "label":
                counted[key.images[trial["stimulus"]].path][trial["response"]] += 1
    return counted


def test_people_s_labels_are_what_most_of_them_answered(chain):
    rows = read_examples(chain.out / "my_birds_turker_label_gt_KMaxGrad_labeled_tr.txt", 12)
    assert [(row.path, row.label) for row in rows[:24]] == [(row.path, row.label) for row in chain.rows["tr"]]
    assert [row.path for row in rows[24:]] == [row.path for row in chain.rows["rest_tr"]]
    counted, truth = votes(chain), {row.path: row.label for row in chain.rows["rest_tr"]}
    assert {sum(counter.values()) for counter in counted.values()} == {3}
    for row in rows[24:]:
        most = max(counted[row.path].values())
        assert counted[row.path][row.label] == most
    report = load(chain.out / "labels_KMaxGrad.json")
    right = [row.label == truth[row.path] for row in rows[24:]]
    assert report["label"]["label_accuracy"] == pytest.approx(100 * np.mean(right), abs=1e-3)
    assert 0.5 < np.mean(right) < 1  # of people who are right on 80 %


def test_the_classifier_that_learned_them_knows_the_classes_too(chain):
    out = chain.folder / "my_birds_after_labeling"
    content = torch.load(out / "checkpoint_pretrain_resnet18_s300.pth.tar", weights_only=True)
    assert tuple(content["classes"]) == tuple(described(chain)[1])
    record, learned = (
        load(out / "run_train_butterflies_resnet18.json"),
        chain.out / "my_birds_turker_label_gt_KMaxGrad_labeled_tr.txt",
    )
    assert record["inputs"]["train list"] == hashlib.sha256(learned.read_bytes()).hexdigest()
    first = torch.load(chain.out / "checkpoint_pretrain_resnet18_s300.pth.tar", weights_only=True)["state_dict_m"]
    assert not torch.equal(first["fc.weight"], content["state_dict_m"]["fc.weight"])


# ---------------------------------------------------------------- nobody knows the classes


NEW = f"--dataset new_birds {NETWORK}"


def said(folder: Path, command: str, status: int = 0) -> str:
    """What a command says in a folder; it must end with a status."""
    done = run(command, folder)
    assert done.status == status, f"{command}: {done.err}"
    return done.out if status == 0 else done.err.splitlines()[-1]


def draw_new(folder: Path) -> None:
    """Three classes of five pictures, and four that nobody has labelled, prepared as `new_birds`."""
    pictures = folder / "new birds"
    for number, name in enumerate(("Möwe", "Krähe", "Star")):
        for i in range(5):
            draw(pictures / name / f"{i}.png", 100 * number + i, (40, 36))
    for i in range(4):
        draw(pictures / "unlabeled" / f"{i}.png", 900 + i, (40, 36))
    prepared(folder, pictures, "--name", "new_birds")


def taught(folder: Path) -> None:
    """Teacher, explanations, course and page of `new_birds`."""
    said(folder, f"python train_butterflies_resnet18.py {NEW} --epochs 1 --milestones 1 --batch-size 12 --lr 0.01")
    said(folder, f"python get_all_CE_butterflies.py {NEW} --counters 1")
    said(folder, f"python get_all_CE_butterflies.py {NEW}")
    said(
        folder, f"python train_butterflies_CMaxGrad.py {NEW} --pretrained none --iterations 3 --save-students --draws 1"
    )
    said(folder, "python teach.py --dataset new_birds --test-images 3 --workers 1")


def test_where_nobody_knows_what_people_label_every_script_says_what_it_cannot_measure(tmp_path):
    draw_new(tmp_path)
    rest = read_examples(tmp_path / "datasets/new_birds/new_birds_gt_rest_tr.txt", 3, rest=True)
    assert [row.label for row in rest] == [UNKNOWN] * 4
    taught(tmp_path)
    out = tmp_path / "new_birds"
    assert "knows the class of no label image" in said(tmp_path, "python simulate_people.py --dataset new_birds", 2)
    said(tmp_path, f"python simulate_people.py {NEW} --who network")
    report = said(tmp_path, "python label.py --dataset new_birds --answers new_birds/answers_simulated.json")
    assert "The true class of 4 of 4 images of the label part is unknown: no accuracy can be told." in report
    labels = load(out / "labels_CMaxGrad.json")
    assert labels["label"]["answer_accuracy"] is None and labels["label"]["label_accuracy"] is None
    assert labels["test"]["answer_accuracy"] is not None and labels["each"][0]["label_accuracy"] is None
    assert [row["truth"] for row in table(out / "labels_CMaxGrad.csv")] == [""] * 4
    learned = "python train_butterflies_resnet18.py --dataset new_birds_after_labeling"
    assert "Test accuracy" in said(tmp_path, f"{learned} {NETWORK} --epochs 1 --milestones 1 --batch-size 8 --lr 0.01")
    unknown = said(tmp_path, f"python study_annotators.py {NEW} --pretrained none", 2)
    assert (
        "the classes of all images are unknown (label -1), so that nobody can be simulated without the truth" in unknown
    )


def forget(folder: Path, count: int) -> None:
    """Makes the classes of the first images of the test list unknown."""
    path = folder / "datasets/new_birds/new_birds_gt_te.txt"
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    path.write_text(
        "".join(
            f"{name} {-1 if number < count else label} {index}\n" for number, (name, label, index) in enumerate(lines)
        )
    )


def test_where_nobody_knows_the_test_images_scripts_run_and_measure_nothing(tmp_path, capsys):
    draw_new(tmp_path)
    forget(tmp_path, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert prepare.main(["check", "new_birds"]) == 0
    assert re.search(r"new_birds_gt_te +0 +0 +0 +3 +3\n", capsys.readouterr().out)
    taught(tmp_path)
    out, nothing = tmp_path / "new_birds", "no test accuracy can be told"
    for script in ("train_butterflies_resnet18", "train_butterflies_CMaxGrad"):
        measured = load(out / f"run_{script}.json")["measured"]
        assert nothing in " ".join(measured["warnings"]) and not any(
            name.startswith("test_accuracy") for name in measured
        )
    assert not list(out.glob("teacher_confusion.*")) and (out / "teacher_curves.png").exists()
    assert [row["test_accuracy"] for row in table(out / "teacher.csv")] == [""]
    assert [row["test_accuracy"] for row in table(out / "evolution_CMaxGrad.csv")] == [""] * 3
    assert np.isnan(np.load(out / "all_test_acc_iter_CMaxGrad.npy")).all() and (out / "evolution_CMaxGrad.png").exists()
    assert not (out / "draws_CMaxGrad.csv").exists()
    with pytest.raises(InputError, match="holds no accuracies, since no class of the test list was known"):
        compare_courses.curves_of(Layout(out), ["CMaxGrad"])
    said(tmp_path, f"python train_butterflies_simclr.py {NEW} --epochs 1 --batch-size 4")
    probe = said(
        tmp_path,
        f"python get_all_CE_butterflies_simclr.py {NEW} --probe-epochs 5 --checkpoint {{out}}/simclr_checkpoint_1.tar",
    )
    assert "% of the training list" in probe and nothing in probe
    assert "knows the class of no test image" in said(tmp_path, "python simulate_people.py --dataset new_birds", 2)
    said(tmp_path, f"python simulate_people.py {NEW} --who network")
    label = "python label.py --dataset new_birds --answers new_birds/answers_simulated.json"
    report = said(tmp_path, label)
    assert (
        "The true class of 3 of 3 images of the test part is unknown: no accuracy can be told." in report
        and ".png" not in report
    )
    assert not list(out.glob("labels_CMaxGrad_*.png"))
    assert "nobody answered to a test image whose class is known" in said(tmp_path, f"{label} --min-accuracy 0.5", 2)


def test_where_some_classes_of_test_images_are_unknown_accuracies_are_of_the_others(tmp_path):
    draw_new(tmp_path)
    training = f"python train_butterflies_resnet18.py {NEW} --epochs 1 --milestones 1 --batch-size 12 --lr 0.01"
    said(tmp_path, training)
    every = (tmp_path / "new_birds/teacher_confusion.csv").read_text()
    forget(tmp_path, 2)
    assert "The classes of 2 of 3 images of" in said(tmp_path, training)
    last = load(tmp_path / "new_birds/run_train_butterflies_resnet18.json")["measured"]["test_accuracy"]
    confused = table(tmp_path / "new_birds/teacher_confusion.csv")
    assert last == (0 if confused else 100) and len(confused) <= 1
    assert all(",".join(row.values()) in every for row in confused)


def test_a_study_leaves_out_images_whose_class_is_unknown(tmp_path):
    pictures = draw_badly_named(tmp_path / "pictures", (40, 36))
    draw(pictures / "unlabeled/new.png", 9000, (40, 36))
    prepared(tmp_path, pictures, "--name", "my_birds", "--expert", 2)
    study = f"python study_annotators.py --dataset my_birds {NETWORK} --pretrained none --accuracy 0.5 --repeats 1 --probe-epochs 2"
    assert (
        "The classes of 1 of 37 images of datasets/my_birds/my_birds_gt_rest_tr.txt are unknown: the study is of the others."
        in said(tmp_path, study)
    )
    accuracies = [row["annotator_accuracy"] for row in table(tmp_path / "my_birds/study_annotators.csv")]
    assert [float(accuracy) for accuracy in accuracies if accuracy] == [0.5, 1.0]
