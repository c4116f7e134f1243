"""Settings: a frozen dataclass at the top of each script, changed there or on the command line, checked and resolved here."""

import dataclasses
import os
from collections.abc import Callable

import tyro

from utils import catalog
from utils.catalog import Dataset
from utils.errors import InputError

HIGHEST_LR = 1e37  # above it, torch refuses to do the arithmetic in single precision

# What each setting must satisfy, whichever script has it.
RULES: dict[str, tuple[Callable, str]] = {
    "accuracy": (lambda v: len(v) > 0 and all(0 <= a <= 1 for a in v), "must be shares of right answers, each in 0 .. 1"),
    "alpha": (lambda v: 0 <= v <= 1, "must lie in 0 .. 1"),
    "batch_size": (lambda v: v >= 1, "must be 1 or more"),
    "crop_scale": (lambda v: 0 < v <= 1, "must lie above 0 and not above 1"),
    "epochs": (lambda v: v >= 1, "must be 1 or more"),
    "eval_every": (lambda v: v >= 1, "must be 1 or more"),
    "image_size": (lambda v: v >= 64, "must be 64 pixels or more"),  # at 32 the feature map is one position
    "iterations": (lambda v: v >= 1, "must be 1 or more"),
    "label_images": (lambda v: v >= 0, "must be 0 (all) or more"),
    "labels_per_image": (lambda v: v >= 1, "must be 1 or more"),
    "lease_seconds": (lambda v: v >= 1, "must be 1 or more"),
    "lr": (lambda v: 0 < v <= HIGHEST_LR, f"must lie above 0 and not above {HIGHEST_LR:g}"),
    "mask_sizes": (lambda v: len(v) > 0 and all(0.01 <= t <= 1 for t in v), "needs fractions of the image, each in 0.01 .. 1"),
    "max_grad_norm": (lambda v: v >= 0, "must be 0 (never) or more"),
    "max_participants": (lambda v: v >= 1, "must be 1 or more"),
    "milestones": (lambda v: list(v) == sorted(set(v)), "must be epochs in ascending order"),
    "min_accuracy": (lambda v: 0 <= v <= 1, "must lie in 0 .. 1"),
    "momentum": (lambda v: 0 <= v < 1, "must lie in 0 .. 1, 1 excluded"),
    "port": (lambda v: 0 <= v <= 65535, "must lie in 0 .. 65535"),
    "people": (lambda v: v >= 1, "must be 1 or more"),
    "probe_batch_size": (lambda v: v >= 1, "must be 1 or more"),
    "probe_epochs": (lambda v: v >= 1, "must be 1 or more"),
    "probe_lr": (lambda v: 0 < v <= HIGHEST_LR, f"must lie above 0 and not above {HIGHEST_LR:g}"),
    "repeats": (lambda v: v >= 1, "must be 1 or more"),
    "seed": (lambda v: 0 <= v < 2**32, "must lie in 0 .. 4294967295"),  # what NumPy takes
    "steps": (lambda v: v >= 1, "must be 1 or more"),
    "temperature": (lambda v: v > 0, "must be above 0"),
    "test_images": (lambda v: v >= 1, "must be 1 or more"),
    "threads": (lambda v: v >= 1, "must be 1 or more"),
    "weight_decay": (lambda v: v >= 0, "must be 0 or more"),
    "workers": (lambda v: v >= 0, "must be 0 or more"),
}


def parse(config: type, description: str, arguments: list[str] | None = None):
    """Reads the command line into an instance of the dataclass `config`.

    Unknown and ill-typed settings end the process with a message and exit status 2 (tyro).

    Args:
        config: the script's `Config`; the comment behind each field is its help.
        description: the script's docstring, shown by --help.
        arguments: the command line; None takes the process's own.
    """
    return tyro.cli(config, description=description, args=arguments)


def resolve(cfg):
    """Checks every setting and fills in what depends on another: `auto` values, and `{out}` and `{list}` in paths.

    Returns:
        The configuration with `out`, `device`, `mask_sizes` and paths made definite.

    Raises:
        InputError: a setting is out of range.
    """
    from utils import devices  # here, since it loads torch, and some scripts compute nothing

    dataset = chosen_dataset(cfg)
    check(cfg)
    out = dataset.out if cfg.out == "auto" else cfg.out.rstrip("/")
    names = {field.name for field in dataclasses.fields(cfg)}
    values = {name: _fill(getattr(cfg, name), out, dataset.list_stem) for name in names} | {"out": out}
    if "device" in names:
        values["device"] = devices.choose(cfg.device)
    if values.get("train_list") == "auto":
        values["train_list"] = str(dataset.list_path(cfg.data_root, "train"))
    if "mask_sizes" in names:
        values["mask_sizes"] = tuple(sorted({round(t, 2) for t in cfg.mask_sizes}))
    return dataclasses.replace(cfg, **values)


def chosen_dataset(cfg) -> Dataset:
    """The dataset that settings name. What people labelled after a course is looked for by `--out` and, where there is one, `--selection`.

    Raises:
        InputError: there is no such dataset, or its description is malformed.
    """
    course = {"selection": cfg.selection} if hasattr(cfg, "selection") else {}
    return catalog.find(cfg.dataset, cfg.data_root, cfg.out if cfg.out == "auto" else cfg.out.rstrip("/"), **course)


def _fill(value, out: str, list_stem: str):
    """A setting with `{out}` and `{list}` filled in, in each of its paths where it holds several."""
    if isinstance(value, tuple):
        return tuple(_fill(one, out, list_stem) for one in value)
    return value.replace("{out}", out).replace("{list}", list_stem) if isinstance(value, str) else value


def check(cfg) -> None:
    """Checks every setting that has a rule.

    Raises:
        InputError: naming the setting, its value and what it must be.
    """
    for field in dataclasses.fields(cfg):
        holds, demand = RULES.get(field.name, (None, ""))
        value = getattr(cfg, field.name)
        if holds and not holds(value):
            raise InputError(f"--{field.name.replace('_', '-')} {value} {demand}; correct it.")


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Threads that decode and encode: this process's share of the processors."""
    from utils import processes  # here, since it loads torch, and some scripts compute nothing

    return max(1, processors() // processes.on_this_node())


def pick(kind: type, cfg):
    """An instance of the dataclass `kind`, its fields taken from the fields of the same names in `cfg`."""
    return kind(**{field.name: getattr(cfg, field.name) for field in dataclasses.fields(kind)})
