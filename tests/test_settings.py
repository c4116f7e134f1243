"""What a reader is told about settings: the same of the same setting in every script, and where ours differ from the published ones."""

import ast
import dataclasses
import importlib
import io
import re
import tokenize

import pytest

from tests.helpers.code import MODULES, REPOSITORY, SCRIPT, SCRIPTS, name_of, tree
from utils.running import settings
from utils.running.settings import laid_out
from utils.teaching import compare_courses

FAMILIES = {  # the first that fits
    "course": r"train_\w+_CMaxGrad\w*",
    "simclr": r"train_\w+_simclr",
    "classifier": r"train_\w+_resnet18\w*",
    "explanations": r"get_all_CE_\w+",
    "page": r"teach",
    "labels": r"label_\w+",
}
# Settings of which a family, or a script, says something else than the others do, and why.
DIFFERING = {
    ("seed", "labels"): "it draws nothing but ties",
    ("seed", "page"): "it draws and names pictures",
    ("seed", "study_annotators"): "it is the first of several",
    ("image_size", "page"): "the longer side of pictures for people, not what a network sees",
    ("pretrained", "get_all_CE_gull"): "it must be what the head was trained on",
    ("batch_size", "simclr"): "two views an image, and what becomes of the last step",
    ("batch_size", "classifier"): "images of a step, not only of a forward pass",
    ("batch_size", "study_annotators"): "both",
    ("lr", "course"): "read by one of the students alone",
    ("momentum", "course"): "read by one of the students alone",
    ("weight_decay", "course"): "read by one of the students alone",
    ("lr", "simclr"): "Adam's, not SGD's",
    ("weight_decay", "simclr"): "Adam's, not SGD's",
    ("selection", "classifier"): "it says whose labels are learned",
    ("selection", "page"): "it says which course is shown",
    ("selection", "labels"): "it says which course people took",
    ("key", "simulate_people"): "it cannot do without one",
    ("accuracy", "study_annotators"): "each is a study of its own, not one of a mixed crowd",
    ("labels_per_image", "study_annotators"): "what becomes of several labels",
    ("checkpoint", "get_all_CE_butterflies"): "a whole network",
    ("checkpoint", "get_all_CE_gull"): "a head",
    ("checkpoint", "get_all_CE_butterflies_simclr"): "an encoder",
    ("checkpoint", "get_all_CE_gull_simclr"): "an encoder",
    ("checkpoint", "simulate_people"): "a network that plays a person",
}
# The papers' values, by family: of MEMORABLE and MaxGrad (courses), SCOUT (explanations), the scripts that were released with them.
PUBLISHED = {
    "classifier": {"arch": "resnet18", "batch_size": 128, "momentum": 0.9, "weight_decay": 1e-4, "image_size": 224},
    "train_butterflies_resnet18": {"pretrained": "none", "epochs": 200, "lr": 0.1, "milestones": (80, 120, 160)},
    "train_gull_resnet18_linear": {"pretrained": "imagenet", "epochs": 40, "lr": 0.01, "milestones": (20, 30)},
    "simclr": {"arch": "resnet18", "epochs": 100, "batch_size": 128, "temperature": 0.5, "image_size": 224},
    "explanations": {
        "explanation": "scout",
        "counters": 0,
        "mask_sizes": tuple(round(0.01 * number, 2) for number in range(1, 31)),
        "image_size": 224,
        "probe_epochs": 500,
        "probe_batch_size": 256,
        "probe_lr": 3e-4,
    },
    "course": {
        "student": "sgd",
        "arch": "resnet18",
        "pretrained": "imagenet",
        "freeze_features": False,
        "explanation_view": "image",
        "selection": "CMaxGrad",
        "iterations": 20,
        "alpha": 0.5,
        "steps": 10,
        "lr": 1e-4,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "max_grad_norm": 0.0,
        "image_size": 224,
    },
}


def family(script):
    """The family that a script belongs to; one that stands alone is its own."""
    return next((name for name, pattern in FAMILIES.items() if re.fullmatch(pattern, script)), script)


def remarks(source):
    """The comment behind each field of `Config`, "" where there is none."""
    config = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Config")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {
        token.start[0]: token.string.removeprefix("#").strip() for token in tokens if token.type == tokenize.COMMENT
    }
    return {
        node.target.id: comments.get(node.end_lineno, "") for node in config.body if isinstance(node, ast.AnnAssign)
    }


def remarks_of(script):
    return remarks((REPOSITORY / f"{script}.py").read_text())


def disagreeing(found, differing):
    """Settings with several remarks: {setting: scripts}.

    Args:
        found: {script: {setting: remark}}.
        differing: (setting, script or family) that may have a remark of its own, the same in that family.
    """
    said = {}
    for script, remark in found.items():
        for name, text in remark.items():
            own = next((who for who in (script, family(script)) if (name, who) in differing), "all")
            said.setdefault((name, own), {}).setdefault(text, []).append(script)
    return {key: sorted(texts.values()) for key, texts in said.items() if len(texts) > 1}


@SCRIPT
def test_every_setting_has_its_remark(script):
    """The remark behind a field is what --help shows."""
    found = remarks_of(script)
    fields = [field.name for field in dataclasses.fields(importlib.import_module(script).Config)]
    assert fields and [name for name in fields if not re.fullmatch(r"\S.{5,}[^.]", found.get(name, ""))] == []


def test_a_setting_says_the_same_in_every_script():
    assert disagreeing({script: remarks_of(script) for script in SCRIPTS}, DIFFERING) == {}


def test_every_difference_is_one():
    """No exception stands here that nothing needs."""
    found = {script: remarks_of(script) for script in SCRIPTS}
    for name, who in DIFFERING:
        others = {
            remark[name] for script, remark in found.items() if name in remark and who not in (script, family(script))
        }
        own = {remark[name] for script, remark in found.items() if name in remark and who in (script, family(script))}
        assert len(own) == 1 and not own & (others if name != "checkpoint" else set()), (name, who)


def test_another_remark_in_a_family_would_be_found():
    fields = [
        "lr: float = 0.1  # learning rate of SGD",
        "steps: tuple = (\n        1,\n    )  # how many",
        "seed: int = 0",
    ]
    source = "\n    ".join(["class Config:", *fields])
    assert remarks(source) == {"lr": "learning rate of SGD", "steps": "how many", "seed": ""}
    found = {
        "get_all_CE_gull": {"seed": "draws"},
        "get_all_CE_butterflies": {"seed": "names"},
        "label": {"seed": "ties"},
    }
    assert disagreeing(found, {("seed", "explanations"), ("seed", "labels")}) == {
        ("seed", "explanations"): [["get_all_CE_gull"], ["get_all_CE_butterflies"]]
    }
    assert (
        disagreeing(
            found | {"get_all_CE_butterflies": {"seed": "draws"}},
            {("seed", "explanations"): "", ("seed", "labels"): ""},
        )
        == {}
    )
    assert list(disagreeing(found | {"get_all_CE_butterflies": {"seed": "draws"}}, {})) == [("seed", "all")]


@SCRIPT
def test_a_default_that_is_not_the_published_one_says_so(script):
    config, found = importlib.import_module(script).Config(), remarks_of(script)
    for name, published in {**PUBLISHED.get(family(script), {}), **PUBLISHED.get(script, {})}.items():
        if not hasattr(config, name) or getattr(config, name) == published:
            continue
        value = f"{published[-1]:.2f}" if isinstance(published, tuple) else str(published)
        assert value in found[name] and "published" in found[name], name


# ---------------------------------------------------------------- --help


def told(module, capsys, monkeypatch, columns=100):
    """What --help prints of a script, its paragraphs in one line each."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.argv", [f"{module.__name__}.py"])
    with pytest.raises(SystemExit) as ended:
        settings.parse(module.Config, module.__doc__, ["--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def labelled(text):
    """The one paragraph that begins with each of the three labels."""
    paragraphs = [" ".join(block.split()) for block in text.split("\n\n")]
    found = {
        label: [some for some in paragraphs if some.startswith(f"{label}: ")] for label in ("Reads", "Writes", "Takes")
    }
    assert {label: len(some) for label, some in found.items()} == {"Reads": 1, "Writes": 1, "Takes": 1}
    return {label: some[0] for label, some in found.items()}


@SCRIPT
def test_help_says_what_is_read_and_written_and_how_long_it_takes(script, capsys, monkeypatch):
    module = importlib.import_module(script)
    text = told(module, capsys, monkeypatch)
    assert max(len(line) for line in text.splitlines() if not line.startswith("    python ")) <= 100
    found = labelled(text.split("usage:")[0])
    assert re.search(r"\b(seconds?|minutes?|hours?)\b", found["Takes"]) and "GPU" in found["Takes"]
    if "seed" in {field.name for field in dataclasses.fields(module.Config)}:
        assert f"run_{script}.json" in found["Writes"]
    assert f"usage: {script}.py" in text and f"    python {script}.py\n" in text


def test_help_fits_narrow_terminals(capsys, monkeypatch):
    module = importlib.import_module("train_gull_CMaxGrad")
    text = told(module, capsys, monkeypatch, columns=60)
    commands = [line for line in text.splitlines() if line.startswith("    python ")]
    assert len(commands) == 2 and max(len(line) for line in text.splitlines() if line not in commands) <= 60


COMMANDS = [path for path in MODULES if "__main__" in {getattr(node, "value", None) for node in ast.walk(tree(path))}]


@pytest.mark.parametrize("path", COMMANDS, ids=name_of)
def test_commands_of_packages_say_it_too(path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = laid_out(ast.get_docstring(tree(path)))
    found, command = (
        labelled(text),
        "python datasets/prepare.py" if name_of(path) == "datasets.prepare" else f"python -m {name_of(path)}",
    )
    assert re.search(r"\b(seconds?|minutes?|hours?|not measured)\b", found["Takes"]) and "GPU" in found["Takes"]
    assert f"    {command.removesuffix('.__main__')} " in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("    ")) <= 80


def test_the_commands_are_found():
    assert {"utils.teaching.compare_courses", "utils.explanations.localization", "benchmarks.bench"} <= set(
        map(name_of, COMMANDS)
    )


def test_commands_keep_the_form_of_what_they_say(capsys, monkeypatch):
    """As laid out, and not in one paragraph."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.argv", ["compare_courses.py", "--help"])
    with pytest.raises(SystemExit):
        compare_courses.main()
    text = capsys.readouterr().out
    assert (
        text.startswith("usage: python -m utils.teaching.compare_courses") and laid_out(compare_courses.__doc__) in text
    )
