"""Where explanations fall, on pictures whose distinguishing marks are known: `python -m utils.localization toy`.

Takes the output folder of an explanation script that ran on the toy moths and compares its masks with the true marks, and for
comparison the same masks at random places and mirrored.
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from utils.augment import generator
from utils.catalog import Dataset, find
from utils.errors import InputError
from utils.images import decode, to_tensor
from utils.layout import IMG, MASK, Layout
from utils.lists import locate, read_examples, read_explanations
from utils.pool import sibling


def coverage(masks: Tensor, marks: Tensor) -> tuple[float, float]:
    """How well masks find marks, over all pictures together.

    Args:
        masks: bool (M, h, w).
        marks: bool (M, h, w), the true marks.

    Returns:
        Precision, the share of the masks' pixels that lie on marks, and recall, the share of the marks that is covered: percent.
    """
    hit = (masks & marks).sum().item()
    return 100 * hit / masks.sum().item(), 100 * hit / marks.sum().item()


def moved(masks: Tensor, seed: int) -> Tensor:
    """The same shapes at random places: each mask shifted around the picture's edges by an offset drawn from `seed`."""
    rng = generator(seed)
    offsets = [torch.randint(0, side, (len(masks),), generator=rng).tolist() for side in masks.shape[1:]]
    return torch.stack([mask.roll((dy, dx), (0, 1)) for mask, dy, dx in zip(masks, *offsets, strict=True)])


def load_masks_and_marks(out: str, data_root: str, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """The explanation masks below `out` and the true marks of their images, both bool (M, h, w).

    Raises:
        InputError: a list or picture is missing, or the dataset has no true marks.
    """
    num_classes = len(dataset.classes)
    ce_list = Layout(Path(out), dataset.list_stem).explanation_list()
    sources = {row.index: row.path for row in read_examples(dataset.list_path(data_root, "train"), num_classes)}
    masks, marks = [], []
    for line, row in enumerate(sibling(read_explanations(ce_list, num_classes), IMG, MASK), start=1):
        mask = decode(locate(row.path, data_root), f"{ce_list}, line {line}")
        part = locate(sources[row.index], data_root).replace("/images/", "/parts/")
        mark = decode(part, f"{ce_list}, line {line}").resize(mask.size, Image.Resampling.NEAREST)
        masks.append(to_tensor(mask)[0] > 127)
        marks.append(to_tensor(mark)[0] > 127)
    return torch.stack(masks), torch.stack(marks)


def measure(masks: Tensor, marks: Tensor, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Precision and recall in percent of the masks, of the same shapes moved at random, and of the masks mirrored."""
    variants = {
        "explanation": masks,
        "moved at random": moved(masks, seed),
        "mirrored left-right": masks.flip(2),
        "mirrored top-bottom": masks.flip(1),
    }
    return {name: coverage(variant, marks) for name, variant in variants.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="output folder of the explanation script")
    parser.add_argument("--data-root", default="datasets")
    arguments = parser.parse_args()
    try:
        masks, marks = load_masks_and_marks(arguments.out, arguments.data_root, find("toy", arguments.data_root))
    except InputError as error:
        print(f"localization: error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{len(masks)} explanations; marks cover {100 * marks.float().mean().item():.1f} % of the pictures")
    print(f"{'mask':<22}{'on marks':>10}{'of marks':>10}")
    for name, (precision, recall) in measure(masks, marks).items():
        print(f"{name:<22}{precision:>8.1f} %{recall:>8.1f} %")


if __name__ == "__main__":
    main()
