"""The toy dataset: counts and sizes, determinism, correct masks, no hint at the kind outside the marks."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from tests.helpers.runs import content_of
from utils.base.errors import InputError
from utils.data import toy_moths
from utils.data.catalog import MOTHS
from utils.data.lists import locate, read_examples
from utils.data.toy_moths import FOLDER, PER_CLASS, SIZE, Scene, draw_moth, draw_toy_dataset, render, sample_marks

LABELS = range(len(MOTHS))
FEW = dict(zip(PER_CLASS, (3, 3, 6), strict=True))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A data root with a smaller toy dataset: 12 moths per class."""
    root = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy_moths, "PER_CLASS", FEW)
        draw_toy_dataset(root, seed=3)
    return root


def pictures(root):
    return sorted((root / FOLDER / "images").rglob("*.png"))


def test_lists_contain_150_150_and_250_shuffled_moths():
    roles = toy_moths._roles(0)
    counts = {name: [roles.count((name, label)) for label in LABELS] for name in PER_CLASS}
    assert counts == {"toy_gt_tr": [30] * 5, "toy_gt_te": [30] * 5, "toy_gt_rest_tr": [50] * 5}
    means = [np.mean([number for number, role in enumerate(roles) if role[0] == name]) for name in PER_CLASS]
    assert np.ptp(means) < 60  # in 0 .. 549; lists one after another would differ by 350
    assert roles != toy_moths._roles(1)


def test_lists_name_every_picture_once_with_its_label(drawn):
    names = []
    for name, count in FEW.items():
        rows = read_examples(drawn / FOLDER / f"{name}.txt", len(MOTHS))
        assert np.bincount([row.label for row in rows]).tolist() == [count] * 5
        assert [row.index for row in rows] == list(range(5 * count))
        assert all(row.path.startswith(f"./datasets/toy/images/{MOTHS[row.label]}/moth") for row in rows)
        names += [locate(row.path, drawn) for row in rows]
    assert sorted(names) == list(map(str, pictures(drawn)))


def test_files_are_128_pixel_rgb_pictures_with_binary_masks(drawn):
    for path in pictures(drawn):
        with Image.open(path) as picture, Image.open(drawn / FOLDER / "parts" / path.parent.name / path.name) as mask:
            assert (picture.size, picture.mode) == ((128, 128), "RGB")
            assert (mask.size, mask.mode) == ((128, 128), "L")
            assert set(np.unique(mask)) == {0, 255}


def test_the_seed_determines_every_byte(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(toy_moths, "PER_CLASS", FEW)
    draw_toy_dataset(tmp_path / "again", seed=3, workers=2)
    draw_toy_dataset(tmp_path / "other", seed=4)
    assert content_of(drawn) == content_of(tmp_path / "again")
    assert not set(content_of(drawn).values()) & set(content_of(tmp_path / "other").values())


@pytest.mark.parametrize("label", LABELS)
def test_masks_are_small_and_inside_the_picture(label):
    for number in range(25):
        mask = draw_moth(0, number, label)[1] > 0
        assert 0.004 < mask.mean() < 0.09
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
        assert mask[:, : SIZE // 2].any() and mask[:, SIZE // 2 :].any()  # marks on both sides of the moth


@pytest.mark.parametrize("label", LABELS)
def test_masks_contain_all_visible_differences_from_a_moth_without_marks(label):
    for number in range(12):
        scene = Scene(np.random.default_rng(number))
        scene.blur = 0.0
        marks = sample_marks(0, number, label)
        (marked, mask), (plain, nothing) = render(scene, marks), render(scene, ())
        changed = (marked != plain).any(axis=-1)
        wider = binary_dilation(mask > 0, np.ones((3, 3)))  # by a pixel, for the antialiased edge
        assert not nothing.any() and not (changed & ~wider).any()
        assert changed[mask > 0].mean() > 0.98
        assert np.abs(marked.astype(int) - plain).max(axis=-1)[mask > 0].mean() > 25  # of 255


def test_the_scene_does_not_depend_on_the_kind():
    plain = [draw_moth(0, 7, label) for label in LABELS]
    marked = np.any([mask > 0 for _, mask in plain], axis=0)
    untouched = ~binary_dilation(marked, iterations=5)  # beyond the reach of the blur
    assert untouched.mean() > 0.6
    for picture, _ in plain[1:]:
        assert (picture[untouched] == plain[0][0][untouched]).all()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("No space left on device")])
def test_an_interrupted_drawing_changes_nothing(tmp_path, monkeypatch, error):
    def draw(seed, number, label):
        if number == 4:
            raise error
        return draw_moth(seed, number, label)

    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "mine.txt").write_text("kept")
    monkeypatch.setattr(toy_moths, "draw_moth", draw)
    with pytest.raises(type(error)):
        draw_toy_dataset(tmp_path, force=True)
    with pytest.raises(InputError, match="--force"):
        draw_toy_dataset(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == [FOLDER, "mine.txt"]
