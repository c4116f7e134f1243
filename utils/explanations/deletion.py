"""What explanations are worth on photographs, where nobody knows the truth: blur what they point at, and see what the margin loses.

    python -m utils.explanations.deletion butterflies --checkpoint TEACHER.pth.tar --second ANOTHER.pth.tar

Each mask's pixels are replaced by those of the image blurred by a box (51 pixels wide
at 224, in proportion otherwise), and the loss of z_a - z_b is measured in the teacher and in a second network that was trained apart
from it, to which no explanation was fitted. The same shape moved at random is blurred for comparison.

Reads: output folders of get_all_CE_*.py, the images that were explained, and two networks as train_*_resnet18.py writes them.

Writes: nothing; it prints the table.

Takes: about 20 seconds for 20 images of 5 classes on a CPU core. No GPU is used.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from models.resnet import Network
from models.weights import load_classifier
from utils.base.errors import InputError
from utils.base.files import expanded
from utils.base.randomness import generator
from utils.data.catalog import Dataset, find
from utils.data.images import decode, whole_view
from utils.data.lists import Example
from utils.data.loading import ImageSet, open_list, to_float
from utils.data.outputs import MASK, Layout
from utils.explanations.masks import moved
from utils.explanations.sheet import spread
from utils.explanations.storage import listed_counters, read_masks
from utils.running.launch import command, command_line
from utils.running.records import explanation_run

BOX = 51 / 224  # width of the blur, as a share of the image's side


def box_blur(images: Tensor) -> Tensor:
    """Images (N, 3, s, s), each pixel the mean of a box around it, of an odd width near `BOX` times s; at the edge, of what is there."""
    reach = round((BOX * images.shape[-1] - 1) / 2)
    return F.avg_pool2d(images, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)


def losses(network: Network, image: Tensor, masks: Tensor, label: int, counter: Tensor) -> Tensor:
    """What the margins z_a - z_b of one image lose where each mask is blurred.

    Args:
        network: in evaluation mode.
        image: (3, s, s) in [0, 1].
        masks: bool (B, s, s), one for each counter class.
        label: a.
        counter: the classes b, (B,).

    Returns:
        (2, B): the margins, and what they lose.
    """
    blurred = torch.where(masks[:, None], box_blur(image[None]), image)  # (B, 3, s, s)
    logits = network(torch.cat([image[None], blurred])).logits
    places = torch.arange(len(counter), device=logits.device)
    margin, left = logits[0, label] - logits[0, counter], logits[1 + places, label] - logits[1 + places, counter]
    return torch.stack([margin, margin - left])


def explanation_sizes(layout: Layout) -> list[float]:
    """The mask sizes of the explanations in an output folder, ascending: those of the last run, whose record says them; masks of an earlier
    one may lie beside them. Without a record those that lie there.

    Raises:
        InputError: there are none.
    """
    folder = layout.explanations(MASK, 0).parent
    made = explanation_run(layout.explanation_list()).get("settings", {}).get("mask_sizes")
    sizes = sorted(made or (float(path.name) for path in folder.glob("[01].[0-9][0-9]")))
    if not sizes:
        raise InputError(f"{folder} holds no masks; run an explanation script with --out {layout.out} first.")
    return sizes


@torch.inference_mode()
def measure(
    networks: dict[str, Network], images: ImageSet[Example], layout: Layout, size: float, chosen: Sequence[int]
) -> dict[str, Tensor]:
    """What blurring costs, over all counter classes of each of some images.

    Args:
        networks: by name, in evaluation mode, of the same classes.
        images: the list, in the whole view.
        layout: names of the output.
        size: the mask size t.
        chosen: numbers of the images.

    Returns:
        By network, image by image: the margin, its loss where the masks are blurred, and its loss where the same shapes moved at random
        are, each the mean over the counter classes, (M, 3).
    """
    rng = generator(0)
    found: dict[str, list[Tensor]] = {name: [] for name in networks}
    listed = listed_counters(layout, images.rows, next(iter(networks.values())).linear_head.out_features)
    for number in tqdm(chosen, desc=f"blurring, t = {size:.2f}", unit="image", leave=False):
        label, image = int(images.labels[number]), to_float(images[number][None], "cpu")[0]
        counter = torch.tensor(listed[number])
        masks = read_masks(layout, images.rows[number], counter.tolist(), size)
        (elsewhere,) = moved(rng, masks)
        for name, network in networks.items():
            margin, lost = losses(network, image, masks, label, counter)
            moved_lost = losses(network, image, elsewhere, label, counter)[1]
            found[name].append(torch.stack([margin, lost, moved_lost]).double().mean(1))
    return {name: torch.stack(rows) for name, rows in found.items()}


def report(
    outs: Sequence[str], networks: dict[str, Network], dataset: Dataset, data_root: str, count: int
) -> Iterator[str]:
    """The table, line by line.

    Raises:
        InputError: the list, a picture or a mask is missing.
    """
    yield f"{'':<32}{'mean z_a - z_b':>16}{'lost, blurred':>16}{'lost, moved':>16}"
    for out in outs:
        layout = Layout(Path(out), dataset.list_stem)
        sizes = explanation_sizes(layout)
        side = _side(layout, sizes[0])
        images = open_list(dataset, "train", data_root, partial(whole_view, size=side))
        chosen = spread(len(images), count or len(images))
        listed = listed_counters(layout, images.rows, len(dataset.classes))
        explained = sum(len(listed[number]) for number in chosen)
        for size in sizes:
            yield f"{out}, t = {size:.2f}, {len(chosen)} images, {explained} explanations"
            for name, values in measure(networks, images, layout, size, chosen).items():
                yield f"  {name:<30}" + "".join(f"{value:>16.3f}" for value in values.mean(0).tolist())


def _side(layout: Layout, size: float) -> int:
    """The side of the masks in pixels."""
    first = next(layout.explanations(MASK, size).glob("*.png"), None)
    if first is None:
        raise InputError(f"{layout.explanations(MASK, size)} holds no masks; run the explanation script to its end.")
    return decode(str(first), str(layout.out)).width


def main() -> None:
    """The command line."""
    parser = command_line("utils.explanations.deletion", __doc__)
    parser.add_argument("outs", nargs="+", type=expanded, metavar="OUT", help="output folder of an explanation script")
    parser.add_argument("--dataset", default="butterflies_s300", help="what was explained (default: butterflies_s300)")
    parser.add_argument(
        "--data-root",
        type=expanded,
        default="datasets",
        help="folder that holds the dataset's folder (default: datasets)",
    )
    parser.add_argument("--checkpoint", type=expanded, required=True, help="the teacher that was explained")
    parser.add_argument(
        "--second", type=expanded, required=True, help="another network for the same classes, trained apart from it"
    )
    parser.add_argument(
        "--images", type=int, default=20, help="images of the list, evenly spread; 0: all (default: 20)"
    )
    arguments = parser.parse_args()
    with command("deletion"):
        dataset = find(arguments.dataset, arguments.data_root)
        paths = {"in the teacher": arguments.checkpoint, "in the second network": arguments.second}
        networks = {name: load_classifier(path, dataset.classes).folded() for name, path in paths.items()}
        for line in report(arguments.outs, networks, dataset, arguments.data_root, arguments.images):
            print(line)


if __name__ == "__main__":
    main()
