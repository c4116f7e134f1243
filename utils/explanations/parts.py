"""Which parts of a bird explanations point at.

    python -m utils.explanations.parts gull --archive CUB_200_2011.tgz

As SCOUT's authors measure it (Wang & Vasconcelos, CVPR 2020): CUB-200-2011 marks up to 15 parts of each bird by a keypoint, and what
people saw of each part in attributes. A part tells class a from class b where what was seen of it differs: with p_a the share of each of
the part's attributes among all that were seen of it in class a, the dissimilarity is KL(p_a || p_b) + KL(p_b || p_a). The fifth that is
most dissimilar of all (pair of classes, part) is the truth (`TELLING`). Of a mask, precision is the share of the parts in it that are
true, recall the share of the true parts that are in it; parts that are not visible do not count.

Reads: output folders of get_all_CE_*.py, and the archive of CUB-200-2011.

Writes: nothing; it prints the table.

Takes: not measured, on a CPU or a GPU.
"""

import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from utils.base.errors import InputError
from utils.base.files import expanded
from utils.base.randomness import generator
from utils.data.catalog import Dataset, find
from utils.data.images import decode
from utils.data.lists import Example, locate, read_examples
from utils.data.outputs import Layout
from utils.explanations.deletion import explanation_sizes
from utils.explanations.masks import moved
from utils.explanations.storage import listed_counters, read_masks
from utils.running.help import command_line
from utils.running.launch import command

NEEDED = ("images.txt", "parts.txt", "part_locs.txt", "attributes.txt", "image_attribute_labels.txt")
TELLING = 0.2  # share of all (pair of classes, part) that count as truth
SMOOTHING = 1e-3  # added to each share, so that what was never seen of one class leaves the divergence finite
# Words of attribute names (has_<word>_...) by the word of the part that they speak of; others speak of no single part.
WORDS = {"bill": "beak", "upper_tail": "tail", "under_tail": "tail"}


@dataclass(frozen=True)
class Birds:
    """What the archive says of some images, by file name.

    Attributes:
        names: of the parts, P.
        places: keypoints in pixels of the image, (P, 2) x and y, NaN where a part is not visible.
        seen: which attributes were seen, bool (A,).
        part_of: which attributes speak of which part, bool (P, A).
    """

    names: list[str]
    places: dict[str, np.ndarray]
    seen: dict[str, np.ndarray]
    part_of: np.ndarray


def _texts(archive: Path) -> dict[str, str]:
    """The files `NEEDED`, by name, of the archive (.tgz) or of the folder that it was unpacked into."""
    advice = "give CUB_200_2011.tgz or the folder it was unpacked into"
    try:
        if archive.is_dir():
            found = {path.name: path.read_bytes() for path in archive.rglob("*.txt") if path.name in NEEDED}
        else:
            with tarfile.open(archive) as tar:  # one pass: going back would decompress all again
                members = ((Path(member.name).name, member) for member in tar if member.isfile())
                needed = ((name, tar.extractfile(member)) for name, member in members if name in NEEDED)
                found = {name: file.read() for name, file in needed if file}
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise InputError(f"--archive {archive} cannot be read ({error}); {advice}.") from error
    if missing := [name for name in NEEDED if name not in found]:
        raise InputError(f"--archive {archive} holds no {missing[0]}; {advice}.")
    return {name: content.decode("utf-8", "replace") for name, content in found.items()}


def _rows(text: str, fields: int) -> Iterator[list[str]]:
    """The lines of a file, cut at blanks into so many fields; what stands behind them belongs to the last."""
    return (line.strip().split(maxsplit=fields - 1) for line in text.splitlines() if line.strip())


def read_birds(archive: Path, wanted: set[str]) -> Birds:
    """Parts and attributes of the images whose file names are wanted; the archive may lack some.

    Raises:
        InputError: the archive cannot be read, or is another.
    """
    texts = _texts(archive)
    try:
        images = {
            number: Path(path).name for number, path in _rows(texts["images.txt"], 2) if Path(path).name in wanted
        }
        names = [name for _, name in _rows(texts["parts.txt"], 2)]
        attributes = [name for _, name in _rows(texts["attributes.txt"], 2)]
        places = {name: np.full((len(names), 2), np.nan) for name in images.values()}
        for number, part, x, y, visible in _rows(texts["part_locs.txt"], 5):
            if number in images and visible == "1":
                places[images[number]][int(part) - 1] = float(x), float(y)
        seen = {name: np.zeros(len(attributes), dtype=bool) for name in images.values()}
        for number, attribute, present, *_ in _rows(texts["image_attribute_labels.txt"], 4):
            if number in images:
                seen[images[number]][int(attribute) - 1] = present == "1"
    except (ValueError, IndexError) as error:
        raise InputError(
            f"--archive {archive} is not laid out as CUB_200_2011 ({error}); download it again."
        ) from error
    return Birds(
        names, places, seen, np.array([[_speaks_of(attribute, name) for attribute in attributes] for name in names])
    )


def _speaks_of(attribute: str, part: str) -> bool:
    """Whether an attribute such as has_wing_color::black speaks of a part such as `left wing`."""
    subject = attribute.removeprefix("has_").split("::")[0].rsplit("_", 1)[0]
    return part.split()[-1] == WORDS.get(subject, subject)


def telling_parts(birds: Birds, rows: Sequence[Example], num_classes: int) -> np.ndarray:
    """Which parts tell which classes apart, bool (C, C, P), symmetric; where nothing was seen of a part, it tells nothing."""
    counts = np.zeros((num_classes, birds.part_of.shape[1]))
    for row in rows:
        if Path(row.path).name in birds.seen:
            counts[row.label] += birds.seen[Path(row.path).name]
    of_part = counts[:, None] * birds.part_of + SMOOTHING * birds.part_of  # (C, P, A)
    shares = of_part / of_part.sum(-1, keepdims=True).clip(min=SMOOTHING)
    logs = np.log(np.where(birds.part_of, shares.clip(min=1e-12), 1))
    divergence = ((shares[:, None] - shares[None]) * (logs[:, None] - logs[None])).sum(
        -1
    )  # both KL together, (C, C, P)
    pairs = divergence[np.triu_indices(num_classes, 1)]
    return (divergence >= np.quantile(pairs, 1 - TELLING)) & (divergence > 0)


def parts_inside(masks: Tensor, places: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which parts lie in which masks bool (B, s, s) of an image of so many pixels that was resized to them: bool (B, P)."""
    visible, side = ~np.isnan(places[:, 0]), masks.shape[-1]
    at = np.where(visible[:, None], places, 0) * side / np.array([width, height])
    x, y = at.astype(int).clip(0, side - 1).T
    return masks.numpy()[:, y, x] & visible


def measure(
    layout: Layout, size: float, rows: Sequence[Example], birds: Birds, telling: np.ndarray, data_root: str
) -> dict[str, tuple[float, float]]:
    """Precision and recall in percent of the parts in the masks, and in the same shapes moved at random, over all images together."""
    rng, sums = generator(0), {"explanation": np.zeros(3), "moved at random": np.zeros(3)}
    for row, counter in zip(rows, listed_counters(layout, rows, len(telling)), strict=True):
        name = Path(row.path).name
        if name not in birds.places:
            continue
        masks = read_masks(layout, row, counter, size)
        shape = decode(locate(row.path, data_root), str(layout.explanation_list())).size
        true = telling[row.label, counter] & ~np.isnan(birds.places[name][:, 0])  # (B, P)
        for variant, cut in zip(sums, (masks, *moved(rng, masks)), strict=True):
            inside = parts_inside(cut, birds.places[name], *shape)
            sums[variant] += (inside & true).sum(), inside.sum(), true.sum()
    return {
        variant: (100 * hit / max(1, inside), 100 * hit / max(1, true)) for variant, (hit, inside, true) in sums.items()
    }


def report(outs: Sequence[str], archive: Path, dataset: Dataset, data_root: str) -> Iterator[str]:
    """The table, line by line.

    Raises:
        InputError: a file is missing, or none of the images is in the archive.
    """
    path = dataset.list_path(data_root, "train")
    rows = read_examples(path, len(dataset.classes))
    birds = read_birds(archive, {Path(row.path).name for row in rows})
    if not birds.places:
        raise InputError(
            f"--archive {archive} holds none of the images of {path}; choose the --dataset that was made of it."
        )
    telling = telling_parts(birds, rows, len(dataset.classes))
    pairs = len(telling) * (len(telling) - 1)
    yield f"{len(birds.places)} of {len(rows)} images have parts, of which {telling.sum() / pairs:.1f} on average tell two classes apart."
    yield f"{'':<32}{'precision':>12}{'recall':>12}"
    for out in outs:
        layout = Layout(Path(out), dataset.list_stem)
        for size in explanation_sizes(layout):
            yield f"{out}, t = {size:.2f}"
            for name, values in measure(layout, size, rows, birds, telling, data_root).items():
                yield f"  {name:<30}" + "".join(f"{value:>10.1f} %" for value in values)


def main() -> None:
    """The command line."""
    parser = command_line("utils.explanations.parts", __doc__)
    parser.add_argument("outs", nargs="+", type=expanded, metavar="OUT", help="output folder of an explanation script")
    parser.add_argument(
        "--archive", required=True, type=expanded, help="CUB_200_2011.tgz, or the folder it was unpacked into"
    )
    parser.add_argument("--dataset", default="gull", help="what was explained (default: gull)")
    parser.add_argument(
        "--data-root",
        type=expanded,
        default="datasets",
        help="folder that holds the dataset's folder (default: datasets)",
    )
    arguments = parser.parse_args()
    with command("parts"):
        dataset = find(arguments.dataset, arguments.data_root)
        for line in report(arguments.outs, Path(arguments.archive), dataset, arguments.data_root):
            print(line)


if __name__ == "__main__":
    main()
