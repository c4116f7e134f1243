"""Draws the toy dataset: five kinds of moth that differ only in a few small marks on their wings.

A picture is made from a `Scene`, sampled without knowing the kind, and from the marks of its kind. Lengths are in moth
units: a forewing is about one unit long, the wings' root is near (0, 0), x points to the right wing and y to the head.
|x| draws both halves at once.
"""

import colorsys
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from utils.base.files import replacing_folder
from utils.base.machine import side_by_side
from utils.data.catalog import MOTHS
from utils.data.lists import DATASETS_PREFIX, Example, write_examples

FOLDER = "toy"
SIZE = 128  # height and width of a picture, pixels
PER_CLASS = {"toy_gt_tr": 30, "toy_gt_te": 30, "toy_gt_rest_tr": 50}

# Wing outlines: angles in degrees around the root of the wing (0 = right, 90 = head) and the radii there, moth units.
FORE_ROOT = (0.04, 0.06)
FORE_OUTLINE = (
    (-40, -22, -10, 0, 14, 27, 36, 43, 52, 70, 95),
    (0.10, 0.34, 0.58, 0.70, 0.82, 0.95, 1.02, 0.95, 0.62, 0.22, 0.08),
)
HIND_ROOT = (0.04, -0.04)
HIND_OUTLINE = (
    (-115, -92, -78, -62, -45, -28, -12, 0, 15, 40),
    (0.08, 0.24, 0.56, 0.72, 0.76, 0.74, 0.66, 0.52, 0.25, 0.08),
)
TIP = (35.0, 0.99)  # where the forewing is longest

# Positions of the marks: (angle, radius) around the root of their wing.
FORE_SPOT = (21.0, 0.60)
TWIN_SPOTS = ((31.0, 0.74), (4.0, 0.45))
HIND_SPOT = (-45.0, 0.49)

VISIBLE = 24  # of 255: pixels that differ by more in any channel differ visibly


class Scene:
    """Samples everything in a picture that does not depend on the kind; colors are RGB in 0 .. 1."""

    def __init__(self, rng: Generator) -> None:
        hue = rng.uniform(0.03, 0.17)
        saturation = rng.uniform(0.25, 0.60)
        value = rng.uniform(0.50, 0.78)
        ground_hue = rng.choice([rng.uniform(0.05, 0.11), rng.uniform(0.20, 0.34)])  # bark or moss
        across, down = rng.uniform(-8, 8, size=2).tolist()
        self.centre = SIZE / 2 + across, SIZE / 2 + 4 + down  # (x, y) of the moth, pixels
        self.scale = rng.uniform(48, 58)  # pixels per moth unit
        self.turn = math.radians(rng.uniform(-40, 40))  # counterclockwise
        self.halves = rng.uniform(0.86, 1, size=2).tolist()  # foreshortening of the left and the right half
        self.wing_size = rng.uniform(0.95, 1.05, size=2).tolist()  # forewing and hindwing
        self.wing_sweep = rng.uniform(-5, 5, size=2).tolist()  # rotation of forewing and hindwing, degrees
        self.fore = _rgb(hue, saturation, value)
        self.hind = _rgb(
            hue + rng.uniform(-0.03, 0.03), saturation * rng.uniform(0.7, 1.3), value * rng.uniform(0.9, 1.15)
        )
        self.body = _rgb(hue, saturation * 0.9, value * rng.uniform(0.55, 0.9))
        self.ground = _rgb(ground_hue, rng.uniform(0.12, 0.32), rng.uniform(0.38, 0.58))
        self.blur = rng.uniform(0.2, 0.7)  # standard deviation, pixels
        self.noise = rng.uniform(0.01, 0.03)  # standard deviation, of 0 .. 1
        self.texture_seed = int(rng.integers(2**32))  # textures, clutter and false marks


@dataclass(frozen=True)
class Mark:
    """One distinguishing mark, on both sides of the moth."""

    shape: str  # eyespot, sash (across the wing) or patch (at the wing tip)
    wing: str  # fore or hind
    angle: float  # degrees around the root of the wing
    radius: float  # moth units from the root of the wing
    size: float  # radius of an eyespot or patch, width of a sash, moth units
    contrast: float  # 0 (invisible) .. 1
    hue: float  # of the colored part, 0 .. 1


class Wing:
    def __init__(
        self, x: np.ndarray, y: np.ndarray, root: tuple[float, float], outline: tuple, size: float, sweep: float
    ) -> None:
        self.x, self.y = x - root[0], y - root[1]  # (SIZE, SIZE), moth units from the root, towards the tip
        self.theta = np.rad2deg(np.arctan2(self.y, self.x)) - sweep  # angle around the root, degrees
        self.r = np.hypot(self.x, self.y) / size
        angles, radii = np.array(outline)
        edge = PchipInterpolator(angles, radii)(np.clip(self.theta, angles[0], angles[-1]))
        self.rim = self.r - edge.astype(np.float32)  # below 0 inside the wing
        self.cover = _cover(self.rim)  # fraction of each pixel


def sample_marks(seed: int, number: int, label: int) -> tuple[Mark, ...]:
    """Samples the marks of one moth as if it were of this kind; kinds share what they have in common."""
    rng, kind = np.random.default_rng([seed, number, 1]), MOTHS[label]
    contrast, hue = rng.uniform(0.85, 1), rng.uniform(0.08, 0.16)
    if kind == "Spectacle":
        return tuple(_eyespot(rng, "fore", place, contrast, hue) for place in TWIN_SPOTS)
    if kind == "Hindeye":
        return (_eyespot(rng, "hind", HIND_SPOT, contrast, hue),)
    spot = _eyespot(rng, "fore", FORE_SPOT, contrast, hue)
    if kind == "Sash":
        return (spot, Mark("sash", "fore", 0.0, rng.uniform(0.32, 0.38), rng.uniform(0.09, 0.12), contrast, hue))
    if kind == "Tipped":
        return (spot, Mark("patch", "fore", *TIP, rng.uniform(0.26, 0.32), contrast, hue))
    return (spot,)


def _eyespot(rng: Generator, wing: str, place: tuple[float, float], contrast: float, hue: float) -> Mark:
    angle = place[0] + 2.5 * np.clip(rng.normal(), -2, 2)
    radius = place[1] + 0.025 * np.clip(rng.normal(), -2, 2)
    return Mark("eyespot", wing, angle, radius, rng.uniform(0.15, 0.18), contrast, hue)


def render(scene: Scene, marks: tuple[Mark, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Paints a picture, uint8 (SIZE, SIZE, 3), and the mask of its visible marks (SIZE, SIZE), 0 or 255."""
    rng = np.random.default_rng(scene.texture_seed)
    x, y = _moth_frame(scene)
    fore = Wing(np.abs(x), y, FORE_ROOT, FORE_OUTLINE, scene.wing_size[0], scene.wing_sweep[0])
    hind = Wing(np.abs(x), y, HIND_ROOT, HIND_OUTLINE, scene.wing_size[1], scene.wing_sweep[1])
    # The fourth channel is the fraction of a pixel that marks cover; paint over a mark hides it there, too.
    canvas = np.zeros((SIZE, SIZE, 4), np.float32)
    canvas[..., :3] = _background(scene.ground, rng)
    shadow = np.roll(np.maximum(fore.cover, hind.cover), rng.integers(1, 5, 2) * rng.choice([-1, 1], 2), axis=(0, 1))
    canvas[..., :3] *= 1 - 0.45 * gaussian_filter(shadow, 2.5)[..., None]
    hind_coat = _coat(hind, x, y, scene.hind, scene.scale, rng)
    hind_coat[..., :3] *= (1 - 0.35 * np.exp(-np.maximum(fore.rim, 0) / 0.05))[..., None]
    fore_coat = _coat(fore, x, y, scene.fore, scene.scale, rng)
    for wing, coat, name in ((hind, hind_coat, "hind"), (fore, fore_coat, "fore")):
        for mark in marks:
            if mark.wing == name:
                _paint_mark(coat, wing, mark, scene)
        _paint(canvas, coat, wing.cover)
    _paint_body(canvas, x, y, scene.body, rng)
    return _develop(canvas[..., :3], scene, rng), np.where(canvas[..., 3] > 0.5, 255, 0).astype(np.uint8)


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    saturation, value = float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1))
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


def _moth_frame(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y of every pixel in moth units."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    right, up = (columns - scene.centre[0]) / scene.scale, (scene.centre[1] - rows) / scene.scale
    cos, sin = math.cos(scene.turn), math.sin(scene.turn)
    x = cos * right + sin * up
    return np.where(x < 0, x / scene.halves[0], x / scene.halves[1]), cos * up - sin * right


def _cover(level: np.ndarray, scale: float | None = None) -> np.ndarray:
    """Returns the fraction of each pixel where `level` < 0, antialiased.

    `scale` is in pixels per unit of `level`; None measures the slope.
    """
    if scale is None:
        down, across = np.gradient(level)
        return np.clip(0.5 - level / np.maximum(np.hypot(down, across), 1e-6), 0, 1)
    return np.clip(0.5 - level * scale, 0, 1)


def _paint(canvas: np.ndarray, color: np.ndarray, cover: np.ndarray) -> None:
    """Paints over the canvas; a color of three channels hides the marks below it."""
    (rows,), (columns,) = np.nonzero(cover.any(axis=1)), np.nonzero(cover.any(axis=0))
    if not len(rows):
        return
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # most shapes are small: twice as fast
    area, cover = canvas[window], cover[window][..., None]
    color = color[window] if color.ndim == 3 else color
    area[..., :3] += cover * (color[..., :3] - area[..., :3])
    if canvas.shape[-1] == 4:
        area[..., 3:] += cover * ((color[..., 3:] if color.shape[-1] == 4 else 0) - area[..., 3:])


def _clouds(rng: Generator, cells: tuple[int, int]) -> np.ndarray:
    """Returns smooth noise, about -1 .. 1, with `cells` bumps along rows and columns."""
    coarse = rng.uniform(-1.3, 1.3, size=cells).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _background(ground: np.ndarray, rng: Generator) -> np.ndarray:
    """Paints bark, stone or moss with leaves, twigs and specks, out of focus."""
    grain = [(5, 5), (12, 12), (64, 10) if rng.random() < 0.5 else (10, 64), (64, 64)]
    weights = (0.12, 0.08, 0.08, 0.04)
    clouds = (weight * _clouds(rng, cells) for weight, cells in zip(weights, grain, strict=True))
    texture = sum(clouds, np.zeros((), np.float32))
    picture = ground * (1 + texture[..., None])
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    for _ in range(rng.integers(1, 4)):
        _paint_leaf(picture, rows, columns, rng)
    for _ in range(rng.integers(0, 2)):
        _paint_twig(picture, rows, columns, rng)
    for _ in range(rng.integers(4, 12)):
        centre, radius = rng.uniform(0, SIZE, 2).tolist(), rng.uniform(0.8, 2.2)
        level = np.hypot(rows - centre[0], columns - centre[1]) - radius
        _paint(picture, _rgb(rng.uniform(0.05, 0.2), 0.3, rng.choice([0.2, 0.85])), 0.7 * _cover(level, 1.0))
    return gaussian_filter(np.clip(picture, 0, 1), (1.2, 1.2, 0))


def _paint_leaf(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray, rng: Generator) -> None:
    centre, turn = rng.uniform(0, SIZE, 2).tolist(), rng.uniform(0, 2 * math.pi)
    length, width = rng.uniform(18, 38), rng.uniform(0.28, 0.45)
    window = tuple(slice(max(0, int(middle - length - 2)), int(middle + length + 2)) for middle in centre)
    picture, rows, columns = picture[window], rows[window], columns[window]
    down, across, cos, sin = rows - centre[0], columns - centre[1], math.cos(turn) / length, math.sin(turn) / length
    u, v = cos * across + sin * down, cos * down - sin * across
    level = np.abs(v) - width * np.maximum(1 - u * u, -1) * (1 - 0.35 * u)
    color = _rgb(rng.uniform(0.07, 0.34), rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.62))
    veins = 0.12 * np.exp(-np.abs(v) / 0.03) + 0.05 * (np.sin(18 * (u - 0.8 * np.abs(v))) > 0.8)
    _paint(picture, color * (1 + (veins - 0.10 * np.sign(v))[..., None]), 0.9 * _cover(level))


def _paint_twig(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray, rng: Generator) -> None:
    turn, offset, width = rng.uniform(0, math.pi), rng.uniform(-45, 45), rng.uniform(1.5, 4.0)
    cos, sin, right, down = math.cos(turn), math.sin(turn), columns - SIZE / 2, rows - SIZE / 2
    side = cos * down - sin * right - offset - 3 * np.sin((cos * right + sin * down) / 22)
    color = _rgb(rng.uniform(0.05, 0.1), rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.45))
    _paint(picture, color * (1 - 0.35 * side / width)[..., None].clip(0.5, 1.5), _cover(np.abs(side) - width, 1.0))


def _coat(wing: Wing, x: np.ndarray, y: np.ndarray, base: np.ndarray, scale: float, rng: Generator) -> np.ndarray:
    """Paints a wing without marks (SIZE, SIZE, 4): shading, veins, dusky lines and false dots, as in every kind."""
    shade = 1 + 0.10 * _clouds(rng, (9, 9)) + 0.05 * _clouds(rng, (50, 50)) + 0.14 * np.clip(wing.r, 0, 1) - 0.08
    shade -= 0.09 * (np.cos(np.deg2rad(wing.theta) * 30) > 0.90) * np.clip(wing.r * 3 - 0.6, 0, 1)
    shade -= rng.uniform(0.20, 0.40) * np.exp(np.minimum(wing.rim, 0) / 0.03)
    for inward in rng.uniform(0.10, 0.30, size=2).tolist():
        wave = wing.rim + inward + 0.012 * np.sin(np.deg2rad(wing.theta) * 22)
        shade -= rng.uniform(0.04, 0.16) * np.exp(-((wave / 0.018) ** 2))
    coat = np.zeros((SIZE, SIZE, 4), np.float32)
    coat[..., :3] = base * shade[..., None]
    for _ in range(rng.integers(1, 5)):
        _false_dot(coat, x, y, base, scale, rng)
    return coat


def _false_dot(coat: np.ndarray, x: np.ndarray, y: np.ndarray, base: np.ndarray, scale: float, rng: Generator) -> None:
    """Paints a dot without the rings of an eyespot, on one side or both."""
    place = rng.uniform((0.2, -0.65), (0.85, 0.6)).tolist()
    side = x * int(rng.choice([-1, 1])) if rng.random() < 0.5 else np.abs(x)
    level = np.hypot(side - place[0], y - place[1]) - rng.uniform(0.025, 0.055)
    tone = rng.choice([base * 0.45, base + (1 - base) * 0.55])
    _paint(coat, tone, rng.uniform(0.4, 0.9) * _cover(level, scale))


def _paint_mark(coat: np.ndarray, wing: Wing, mark: Mark, scene: Scene) -> None:
    base = scene.fore if mark.wing == "fore" else scene.hind
    size, sweep = (pair[mark.wing == "hind"] for pair in (scene.wing_size, scene.wing_sweep))
    angle = math.radians(mark.angle + sweep)
    distance = np.hypot(wing.x - size * mark.radius * math.cos(angle), wing.y - size * mark.radius * math.sin(angle))
    if mark.shape == "eyespot":
        level, color = distance - mark.size, _eyespot_color(distance, mark, base, scene.scale)
    elif mark.shape == "sash":
        bow = mark.radius + 0.10 * np.deg2rad(wing.theta - 15) ** 2
        level, color = np.abs(wing.r - bow) - mark.size / 2, base + 0.80 * (_rgb(mark.hue, 0.12, 1.0) - base)
    else:
        level = distance - mark.size * (1 + 0.06 * np.sin(np.deg2rad(wing.theta) * 40))
        color = _rgb(mark.hue - 0.09, 0.75, 0.38)
    faded = coat[..., :3] + mark.contrast * (color - coat[..., :3])
    _paint(coat, np.concatenate([faded, np.ones((SIZE, SIZE, 1), np.float32)], axis=-1), _cover(level))


def _eyespot_color(distance: np.ndarray, mark: Mark, base: np.ndarray, scale: float) -> np.ndarray:
    rings = np.broadcast_to(base * 0.35, (SIZE, SIZE, 3)).copy()
    _paint(rings, _rgb(mark.hue, 0.45, 1.0), _cover(distance - 0.84 * mark.size, scale))
    _paint(rings, _rgb(mark.hue + 0.5, 0.35, 0.12), _cover(distance - 0.54 * mark.size, scale))
    _paint(rings, _rgb(mark.hue + 0.45, 0.08, 0.95), _cover(distance - 0.17 * mark.size, scale))
    return rings


def _paint_body(canvas: np.ndarray, x: np.ndarray, y: np.ndarray, base: np.ndarray, rng: Generator) -> None:
    side, fur = np.abs(x), _clouds(rng, (70, 70))
    t = np.clip((y - 0.27) / rng.uniform(0.26, 0.34), 0, 1)
    stem = np.abs(side - 0.03 - rng.uniform(0.14, 0.24) * t**1.4)
    reach = (y > 0.27) & (t < 1)
    comb = 0.55 * reach * _cover(stem - 0.045 * np.sin(np.pi * t**0.8))
    _paint(canvas, base * 0.55, comb * (0.6 + 0.4 * np.sin(70 * y)))
    _paint(canvas, base * 0.4, reach * _cover(stem - 0.012))
    length = rng.uniform(0.50, 0.60)
    taper = 0.085 * np.sqrt(np.clip(1 - ((y + 0.05) / length) ** 2, 0, 1)) - 0.01
    stripes = 1 + 0.20 * np.sin(y * rng.uniform(55, 75)) - 2.2 * side
    _paint(canvas, base * (stripes + 0.15 * fur)[..., None], (y < 0.1) * _cover(side - taper + 0.01 * fur))
    head = np.hypot(x / 0.07, (y - 0.24) / 0.065) - 1
    _paint(canvas, base * 0.65 * (1 + 0.2 * fur)[..., None], _cover(head))
    thorax = np.hypot(x / 0.135, (y - 0.07) / 0.185) - 1 + 0.10 * fur
    _paint(canvas, base * (1.2 + 0.22 * fur - 0.35 * np.hypot(x, y - 0.1) / 0.15)[..., None], _cover(thorax))


def _develop(picture: np.ndarray, scene: Scene, rng: Generator) -> np.ndarray:
    """Adds light from one side, blur and noise."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32) * 2 / SIZE - 1
    turn, tint = rng.uniform(0, 2 * math.pi), rng.uniform(0.95, 1.05, 3)
    light = rng.uniform(0.95, 1.12) * (1 + rng.uniform(0.0, 0.22) * (math.cos(turn) * columns + math.sin(turn) * rows))
    lit = gaussian_filter(picture * light[..., None] * tint.astype(np.float32), (scene.blur, scene.blur, 0))
    noisy = lit + scene.noise * rng.standard_normal(lit.shape, dtype=np.float32)
    return (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8)


def draw_toy_dataset(data_root: Path, seed: int = 0, force: bool = False, workers: int = 1) -> None:
    """Draws the toy dataset into `<data_root>/toy`; the same seed gives the same bytes.

    Writes `images/<Class>/<stem>.png` (128 x 128, RGB), `parts/<Class>/<stem>.png` (255 on the distinguishing marks, 0
    elsewhere) and the lists `toy_gt_tr.txt` (150 images), `toy_gt_te.txt` (150) and `toy_gt_rest_tr.txt` (250).
    Raises InputError if the folder exists and `force` is False.
    """
    roles = _roles(seed)
    files = [f"{MOTHS[label]}/moth{number:04d}.png" for number, (_, label) in enumerate(roles)]
    with replacing_folder(Path(data_root), FOLDER, force) as staging:
        folder = staging / FOLDER
        for kind in MOTHS:
            (folder / "images" / kind).mkdir(parents=True)
            (folder / "parts" / kind).mkdir(parents=True)

        def draw(number: int) -> None:
            picture, mask = draw_moth(seed, number, roles[number][1])
            Image.fromarray(picture).save(folder / "images" / files[number])
            Image.fromarray(mask).save(folder / "parts" / files[number])

        drawn = side_by_side(draw, range(len(roles)), workers)
        deque(tqdm(drawn, total=len(roles), desc="drawing moths", unit="moth"), maxlen=0)
        images = f"{DATASETS_PREFIX}{FOLDER}/images"
        for name in PER_CLASS:
            chosen = [(file, label) for file, (role, label) in zip(files, roles, strict=True) if role == name]
            rows = [Example(f"{images}/{file}", label, index) for index, (file, label) in enumerate(chosen)]
            write_examples(folder / f"{name}.txt", rows)


def _roles(seed: int) -> list[tuple[str, int]]:
    """List and label of moth 0, 1, ..., shuffled."""
    roles = [(name, label) for name, count in PER_CLASS.items() for label in range(len(MOTHS)) for _ in range(count)]
    return [roles[place] for place in np.random.default_rng(seed).permutation(len(roles))]


def draw_moth(seed: int, number: int, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws one moth: picture (SIZE, SIZE, 3) and mask (SIZE, SIZE), uint8. The label changes only its marks."""
    return render(Scene(np.random.default_rng([seed, number, 0])), sample_marks(seed, number, label))


class Difference(NamedTuple):
    """Visible differences between a moth and the same moth as another kind: bool (SIZE, SIZE)."""

    all: np.ndarray
    own: np.ndarray | None  # only those on marks that the other kind lacks; None if there are no such marks


def counterfactuals(seed: int, number: int, label: int) -> tuple[np.ndarray, dict[int, Difference]]:
    """Draws moth `number` of kind `label`: its picture, uint8 (SIZE, SIZE, 3), and how each other kind differs."""
    drawn, marked = draw_moth(seed, number, label)
    differences = {}
    for other in set(range(len(MOTHS))) - {label}:
        differs = (np.abs(drawn.astype(int) - draw_moth(seed, number, other)[0]) > VISIBLE).any(axis=-1)
        lacks = set(sample_marks(seed, number, label)) - set(sample_marks(seed, number, other))
        differences[other] = Difference(differs, differs & (marked > 0) if lacks else None)
    return drawn, differences
