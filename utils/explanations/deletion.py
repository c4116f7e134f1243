"""Measures explanations of photographs by deletion: blurs the mask and measures the loss of margin.

    python -m utils.explanations.deletion butterflies --checkpoint TEACHER.pth.tar --second ANOTHER.pth.tar

The pixels of each mask are replaced by those of a blurred image (box of 51 pixels at 224, in proportion otherwise).
The loss of z_a - z_b is measured in the teacher and in a second network, trained separately, to which no explanation
was fitted. The control is the same shape at a random place. 20 images of 5 classes take about 20 seconds on a CPU core.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from models.resnet import Network
from models.weights import load_classifier
from utils.base.files import expanded
from utils.base.randomness import generator
from utils.data.catalog import Dataset, find
from utils.data.images import to_tensor, whole_view
from utils.data.lists import Example
from utils.data.loading import ImageSet, open_list, to_float
from utils.data.outputs import TEACHING_SIZE, Layout
from utils.explanations.explain_list import spread
from utils.explanations.faithfulness import blurred_logits, effects
from utils.explanations.masks import moved
from utils.explanations.storage import listed_counters, read_masks
from utils.running.launch import command, command_line
from utils.running.records import check_explained, differing, read_explanation_record


@torch.inference_mode()
def measure(
    networks: dict[str, Network], images: ImageSet[Example], layout: Layout, size: float, chosen: Sequence[int]
) -> dict[str, Tensor]:
    """Measures the loss of margin at mask size t, averaged over the counter classes of each image.

    `networks` are in evaluation mode, of the same classes; `images` in the whole view; `chosen` M of their numbers.

    Returns for each network (M, 3): the margin, its loss when masks are blurred, and when masks at random places are.
    """
    rng = generator(0)
    found: dict[str, list[Tensor]] = {name: [] for name in networks}
    listed = listed_counters(layout, images.rows, next(iter(networks.values())).fc.out_features)
    for number in tqdm(chosen, desc=f"blurring, t = {size:.2f}", unit="image", leave=False):
        counter, image = torch.tensor(listed[number]), to_float(images[number][None], "cpu")
        masks = read_masks(layout, images.rows[number], listed[number], size)
        blurred = torch.cat([torch.zeros_like(masks[:1]), masks, *moved(rng, masks)])  # nothing, the mask, elsewhere
        for name, network in networks.items():
            logits = blurred_logits(network, image, blurred)
            pair = images.labels[[number]], counter.repeat(2)[None]
            margin, lost, _ = effects(logits[:1], logits[None, 1:], *pair)[0].double().T  # (2 B,)
            found[name].append(torch.stack([margin.mean(), *lost.view(2, -1).mean(1)]))
    return {name: torch.stack(rows) for name, rows in found.items()}


def report(
    outs: Sequence[str], networks: dict[str, Network], dataset: Dataset, data_root: str, count: int
) -> Iterator[str]:
    """Yields the table line by line, for `count` images of the list; 0 for all."""
    yield f"{'':<32}{'mean z_a - z_b':>16}{'lost, blurred':>16}{'lost, moved':>16}"
    layouts = {out: Layout(Path(out), dataset.list_stem) for out in outs}
    records = {out: read_explanation_record(layout.explanation_list()) for out, layout in layouts.items()}
    if unequal := differing({out: record for out, record in records.items() if record}, aside={"pictures"}):
        yield f"The lists differ in {unequal}."
    for out, layout in layouts.items():
        check_explained(layout.explanation_list(), data_root)
        images = open_list(dataset, "train", data_root, to_tensor)
        listed = listed_counters(layout, images.rows, len(dataset.classes))
        # Lists without a record, like those of the paper, have masks of 0.05.
        sizes = records[out].get("mask_sizes", [TEACHING_SIZE])
        side = read_masks(layout, images.rows[0], listed[0], sizes[0]).shape[-1]
        images = images.seen_as(partial(whole_view, size=side))
        chosen = spread(len(images), count or len(images))
        for size in sizes:
            yield f"{out}, t = {size:.2f}, {len(chosen)} images, {sum(len(listed[n]) for n in chosen)} explanations"
            for name, values in measure(networks, images, layout, size, chosen).items():
                yield f"  {name:<30}" + "".join(f"{value:>16.3f}" for value in values.mean(0).tolist())


def main() -> None:
    parser = command_line("utils.explanations.deletion", __doc__)
    parser.add_argument("outs", nargs="+", type=expanded, metavar="OUT", help="output folder of an explanation script")
    parser.add_argument("--dataset", default="butterflies_s300", help="the explained dataset (default: %(default)s)")
    parser.add_argument("--data-root", type=expanded, default="datasets", help="folder of datasets (default: datasets)")
    parser.add_argument("--checkpoint", type=expanded, required=True, help="the teacher that was explained")
    parser.add_argument("--second", type=expanded, required=True, help="another network, trained separately")
    parser.add_argument("--images", type=int, default=20, help="images, evenly spread; 0: all (default: 20)")
    arguments = parser.parse_args()
    with command("deletion"):
        dataset = find(arguments.dataset, arguments.data_root)
        paths = {"in the teacher": arguments.checkpoint, "in the second network": arguments.second}
        networks = {name: load_classifier(path, dataset.classes).folded() for name, path in paths.items()}
        for line in report(arguments.outs, networks, dataset, arguments.data_root, arguments.images):
            print(line)


if __name__ == "__main__":
    main()
