"""Wrong input ends with one sentence, the right exit status, and nothing half-written."""

import importlib
import json
import os
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

from models.resnet import build
from models.simclr import SimCLR
from models.weights import read_checkpoint
from utils.base.errors import InputError
from utils.base.files import locked
from utils.data import lists
from utils.data.images import decode
from utils.running import launch
from utils.running.settings import RANGES

WRONG_INPUT, RUN_WENT_WRONG = 2, 1
RENDERINGS = re.compile(r"(counterfactual_gradcam(_simclr)?_(img|mask)|demo(_simclr)?/counterfactual_gradcam_mask)/")


@pytest.fixture
def stage(tmp_path, small_root, butterflies, weights, tools):
    return Stage(tmp_path, small_root, butterflies, weights, tools)


class Stage:
    """A working folder with five images (one per class), and commands that succeed."""

    def __init__(self, folder, root, butterflies, weights, tools):
        self.folder, self.root, self.tools = folder, root, tools
        self.earlier = butterflies.out
        self.list = root / "toy/toy_gt_tr.txt"
        tiny = tools.common(root)
        teacher = self.earlier / "checkpoint_pretrain_resnet18_s300.pth.tar"
        encoder = self.earlier / "simclr_checkpoint_2.tar"
        course = ["train_butterflies_CMaxGrad", *tiny, "--pretrained", weights, "--iterations", 1]
        self.commands = {
            "teacher": ["train_butterflies_resnet18", *tiny, "--epochs", 1, "--batch-size", 3],
            "linear": ["train_gull_resnet18_linear", *tiny, "--epochs", 1, "--pretrained", weights],
            "simclr": ["train_gull_simclr", *tiny, "--epochs", 1, "--batch-size", 3],
            "CE": ["get_all_CE_butterflies", *tiny, "--checkpoint", teacher],
            "CE_simclr": ["get_all_CE_gull_simclr", *tiny, "--checkpoint", encoder, "--probe-epochs", 2],
            "course": [*course, "--student", "sgd", "--steps", 1],
            "optimal": course,
            "study": ["study_annotators", *tiny],
        }

    def explain(self):
        """Copies the explanations of the five images, with their lists; returns the list for machines."""
        wanted = {row.index for row in lists.read_examples(self.list, 5)}
        for kind in ("", "_HTML"):
            rows = lists.read_explanations(self.earlier / f"toy_gt_CE{kind}.txt", 5)
            rows = sorted((row for row in rows if row.index in wanted), key=lambda row: (row.label, row.counter))
            for path in {path for row in rows for path in (row.path, row.path.replace("_img/", "_mask/"))}:
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.earlier.parent / path, self.folder / path)
            lists.write_explanations(self.folder / f"toy/toy_gt_CE{kind}.txt", rows)
        return self.folder / "toy/toy_gt_CE.txt"

    def run(self, name, *changes):
        script, *arguments = self.commands[name]
        return self.tools.call(script, *arguments, *changes, cwd=self.folder)

    def written(self):
        """Files in the working folder, without the data and the renderings (each of those is written atomically)."""
        files = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return {str(path) for path in files if path.parts[0] != "data" and not RENDERINGS.search(str(path))}

    def image(self, split="tr"):
        """The file of the third image."""
        rows = lists.read_examples(self.root / f"toy/toy_gt_{split}.txt", 5)
        return Path(lists.locate(rows[2].path, self.root))


def the_sentence(done, status):
    """The only line on stderr besides progress bars."""
    assert "Traceback" not in done.err and "Warning" not in done.err
    lines = [line for line in re.split(r"[\r\n]+", done.err) if line.strip()]
    sentences = [line for line in lines if not re.search(r"\d+%\|.*\]\s*$", line)]
    assert len(sentences) == 1, done.err
    assert done.status == status, done.err
    prefix = f"{done.script}.py: error: "
    assert sentences[0].startswith(prefix) and sentences[0].endswith("."), done.err
    return sentences[0].removeprefix(prefix)


def refused(stage, name, *changes, status=WRONG_INPUT, says=(), leaves=frozenset()):
    """Checks that a spoilt command says each of `says` and leaves only what was there and `leaves`."""
    before = stage.written()
    sentence = the_sentence(stage.run(name, *changes), status)
    for words in says:
        assert str(words) in sentence, sentence
    assert stage.written() == before | set(leaves)


@pytest.mark.parametrize("name", ["teacher", "linear", "simclr", "CE", "CE_simclr", "course", "optimal"])
def test_the_commands_succeed_unspoilt(stage, name):
    stage.explain()
    done = stage.run(name)
    assert done.status == 0, done.err


def shorten(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


SPOILT_IMAGES = {
    "missing": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "truncated": shorten,
    "text": lambda file: file.write_text("not an image"),
    "folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize(
    ("name", "how", "split"),
    [
        *(("teacher", how, "tr") for how in SPOILT_IMAGES),
        *((name, "truncated", "tr") for name in ("simclr", "CE", "course", "optimal")),
        *((name, "missing", "te") for name in ("teacher", "CE_simclr", "course")),
    ],
)
def test_images_that_cannot_be_read(stage, name, how, split):
    if name in ("course", "optimal"):
        stage.explain()
    file = stage.image(split)
    SPOILT_IMAGES[how](file)
    refused(stage, name, says=[f"toy_gt_{split}.txt, line 3: the image {file} "])


def set_line(path, number, line):
    """Replaces line `number` (from 1) of a text file; None removes it."""
    rows = path.read_text().splitlines()
    rows[number - 1 : number] = [] if line is None else [line]
    path.write_text("".join(f"{row}\n" for row in rows))


@pytest.mark.parametrize("name", ["teacher", "simclr", "CE", "course"])
def test_wrong_lists(stage, name):
    stage.explain()
    content = stage.list.read_text()
    set_line(stage.list, 3, "./datasets/toy/x.png 1")
    refused(stage, name, says=[f"{stage.list}, line 3: expected 'path label index'"])
    stage.list.write_text(content)
    if name in ("CE", "course"):
        rows = lists.read_examples(stage.list, 5)
        set_line(stage.list, 5, f"{rows[4].path} {rows[4].label} {rows[1].index}")
        refused(stage, name, says=[f"{stage.list}, line 5: line 2 also has index"])
        stage.list.write_text(content)
    set_line(stage.list, 4, None)
    refused(stage, name, says=[stage.list, "no image of class Sash"])
    stage.list.write_bytes(b"\x89PNG\xff\xfe")
    refused(stage, name, says=[stage.list, "UTF-8"])
    stage.list.unlink()
    refused(stage, name, says=[stage.list, "not found"])


def test_a_classifier_may_learn_from_a_teaching_set(stage):
    rows = lists.read_examples(stage.list, 5)
    lists.write_examples(stage.folder / "teaching.txt", [*rows, *rows])
    assert stage.run("teacher", "--train-list", "teaching.txt").status == 0


def test_a_name_too_long_for_its_explanations(stage):
    row, file = lists.read_examples(stage.list, 5)[2], stage.image()
    stem = "x" * (221 - len(str(row.index)))  # `_groundtruth_2_counter_4_index_<i>.png` takes 35 bytes and the digits
    file.rename(file.with_name(f"{stem}.png"))
    set_line(stage.list, 3, f"./datasets/toy/images/Hindeye/{stem}.png 2 {row.index}")
    refused(stage, "CE", says=[f"{stage.list}, line 3: ", "Shorten it by 1."])
    assert not list(stage.folder.glob("toy/**/*.png"))


OUT_OF_RANGE = {
    "accuracy": ("study", [1.1, "nan", "0.5 inf"]),
    "alpha": ("course", [-0.1, 1.1, "nan"]),
    "batch_size": ("teacher", [0]),
    "counters": ("CE", [-1]),
    "crop_scale": ("simclr", [0, 1.5]),
    "image_size": ("CE", [32]),
    "lr": ("teacher", [0, -1, "nan", "inf", 1e38]),
    "mask_sizes": ("CE", [0, 0.014, 1.01, "0.3 inf"]),
    "max_grad_norm": ("course", [-1, "inf"]),
    "momentum": ("course", [1.5]),
    "ram_budget": ("teacher", [-1]),
    "seed": ("course", [-1, 2**32]),
    "temperature": ("simclr", [0]),
}


@pytest.mark.parametrize(
    ("setting", "value"), [(name, v) for name, (_, values) in OUT_OF_RANGE.items() for v in values]
)
def test_a_setting_out_of_range(stage, setting, value):
    assert setting in RANGES
    flag = f"--{setting.replace('_', '-')}"
    refused(stage, OUT_OF_RANGE[setting][0], flag, *str(value).split(), says=[f"{flag} ", " must "])


def test_unknown_and_ill_typed_settings(stage):
    for name, *changes in (
        ("CE", "--iterations", 3),
        ("teacher", "--epochs", "many"),
        ("course", "--selection", "best"),
    ):
        done = stage.run(name, *changes)
        assert done.status == WRONG_INPUT and "Traceback" not in done.err and changes[0] in done.err
        assert stage.written() == set()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["--dataset", "moths"], ["--dataset 'moths' is unknown", "toy"]),
        (["--dataset", "toy_after_labeling"], ["contains no labeled list. Run label.py first"]),
        (["--device", "tpu"], ["--device"]),
        (["--device", "cuda:99"], ["--device"]),
        (["--data-root", "nowhere"], ["nowhere/toy/toy_gt_tr.txt"]),
        (["--out", "file/below"], ["--out 'file/below'"]),
        (["--out", "two words"], ["--out 'two words'", "space"]),
    ],
)
def test_datasets_devices_and_folders(stage, changes, says):
    (stage.folder / "file").write_text("not a folder")
    refused(stage, "teacher", *changes, says=says)


class Bomb:
    """An object whose unpickling leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("name", ["CE", "CE_simclr", "linear", "course"])
def test_checkpoints_that_cannot_be_read(stage, name):
    """And whose content must not be run. More: test_weights.py."""
    stage.explain()
    path, setting = stage.folder / "unsafe.tar", "--checkpoint" if name.startswith("CE") else "--pretrained"
    torch.save({"state_dict_m": Bomb(stage.folder / "exploded")}, path)
    refused(stage, name, setting, path, says=[setting, path])
    assert not (stage.folder / "exploded").exists()


def dead(network, prefix=""):
    """The state dict of a ResNet-18 whose last block is dead: all features are 0."""
    network.layer4[1].bn2.bias.data.fill_(-1000.0)
    return {prefix + name: value for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", ["CE", "CE_simclr"])
def test_a_dead_network_is_refused_and_leaves_no_picture(stage, name):
    content = {"state_dict_m": dead(resnet18(num_classes=5))} if name == "CE" else None
    torch.save(content or SimCLR().state_dict() | dead(build("resnet18", 0), "encoder."), stage.folder / "dead.tar")
    leaves = [] if name == "CE" else ["toy/checkpoint_linear_simclr.pth.tar"]
    refused(stage, name, "--checkpoint", "dead.tar", says=["--checkpoint", "constant"], leaves=leaves)
    assert not list(stage.folder.glob("toy/**/*.png"))


def change_field(place, value):
    """Changes one field of a row `path label counter index`."""
    return lambda line: " ".join([value if field == place else word for field, word in enumerate(line.split())])


MISMATCHES = {
    "wrong label": (1, change_field(1, "3"), "line 1"),
    "unknown index": (2, change_field(3, "777"), "line 2"),
    "counter is the label": (1, change_field(2, "0"), "line 1: counter class 0"),
    "counter out of range": (1, change_field(2, "7"), "line 1: counter 7 is out of range (0 .. 4)"),
    "missing row": (2, lambda line: None, "3 explanations of"),
    "repeated row": (2, lambda line: f"{line}\n{line}", "list different explanations"),
    "three fields": (4, lambda line: line.rsplit(" ", 1)[0], "line 4: expected 'path label counter index'"),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_explanation_lists_that_do_not_match_the_examples(stage, kind):
    path = stage.explain()
    number, change, says = MISMATCHES[kind]
    set_line(path, number, change(path.read_text().splitlines()[number - 1]))
    refused(stage, "course", says=["toy/toy_gt_CE.txt", says])


def test_missing_explanation_lists_and_other_pictures_for_people(stage):
    refused(stage, "course", says=["toy/toy_gt_CE.txt"])
    stage.explain()
    set_line(stage.folder / "toy/toy_gt_CE_HTML.txt", 2, None)
    refused(stage, "course", says=["toy/toy_gt_CE_HTML.txt"])


@pytest.mark.parametrize(
    ("view", "rendering", "how"),
    [("attention", "_mask/", "black"), ("attention", "_mask/", "missing"), ("image", "_img/", "truncated")],
)
def test_explanations_that_cannot_be_used(stage, view, rendering, how):
    path = stage.explain()
    file = stage.folder / lists.read_explanations(path, 5)[6].path.replace("_img/", rendering)
    if how == "black":
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(file)
    else:
        SPOILT_IMAGES[how](file)
    refused(stage, "course", "--explanation-view", view, says=["toy/toy_gt_CE.txt", "line 7", file.name])


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("teacher", ["--lr", 1e37, "--batch-size", 5], "--lr"),  # one batch: no later loss shows it
        ("simclr", ["--lr", 1e37, "--epochs", 2], "--lr"),
        ("CE_simclr", ["--probe-lr", 1e37, "--probe-epochs", 3], "--probe-lr"),
        ("course", ["--lr", 1e37], "--lr"),
    ],
)
def test_runs_that_diverge(stage, name, changes, says):
    stage.explain()
    refused(stage, name, *changes, status=RUN_WENT_WRONG, says=[says])


def ending_with(error, stage, monkeypatch, capsys):
    """Exit status and stderr of a script whose `main` raises `error`."""
    name, *arguments = stage.commands["simclr"]
    script = importlib.import_module(name)

    def main(cfg):
        raise error

    monkeypatch.chdir(stage.folder)
    monkeypatch.setattr("sys.argv", [f"{name}.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        launch.launch(main, script.Config, "")
    return stop.value.code, capsys.readouterr().err


ENDS = [  # test_resume.py presses Ctrl-C
    (OSError(28, "No space left on device", "x.png"), "No space left on device.* Continue with: python .* --resume"),
    (MemoryError(), "Out of memory .* Lower --batch-size, "),
    (torch.OutOfMemoryError("CUDA out of memory."), "Out of memory .CUDA out of memory.. Lower "),
]


@pytest.mark.parametrize(("error", "words"), ENDS)
def test_full_disk_and_full_memory(stage, monkeypatch, capsys, error, words):
    status, said = ending_with(error, stage, monkeypatch, capsys)
    assert status == RUN_WENT_WRONG and said.count("\n") == 1 and re.search(words, said), said
    with pytest.raises(ZeroDivisionError):  # bugs keep their traceback
        ending_with(ZeroDivisionError(), stage, monkeypatch, capsys)


def test_a_process_ends_like_a_call(stage):
    shorten(stage.image())
    script, *arguments = stage.commands["teacher"]
    done = stage.tools.spawn(script, *arguments, cwd=stage.folder)
    assert f"{stage.list}, line 3: the image " in the_sentence(done, WRONG_INPUT)
    assert done.out == "" and stage.written() == set()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["png", "jpeg", "tiff", "tar"])
def test_damaged_files_never_end_in_a_traceback(tmp_path, suffix):
    draw, refusals, path = np.random.default_rng(1), 0, tmp_path / f"file.{suffix}"
    if suffix == "tar":
        torch.save({"state_dict_m": {"weight": torch.zeros(2, 3)}}, path)
    else:
        Image.fromarray(draw.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    for _ in range(100):
        changed = bytearray(content)
        for place in draw.integers(0, min(len(content), 400), size=draw.choice([1, 3, 20])):
            changed[place] = draw.integers(256)
        path.write_bytes(changed if draw.random() < 0.5 else content[: draw.integers(1, len(content))])
        try:
            read_checkpoint(path, "--checkpoint") if suffix == "tar" else decode(path, "list.txt, line 1")
        except InputError as error:
            refusals += str(path) in str(error)
    assert refusals > 25


def test_a_picture_that_has_changed_since_it_was_explained(stage):
    """Copies have other modification times; --resume and a course name a picture with another content."""
    flags = ["--ce-list", "./toy/toy_gt_CE.txt", "--selection", "random"]
    assert stage.run("CE").status == stage.run("optimal", *flags).status == 0
    course = json.loads((stage.folder / "toy/course_random.json").read_text())
    picture = Path(lists.locate(course["lessons"][0]["image"], stage.root))
    assert course["pictures"][course["lessons"][0]["image"]] == zlib.crc32(picture.read_bytes())
    os.utime(picture, (0, 0))
    assert "This run has finished" in stage.run("CE", "--resume").out
    Image.new("RGB", (96, 96), (255, 120, 0)).save(picture)
    for done in (stage.run("CE", "--resume"), stage.run("optimal", *flags)):
        assert f"The picture {picture} has changed since it was explained" in the_sentence(done, WRONG_INPUT)


def test_a_second_run_in_the_same_folder(stage):
    """A course of another selection may run at the same time."""
    stage.explain()
    record = "toy/run_train_butterflies_CMaxGrad_random.json"
    with locked(stage.folder / record):
        before = stage.written()
        said = the_sentence(stage.run("course", "--selection", "random"), WRONG_INPUT)
        assert f"Another run is about to write {record} (process {os.getpid()} on " in said
        assert stage.written() == before and stage.run("course").status == 0
    assert stage.run("course", "--selection", "random").status == 0


def test_a_server_ignores_the_variables_of_a_launcher(launched, tools, tmp_path):
    launched(1, 2)
    assert "course_page_key.json not found" in the_sentence(tools.call("collect", cwd=tmp_path), WRONG_INPUT)
