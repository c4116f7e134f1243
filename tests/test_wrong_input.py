"""What the scripts say when something is wrong: one sentence that names the culprit, the right exit status, nothing half-written."""

import dataclasses
import importlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18, squeezenet1_1

import collect
from models.resnet import build
from models.simclr import SimCLR
from utils.base.errors import InputError
from utils.data import lists
from utils.running import launch
from utils.running.settings import RULES, check

WRONG_INPUT, RUN_WENT_WRONG, INTERRUPTED = 2, 1, 130
RENDERINGS = re.compile(r"(counterfactual_gradcam(_simclr)?_(img|mask)|demo(_simclr)?/counterfactual_gradcam_mask)/")


@pytest.fixture
def stage(tmp_path, small_root, butterflies, weights, tools):
    """A working folder with five images, their explanations and all checkpoints, in which a test spoils something and runs a script."""
    return Stage(tmp_path, small_root, butterflies, weights, tools)


class Stage:
    """Five images (one per class), what explains them, and commands that would all succeed."""

    def __init__(self, folder, root, butterflies, weights, tools):
        self.folder, self.root, self.tools = folder, root, tools
        self.earlier = butterflies.out
        self.list = root / "toy/toy_gt_tr.txt"
        tiny = tools.common(root)
        course = [*tiny, "--pretrained", weights, "--iterations", 1, "--steps", 1, "--student", "sgd"]
        self.commands = {
            "teacher": ["train_butterflies_resnet18", *tiny, "--epochs", 1, "--batch-size", 3],
            "linear": ["train_gull_resnet18_linear", *tiny, "--epochs", 1, "--pretrained", weights],
            "simclr": ["train_gull_simclr", *tiny, "--epochs", 1, "--batch-size", 3],
            "CE": [
                "get_all_CE_butterflies",
                *tiny,
                "--checkpoint",
                self.earlier / "checkpoint_pretrain_resnet18_s300.pth.tar",
            ],
            "CE_simclr": [
                "get_all_CE_gull_simclr",
                *tiny,
                "--checkpoint",
                self.earlier / "simclr_checkpoint_2.tar",
                "--probe-epochs",
                2,
            ],
            "course": ["train_butterflies_CMaxGrad", *course],
            "optimal": ["train_butterflies_CMaxGrad", *course, "--student", "optimal"],
            "page": ["teach", "--dataset", "toy", "--data-root", str(root)],
            "label": ["label", "--dataset", "toy", "--data-root", root],
            "people": ["simulate_people", "--dataset", "toy", "--data-root", root],
            "study": ["study_annotators", *tiny],
        }

    def explain(self):
        """Copies the explanations of the five images, with their lists."""
        wanted = {row.index for row in lists.read_examples(self.list, 5)}
        for kind in ("", "_HTML"):
            rows = [
                row for row in lists.read_explanations(self.earlier / f"toy_gt_CE{kind}.txt", 5) if row.index in wanted
            ]
            rows.sort(key=lambda row: (row.label, row.counter))  # as the five images are
            for row in rows:
                for path in {row.path, row.path.replace("_img/", "_mask/")}:
                    (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(self.earlier.parent / path, self.folder / path)
            lists.write_explanations(self.folder / f"toy/toy_gt_CE{kind}.txt", rows)
        return self.folder / "toy/toy_gt_CE.txt"

    def run(self, name, *changes):
        script, *arguments = self.commands[name]
        return self.tools.call(script, *arguments, *changes, cwd=self.folder)

    def written(self):
        """Names of what lies in the working folder, without the data and the renderings (each of those is whole or not there)."""
        files = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return {str(path) for path in files if path.parts[0] != "data" and not RENDERINGS.search(str(path))}


def the_sentence(done, status):
    """The one sentence on stderr, after checking that it is the only one and that only progress bars stand beside it."""
    assert "Traceback" not in done.err and "Warning" not in done.err
    lines = [line for line in re.split(r"[\r\n]+", done.err) if line.strip()]
    sentences = [line for line in lines if not re.search(r"\d+%\|.*\]\s*$", line)]
    assert len(sentences) == 1, done.err
    assert done.status == status, done.err
    prefix = f"{done.script}.py: error: "
    assert sentences[0].startswith(prefix) and sentences[0].endswith("."), done.err
    return sentences[0].removeprefix(prefix)


def refused(stage, name, *changes, status=WRONG_INPUT, says=(), leaves=frozenset()):
    """Runs a spoilt command and checks that it says each of `says`, and leaves only what was there and `leaves`."""
    before = stage.written()
    sentence = the_sentence(stage.run(name, *changes), status)
    for words in says:
        assert str(words) in sentence, sentence
    assert stage.written() == before | set(leaves)
    return sentence


@pytest.mark.parametrize("name", ["teacher", "linear", "simclr", "CE", "CE_simclr", "course", "optimal"])
def test_the_commands_that_follow_succeed_unspoilt(stage, name):
    stage.explain()
    done = stage.run(name)
    assert done.status == 0, done.err


# ---------------------------------------------------------------- lists and images

READERS = pytest.mark.parametrize("name", ["teacher", "simclr", "CE", "course", "optimal"])


def third_image(stage, split="tr"):
    rows = lists.read_examples(stage.root / f"toy/toy_gt_{split}.txt", 5)
    return Path(lists.locate(rows[2].path, stage.root))


def shorten(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


SPOILT_IMAGES = {
    "missing": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "cut short": shorten,
    "text": lambda file: file.write_text("not an image"),
    "folder": lambda file: (file.unlink(), file.mkdir()),
}


@READERS
@pytest.mark.parametrize("how", SPOILT_IMAGES)
def test_an_image_that_cannot_be_read(stage, name, how):
    stage.explain()
    file = third_image(stage)
    SPOILT_IMAGES[how](file)
    refused(stage, name, says=[f"{stage.list}, line 3: the image {file} "])


@pytest.mark.parametrize("name", ["teacher", "CE_simclr", "course"])
@pytest.mark.parametrize("how", ["missing", "cut short"])
def test_a_test_image_that_cannot_be_read(stage, name, how):
    stage.explain()
    file = third_image(stage, "te")
    SPOILT_IMAGES[how](file)
    refused(stage, name, says=[f"{stage.root}/toy/toy_gt_te.txt, line 3: the image {file} "])


LINES = {
    "two fields": ("./datasets/toy/x.png 1", "expected 'path label index'"),
    "four fields": ("./datasets/toy/x y.png 1 2", "expected 'path label index'"),
    "blank": ("", "expected 'path label index'"),
    "label no number": ("./datasets/toy/x.png Monarch 2", "whole numbers"),
    "label no integer": ("./datasets/toy/x.png 1.0 2", "whole numbers"),
    "label too large": ("./datasets/toy/x.png 5 2", "label 5 is out of range (0 .. 4)"),
    "label negative": ("./datasets/toy/x.png -1 2", "label -1 is out of range"),
    "index negative": ("./datasets/toy/x.png 1 -2", "index -2 is out of range"),
    "zero byte": ("./datasets/toy/x\0.png 2 2", "is missing"),
}


def set_line(path, number, line):
    """Replaces line `number` (from 1) of a text file; None removes it."""
    rows = path.read_text().splitlines()
    rows[number - 1 : number] = [] if line is None else [line]
    path.write_text("".join(f"{row}\n" for row in rows))


@READERS
@pytest.mark.parametrize("kind", LINES)
def test_a_list_with_a_wrong_line(stage, name, kind):
    stage.explain()
    line, complaint = LINES[kind]
    set_line(stage.list, 3, line)
    refused(stage, name, says=[f"{stage.list}, line 3: ", complaint])


@READERS
def test_a_list_that_is_missing_empty_or_no_text(stage, name):
    stage.list.write_bytes(b"\x89PNG\xff\xfe")
    refused(stage, name, says=[stage.list, "cannot be read as text"])
    stage.list.write_bytes(b"")
    refused(stage, name, says=[stage.list, "is empty"])
    stage.list.unlink()
    refused(stage, name, says=[stage.list, "does not exist"])


@READERS
def test_a_class_without_images(stage, name):
    set_line(stage.list, 4, None)
    refused(stage, name, says=[stage.list, "Sash"])


def test_two_images_that_would_get_the_same_explanation_file(stage):
    row = stage.list.read_text().splitlines()[1]
    set_line(stage.list, 3, f"{row}\n./datasets/toy/images/Hindeye/none.png 2 9")
    shutil.copyfile(third_image(stage), third_image(stage).with_name("other.png"))
    set_line(
        stage.list, 4, f"./datasets/toy/images/Hindeye/{next((stage.root / 'toy/images/Hindeye').iterdir()).name} 2 9"
    )
    refused(stage, "CE", says=[f"{stage.list}, line 3: ", "line 2"])


@pytest.mark.parametrize("name", ["CE", "CE_simclr", "course"])
def test_an_index_that_stands_twice(stage, name):
    stage.explain()
    rows = lists.read_examples(stage.list, 5)
    set_line(stage.list, 5, f"{rows[4].path} {rows[4].label} {rows[1].index}")
    refused(stage, name, says=[f"{stage.list}, line 5: index ", "stands on line 2 already"])


def test_a_classifier_may_learn_from_a_teaching_set(stage):
    rows = lists.read_examples(stage.list, 5)
    lists.write_examples(stage.folder / "teaching.txt", [*rows, *rows])
    assert stage.run("teacher", "--train-list", "teaching.txt").status == 0


@pytest.mark.parametrize("name", ["CE", "CE_simclr"])
def test_an_image_whose_name_leaves_no_room_for_its_explanations(stage, name):
    """`_groundtruth_2_counter_4_index_<i>.png` takes 35 bytes and the index's digits; the name below one more than is left."""
    row = lists.read_examples(stage.list, 5)[2]
    room = 255 - 35 - len(str(row.index))
    for stem, status in (("x" * room, 0), ("x" * (room - 1) + "\u00e4", WRONG_INPUT)):
        file = third_image(stage)
        file.rename(file.with_name(f"{stem}.png"))
        set_line(stage.list, 3, f"./datasets/toy/images/Hindeye/{stem}.png 2 {row.index}")
        if status == 0:
            assert stage.run(name).status == 0
            shutil.rmtree(stage.folder / "toy")
        else:
            refused(stage, name, says=[f"{stage.list}, line 3: ", "shorten the image's name by 1."])
            assert not list((stage.folder / "toy").rglob("*.png"))


# ---------------------------------------------------------------- settings

OUT_OF_RANGE = {
    "accuracy": ("study", [-0.1, 1.1, "nan"]),
    "alpha": ("course", [-0.1, 1.1, "nan"]),
    "batch_size": ("teacher", [0]),
    "confidence": ("study", [-0.1, 1.1, "nan"]),
    "counters": ("CE", [-1]),
    "draws": ("course", [-1]),
    "crop_scale": ("simclr", [0, 1.5]),
    "epochs": ("linear", [0]),
    "eval_every": ("teacher", [0]),
    "image_size": ("CE", [32]),
    "iterations": ("course", [0]),
    "label_images": ("page", [-1]),
    "labels_per_image": ("people", [0]),
    "lr": ("teacher", [0, -1, "nan", "inf", 1e38]),
    "mask_sizes": ("CE", [0, 0.001, 0.014, 1.01, "nan"]),
    "max_grad_norm": ("course", [-1, "nan"]),
    "milestones": ("teacher", ["5 3"]),
    "min_accuracy": ("label", [-0.1, 1.1]),
    "momentum": ("course", [-0.1, 1]),
    "people": ("people", [0]),
    "probe_batch_size": ("CE_simclr", [0]),
    "probe_epochs": ("CE_simclr", [0]),
    "probe_lr": ("CE_simclr", [0, "inf"]),
    "repeats": ("study", [0]),
    "ridge": ("course", [0, -1, "nan", "inf"]),
    "rounds": ("study", [-1]),
    "seed": ("course", [-1, 2**32]),
    "simclr_image_size": ("study", [32]),
    "steps": ("course", [0]),
    "temperature": ("simclr", [0, -1]),
    "test_images": ("page", [0]),
    "weight_decay": ("simclr", [-0.1]),
    "workers": ("teacher", [-1]),
}


def test_every_rule_of_the_settings_is_tried():
    of_the_server = {field.name for field in dataclasses.fields(collect.Config)}  # it starts in its own way
    assert set(RULES) - of_the_server <= set(OUT_OF_RANGE) <= set(RULES)


@pytest.mark.parametrize(
    ("setting", "value"), [(setting, value) for setting, (_, values) in OUT_OF_RANGE.items() for value in values]
)
def test_a_setting_out_of_range(stage, setting, value):
    flag = f"--{setting.replace('_', '-')}"
    demand = "needs" if setting == "mask_sizes" and value != "nan" else "must"
    refused(stage, OUT_OF_RANGE[setting][0], flag, *str(value).split(), says=[f"{flag} ", demand])


INFINITE = ("inf", "-inf", "nan")


@pytest.mark.parametrize(
    ("name", "flag", "values"),
    [
        ("course", "--max-grad-norm", INFINITE),
        ("simclr", "--temperature", INFINITE),
        ("teacher", "--weight-decay", INFINITE),
        ("study", "--accuracy", INFINITE),
        ("study", "--accuracy", ("0.5 inf", "nan 0.5")),
        ("CE", "--mask-sizes", ("0.3 inf",)),
    ],
)
def test_a_setting_that_is_not_finite(stage, name, flag, values):
    """Some rules hold for infinity, and a record cannot hold it: hours later the run would end without one."""
    for value in values:
        refused(stage, name, flag, *value.split(), says=[f"{flag} ", "must be finite; correct it"])


def test_a_finite_number_in_any_setting_passes():
    @dataclasses.dataclass
    class Config:
        text: str = "inf"
        nested: tuple = ((1.0, "nan"), (2,))
        max_grad_norm: float = 1e308

    check(Config())
    with pytest.raises(InputError, match="^--nested .* must be finite"):
        check(Config(nested=((1.0,), (float("inf"),))))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("teacher", ["--no-such-setting", 1]),
        ("CE", ["--iterations", 3]),
        ("teacher", ["--epochs", "many"]),
        ("teacher", ["--epochs", 1.5]),
        ("CE", ["--mask-sizes", "small"]),
        ("course", ["--selection", "best"]),
        ("course", ["--student", "best"]),
        ("course", ["--teach-explanations", "maybe"]),
        ("course", ["--explanation-view", "eyes"]),
        ("simclr", ["--seed", ""]),
    ],
)
def test_an_unknown_or_ill_typed_setting(stage, name, changes):
    done = stage.run(name, *changes)
    assert done.status == WRONG_INPUT and "Traceback" not in done.err
    assert changes[0] in done.err
    assert stage.written() == set()


@pytest.mark.parametrize("name", ["teacher", "linear", "simclr", "CE", "CE_simclr", "course"])
def test_an_unknown_dataset(stage, name):
    refused(stage, name, "--dataset", "moths", says=["--dataset 'moths' is unknown", "toy"])


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "mps", "", "cuda:x"])
def test_a_device_that_is_not_there(stage, device):
    refused(stage, "teacher", "--device", device, says=["--device"])


def test_a_data_root_that_is_not_there(stage):
    refused(stage, "teacher", "--data-root", "nowhere", says=["nowhere/toy/toy_gt_tr.txt"])


@pytest.mark.parametrize("name", ["teacher", "simclr", "CE", "course"])
@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_output_folder_that_cannot_be_written_to(stage, name, out):
    (stage.folder / "file").write_text("a file, no folder")
    refused(stage, name, "--out", out, says=[f"--out '{out}'"])


@pytest.mark.parametrize("out", ["two words", "tab\there"])
def test_an_output_name_with_a_blank(stage, out):
    refused(stage, "CE", "--out", out, says=["--out", "blank"])
    assert not (stage.folder / out).exists()


# ---------------------------------------------------------------- checkpoints


class Bomb:
    """An object whose unpickling leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def spoilt_checkpoint(kind, path, folder):
    """Writes a file that is no checkpoint for five classes of ResNet-18."""
    network = resnet18(num_classes=3 if "count" in kind else 5).state_dict()
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("no checkpoint at all\n" * 50)
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "unsafe":
        torch.save({"state_dict_m": Bomb(folder / "exploded")}, path)
    elif kind in ("cut short", "cut short, old format"):
        torch.save(network, path, _use_new_zipfile_serialization=kind == "cut short")
        path.write_bytes(path.read_bytes()[: 1000 if kind == "cut short, old format" else -1000])
    elif kind == "other architecture":
        torch.save({"state_dict_m": squeezenet1_1().state_dict()}, path)
    elif kind == "other class names":
        torch.save({"state_dict_m": network, "classes": list("vwxyz")}, path)
    elif kind == "class count":
        torch.save({"state_dict_m": network}, path)
    elif kind == "extra layer":
        torch.save({"state_dict_m": {**network, "layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)}}, path)
    elif kind == "not finite":
        torch.save({"state_dict_m": {**network, "fc.weight": network["fc.weight"] * torch.nan}}, path)
    elif kind == "numbered":
        torch.save({0: torch.zeros(3)}, path)


BROKEN = ["missing", "folder", "text", "tensor", "unsafe", "cut short", "cut short, old format", "numbered"]
FOREIGN = ["other architecture", "extra layer", "other class names", "class count"]


@pytest.mark.parametrize("kind", [*BROKEN, *FOREIGN])
def test_a_checkpoint_that_does_not_fit_the_teacher(stage, kind):
    path = stage.folder / "spoilt.tar"
    spoilt_checkpoint(kind, path, stage.folder)
    refused(stage, "CE", "--checkpoint", path, says=["--checkpoint", path])
    assert not (stage.folder / "exploded").exists()


@pytest.mark.parametrize("kind", ["missing", "unsafe", "text", "other architecture", "class count"])
@pytest.mark.parametrize("name", ["linear", "course", "optimal", "CE_simclr"])
def test_weights_that_do_not_fit_elsewhere(stage, name, kind):
    """Any class count will do for generic features, whose head is left out; a classifier is no SimCLR encoder."""
    stage.explain()
    path = stage.folder / "spoilt.tar"
    spoilt_checkpoint(kind, path, stage.folder)
    setting = "--checkpoint" if name == "CE_simclr" else "--pretrained"
    if kind == "class count" and setting == "--pretrained":
        assert stage.run(name, setting, path).status == 0
        return
    refused(stage, name, setting, path, says=[setting, path])
    assert not (stage.folder / "exploded").exists()


def test_a_teacher_whose_weights_are_not_finite(stage):
    spoilt_checkpoint("not finite", stage.folder / "spoilt.tar", stage.folder)
    refused(stage, "CE", "--checkpoint", "spoilt.tar", says=["--checkpoint", "not finite"])


def dead(network, prefix=""):
    """The state dict of a ResNet-18 whose last block has died: all of its features are 0."""
    network.layer4[1].bn2.bias.data.fill_(-1000.0)
    return {prefix + name: value for name, value in network.state_dict().items()}


def test_a_dead_teacher_is_refused_and_leaves_no_picture(stage):
    stage.explain()
    torch.save({"state_dict_m": dead(resnet18(num_classes=5))}, stage.folder / "dead.tar")
    before = stage.tools.snapshot(stage.folder / "toy")
    for resume in ([], ["--resume"]):
        refused(
            stage,
            "CE",
            "--checkpoint",
            "dead.tar",
            "--batch-size",
            2,
            *resume,
            says=["--checkpoint", "constant", "train it anew"],
        )
    after = stage.tools.snapshot(stage.folder / "toy")
    files = {name for name in before | after if (stage.folder / "toy" / name).is_file()}
    assert {name for name in files if before.get(name) != after.get(name)} == set()


def test_a_dead_encoder_is_refused_after_its_probe(stage):
    torch.save(SimCLR().state_dict() | dead(build("resnet18", 0), "encoder."), stage.folder / "dead.tar")
    leaves = ["toy/checkpoint_linear_simclr.pth.tar"]
    refused(stage, "CE_simclr", "--checkpoint", "dead.tar", says=["--checkpoint", "constant"], leaves=leaves)
    assert list((stage.folder / "toy").rglob("*.png")) == []


def warnings_of(stage, name, *changes):
    """The warnings in the record of a run that succeeds, after checking that it printed the same."""
    done = stage.run(name, *changes)
    assert done.status == 0, done.err
    record = json.loads((stage.folder / f"toy/run_{done.script}.json").read_text())
    found = record["measured"].get("warnings", [])
    assert [line for line in done.out.splitlines() if line.startswith("warning: ")] == [
        f"warning: {sentence}" for sentence in found
    ]
    return found


@pytest.mark.parametrize("name", ["teacher", "linear", "CE_simclr", "course", "study"])
def test_a_test_list_without_a_class_is_said(stage, weights, name):
    stage.explain()
    shutil.copyfile(stage.list, stage.root / "toy/toy_gt_rest_tr.txt")
    changes = ["--pretrained", weights, "--probe-epochs", 2, "--repeats", 1, "--accuracy", 1] if name == "study" else []
    said = f"{stage.root}/toy/toy_gt_te.txt has no image of Sash: "
    if name == "teacher":
        assert not any("has no image" in sentence for sentence in warnings_of(stage, name))
    set_line(stage.root / "toy/toy_gt_te.txt", 4, None)
    assert [sentence.startswith(said) for sentence in warnings_of(stage, name, *changes)].count(True) == 1


def test_random_features_that_nobody_trains_are_said(stage):
    stage.explain()
    for name, changes, said in (("linear", [], True), ("course", ["--freeze-features"], True), ("course", [], False)):
        found = warnings_of(stage, name, "--pretrained", "none", *changes)
        assert (
            any(sentence.startswith("--pretrained none: the features are drawn at random") for sentence in found)
            == said
        )


def test_a_probe_that_takes_steps_too_small_is_said(stage):
    found = warnings_of(stage, "CE_simclr", "--probe-lr", 1e-9)
    assert any("linear probe has" in sentence and "--probe-lr" in sentence for sentence in found)


def test_a_student_that_takes_steps_too_small_is_said(stage):
    stage.explain()
    found = warnings_of(stage, "course", "--lr", 1e-12)
    assert any("never left chance" in sentence and "--freeze-features" in sentence for sentence in found)


def test_a_classifier_trains_on_batches_of_one_image(stage):
    assert stage.run("teacher", "--batch-size", 1).status == 0


def test_a_last_image_alone_joins_the_simclr_batch_before_it(stage):
    tables = []
    for batch_size in (4, 5):
        warnings_of(stage, "simclr", "--batch-size", batch_size)
        tables.append((stage.folder / "toy/simclr.csv").read_bytes())
    assert tables[0] == tables[1]


def test_simclr_needs_two_images(stage):
    refused(stage, "simclr", "--batch-size", 1, says=["--batch-size 1", "2 or more"])


def test_checkpoints_of_the_other_family(stage, gull, weights):
    network = stage.earlier / "checkpoint_pretrain_resnet18_s300.pth.tar"
    head = gull.out / "checkpoint_pretrain_resnet18_linear.pth.tar"
    refused(stage, "CE", "--checkpoint", head, says=["--checkpoint", head])
    gulls = ["get_all_CE_gull", *stage.tools.common(stage.root), "--pretrained", weights, "--checkpoint", network]
    stage.commands["CE_gull"] = gulls
    refused(stage, "CE_gull", says=["--checkpoint", network])


# ---------------------------------------------------------------- explanation lists


def change_field(place, value):
    """How to change one field of a row: `path label counter index`."""

    def change(line):
        fields = line.split()
        fields[place] = value
        return " ".join(fields)

    return change


MISMATCHES = {
    "wrong label": (1, change_field(1, "3"), "line 1: label 3, but line 1 of"),
    "unknown index": (2, change_field(3, "777"), "line 2: ", "777"),
    "counter is the label": (1, change_field(2, "0"), "line 1: counter class 0"),
    "counter out of range": (1, change_field(2, "7"), "line 1: counter 7 is out of range (0 .. 4)"),
    "missing row": (2, lambda line: None, "against class 2"),
    "repeated row": (2, lambda line: f"{line}\n{line}", "line 3: repeats"),
    "three fields": (4, lambda line: line.rsplit(" ", 1)[0], "line 4: expected 'path label counter index'"),
    "no number": (4, change_field(3, "x"), "line 4: ", "whole numbers"),
}


@pytest.mark.parametrize("view", ["attention", "image"])
@pytest.mark.parametrize("kind", MISMATCHES)
def test_an_explanation_list_that_does_not_match_the_examples(stage, kind, view):
    path = stage.explain()
    number, change, *says = MISMATCHES[kind]
    set_line(path, number, change(path.read_text().splitlines()[number - 1]))
    refused(stage, "course", "--explanation-view", view, says=["toy/toy_gt_CE.txt", *says])


def test_an_explanation_list_that_is_missing(stage):
    refused(stage, "course", says=["toy/toy_gt_CE.txt"])


def test_pictures_for_people_that_belong_to_other_explanations(stage):
    stage.explain()
    people = stage.folder / "toy/toy_gt_CE_HTML.txt"
    set_line(people, 2, None)
    refused(stage, "course", says=["toy/toy_gt_CE_HTML.txt"])


def listed_file(stage, line, kind="", rendering="_img/"):
    """The file on a line of an explanation list, or its sibling in another rendering."""
    return Path(
        lists.read_explanations(stage.folder / f"toy/toy_gt_CE{kind}.txt", 5)[line - 1].path.replace("_img/", rendering)
    )


def paint_black(file):
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(file)


SPOILT_MASKS = {**{how: SPOILT_IMAGES[how] for how in ("missing", "empty", "cut short")}, "black": paint_black}


@pytest.mark.parametrize("how", SPOILT_MASKS)
def test_a_mask_that_cannot_be_attended_to(stage, how):
    stage.explain()
    mask = listed_file(stage, 7, rendering="_mask/")
    SPOILT_MASKS[how](stage.folder / mask)
    refused(stage, "course", says=["toy/toy_gt_CE.txt", "line 7", mask.name])


@pytest.mark.parametrize("how", ["missing", "empty", "cut short"])
def test_an_explanation_that_cannot_be_looked_at(stage, how):
    stage.explain()
    image = listed_file(stage, 7)
    SPOILT_IMAGES[how](stage.folder / image)
    refused(stage, "course", "--explanation-view", "image", says=["toy/toy_gt_CE.txt, line 7", image.name])


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_picture_for_people_that_is_not_there(stage, how):
    stage.explain()
    picture = listed_file(stage, 7, "_HTML")
    SPOILT_IMAGES[how](stage.folder / picture)
    refused(stage, "course", says=["toy/toy_gt_CE_HTML.txt, line 7", picture.name])


# ---------------------------------------------------------------- runs that go wrong


@pytest.mark.parametrize(("name", "epochs"), [("teacher", 1), ("teacher", 2), ("linear", 5)])
def test_a_classifier_that_diverges(stage, name, epochs):
    """With one epoch of one batch no later loss tells of it: the outputs must."""
    changes = ["--lr", 1e37, "--epochs", epochs, "--batch-size", 5]
    refused(stage, name, *changes, status=RUN_WENT_WRONG, says=["lower --lr"])


def test_simclr_that_diverges(stage):
    refused(stage, "simclr", "--lr", 1e37, "--epochs", 2, status=RUN_WENT_WRONG, says=["The loss became", "lower --lr"])


def test_a_linear_probe_that_diverges(stage):
    refused(
        stage, "CE_simclr", "--probe-lr", 1e37, "--probe-epochs", 3, status=RUN_WENT_WRONG, says=["lower --probe-lr"]
    )


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("view", ["attention", "image"])
def test_a_student_that_diverges(stage, steps, view):
    stage.explain()
    changes = ["--lr", 1e37, "--steps", steps, "--explanation-view", view]
    refused(stage, "course", *changes, status=RUN_WENT_WRONG, says=["lower --lr"])


def test_what_an_earlier_run_left_survives_a_failing_one(stage):
    stage.explain()
    SPOILT_IMAGES["cut short"](third_image(stage))
    for name in ("heatmaps.npz", "explanations.png", "course_CMaxGrad.json"):
        (stage.folder / "toy" / name).write_text("of an earlier run")
    before = stage.tools.snapshot(stage.folder / "toy")
    # The images before the broken one are explained by then, so that a run that goes on need not explain them again.
    state = {f"toy/.unfinished_get_all_CE_butterflies/{name}" for name in ("answers.npy", "class_maps.npy", "state.pt")}
    refused(stage, "CE", "--batch-size", 1, leaves=state)
    refused(stage, "course", "--batch-size", 1)
    after = stage.tools.snapshot(stage.folder / "toy")
    kept = [name for name in before if (stage.folder / "toy" / name).is_file() and "/" not in name]
    assert len(kept) == 5 and [name for name in kept if after[name] != before[name]] == []


def ending_with(error, stage, monkeypatch, capsys, kind="simclr"):
    """Exit status and stderr of a script whose story ends with `error`."""
    name, *arguments = stage.commands[kind]
    script = importlib.import_module(name)

    def main(cfg):
        raise error

    monkeypatch.chdir(stage.folder)
    monkeypatch.setattr("sys.argv", [f"{name}.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        launch.launch(main, script.Config, "")
    return stop.value.code, capsys.readouterr().err


def test_a_full_disk_and_ctrl_c_end_with_a_sentence(stage, monkeypatch, capsys):
    status, said = ending_with(OSError(28, "No space left on device", "x.png"), stage, monkeypatch, capsys)
    assert status == RUN_WENT_WRONG and "No space left on device" in said and said.count("\n") == 1
    status, said = ending_with(KeyboardInterrupt(), stage, monkeypatch, capsys)
    assert status == INTERRUPTED and said.count("\n") == 1
    assert said.startswith("train_gull_simclr.py: stopped by Ctrl-C; go on with: python ") and said.endswith(
        " --resume\n"
    )


FULL = {
    "the GPU's": (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"),
        "cpu",
    ),
    "the GPU's before it begins": (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "cpu"),
    "the GPU's in a library": (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "cpu"),
    "Python's": (MemoryError(), "this machine"),
    "torch's": (
        RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: you"),
        "this machine",
    ),
    "torch's on Windows": (
        RuntimeError("[enforce fail at alloc_cpu.cpp] data. DefaultCPUAllocator: not enough memory: you tried"),
        "this machine",
    ),
}


@pytest.mark.parametrize("whose", FULL)
def test_a_full_memory_ends_with_a_sentence(whose, stage, monkeypatch, capsys):
    """The device is the settings', here the CPU."""
    error, place = FULL[whose]
    workers = " or lower --workers" if place == "this machine" else ""
    status, said = ending_with(error, stage, monkeypatch, capsys)
    assert status == RUN_WENT_WRONG and said == (
        f"train_gull_simclr.py: error: The memory of {place} is full; end what else fills it{workers}, then go on with --resume, "
        "or begin anew with a lower --batch-size or --image-size.\n"
    )


@pytest.mark.parametrize(
    ("kind", "flags"),
    [("people", ["--workers", "--batch-size", "--image-size"]), ("page", ["--workers", "--image-size"]), ("label", [])],
)
def test_a_full_memory_names_what_the_script_has(kind, flags, stage, monkeypatch, capsys):
    status, said = ending_with(MemoryError(), stage, monkeypatch, capsys, kind)
    lowered = "".join(f" or lower {flag}" for flag in flags)
    assert status == RUN_WENT_WRONG
    assert said.endswith(
        f": error: The memory of this machine is full; end what else fills it{lowered}, then begin anew.\n"
    )


def test_other_faults_of_torch_are_no_full_memory(stage, monkeypatch, capsys):
    with pytest.raises(RuntimeError, match="shapes"):
        ending_with(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), stage, monkeypatch, capsys)


def test_a_fault_of_ours_keeps_its_traceback(stage, monkeypatch, capsys):
    with pytest.raises(ZeroDivisionError):
        ending_with(ZeroDivisionError(), stage, monkeypatch, capsys)


def test_a_process_ends_as_a_call_does(stage):
    SPOILT_IMAGES["cut short"](third_image(stage))
    script, *arguments = stage.commands["teacher"]
    done = stage.tools.spawn(script, *arguments, cwd=stage.folder)
    assert f"{stage.list}, line 3: the image " in the_sentence(done, WRONG_INPUT)
    assert done.out == "" and stage.written() == set()


# ---------------------------------------------------------------- damaged files, at random


def damaged(content, draw):
    """A file cut short or with a few bytes changed."""
    if draw.random() < 0.5:
        return content[: draw.integers(1, len(content))]
    changed = bytearray(content)
    for place in draw.integers(0, min(len(content), draw.choice([60, 4000])), size=draw.choice([1, 3, 20])):
        changed[place] = draw.integers(256)
    return bytes(changed)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "gif", "bmp", "webp", "tiff"])
@pytest.mark.filterwarnings("ignore")
def test_no_damaged_image_ends_in_a_traceback(tmp_path, suffix):
    from utils.data.images import decode

    draw, path = np.random.default_rng(1), tmp_path / f"image.{suffix}"
    Image.fromarray(draw.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
    content, refusals = path.read_bytes(), 0
    for _ in range(150):
        path.write_bytes(damaged(content, draw))
        try:
            assert decode(path, "list.txt, line 1").mode == "RGB"
        except InputError as error:
            refusals += str(error).startswith(f"list.txt, line 1: the image {path} cannot be decoded")
    assert refusals > 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("new_format", [True, False])
def test_no_damaged_checkpoint_ends_in_a_traceback(tmp_path, new_format):
    from models.weights import read_checkpoint

    draw, path = np.random.default_rng(2), tmp_path / "checkpoint.tar"
    torch.save({"state_dict_m": {"weight": torch.zeros(2, 3)}}, path, _use_new_zipfile_serialization=new_format)
    content, refusals = path.read_bytes(), 0
    for _ in range(400):
        path.write_bytes(damaged(content, draw))
        try:
            read_checkpoint(path, "--checkpoint")
        except InputError as error:
            refusals += str(error).startswith(f"--checkpoint: {path} ")
    assert refusals > 100
