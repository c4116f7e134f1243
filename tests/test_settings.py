"""Settings on the command line: remarks, published values, --help, and values that depend on others."""

import ast
import dataclasses
import importlib
import io
import re
import tokenize
from pathlib import Path

import pytest

from benchmarks.results import __main__ as results
from tests.helpers.code import REPOSITORY, SCRIPT
from utils.data.lists import listed_path, locate
from utils.running import settings
from utils.running.launch import command_line
from utils.teaching import compare_courses

FAMILIES = {  # the first that matches
    "course": r"train_\w+_CMaxGrad\w*",
    "simclr": r"train_\w+_simclr",
    "classifier": r"train_\w+_resnet18\w*",
    "explanations": r"get_all_CE_\w+",
}
# The papers' values: MEMORABLE and MaxGrad (courses), SCOUT (explanations), and the scripts released with them.
PUBLISHED = {
    "classifier": {"arch": "resnet18", "batch_size": 128, "momentum": 0.9, "weight_decay": 1e-4, "image_size": 224},
    "train_butterflies_resnet18": {"pretrained": "none", "epochs": 200, "lr": 0.1, "milestones": (80, 120, 160)},
    "train_gull_resnet18_linear": {"pretrained": "imagenet", "epochs": 40, "lr": 0.01, "milestones": (20, 30)},
    "simclr": {"arch": "resnet18", "epochs": 100, "batch_size": 128, "temperature": 0.5, "image_size": 224},
    "explanations": {"explanation": "scout", "counters": 0, "image_size": 224}
    | {"mask_sizes": tuple(round(0.01 * number, 2) for number in range(1, 31))}
    | {"probe_epochs": 500, "probe_batch_size": 256, "probe_lr": 3e-4},
    "course": {"student": "sgd", "arch": "resnet18", "pretrained": "imagenet", "freeze_features": False}
    | {"explanation_view": "image", "selection": "CMaxGrad", "iterations": 20, "alpha": 0.5, "steps": 10, "lr": 1e-4}
    | {"momentum": 0.9, "weight_decay": 1e-4, "max_grad_norm": 0.0, "image_size": 224},
}


def remarks(script):
    """The comment behind each field of `Config`, "" if missing."""
    source = (REPOSITORY / f"{script}.py").read_text()
    config = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Config")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.removeprefix("# ") for token in tokens if token.type == tokenize.COMMENT}
    fields = [node for node in config.body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: comments.get(node.end_lineno, "") for node in fields}


@SCRIPT
def test_every_setting_has_a_remark_on_its_line(script):
    """--help shows it."""
    found = remarks(script)
    fields = [field.name for field in dataclasses.fields(importlib.import_module(script).Config)]
    assert fields and [name for name in fields if not re.fullmatch(r"\S.{5,}[^.]", found.get(name, ""))] == []


@SCRIPT
def test_remarks_name_published_values_that_differ_from_the_default(script):
    config, found = importlib.import_module(script).Config(), remarks(script)
    family = next((name for name, pattern in FAMILIES.items() if re.fullmatch(pattern, script)), script)
    for name, published in {**PUBLISHED.get(family, {}), **PUBLISHED.get(script, {})}.items():
        if not hasattr(config, name) or getattr(config, name) == published:
            continue
        value = f"{published[-1]:.2f}" if isinstance(published, tuple) else str(published)
        assert value in found[name] and "published" in found[name], name


@SCRIPT
def test_help(script, capsys, monkeypatch):
    """It says what a script reads and writes and how long it takes."""
    module = importlib.import_module(script)
    monkeypatch.setattr("sys.argv", [f"{script}.py"])
    with pytest.raises(SystemExit) as ended:
        settings.parse(module.Config, module.__doc__, ["--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    lines = text.split("usage:")[0].splitlines()
    for label in ("Reads", "Writes", "Takes"):
        assert sum(line.startswith(f"{label}: ") for line in lines) == 1, label
    if "seed" in {field.name for field in dataclasses.fields(module.Config)}:
        assert f"run_{script}.json" in text
    assert f"usage: {script}.py" in text and f"    python {script}.py\n" in text


def test_help_of_tools():
    text = command_line("utils.teaching.compare_courses", compare_courses.__doc__).format_help()
    assert text.startswith("usage: python -m utils.teaching.compare_courses")
    assert compare_courses.__doc__.strip() in text


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "toy"
    data_root: str = "data/"
    out: str = "auto"
    train_list: str = "auto"
    ce_list: str = "{out}/{list}_CE.txt"
    mask_sizes: tuple[float, ...] = (0.3, 0.05, 0.3)
    device: str = "cpu"


def test_resolving_fills_in_what_depends_on_other_settings():
    cfg = settings.resolve(Config(out="./some/"))
    assert (cfg.out, cfg.data_root, cfg.train_list) == ("some", "data", "data/toy/toy_gt_tr.txt")
    assert (cfg.ce_list, cfg.mask_sizes) == ("some/toy_gt_CE.txt", (0.05, 0.3))
    assert settings.resolve(Config()).out == "toy"


def test_the_device_is_chosen_without_a_dataset():
    assert settings.resolve(results.Config()).device in ("cpu", "cuda")


def test_paths_are_expanded_as_by_a_shell(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    cfg = settings.parse(Config, "", ["--out=~/x", "--ce-list", "$HOME/y", "--mask-sizes", "0.1", "0.2"])
    assert (cfg.out, cfg.ce_list, cfg.mask_sizes) == ("/home/me/x", "/home/me/y", (0.1, 0.2))


@pytest.mark.parametrize("out", ["auto", "datasets2/run1", "runs/datasets/run1", "../datasets/run1"])
def test_output_folders_work_with_any_data_root(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    cfg = settings.resolve(Config(data_root="/data", out=out))
    assert Path(locate(listed_path(f"{cfg.out}/x.png"), cfg.data_root)) == Path(cfg.out, "x.png")
