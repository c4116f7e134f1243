"""The released procedure, slow on purpose. It shares only the network with the rest of the repository."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

EPS = 1e-7
BATCH = 5
SIZES = tuple(round(0.01 * step, 2) for step in range(1, 31))


def read(path, size, device):
    """Reads an image as float (1, 3, size, size) in [0, 1]."""
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float().to(device) / 255


def gradcam(network, images, score):
    """Returns Grad-CAM maps (N, H, W) of `score`, a function of the logits (N, C)."""
    feature_map = network.feature_map(images)
    feature_map.retain_grad()
    score(network.fc(feature_map.mean((2, 3)))).sum().backward()
    weights = feature_map.grad.mean((2, 3), keepdim=True)
    maps = (weights * feature_map.detach()).sum(1).clamp(min=0)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    maps = torch.where(high > low, (maps - low) / (high - low), torch.zeros_like(maps))
    maps[maps == 0] = EPS
    return maps


def cut(d, size, fraction):
    """Returns the mask (size, size) of one explanation by a full sort. Of equal values, the first are inside."""
    upsampled = F.interpolate(d[None, None], (size, size), mode="bilinear", align_corners=False)[0, 0].numpy()
    wanted = max(1, int(fraction * size * size + 1e-6))
    threshold = np.sort(upsampled.ravel())[::-1][wanted - 1]
    mask = upsampled >= threshold
    ties = np.flatnonzero(upsampled == threshold)
    mask.ravel()[ties[len(ties) - (mask.sum() - wanted) :]] = False
    return mask


def machine_picture(pixels, mask):
    """Fills the outside of a mask with the mean color of the inside."""
    picture = np.empty_like(pixels)
    picture[:] = np.rint(pixels[mask].mean(0))
    picture[mask] = pixels[mask]
    return picture


def people_picture(pixels, mask):
    """Draws the border of a mask in red."""
    picture, padded = pixels.copy(), np.pad(mask, 2)
    inside = np.ones_like(mask)
    for dy in range(5):
        for dx in range(5):
            inside &= padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]]
    picture[mask & ~inside] = (255, 0, 0)
    return picture


def explain(network, files, labels, num_classes, size, out, sizes=SIZES):
    """Explains every file against every wrong class and writes three pictures for each mask size to `out`.

    Each counter class takes three passes (confidence and both classes), and three more for people's pictures.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    device = next(network.parameters()).device
    for start in range(0, len(files), BATCH):
        chosen = range(start, min(start + BATCH, len(files)))
        images = torch.cat([read(files[n], size, device) for n in chosen])
        own = torch.tensor([labels[n] for n in chosen], device=device)
        for step in range(1, num_classes):
            other = (own + step) % num_classes
            for people in (False, True):
                confidence = gradcam(network, images, lambda z: z.softmax(1).amax(1))
                a = gradcam(network, images, lambda z, own=own: z.gather(1, own[:, None]))
                b = gradcam(network, images, lambda z, other=other: z.gather(1, other[:, None]))
                peak = b.amax((1, 2), keepdim=True)
                absence = torch.where(peak > EPS, peak - b, torch.ones_like(b))
                for place, d in enumerate((confidence * absence * a).cpu()):
                    pixels = (images[place] * 255).round().byte().permute(1, 2, 0).cpu().numpy()
                    name = f"{start + place}_{step}"
                    for fraction in sizes:
                        mask = cut(d, size, fraction)
                        if people:
                            Image.fromarray(people_picture(pixels, mask)).save(out / f"{name}_{fraction}_people.png")
                        else:
                            Image.fromarray(machine_picture(pixels, mask)).save(out / f"{name}_{fraction}_machine.png")
                            Image.fromarray(mask.astype(np.uint8) * 255).save(out / f"{name}_{fraction}_mask.png")
