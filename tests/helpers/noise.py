"""A pool of random pictures, masks and explanations, settings of its students, and random networks."""

from functools import partial

import torch
from PIL import Image

from utils.data.images import whole_view
from utils.data.lists import Example, Explanation, write_explanations
from utils.data.loading import ImageSet
from utils.data.outputs import explanation_name
from utils.teaching.student import StudentSettings

SIZE, CLASSES = 64, 3
LABELS = (0, 1, 2, 0, 1, 2, 0, 1, 0, 0)


def noise_material(root):
    """Returns a list of ten random pictures, and the path of a list with random explanations of all of them."""
    rng = torch.Generator().manual_seed(0)

    def draw(path, pixels):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.numpy()).save(path)
        return str(path)

    def noise():
        return torch.randint(0, 256, (SIZE, SIZE, 3), dtype=torch.uint8, generator=rng)

    rows, explanations = [], []
    for index, label in enumerate(LABELS):
        rows.append(Example(draw(root / f"{index}.png", noise()), label, index))
        for counter in set(range(CLASSES)) - {label}:
            mask = (torch.rand(SIZE, SIZE, generator=rng) < 0.2).byte() * 255
            name = explanation_name(f"{index}.png", label, counter, index)
            draw(root / "x_mask/0.20" / name, mask)
            explanations.append(Explanation(draw(root / "x_img/0.20" / name, noise()), label, counter, index))
    write_explanations(root / "CE.txt", explanations)
    return ImageSet(rows, root / "list.txt", root, partial(whole_view, size=SIZE)), str(root / "CE.txt")


def settings(**changes):
    """Settings of a student with random weights."""
    learning = dict(
        ridge=1e-3, freeze_features=False, steps=1, lr=1e-3, momentum=0.9, weight_decay=0.0, max_grad_norm=0.0
    )
    run = dict(pretrained="none", arch="resnet18", image_size=SIZE, batch_size=4, seed=0, workers=0, device="cpu")
    return StudentSettings(**(learning | run | changes))


def settled(network):
    """Gives a network random batch-norm statistics and weights; returns it in evaluation mode."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
    return network.eval()
