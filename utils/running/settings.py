"""Settings: a frozen dataclass at the top of each script, edited there or set on the command line, checked here."""

import dataclasses
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import tyro

from utils.base import machine, processes
from utils.base.errors import InputError
from utils.base.files import expanded
from utils.data import catalog
from utils.data.catalog import Dataset

Config = TypeVar("Config")
Picked = TypeVar("Picked")

TINY = 1e-12  # stands for "above 0"
# Lowest and highest value of each number, or of each number in a tuple.
RANGES = {
    **dict.fromkeys(("accuracy", "alpha", "confidence"), (0, 1)),
    **dict.fromkeys(("min_accuracy", "min_certainty", "momentum", "outlined_share", "pass_mark"), (0, 1)),
    **dict.fromkeys(("counters", "draws", "gold_images", "label_images", "max_grad_norm", "ram_budget"), (0, math.inf)),
    **dict.fromkeys(("extra_lessons", "focus", "rounds", "weight_decay", "workers"), (0, math.inf)),
    **dict.fromkeys(("batch_size", "epochs", "eval_every", "iterations", "labels_per_image"), (1, math.inf)),
    **dict.fromkeys(("gold_every", "lease_seconds", "max_participants", "people", "probe_batch_size"), (1, math.inf)),
    **dict.fromkeys(("probe_epochs", "repeats", "silent_seconds", "steps", "test_images", "threads"), (1, math.inf)),
    **dict.fromkeys(("image_size", "simclr_image_size"), (64, math.inf)),  # at 32 the feature map has one position
    **dict.fromkeys(("lr", "probe_lr"), (TINY, 1e37)),  # above it, torch refuses to compute in single precision
    **dict.fromkeys(("certainty", "crop_scale"), (TINY, 1)),
    "mask_sizes": (0.01, 1),
    "port": (0, 65535),
    "power": (0, 100),
    "ridge": (TINY, 1e6),
    "seed": (0, 2**32 - 1),  # the range of NumPy
    "temperature": (TINY, math.inf),
}


def script_name() -> str:
    return Path(sys.argv[0]).stem


def parse(config: type[Config], description: str, arguments: list[str] | None = None, program: str = "") -> Config:
    """Reads the command line into the dataclass `config`; the comment behind each field is its help."""
    if {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments):
        print(f"{description.strip()}\n")  # tyro would join its lines
    cfg = tyro.cli(config, prog=program or f"{script_name()}.py", description="", args=arguments)
    return _changed(cfg, expanded)


def resolve(cfg):
    """Checks the settings and fills in those that depend on others: `auto`, and `{out}` and `{list}` in paths."""
    check(cfg)
    processes.check_launcher()
    if hasattr(cfg, "device"):
        cfg = dataclasses.replace(cfg, device=machine.choose(cfg.device))
    if not hasattr(cfg, "dataset"):
        return cfg
    dataset = chosen_dataset(cfg)
    out = dataset.out if cfg.out == "auto" else str(Path(cfg.out))  # without ./ before and / behind
    cfg = _changed(cfg, lambda text: text.replace("{out}", out).replace("{list}", dataset.list_stem))
    values: dict = {"out": out, "data_root": str(Path(cfg.data_root))}
    if getattr(cfg, "train_list", "") == "auto":
        values["train_list"] = str(dataset.list_path(cfg.data_root, "train"))
    if hasattr(cfg, "mask_sizes"):
        values["mask_sizes"] = tuple(sorted({round(t, 2) for t in cfg.mask_sizes}))
    return dataclasses.replace(cfg, **values)


def chosen_dataset(cfg) -> Dataset:
    out = cfg.out if cfg.out == "auto" else str(Path(cfg.out))
    return catalog.find(cfg.dataset, cfg.data_root, out, getattr(cfg, "selection", "auto"))


def _changed(cfg, change: Callable[[str], str]):
    """Applies `change` to every text setting, also in tuples."""

    def changed(value):
        if isinstance(value, tuple):
            return tuple(map(changed, value))
        return change(value) if isinstance(value, str) else value

    names = [field.name for field in dataclasses.fields(cfg)]
    return dataclasses.replace(cfg, **{name: changed(getattr(cfg, name)) for name in names})


def check(cfg) -> None:
    """Raises InputError for a setting out of range; it names the setting, its value and the range."""
    for name in (field.name for field in dataclasses.fields(cfg)):
        value = getattr(cfg, name)
        flag, values = f"--{name.replace('_', '-')}", value if isinstance(value, tuple) else (value,)
        low, high = RANGES.get(name, (-math.inf, math.inf))
        numbers = [one for one in values if isinstance(one, int | float)]
        if not all(math.isfinite(one) and low <= one <= high for one in numbers):
            raise InputError(f"{flag} {value} must be finite, from {low:g} to {high:g}.")
        if name.endswith("_url") and value and not re.fullmatch(r"https?://[^\s/]\S*", value):
            raise InputError(f"{flag} '{value}' is not an address. Copy it whole, with https://.")
        if name in ("accuracy", "mask_sizes") and not values:
            raise InputError(f"{flag} must have one or more values.")
        if name == "mask_sizes" and not all(math.isclose(t, round(t, 2)) for t in values):
            raise InputError(f"{flag} {value} must have two decimals at most, because folders are named after them.")


def pick(kind: type[Picked], cfg) -> Picked:
    """Makes an instance of the dataclass `kind` from the fields of the same names in `cfg`."""
    return kind(**{field.name: getattr(cfg, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]
