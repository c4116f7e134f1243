"""How far an explanation can be trusted: how much the teacher's answer changes when the marked part is blurred.

faithfulness = standard deviation over the classes of z - z', for the logits z of the image and z' after blurring. A
shift of all logits changes no answer, and is ignored. Probabilities would hardly move if the teacher is certain.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.resnet import Network
from utils.base.errors import InputError
from utils.base.files import TableReader, write_table
from utils.data.lists import Explanation
from utils.data.outputs import faithfulness_of

BOX = 51 / 224  # width of the blur, as a fraction of the image's side


def box_blur(images: Tensor) -> Tensor:
    """Blurs images (N, 3, s, s) by a box of an odd width near `BOX` times s. Ignores pixels outside the image."""
    place = torch.arange(images.shape[-1], device=images.device)
    near = (place[:, None] - place).abs() <= round((BOX * len(place) - 1) / 2)
    rows = near / near.sum(1, keepdim=True)  # (s, s); two products are 30 times faster than pooling with the whole box
    return rows @ images @ rows.T


def blurred_logits(network: Network, images: Tensor, masks: Tensor, owners: Tensor | int = 0) -> Tensor:
    """Returns the logits (M, C) after blurring masks bool (M, s, s) in images (N, 3, s, s) in [0, 1].

    `owners` (M,) are the masks' images; 0: all belong to the first.
    """
    return network(torch.where(masks[:, None], box_blur(images)[owners], images[owners])).logits


def effects(logits: Tensor, blurred: Tensor, label: Tensor, counter: Tensor) -> Tensor:
    """Computes the margin z_a - z_b, its loss, and faithfulness (N, B, 3), for labels (N,) and counter classes (N, B).

    `logits` (N, C) are those of the images, `blurred` (N, B, C) those after blurring the mask of each explanation.
    """
    before, classes = logits[:, None].expand_as(blurred), torch.stack([counter, label[:, None].expand_as(counter)], 2)
    margin, left = (z.gather(2, classes).diff(dim=2) for z in (before, blurred))  # (N, B, 1)
    return torch.cat([margin, margin - left, (before - blurred).std(2, correction=0, keepdim=True)], dim=2)


def write_faithfulness(path: Path, rows: Sequence[Explanation], measured: Tensor) -> None:
    """Writes one row per explanation with its `effects` (M, 3)."""
    table = zip(rows, measured.double().round(decimals=6).tolist(), strict=True)
    names = ("path", "label", "counter", "margin", "lost", "faithfulness")
    write_table(path, [dict(zip(names, (row.path, row.label, row.counter, *some), strict=True)) for row, some in table])


def trusted(ce_list: str | Path, share: float, rows: Sequence[Explanation] = ()) -> tuple[dict[str, bool], str]:
    """Says by file name which explanations people see outlined: the `share` with the largest faithfulness, and ties.

    An empty dict means that all are outlined (share 1, or no measurements). Also returns a sentence with the threshold.
    Raises InputError if the measurements do not include `rows`.
    """
    path = faithfulness_of(ce_list)
    if share == 1 or not path.exists():
        return {}, "All explanations are outlined."
    try:
        table = TableReader(path.read_text(encoding="utf-8"))
        measured = {Path(row["path"]).name: float(row["faithfulness"]) for row in table}
        least = [math.inf, *sorted(measured.values(), reverse=True)][round(share * len(measured))]
        outlined = {name: value >= least for name, value in measured.items()}
        if not measured.keys() >= {Path(row.path).name for row in rows}:
            raise ValueError("explanations are missing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not fit {ce_list}. Explain the list again.") from error
    return outlined, f"Outlined: explanations of faithfulness {least:#.3g} or more ({100 * share:g} % of {ce_list})."
