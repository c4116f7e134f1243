"""How far an explanation can be trusted: the margin that is lost when the marked part is blurred (deletion).

faithfulness = lost / max(0.5, |z_a - z_b|)
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from models.resnet import Network
from utils.base.errors import InputError
from utils.base.files import TableReader, write_table
from utils.data.lists import Explanation
from utils.data.outputs import faithfulness_of

BOX = 51 / 224  # width of the blur, as a fraction of the image's side
LEAST = 0.5  # replaces smaller margins, because a fraction of a tiny margin is mostly noise


def box_blur(images: Tensor) -> Tensor:
    """Blurs images (N, 3, s, s) by a box of an odd width near `BOX` times s. Ignores pixels outside the image."""
    reach = round((BOX * images.shape[-1] - 1) / 2)
    # Columns, then rows: 15 times faster than the whole box.
    columns = F.avg_pool2d(images, (2 * reach + 1, 1), stride=1, padding=(reach, 0), count_include_pad=False)
    return F.avg_pool2d(columns, (1, 2 * reach + 1), stride=1, padding=(0, reach), count_include_pad=False)


def margin_left(network: Network, images: Tensor, masks: Tensor, label: Tensor, counter: Tensor) -> Tensor:
    """Returns the margins z_a - z_b (M,) of images (M, 3, s, s) in [0, 1] after blurring masks bool (M, s, s)."""
    logits = network(torch.where(masks[:, None], box_blur(images), images)).logits
    return (logits.gather(1, label[:, None]) - logits.gather(1, counter[:, None]))[:, 0]


def write_faithfulness(path: Path, rows: Sequence[Explanation], margin: Tensor, left: Tensor) -> None:
    """Writes one row per explanation, from its margins (M,) before and after blurring."""
    lost = margin - left
    shares = lost / margin.abs().clamp(min=LEAST)
    columns = (values.double().round(decimals=4).tolist() for values in (margin, lost, shares))
    write_table(
        path,
        [
            {"path": row.path, "label": row.label, "counter": row.counter, "margin": z, "lost": less, "faithfulness": f}
            for row, z, less, f in zip(rows, *columns, strict=True)
        ],
    )


def trusted(ce_list: str | Path, share: float, rows: Sequence[Explanation] = ()) -> tuple[dict[str, bool], str]:
    """Says by file name which explanations people see outlined: the `share` with the largest faithfulness, and ties.

    Without names, all are outlined, as if nothing was measured. Also returns a sentence with the threshold.
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
    return outlined, f"Outlined: explanations of faithfulness {least:.2f} or more ({100 * share:g} % of {ce_list})."
