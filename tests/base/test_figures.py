"""Confusion matrices of few and many classes, their tables, pages of pictures, fonts."""

import csv
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

from tests.helpers.runs import REPOSITORY
from utils.base import figures


@pytest.fixture
def kept(monkeypatch):
    """Figures in the order of saving."""
    drawn, save = [], figures.save
    monkeypatch.setattr(figures, "save", lambda path, figure: (drawn.append(figure), save(path, figure)))
    return drawn


def matrix(path, num_classes, name="class {}", title="title"):
    counts, classes = 3 * np.eye(num_classes, dtype=int), [name.format(c) for c in range(num_classes)]
    figures.confusion_matrix(path, counts, classes, title)
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def test_a_confusion_matrix_grows_with_up_to_twenty_classes(tmp_path, kept):
    shapes = {count: matrix(tmp_path / "c.png", count).shape[:2] for count in (2, 20, 21, 200)}
    assert shapes == {2: (384, 456), 20: (1896, 2184), 21: (1896, 2184), 200: (1896, 2184)}
    two, twenty, more, many = (figure.axes[0] for figure in kept)
    assert [text.get_text() for text in two.texts] == ["3", "0", "0", "3"] and len(twenty.texts) == 400
    assert len(more.texts) == len(many.texts) == 0
    assert [label.get_text() for label in more.get_yticklabels()] == [f"class {c}" for c in range(21)]
    assert [label.get_text() for label in many.get_xticklabels()] == [f"class {c}" for c in range(0, 200, 2)]


def test_long_names_and_titles(tmp_path, kept):
    matrix(tmp_path / "c.png", 2, "x" * 200 + "{}", "answers after the lessons: 78.2 % correct")
    assert [label.get_text() for label in kept[0].axes[0].get_xticklabels()] == ["x" * 31 + "…"] * 2
    kept[0].draw_without_rendering()
    title = kept[0].axes[0].title.get_window_extent()
    assert title.x0 >= 0 and title.x1 <= kept[0].bbox.x1


def test_figures_do_not_depend_on_the_settings_of_the_user(tmp_path):
    draw = "from utils.base import figures\nfrom utils.running.launch import command\n"
    draw += "with command('c'): figures.curves(sys.argv[1], {'a': [0, 1], 'b': [1, 0]}, [1, 2], 'x', 'y', 0.5)"
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 30\nsavefig.bbox: tight\naxes.hold: 1\n")
    for name, changes in {"plain": {}, "user": {"MPLBACKEND": "nobody's", "MPLCONFIGDIR": str(tmp_path)}}.items():
        command = [sys.executable, "-c", f"import sys\n{draw}", str(tmp_path / f"{name}.png")]
        done = subprocess.run(command, cwd=REPOSITORY, env=os.environ | changes, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "user.png").read_bytes()


def test_confusions_by_hand(tmp_path):
    counts = np.array([[7, 2, 0, 1], [2, 1, 0, 0], [0, 0, 5, 0], [0, 0, 0, 0]])
    figures.confusion_matrix(tmp_path / "x_confusion.png", counts, ["a, b", "c", "d", "e"], "title")
    with open(tmp_path / "x_confusion.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["truth", "answer", "count", "percent"],
            ["c", "a, b", "2", "66.67"],  # of 3
            ["a, b", "c", "2", "20.0"],  # of 10
            ["a, b", "e", "1", "10.0"],
        ]


def test_a_page_of_pictures(tmp_path, kept):
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 8)
    long = "why not a bird of the longest name of all birds that have names"
    rows = [[(red, long)] * 3, [(torch.eye(4), f"a map\nof two {'long ' * 10}lines"), None, (red, "$x$")]]
    figures.tiles(tmp_path / "t.png", rows)
    titles = kept[0].texts
    expected = ["why not a bird of the\nlongest name of all …"] * 3 + ["a map\nof two long long long l…", "$x$"]
    assert [title.get_text() for title in titles] == expected
    assert len(kept[0].images) == 5
    page = np.array(Image.open(tmp_path / "t.png").convert("RGB"))
    assert page.shape == (466, 544, 3)
    assert ((page == (255, 0, 0)).all(2)).sum() == 4 * 168 * 168  # pictures lie on whole pixels, unblended
    yellow, purple = (np.array(colormaps["viridis"](end, bytes=True)[:3]) for end in (1.0, 0.0))
    tile = page[288 : 288 + 168, 10 : 10 + 168]  # the map, four cells of 42 pixels along each side
    assert (tile[:42, :42] == yellow).all() and (tile[-42:, :42] == purple).all()
    boxes = [title.get_window_extent() for title in titles[:3]]
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))  # titles do not overlap


def test_names_without_glyphs_become_numbers(tmp_path):
    names = ["Möwe", "Чайка", "\U00100e01"]  # the last is in no font
    with pytest.warns(
        UserWarning, match=r"No installed font can draw some.*: \U00100e01 \(class 2\)\. Install"
    ) as caught:
        assert figures.drawable(names) == ["Möwe", "Чайка", "class 2"]
        figures.confusion_matrix(tmp_path / "c.png", np.eye(3, dtype=int), names, "title")
    assert len(caught) == 2  # and none of matplotlib's about glyphs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figures.drawable(["Möwe", "Чайка"]) == ["Möwe", "Чайка"]
        figures.confusion_matrix(tmp_path / "c.png", np.eye(2, dtype=int), ["$\\frac$", "$x"], "not a formula")
