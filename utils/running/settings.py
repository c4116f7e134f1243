"""Settings: a frozen dataclass at the top of each script, changed there or on the command line, checked and resolved here."""

import dataclasses
import math
import shutil
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import tyro

from utils.base import machine
from utils.base.errors import InputError
from utils.base.files import expanded
from utils.data import catalog
from utils.data.catalog import Dataset
from utils.data.lists import DATASETS_PREFIX, listed_path


class DataclassInstance(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


Config = TypeVar("Config", bound=DataclassInstance)

HIGHEST_LR = 1e37  # above it, torch refuses to do the arithmetic in single precision


def _hundredths(fraction: float) -> bool:
    """Whether a fraction is one of 0.01, 0.02 .. 1."""
    return 0.01 <= fraction <= 1 and math.isclose(fraction, round(fraction, 2))


# What each setting must satisfy, whichever script has it.
RULES: dict[str, tuple[Callable, str]] = {
    "accuracy": (
        lambda v: len(v) > 0 and all(0 <= a <= 1 for a in v),
        "must be shares of right answers, each in 0 .. 1",
    ),
    "alpha": (lambda v: 0 <= v <= 1, "must lie in 0 .. 1"),
    "batch_size": (lambda v: v >= 1, "must be 1 or more"),
    "confidence": (lambda v: 0 <= v <= 1, "must be a probability, 0 .. 1"),
    "counters": (lambda v: v >= 0, "must be 0 (all wrong classes) or more"),
    "crop_scale": (lambda v: 0 < v <= 1, "must lie above 0 and not above 1"),
    "draws": (lambda v: v >= 0, "must be 0 (none) or more"),
    "epochs": (lambda v: v >= 1, "must be 1 or more"),
    "eval_every": (lambda v: v >= 1, "must be 1 or more"),
    "image_size": (lambda v: v >= 64, "must be 64 pixels or more"),  # at 32 the feature map is one position
    "iterations": (lambda v: v >= 1, "must be 1 or more"),
    "label_images": (lambda v: v >= 0, "must be 0 (all) or more"),
    "labels_per_image": (lambda v: v >= 1, "must be 1 or more"),
    "lease_seconds": (lambda v: v >= 1, "must be 1 or more"),
    "lr": (lambda v: 0 < v <= HIGHEST_LR, f"must lie above 0 and not above {HIGHEST_LR:g}"),
    # Folders are named after a size with two decimals.
    "mask_sizes": (
        lambda v: len(v) > 0 and all(_hundredths(t) for t in v),
        "needs fractions of the image in hundredths, 0.01, 0.02 .. 1",
    ),
    "max_grad_norm": (lambda v: v >= 0, "must be 0 (never) or more"),
    "max_participants": (lambda v: v >= 1, "must be 1 or more"),
    "milestones": (lambda v: list(v) == sorted(set(v)), "must be epochs in ascending order"),
    "min_accuracy": (lambda v: 0 <= v <= 1, "must lie in 0 .. 1"),
    "momentum": (lambda v: 0 <= v < 1, "must lie in 0 .. 1, 1 excluded"),
    "port": (lambda v: 0 <= v <= 65535, "must lie in 0 .. 65535"),
    "out": (lambda v: v.strip() != "", "must name a folder, or be auto"),
    "people": (lambda v: v >= 1, "must be 1 or more"),
    "probe_batch_size": (lambda v: v >= 1, "must be 1 or more"),
    "probe_epochs": (lambda v: v >= 1, "must be 1 or more"),
    "probe_lr": (lambda v: 0 < v <= HIGHEST_LR, f"must lie above 0 and not above {HIGHEST_LR:g}"),
    "ram_budget": (lambda v: v >= 0, "must be 0 (none) or more"),
    "repeats": (lambda v: v >= 1, "must be 1 or more"),
    "ridge": (lambda v: 0 < v <= 1e6, "must lie above 0 and not above 1e6"),
    "rounds": (lambda v: v >= 0, "must be 0 (no self-training) or more"),
    "seed": (lambda v: 0 <= v < 2**32, "must lie in 0 .. 4294967295"),  # what NumPy takes
    "simclr_image_size": (lambda v: v >= 64, "must be 64 pixels or more"),
    "steps": (lambda v: v >= 1, "must be 1 or more"),
    "temperature": (lambda v: v > 0, "must be above 0"),
    "test_images": (lambda v: v >= 1, "must be 1 or more"),
    "threads": (lambda v: v >= 1, "must be 1 or more"),
    "weight_decay": (lambda v: v >= 0, "must be 0 or more"),
    "workers": (lambda v: v >= 0, "must be 0 or more"),
}


def script_name() -> str:
    """The name of the script that runs, without its suffix."""
    return Path(sys.argv[0]).stem


def laid_out(docstring: str) -> str:
    """Wraps the paragraphs of a docstring to the terminal's width; indented paragraphs (commands) keep their lines."""
    width = min(shutil.get_terminal_size().columns, 100)
    return "\n\n".join(
        part if part.startswith(" ") else textwrap.fill(part, width, break_on_hyphens=False, break_long_words=False)
        for part in docstring.strip("\n").split("\n\n")
    )


def parse(config: type[Config], description: str, arguments: list[str] | None = None, program: str = "") -> Config:
    """Reads the command line into an instance of the dataclass `config`.

    Unknown and ill-typed settings end the process with a message and exit status 2 (tyro).

    Args:
        config: the script's `Config`; the comment behind each field is its help.
        description: the script's docstring, shown by --help.
        arguments: the command line; None takes the process's own.
        program: how --help calls it; by default as the script is called.

    Returns:
        The configuration, `~` and `$HOME` in its paths being what they stand for.
    """
    if {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments):
        print(f"{laid_out(description)}\n")  # tyro would join its lines and not part them again
    cfg = tyro.cli(config, prog=program or f"{script_name()}.py", description="", args=arguments)
    names = [field.name for field in dataclasses.fields(cfg)]
    return dataclasses.replace(cfg, **{name: _in_each(getattr(cfg, name), expanded) for name in names})


def resolve(cfg):
    """Checks every setting and fills in what depends on another: `auto` values, and `{out}` and `{list}` in paths. In a script without
    a dataset nothing does.

    Returns:
        The configuration with `out`, `device`, `mask_sizes` and paths made definite.

    Raises:
        InputError: a setting is out of range, or the lists of a run would name its files as if they were the dataset's.
    """
    if not hasattr(cfg, "dataset"):
        check(cfg)
        return cfg
    dataset = chosen_dataset(cfg)
    check(cfg)
    out = dataset.out if cfg.out == "auto" else str(Path(cfg.out))  # without ./ before it and / behind it
    _check_out(out, cfg.data_root)
    names = {field.name for field in dataclasses.fields(cfg)}
    values = {
        name: _in_each(getattr(cfg, name), partial(_fill, out=out, list_stem=dataset.list_stem)) for name in names
    }
    values |= {"out": out, "data_root": str(Path(cfg.data_root))}
    if "device" in names:
        values["device"] = machine.choose(cfg.device)
    if values.get("train_list") == "auto":
        values["train_list"] = str(dataset.list_path(cfg.data_root, "train"))
    if "mask_sizes" in names:
        values["mask_sizes"] = tuple(sorted({round(t, 2) for t in cfg.mask_sizes}))
    return dataclasses.replace(cfg, **values)


def _check_out(out: str, data_root: str) -> None:
    """Proves that files below the output folder are found again by the names that lists give them.

    Raises:
        InputError: they would be looked for below the data root.
    """
    below = f"{listed_path(out)}/".startswith(DATASETS_PREFIX)
    if not below or Path(data_root).resolve() == Path(DATASETS_PREFIX).resolve():
        return
    raise InputError(
        f"--out {out} lies below {DATASETS_PREFIX}, which stands for --data-root {data_root} in lists, so that what this run lists would "
        "be looked for there; give another folder."
    )


def chosen_dataset(cfg) -> Dataset:
    """The dataset that settings name. What people labelled after a course is looked for by `--out` and, where there is one, `--selection`.

    Raises:
        InputError: there is no such dataset, or its description is malformed.
    """
    course = {"selection": cfg.selection} if hasattr(cfg, "selection") else {}
    return catalog.find(cfg.dataset, cfg.data_root, cfg.out if cfg.out == "auto" else str(Path(cfg.out)), **course)


def _in_each(value, change: Callable[[str], str]):
    """A setting with `change` done to its text, or to each of its texts where it holds several."""
    if isinstance(value, tuple):
        return tuple(_in_each(one, change) for one in value)
    return change(value) if isinstance(value, str) else value


def _fill(text: str, out: str, list_stem: str) -> str:
    return text.replace("{out}", out).replace("{list}", list_stem)


def check(cfg) -> None:
    """Checks that every number is finite, as a record in JSON needs it, and every setting that has a rule.

    Raises:
        InputError: naming the setting, its value and what it must be.
    """
    for field in dataclasses.fields(cfg):
        holds, demand = RULES.get(field.name, (None, ""))
        value = getattr(cfg, field.name)
        setting = f"--{field.name.replace('_', '-')} {value if str(value).strip() else repr(value)}"
        if not _finite(value):
            raise InputError(f"{setting} must be finite; correct it.")
        if holds and not holds(value):
            raise InputError(f"{setting} {demand}; correct it.")


def _finite(value) -> bool:
    """Whether a setting, or each of several values in one, is anything but an infinity or no number (`inf`, `nan`)."""
    if isinstance(value, tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def pick(kind: type, cfg):
    """An instance of the dataclass `kind`, its fields taken from the fields of the same names in `cfg`."""
    return kind(**{field.name: getattr(cfg, field.name) for field in dataclasses.fields(kind)})
