"""Settings: a frozen dataclass at the top of each script, changed there or on the command line, checked and resolved here."""

import dataclasses
import math
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import tyro

from utils.base import machine
from utils.base.errors import InputError
from utils.base.files import expanded
from utils.data import catalog
from utils.data.catalog import Dataset

Config = TypeVar("Config")
Picked = TypeVar("Picked")


def _fraction(value: float) -> bool:
    return 0 <= value <= 1


def _at_least(least: int) -> tuple[Callable, str]:
    return (lambda value: value >= least), f"must be {least} or more"


def _above_0(most: float) -> tuple[Callable, str]:
    return (lambda value: 0 < value <= most), f"must lie above 0 and not above {most:g}"


IN_0_1 = (_fraction, "must lie in 0 .. 1")
HIGHEST_LR = 1e37  # above it, torch refuses to compute in single precision

# The range of each setting, in all scripts.
RULES: dict[str, tuple[Callable, str]] = {
    "accuracy": (lambda v: len(v) > 0 and all(map(_fraction, v)), "must be one or more fractions in 0 .. 1"),
    "alpha": IN_0_1,
    "batch_size": _at_least(1),
    "confidence": IN_0_1,
    "counters": _at_least(0),
    "crop_scale": _above_0(1),
    "draws": _at_least(0),
    "epochs": _at_least(1),
    "eval_every": _at_least(1),
    "image_size": _at_least(64),  # at 32 the feature map has one position
    "iterations": _at_least(1),
    "label_images": _at_least(0),
    "labels_per_image": _at_least(1),
    "lease_seconds": _at_least(1),
    "lr": _above_0(HIGHEST_LR),
    "mask_sizes": (
        lambda v: len(v) > 0 and all(0.01 <= t <= 1 and math.isclose(t, round(t, 2)) for t in v),
        "must be one or more fractions 0.01, 0.02 .. 1 of the image",  # folders are named after them, with two decimals
    ),
    "max_grad_norm": _at_least(0),
    "max_participants": _at_least(1),
    "milestones": (lambda v: list(v) == sorted(set(v)), "must be epochs in ascending order"),
    "min_accuracy": IN_0_1,
    "momentum": (lambda v: 0 <= v < 1, "must lie in 0 .. 1, 1 excluded"),
    "port": (lambda v: 0 <= v <= 65535, "must lie in 0 .. 65535"),
    "out": (lambda v: v.strip() != "", "must name a folder, or be auto"),
    "people": _at_least(1),
    "probe_batch_size": _at_least(1),
    "probe_epochs": _at_least(1),
    "probe_lr": _above_0(HIGHEST_LR),
    "ram_budget": _at_least(0),
    "repeats": _at_least(1),
    "ridge": _above_0(1e6),
    "rounds": _at_least(0),
    "seed": (lambda v: 0 <= v < 2**32, "must lie in 0 .. 4294967295"),  # the range of NumPy
    "simclr_image_size": _at_least(64),
    "steps": _at_least(1),
    "temperature": (lambda v: v > 0, "must be above 0"),
    "test_images": _at_least(1),
    "threads": _at_least(1),
    "weight_decay": _at_least(0),
    "workers": _at_least(0),
}


def script_name() -> str:
    """The name of the running script, without suffix."""
    return Path(sys.argv[0]).stem


def laid_out(docstring: str) -> str:
    """Wraps the paragraphs of a docstring to the terminal's width; indented paragraphs (commands) keep their lines."""
    width = min(shutil.get_terminal_size().columns, 100)
    return "\n\n".join(
        part if part.startswith(" ") else textwrap.fill(part, width, break_on_hyphens=False, break_long_words=False)
        for part in docstring.strip("\n").split("\n\n")
    )


def parse(config: type[Config], description: str, arguments: list[str] | None = None, program: str = "") -> Config:
    """Reads the command line into an instance of the dataclass `config`; tyro refuses unknown and ill-typed settings.

    Args:
        config: the script's `Config`; the comment behind each field is its help.
        description: the script's docstring, shown by --help.
        arguments: the command line; None takes the process's own.
        program: the name in --help; by default the script's.

    Returns:
        The configuration, with `~` and `$HOME` in paths expanded.
    """
    if {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments):
        print(f"{laid_out(description)}\n")  # tyro would join its lines
    cfg = tyro.cli(config, prog=program or f"{script_name()}.py", description="", args=arguments)
    names = [field.name for field in dataclasses.fields(cfg)]
    return dataclasses.replace(cfg, **{name: _in_each(getattr(cfg, name), expanded) for name in names})


def resolve(cfg):
    """Checks every setting and fills in those that depend on others: `auto`, and `{out}` and `{list}` in paths.

    Raises:
        InputError: a setting is out of range.
    """
    if not hasattr(cfg, "dataset"):
        check(cfg)
        return cfg
    dataset = chosen_dataset(cfg)
    check(cfg)
    out = dataset.out if cfg.out == "auto" else str(Path(cfg.out))  # without ./ before and / behind

    def fill(text: str) -> str:
        return text.replace("{out}", out).replace("{list}", dataset.list_stem)

    names = {field.name for field in dataclasses.fields(cfg)}
    values = {name: _in_each(getattr(cfg, name), fill) for name in names}
    values |= {"out": out, "data_root": str(Path(cfg.data_root))}
    if "device" in names:
        values["device"] = machine.choose(cfg.device)
    if values.get("train_list") == "auto":
        values["train_list"] = str(dataset.list_path(cfg.data_root, "train"))
    if "mask_sizes" in names:
        values["mask_sizes"] = tuple(sorted({round(t, 2) for t in cfg.mask_sizes}))
    return dataclasses.replace(cfg, **values)


def chosen_dataset(cfg) -> Dataset:
    """The dataset that the settings name.

    Raises:
        InputError: there is no such dataset, or its description is malformed.
    """
    out = cfg.out if cfg.out == "auto" else str(Path(cfg.out))
    return catalog.find(cfg.dataset, cfg.data_root, out, getattr(cfg, "selection", "auto"))


def _in_each(value, change: Callable[[str], str]):
    """Applies `change` to a text, or to each text in a tuple."""
    if isinstance(value, tuple):
        return tuple(_in_each(one, change) for one in value)
    return change(value) if isinstance(value, str) else value


def check(cfg) -> None:
    """Checks that every number is finite and every setting in its range.

    Raises:
        InputError: names the setting, its value and its range.
    """
    for field in dataclasses.fields(cfg):
        value = getattr(cfg, field.name)
        fits, demand = RULES.get(field.name, (None, ""))
        if not all(
            math.isfinite(one) for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, float)
        ):
            fits, demand = (lambda value: False), "must be finite"
        if fits and not fits(value):
            shown = value if str(value).strip() else repr(value)
            raise InputError(f"--{field.name.replace('_', '-')} {shown} {demand}.")


def pick(kind: type[Picked], cfg) -> Picked:
    """An instance of the dataclass `kind`, its fields taken from the fields of the same names in `cfg`."""
    return kind(**{field.name: getattr(cfg, field.name) for field in dataclasses.fields(kind)})
