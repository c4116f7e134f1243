"""Reading and writing checkpoints: always `weights_only`, always whole, always with a sentence when they do not fit.

Other tools wrap a network in dictionaries (`state_dict`, `model`, ...) and in prefixes (`module.`, `backbone.`, ...), and save other
things beside it. Here both are one thing: every tensor of a file has a dotted name, dictionaries included, and a network is found
where the names of its own tensors follow one common prefix. A network whose parts were put in a row, `nn.Sequential(*network.children())`,
numbers them; they get their names back.
"""

import copy
import io
import operator
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from utils.base import processes
from utils.base.errors import InputError, first_of
from utils.base.files import write_bytes
from utils.base.memory import memory_is_full

# What torch puts into the names of a wrapped network, at any depth: DataParallel, torch.compile, FSDP, activation checkpointing.
WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Where released checkpoints keep the network: the paper's key, then the common one. They decide between copies of one network.
WEIGHT_KEYS = ("state_dict_m", "state_dict")
# Words in the names of copies that trail behind the network that learns: BYOL's, MoCo's and DINO's second encoder, and averages.
SECOND_ENCODER = frozenset({"momentum", "target", "teacher", "key", "k"})
TRAILING = SECOND_ENCODER | {"ema", "swa", "averaged", "avg", "shadow"}
COUNTER = (
    "num_batches_tracked"  # of a batch norm with a fixed momentum; not read by it, and not in files of before 2018
)
SHOWN = 4  # names that a message quotes
SAVE_ADVICE = (
    "save the state dict alone where the network was trained, torch.save(model.state_dict(), ...), and give that file"
)
# How files begin that are saved or downloaded under a checkpoint's name: pattern, what such a file is, what to do.
BEGINNINGS = (
    (rb"\s*$", "is empty", "copy or download it again"),
    (
        rb"version https://git-lfs",
        "is a pointer of git-lfs, not the file itself",
        "run `git lfs pull` in the repository that it came from",
    ),
    (rb"(\xef\xbb\xbf)?\s*<", "holds a web page, not a checkpoint", "download the file itself"),
    (
        rb".{6}\x00\x00\{",
        "is in the safetensors format, which is not read here",
        "convert it, torch.save(safetensors.torch.load_file(...), ...), and give the converted file",
    ),
    (rb".{257}ustar", "is an archive of other files", "unpack it and give the checkpoint in it"),
    (
        rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd",
        "is a compressed archive",
        "unpack it and give the checkpoint in it",
    ),
    (rb"[\t\n\r -~]+$", "is a text file, not a checkpoint", "give the checkpoint itself"),
)


class Found(NamedTuple):
    """A network within a checkpoint.

    Attributes:
        prefix: what stands before the network's own names in the file, keys of dictionaries included; empty or ending in a dot.
        weights: the tensors below the prefix, by the network's own names.
        beside: the other tensors, by their whole names.
    """

    prefix: str
    weights: dict[str, Tensor]
    beside: dict[str, Tensor]


@processes.first_only
def save(path: str | Path, content: dict) -> None:
    """Saves `content` with torch.save, whole or not at all; its tensors as they would be on a CPU, wherever they are.

    A tensor that is saved on a GPU carries its number: where there is no such GPU, a plain torch.load refuses it.
    """
    # Through memory: given a name, torch.save would write the temporary one, process number and all, into the archive; given an open
    # file, it would report a full disk as a fault of its own.
    buffer = io.BytesIO()
    torch.save(_on_cpu(content), buffer)
    write_bytes(path, buffer.getbuffer())


def _on_cpu(value):
    """A value with all tensors in its dictionaries, lists and tuples on the CPU; the value itself where they are."""
    if isinstance(value, Tensor):
        return value.cpu()  # itself where it is there
    if isinstance(value, dict):
        moved = {key: _on_cpu(item) for key, item in value.items()}
        if all(moved[key] is item for key, item in value.items()):
            return value
        copied = copy.copy(value)  # of its own kind, with what a state dict keeps beside its items
        copied.update(moved)
        return copied
    if isinstance(value, (list, tuple)):
        items = [_on_cpu(item) for item in value]
        return value if all(map(operator.is_, items, value)) else type(value)(items)
    return value


def read(path: str | Path, setting: str) -> Mapping:
    """Reads a checkpoint onto the CPU.

    Args:
        path: the file.
        setting: the setting that led here, for the error message.

    Raises:
        InputError: the file is missing, is no checkpoint, or would need more than tensors and plain values to be loaded.
        MemoryError, RuntimeError: it does not fit into the memory that is free, which says nothing of the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they announce is said in the sentences below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{setting}: there is no file {path}; make it first or correct the path.") from None
    except IsADirectoryError:
        raise InputError(f"{setting}: {path} is a folder; give the checkpoint file in it.") from None
    except PermissionError as error:
        raise InputError(
            f"{setting}: {path} may not be read ({error.strerror}); change its permissions or give another file."
        ) from None
    except (
        Exception
    ) as error:  # a damaged file makes torch.load raise nearly anything: struct.error, IndexError, AssertionError ...
        if memory_is_full(error):
            raise
        raise InputError(f"{setting}: {path} {_why_not(path, error)}.") from None
    if not isinstance(content, Mapping):
        raise InputError(
            f"{setting}: {path} holds a {type(content).__name__}, not the dictionary of a checkpoint; {SAVE_ADVICE}."
        )
    return content


def _why_not(path: str | Path, error: Exception) -> str:
    """What a file is that torch.load refused with `error`, and what to do, to follow the file's name in a sentence."""
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError):
        return f"cannot be read ({error}); correct the path"
    for pattern, what, advice in BEGINNINGS:
        if re.match(pattern, content[:512], re.DOTALL):
            return f"{what}; {advice}"
    if "TorchScript" in str(error):
        return "is a TorchScript archive, a program; save its state dict, torch.save(torch.jit.load(...).state_dict(), ...), and give that"
    if (
        content.startswith(b"PK") and b"PK\x05\x06" not in content[-(2**16) - 22 :]
    ):  # the end of a zip archive, before its comment
        return "is damaged or cut short; copy or download it again"
    if content.startswith(b"PK") and not _first_member(content).endswith(b"/data.pkl"):
        return "is an archive of other files; unpack it and give the checkpoint in it"
    in_the_way = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
    if in_the_way:
        network = b"torch.nn.modules." in content  # the classes of its layers
        what = "a whole network as a Python object" if network else "a Python object beside tensors and plain values"
        return f"cannot be loaded safely, because it holds {what} ({in_the_way[1]}); {SAVE_ADVICE}"
    return "is not a checkpoint that can be loaded safely (tensors and plain values only), or is damaged; replace it"


def _first_member(archive: bytes) -> bytes:
    """The name of the first file in a zip archive, from its local header; in torch's archives it is the pickle."""
    return archive[30 : 30 + int.from_bytes(archive[26:28], "little")]


def tensors_of(content: Mapping) -> dict[str, Tensor]:
    """All tensors in the dictionaries and lists of a checkpoint, by dotted names (`state_dict.layer1.0.conv1.weight`).

    The names are without what DataParallel, torch.compile and their like put into them.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], object]] = [((), content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Tensor):
            found[".".join(word for part in path for word in part.split(".") if word not in WRAPPERS)] = value
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:  # a damaged one may hold itself
            seen.add(id(value))
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting += reversed([((*path, str(key)), item) for key, item in items])
    return found


def locate(content: Mapping, wanted: Mapping[str, Tensor], what: str, source: str) -> Found:
    """Finds the network to which most of the `wanted` tensors belong, whatever wraps it and whatever stands beside it.

    Of several that fit equally well, one is taken whose name does not say that it trails (an average, MoCo's key encoder, BYOL's
    target, DINO's teacher), then the one under `state_dict_m` or `state_dict`, then the file's first.

    Args:
        content: the checkpoint.
        wanted: the network's state dict; only names and shapes count.
        what: the network in words, for the error message.
        source: setting and file, for the error message.

    Raises:
        InputError: nowhere is even half of the network.
    """
    tensors = _parts_named(tensors_of(content), wanted)
    shapes = {name: tensor.shape for name, tensor in wanted.items() if not name.endswith(COUNTER)}
    named: dict[str, int] = {}  # by prefix
    fitting: dict[str, int] = {}
    for whole, tensor in tensors.items():
        words = whole.split(".")
        for cut in range(len(words)):
            name = ".".join(words[cut:])
            if name in shapes:
                prefix = whole[: len(whole) - len(name)]
                named[prefix] = named.get(prefix, 0) + 1
                fitting[prefix] = fitting.get(prefix, 0) + (tensor.shape == shapes[name])
    prefix = max(named, key=lambda place: (fitting[place], named[place], *_preference(place)), default="")
    if 2 * named.get(prefix, 0) < len(shapes):
        raise InputError(f"{source} holds no {what}: {_names_in(tensors, content)}; give a checkpoint of one.")
    inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return Found(prefix, inside, {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)})


def _parts_named(tensors: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by names in which the parts of a network have the names that they have in `wanted` where a file numbers them.

    The numbers skip whatever has no tensors (`relu`, `maxpool`), and some leave one of these out, so that their order counts and not
    their values. The last part may be missing: heads are left out, or stand elsewhere.
    """
    beginnings: dict[str, tuple[str, int]] = {}  # of each part, its first tensor
    for name, tensor in wanted.items():
        part, _, rest = name.partition(".")
        beginnings.setdefault(part, (rest, tensor.ndim))
    rows: dict[str, dict[int, dict[str, str]]] = {}  # by prefix and number, whole names by what follows
    for whole in tensors if len(beginnings) > 2 else ():
        for found in re.finditer(r"(?<![^.])[0-9]{1,4}\.", whole):
            row = rows.setdefault(whole[: found.start()], {})
            row.setdefault(int(found[0][:-1]), {})[whole[found.end() :]] = whole
    names: dict[str, str] = {}
    for prefix, row in rows.items():
        pairs = list(zip(beginnings.items(), sorted(row), strict=False))
        fits = [rest in row[number] and tensors[row[number][rest]].ndim == ndim for (_, (rest, ndim)), number in pairs]
        if len(pairs) < len(beginnings) - 1 or not all(fits[: len(beginnings) - 1]):
            continue
        for (part, _), number in (pair for pair, fit in zip(pairs, fits, strict=True) if fit):
            names |= {whole: f"{prefix}{part}.{rest}" for rest, whole in row[number].items()}
    return {names.get(whole, whole): tensor for whole, tensor in tensors.items()}


def _preference(prefix: str) -> tuple[bool, int]:
    words = re.split(r"[._]", prefix.lower())
    keys = [place for place, key in enumerate(reversed(WEIGHT_KEYS)) if prefix.startswith(f"{key}.")]
    return TRAILING.isdisjoint(words), max(keys, default=-1)


def _names_in(tensors: Mapping[str, Tensor], content: Mapping) -> str:
    """Which names a file holds, cut to what a sentence can carry."""
    names = list(tensors) or [str(key) for key in content]
    shown = first_of([repr(name[:80]) for name in names], SHOWN)
    if tensors:
        return f"its tensors are {shown}"
    return f"it holds no tensors, only {shown}" if names else "it is an empty dictionary"


def fit(model: nn.Module, weights: Mapping[str, Tensor], what: str, source: str, lenient: Collection[str] = ()) -> None:
    """Loads `weights` into `model`: every tensor must be there, of the right shape, of real numbers, all of them finite.

    Numbers of another precision become those of the model. A batch norm's `num_batches_tracked` may be missing, as in files of before
    2018. A tensor that the model has not is passed over where it is none of the model's own parts (a projection, a queue); within
    them it means a deeper or another network of which the model would be a piece.

    Args:
        model: the network to fill.
        weights: its state dict, by its own names.
        what: the model in words, for the error message.
        source: setting and file, for the error message.
        lenient: parts of the model (`fc`) in which superfluous tensors are passed over as well.

    Raises:
        InputError: a tensor is missing, superfluous, of another shape, or not of finite numbers.
    """
    expected, loaded = model.state_dict(), {}
    for name, tensor in expected.items():
        if name in weights:
            loaded[name] = _usable(name, weights[name], tensor, source)
        elif not name.endswith(COUNTER):
            raise InputError(
                f"{source} lacks '{name}': it belongs to another architecture; give a checkpoint of a {what}."
            )
    own = {name.split(".")[0] for name in expected} - set(lenient)
    extra = [name for name in weights if name not in expected and name.split(".")[0] in own]
    if extra:
        raise InputError(
            f"{source} holds '{extra[0]}', which a {what} has not: it belongs to another architecture; give a checkpoint of a {what}."
        )
    model.load_state_dict(expected | loaded)


def _usable(name: str, given: Tensor, wanted: Tensor, source: str) -> Tensor:
    """A tensor from a file in the type that the model has.

    Raises:
        InputError: it has another shape, or its values are no finite real numbers.
    """
    if given.shape != wanted.shape:
        found, needed = tuple(given.shape), tuple(wanted.shape)
        raise InputError(
            f"{source} has '{name}' of shape {found}, needed is {needed}: another class count or architecture; give one that fits."
        )
    real = given.is_floating_point() or not wanted.is_floating_point()
    if given.is_meta or given.layout != torch.strided or not real:
        what = (
            "without values" if given.is_meta else f"as {given.layout if real else given.dtype}".replace("torch.", "")
        )
        raise InputError(f"{source} has '{name}' {what}, needed are plain floating-point numbers; {SAVE_ADVICE}.")
    converted = given.to(wanted.dtype)
    if not (converted.isfinite().all() and given.float().isfinite().all()):
        raise InputError(f"{source} has '{name}' with values that are not finite numbers; give another checkpoint.")
    return converted
