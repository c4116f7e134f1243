"""The toy dataset: counts and sizes, determinism, truthful masks, no hint outside the marks, nothing half-written."""

import hashlib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation
from scipy.stats import f_oneway

from utils.base.errors import InputError, RunError
from utils.data import toy_moths
from utils.data.catalog import MOTHS
from utils.data.lists import locate, read_examples
from utils.data.toy_moths import (
    FOLDER,
    PER_CLASS,
    SIZE,
    draw_moth,
    draw_toy_dataset,
    render,
    sample_marks,
    sample_scene,
)

LABELS = range(len(MOTHS))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A data root with a smaller toy dataset: the same code, fewer moths (12 a class)."""
    root = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        _shrink(patch)
        draw_toy_dataset(root, seed=3)
    return root


def _shrink(patch, train=3, test=3, rest=6):
    patch.setattr(toy_moths, "PER_CLASS", dict(zip(PER_CLASS, (train, test, rest), strict=True)))


def _bytes(root):
    """Relative name -> digest of every file below `root`."""
    files = sorted(path for path in Path(root).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_lists_promise_150_150_and_250_moths():
    roles = list(toy_moths._roles(0))
    counts = {name: [roles.count((name, label)) for label in LABELS] for name in PER_CLASS}
    assert counts == {"toy_gt_tr": [30] * 5, "toy_gt_te": [30] * 5, "toy_gt_rest_tr": [50] * 5}


def test_lists_name_every_picture_once_with_its_label(drawn):
    names = []
    for name, count in zip(PER_CLASS, (3, 3, 6), strict=True):
        rows = read_examples(drawn / FOLDER / f"{name}.txt", len(MOTHS))
        assert np.bincount([row.label for row in rows]).tolist() == [count] * 5
        assert [row.index for row in rows] == list(range(5 * count))
        assert all(row.path.startswith(f"./datasets/toy/images/{MOTHS[row.label]}/moth") for row in rows)
        names += [locate(row.path, drawn) for row in rows]
    assert sorted(names) == sorted(str(path) for path in (drawn / FOLDER / "images").rglob("*.png"))


def test_rows_are_shuffled_and_numbers_hide_the_list():
    roles = list(toy_moths._roles(0))
    labels, lists = ([role[field] for role in roles] for field in (1, 0))
    assert labels != sorted(labels)
    means = [np.mean([number for number, name in enumerate(lists) if name == wanted]) for wanted in PER_CLASS]
    assert np.ptp(means) < 60  # in 0 .. 549; lists one after another would differ by 350
    assert roles != list(toy_moths._roles(1))


def test_files_are_128_pixel_rgb_pictures_with_binary_masks(drawn):
    for path in (drawn / FOLDER / "images").rglob("*.png"):
        with Image.open(path) as picture, Image.open(drawn / FOLDER / "parts" / path.parent.name / path.name) as mask:
            assert (picture.size, picture.mode) == ((128, 128), "RGB")
            assert (mask.size, mask.mode) == ((128, 128), "L")
            assert set(np.unique(mask)) == {0, 255}


def test_same_seed_gives_the_same_bytes_and_another_seed_others(drawn, tmp_path, monkeypatch):
    _shrink(monkeypatch)
    draw_toy_dataset(tmp_path / "again", seed=3, workers=2)
    draw_toy_dataset(tmp_path / "other", seed=4)
    first, again, other = _bytes(drawn), _bytes(tmp_path / "again"), _bytes(tmp_path / "other")
    assert first == again
    assert not set(first.values()) & set(other.values())


@pytest.mark.parametrize("label", LABELS)
def test_masks_are_small_and_inside_the_picture(label):
    for number in range(25):
        mask = draw_moth(0, number, label)[1] > 0
        assert 0.004 < mask.mean() < 0.09
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
        assert mask[:, : SIZE // 2].any() and mask[:, SIZE // 2 :].any()  # both sides of the moth carry the marks


@pytest.mark.parametrize("label", LABELS)
def test_masks_hold_all_that_differs_from_the_plain_moth(label):
    for number in range(12):
        scene = replace(sample_scene(np.random.default_rng(number)), blur=0.0)
        marks = sample_marks(np.random.default_rng(number), label)
        (marked, mask), (plain, nothing) = render(scene, marks), render(scene, ())
        changed = (marked != plain).any(axis=-1)
        assert not nothing.any()
        assert not (
            changed & ~binary_dilation(mask > 0, np.ones((3, 3)))
        ).any()  # one pixel more, for the antialiased edge
        assert changed[mask > 0].mean() > 0.98


def test_marks_stand_out_from_the_wing():
    for label in LABELS:
        for number in range(10):
            scene, marks = (
                sample_scene(np.random.default_rng(number)),
                sample_marks(np.random.default_rng(number), label),
            )
            (marked, mask), (plain, _) = render(scene, marks), render(scene, ())
            difference = np.abs(marked.astype(int) - plain).max(axis=-1)[mask > 0]
            assert difference.mean() > 25  # of 255


def test_the_scene_does_not_depend_on_the_kind():
    plain = [draw_moth(0, 7, label) for label in LABELS]
    marked = np.any([mask > 0 for _, mask in plain], axis=0)
    untouched = ~binary_dilation(marked, iterations=5)  # farther from any mark than the blur reaches
    assert untouched.mean() > 0.6
    for picture, _ in plain[1:]:
        assert (picture[untouched] == plain[0][0][untouched]).all()


def test_scene_parameters_are_alike_in_all_kinds(monkeypatch):
    """One-way analysis of variance over the moths that seed 0 draws; one kind's shift by 0.6 standard deviations would fail."""
    scenes = []
    monkeypatch.setattr(toy_moths, "render", lambda scene, marks: scenes.append(scene))
    labels = np.array([label for _, label in toy_moths._roles(0)])
    for number, label in enumerate(labels):
        draw_moth(0, number, label)
    values = np.array([_numbers(scene) for scene in scenes])
    threshold = 0.05 / values.shape[1]
    assert _p_values(values, labels).min() > threshold
    shifted = values + 0.6 * values.std(axis=0) * (labels == 2)[:, None]
    assert (_p_values(shifted, labels) < threshold).mean() > 0.7


def _numbers(scene):
    return np.concatenate([np.ravel(getattr(scene, field.name)) for field in fields(scene)]).astype(float)


def _p_values(values, labels):
    return np.array([f_oneway(*(column[labels == label] for label in LABELS)).pvalue for column in values.T])


def test_colours_around_the_marks_do_not_tell_the_kind(drawn):
    """The corners and borders of the written pictures hold no marks, so their colour must not differ between kinds."""
    labels, colours = [], []
    for path in sorted((drawn / FOLDER / "images").rglob("*.png")):
        picture = np.asarray(Image.open(path), float)
        picture[16:-16, 16:-16] = np.nan
        labels.append(MOTHS.index(path.parent.name))
        colours.append(np.nanmean(picture, axis=(0, 1)))
    assert _p_values(np.array(colours), np.array(labels)).min() > 0.01


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    _break_after(monkeypatch, 4, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        draw_toy_dataset(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_drawing_keeps_what_was_there(tmp_path, monkeypatch):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "mine.txt").write_text("kept")
    _break_after(monkeypatch, 4, OSError("No space left on device"))
    with pytest.raises(RunError, match="No space left"):
        draw_toy_dataset(tmp_path, force=True)
    assert [path.name for path in tmp_path.rglob("*")] == [FOLDER, "mine.txt"]


def _break_after(patch, count, error):
    """Lets `count` moths be drawn and then raises `error`."""
    whole, drawn = toy_moths.draw_moth, []

    def draw(*key):
        drawn.append(key)
        if len(drawn) > count:
            raise error
        return whole(*key)

    patch.setattr(toy_moths, "draw_moth", draw)


@pytest.mark.parametrize("before", ["folder", "file", "link"])
def test_what_lay_there_is_kept_unless_forced(tmp_path, monkeypatch, before):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder in (root, elsewhere):
        folder.mkdir()
    (elsewhere / "mine.txt").write_text("kept")
    if before == "folder":
        (root / FOLDER / "images").mkdir(parents=True)
        (root / FOLDER / "images" / "old.png").touch()
    elif before == "file":
        (root / FOLDER).touch()
    else:
        (root / FOLDER).symlink_to(elsewhere)
    _shrink(monkeypatch, 1, 1, 1)
    with pytest.raises(InputError, match="--force"):
        draw_toy_dataset(root)
    draw_toy_dataset(root, force=True)
    assert [path.name for path in root.iterdir()] == [FOLDER]
    assert len(list((root / FOLDER).rglob("*"))) == 2 + 10 + 30 + 3  # folders, kinds, pictures and masks, lists
    assert (elsewhere / "mine.txt").read_text() == "kept"


def test_a_data_root_that_cannot_be_made_is_the_users_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--data-root"):
        draw_toy_dataset(tmp_path / "file" / "datasets")
