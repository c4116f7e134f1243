"""Parts of birds, on a made-up archive laid out as CUB-200-2011: two classes, three birds, three parts."""

import sys
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from utils.base.errors import InputError
from utils.data.lists import Example, write_examples
from utils.data.outputs import MASK, Layout, explanation_name
from utils.explanations import parts
from utils.explanations.parts import parts_inside, read_birds, telling_parts

TEXTS = {
    "images.txt": "1 059.A/A_1.jpg\n2 059.A/A_2.jpg\n3 060.B/B_1.jpg\n4 060.B/Other.jpg\n",
    "parts/parts.txt": "1 beak\n2 left wing\n3 tail\n",
    # image, part, x, y, visible
    "parts/part_locs.txt": "1 1 10.0 20.0 1\n1 2 50.0 60.0 1\n1 3 0.0 0.0 0\n2 1 99.9 0.0 1\n3 2 10.0 10.0 1\n4 1 1.0 1.0 1\n",
    "attributes/attributes.txt": "1 has_bill_shape::curved\n2 has_bill_shape::hooked\n3 has_wing_color::black\n4 has_wing_color::white\n"
    "5 has_upper_tail_color::black\n6 has_size::large\n",
    # image, attribute, present, certainty, seconds (some lines of the real file have a number more)
    "attributes/image_attribute_labels.txt": "1 1 1 4 2.5\n1 3 1 3 1.0\n1 5 1 3 1.0\n1 6 1 3 1.0\n2 1 1 4 0 2.5\n2 4 1 3 1\n"
    "3 2 1 3 1.0\n3 3 1 3 1\n3 5 1 4 1\n4 2 1 4 1\n",
}


@pytest.fixture
def archive(tmp_path):
    """The unpacked archive."""
    for name, text in TEXTS.items():
        file = tmp_path / "CUB_200_2011" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "CUB_200_2011"


def test_what_is_read_is_of_the_wanted_images_alone(archive, tmp_path):
    with tarfile.open(tmp_path / "cub.tgz", "w:gz") as tar:
        tar.add(archive, "CUB_200_2011")
    for source in (archive, tmp_path / "cub.tgz"):
        birds = read_birds(source, {"A_1.jpg", "B_1.jpg", "NAbird.jpg"})
        assert birds.names == ["beak", "left wing", "tail"] and set(birds.places) == set(birds.seen) == {
            "A_1.jpg",
            "B_1.jpg",
        }
        np.testing.assert_array_equal(birds.places["A_1.jpg"], [[10, 20], [50, 60], [np.nan, np.nan]])
        assert birds.seen["A_1.jpg"].tolist() == [True, False, True, False, True, True]
        assert birds.part_of.astype(int).tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0]]


def test_the_part_that_was_seen_otherwise_tells_two_classes_apart(archive):
    """The bill is curved in A and hooked in B; the wing is black or white in A and black in B; the tail is black in both."""
    rows = [Example("A_1.jpg", 0, 0), Example("A_2.jpg", 0, 1), Example("B_1.jpg", 1, 2), Example("unknown.jpg", 1, 3)]
    telling = telling_parts(read_birds(archive, {row.path for row in rows}), rows, 2)
    assert (
        telling[0, 1].tolist() == telling[1, 0].tolist() == [True, False, False] and not telling[[0, 1], [0, 1]].any()
    )


def test_parts_inside_by_hand():
    """An image of 100 x 50 pixels, masks of 10 x 10: x shrinks ten times, y five times."""
    masks = torch.zeros(2, 10, 10, dtype=torch.bool)
    masks[0, 4, 1] = True
    masks[1] = True
    places = np.array([[10.0, 20.0], [99.9, 49.9], [np.nan, np.nan]])
    assert parts_inside(masks, places, 100, 50).tolist() == [[True, False, False], [True, True, False]]


@pytest.fixture
def explained(tmp_path, monkeypatch):
    """Three pictures of 100 x 100 pixels explained: every mask is the left upper quarter."""
    dataset = SimpleNamespace(
        list_stem="birds_gt", classes=("A", "B"), list_path=lambda root, split: tmp_path / "birds_gt_tr.txt"
    )
    monkeypatch.setattr(parts, "find", lambda name, data_root: dataset)
    rows = [
        Example(str(tmp_path / name), label, at)
        for at, (name, label) in enumerate({"A_1.jpg": 0, "A_2.jpg": 0, "B_1.jpg": 1}.items())
    ]
    write_examples(tmp_path / "birds_gt_tr.txt", rows)
    folder = Layout(tmp_path / "out", "birds_gt").explanations(MASK, 0.05)
    folder.mkdir(parents=True)
    mask = np.zeros((50, 50), np.uint8)
    mask[:25, :25] = 255
    for row in rows:
        Image.new("RGB", (100, 100)).save(row.path)
        Image.fromarray(mask).save(folder / explanation_name(row.path, row.label, 1 - row.label, row.index))
    return tmp_path


def test_precision_and_recall_of_parts_by_hand(explained, archive, monkeypatch, capsys):
    """In the quarter lie A_1's beak, which tells A from B, and B_1's wing, which does not; A_2's beak lies outside."""
    monkeypatch.setattr(sys, "argv", ["parts", str(explained / "out"), "--archive", str(archive)])
    parts.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 of 3 images have parts, of which 1.0 on average tell two classes apart."
    assert lines[3].split() == ["explanation", "50.0", "%", "50.0", "%"]
    assert lines[4].startswith("  moved at random")


@pytest.mark.parametrize("name", ["parts/part_locs.txt", "attributes/attributes.txt"])
def test_another_archive_is_refused_in_one_sentence(explained, archive, name, monkeypatch, capsys):
    (archive / name).unlink()
    monkeypatch.setattr(sys, "argv", ["parts", str(explained / "out"), "--archive", str(archive)])
    with pytest.raises(SystemExit) as stop:
        parts.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"parts: error: --archive {archive} holds no {name.split('/')[1]}; give ")


def test_damaged_archives_are_refused(tmp_path, archive):
    (tmp_path / "broken.tgz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read"):
        read_birds(tmp_path / "broken.tgz", set())
    (archive / "parts/part_locs.txt").write_text("1 1 10\n")
    with pytest.raises(InputError, match="is not laid out as CUB_200_2011"):
        read_birds(archive, {"A_1.jpg"})
