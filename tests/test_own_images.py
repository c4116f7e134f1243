"""From a folder of own images to a retrained classifier, with the README's commands; and images of unknown class."""

import hashlib
import json
import re
import shlex
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import prepare
from tests.helpers.own_images import CLASSES, draw, draw_badly_named
from tests.helpers.runs import call, load, read_table, snapshot
from utils.data.lists import UNKNOWN, read_examples, read_explanations
from utils.people.page_key import read_key

SIZE = 64  # pixels
NETWORK = f"--image-size {SIZE} --workers 1 --device cpu"
TRAINING = f"{NETWORK} --epochs 1 --milestones 1 --batch-size 12 --lr 0.01"
COMMANDS = (  # the README's; the settings after two spaces make them small
    f"python train_butterflies_resnet18.py --dataset my_birds  {TRAINING}",
    f"python get_all_CE_butterflies.py --dataset my_birds  {NETWORK}",
    "python train_butterflies_CMaxGrad.py --dataset my_birds --selection KMaxGrad"
    f"  --pretrained none --iterations 6 {NETWORK}",
    "python teach.py --dataset my_birds  --test-images 12 --workers 1",
    "python simulate_people.py --dataset my_birds --accuracy 0.8  --people 5",
    "python label.py --dataset my_birds --answers my_birds/answers_simulated.json --aggregation majority",
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


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Working folder and lists after all commands, from twelve classes of badly named images to a retrained classifier.

    The scripts change neither the data root nor the images.
    """
    folder = tmp_path_factory.mktemp("work")
    pictures = draw_badly_named(folder / "Meine Vögel", (40, 36))
    Image.open(pictures / "Admiral/-v.png").save(pictures / "Admiral/-v (copy).bmp")
    Image.open(pictures / "100/-v.png").save(pictures / "20/Twin of another class.png", compress_level=0)
    prepare_in(folder, "folder", pictures, "--name", "my_birds", "--expert", 2, "--things", "bird", "birds")
    places = (folder / "datasets", pictures)
    before = [snapshot(place) for place in places]
    for command in COMMANDS:
        run(folder, command)
    assert before == [snapshot(place) for place in places]
    made = folder / "datasets/my_birds"
    rows = {name: read_examples(made / f"my_birds_gt_{name}.txt", 12, unique=True) for name in ("tr", "te", "rest_tr")}
    return folder, rows


def test_every_training_image_is_explained_against_every_other_class(chain):
    folder, rows = chain
    assert {path.name for path in folder.iterdir()} == {
        *("Meine Vögel", "datasets", "my_birds", "my_birds_after_labeling")
    }
    skipped = {row["path"] for row in read_table(folder / "datasets/my_birds/skipped.csv")}
    assert skipped == {"100/-v.png", "20/Twin of another class.png"}
    assert Counter(row.label for row in rows["tr"]) == dict.fromkeys(range(12), 2)
    wanted = [(row.label, b, row.index) for row in rows["tr"] for b in range(12) if b != row.label]
    for name in ("my_birds_gt_CE.txt", "my_birds_gt_CE_HTML.txt"):
        explanations = read_explanations(folder / "my_birds" / name, 12)
        assert [(row.label, row.counter, row.index) for row in explanations] == wanted
        assert all(Image.open(folder / row.path).size == (SIZE, SIZE) for row in explanations)


def test_the_page_teaches_the_course_with_the_names_that_people_gave(chain):
    folder, rows = chain
    out, classes = folder / "my_birds", load(folder / "datasets/my_birds/dataset.json")["classes"]
    course, label_of = load(out / "course_KMaxGrad.json")["lessons"], {row.path: row.label for row in rows["tr"]}
    for lesson in course:
        assert label_of[lesson["image"]] == lesson["label"] != lesson["answer"] == label_of[lesson["partner"]["image"]]
    script, key = (out / "course_page/data.js").read_text(), read_key(out / "course_page_key.json", "my_birds", classes)
    page = json.loads(script[script.index("{") : script.rindex("}") + 1])
    assert page["classes"] == sorted(CLASSES) and page["things"] == ["bird", "birds"]
    assert [key.images[lesson["image"]].path for lesson in page["lessons"]] == [lesson["image"] for lesson in course]
    for phase, name in (("test", "te"), ("label", "rest_tr")):
        shown = [key.images[picture] for picture in page[phase]]
        assert {(image.path, image.label) for image in shown} <= {(row.path, row.label) for row in rows[name]}
    assert len(course) == 6 and len(page["test"]) == 12 and len(page["label"]) == len(rows["rest_tr"])


def test_the_classifier_learns_the_labels_that_most_people_gave(chain):
    folder, rows = chain
    out, classes = folder / "my_birds", load(folder / "datasets/my_birds/dataset.json")["classes"]
    list_file = out / "my_birds_turker_label_gt_KMaxGrad_labeled_tr.txt"
    labeled = read_examples(list_file, 12)
    votes, images = defaultdict(Counter), read_key(out / "course_page_key.json", "my_birds", classes).images
    for person in load(out / "answers_simulated.json")["participants"]:
        for trial in person["trials"]:
            if trial["phase"] == "label":
                votes[images[trial["stimulus"]].path][trial["response"]] += 1
    assert {sum(counter.values()) for counter in votes.values()} == {3}
    assert all(votes[row.path][row.label] == max(votes[row.path].values()) for row in labeled[24:])
    right = [row.label == true.label for row, true in zip(labeled[24:], rows["rest_tr"], strict=True)]
    assert load(out / "labels_KMaxGrad.json")["label"]["label_accuracy"] == pytest.approx(100 * np.mean(right))
    assert 0.5 < np.mean(right) < 1  # people are right on 80 %
    after = folder / "my_birds_after_labeling"
    content = torch.load(after / "checkpoint_pretrain_resnet18_s300.pth.tar", weights_only=True)
    assert list(content["classes"]) == classes and content["state_dict_m"]["fc.weight"].shape == (12, 512)
    inputs = load(after / "run_train_butterflies_resnet18.json")["inputs"]
    assert inputs["train list"] == hashlib.sha256(list_file.read_bytes()).hexdigest()


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
    run(folder, f"python train_butterflies_resnet18.py --dataset new_birds {TRAINING}")
    run(folder, f"python get_all_CE_butterflies.py {NEW}")
    course = "--pretrained none --iterations 3 --save-students --draws 1"
    run(folder, f"python train_butterflies_CMaxGrad.py {NEW} {course}")
    run(folder, "python teach.py --dataset new_birds --test-images 3 --workers 1")


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
    assert [row["truth"] for row in read_table(out / "labels_CMaxGrad.csv")] == [""] * 4
    run(tmp_path, f"python train_butterflies_resnet18.py --dataset new_birds_after_labeling {TRAINING}")
    assert "unknown" in run(tmp_path, f"python study_annotators.py {NEW} --pretrained none", 2)
    assert "label -1" in run(tmp_path, f"python train_gull_resnet18_linear.py --dataset new_birds_rest {NETWORK}", 2)


def test_if_the_test_images_are_unknown_scripts_run_without_accuracies(tmp_path, capsys):
    draw_new(tmp_path)
    path = tmp_path / "datasets/new_birds/new_birds_gt_te.txt"
    path.write_text(re.sub(r" \d+ (\d+)\n", r" -1 \1\n", path.read_text()))
    prepare_in(tmp_path, "check", "new_birds")
    assert re.search(r"unknown +0 +3 +4\n", capsys.readouterr().out)
    teach_in(tmp_path)
    out = tmp_path / "new_birds"
    for script in ("train_butterflies_resnet18", "train_butterflies_CMaxGrad"):
        measured = load(out / f"run_{script}.json")["measured"]
        assert "unknown" in " ".join(measured["warnings"])
        assert not any(name.startswith("test_accuracy") for name in measured)
    assert [row["test_accuracy"] for row in read_table(out / "teacher.csv")] == [""]
    assert np.isnan(np.load(out / "all_test_acc_iter_CMaxGrad.npy")).all()
    assert "unknown" in run(tmp_path, "python simulate_people.py --dataset new_birds", 2)
    run(tmp_path, f"python simulate_people.py {NEW} --who network")
    label = "python label.py --dataset new_birds --answers new_birds/answers_simulated.json"
    assert "unknown" in run(tmp_path, label) and not list(out.glob("labels_CMaxGrad_*.png"))
    run(tmp_path, f"{label} --min-accuracy 0.5", 2)
