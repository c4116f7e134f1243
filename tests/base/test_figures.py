"""Figures of two classes and of two hundred: their sizes, what stands in them, and the tables beside them."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from utils.base import figures
from utils.base.figures import GAP, HEADLINE, SIDE, fitted
from utils.teaching.course import draw_course

DARKEST, LIGHTEST = (8, 48, 107), (247, 251, 255)  # of matplotlib's "Blues"


@pytest.fixture
def kept(monkeypatch):
    """The figures that are saved, as matplotlib has them; they are written too."""
    drawn, save = [], figures.save
    monkeypatch.setattr(figures, "save", lambda path, figure: (drawn.append(figure), save(path, figure)))
    return drawn


def matrix(path, num_classes, name="class {}"):
    figures.confusion_matrix(
        path, 3 * np.eye(num_classes, dtype=int), [name.format(c) for c in range(num_classes)], "title"
    )
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def test_a_confusion_matrix_grows_with_its_classes_up_to_twenty(tmp_path, kept):
    shapes = {count: matrix(tmp_path / "c.png", count).shape[:2] for count in (2, 20, 21, 200)}
    assert shapes == {2: (384, 456), 20: (1896, 2184), 21: (1896, 2184), 200: (1896, 2184)}
    two, twenty, more, many = (figure.axes[0] for figure in kept)
    assert [text.get_text() for text in two.texts] == ["3", "0", "0", "3"] and len(twenty.texts) == 400
    assert len(more.texts) == len(many.texts) == 0
    assert [label.get_text() for label in more.get_yticklabels()] == [f"class {c}" for c in range(21)]
    for labels in (many.get_xticklabels(), many.get_yticklabels()):
        assert [label.get_text() for label in labels] == [f"class {c}" for c in range(0, 200, 2)]


def test_cells_of_a_large_matrix_have_the_colour_of_their_share(tmp_path, kept):
    page = matrix(tmp_path / "c.png", 100)
    box = kept[0].axes[0].get_window_extent()  # from below
    cells = page[
        len(page) - round(box.y1 * 1.2) : len(page) - round(box.y0 * 1.2), round(box.x0 * 1.2) : round(box.x1 * 1.2)
    ]
    dark, light = ((cells == colour).all(2).mean() for colour in (DARKEST, LIGHTEST))
    assert dark == pytest.approx(0.01, rel=0.3) and light == pytest.approx(0.99, rel=0.02)


def test_names_at_a_matrix_are_cut_off(tmp_path, kept):
    matrix(tmp_path / "c.png", 2, "x" * 200 + "{}")
    assert [label.get_text() for label in kept[0].axes[0].get_xticklabels()] == ["x" * 31 + "…"] * 2


def test_a_title_that_is_wider_than_two_classes_is_broken(tmp_path, kept):
    figures.confusion_matrix(
        tmp_path / "c.png",
        np.eye(2, dtype=int),
        ["Glaucous-winged", "Ring-billed"],
        "answers after the lessons: 78.2 % right",
    )
    kept[0].draw_without_rendering()
    title = kept[0].axes[0].title.get_window_extent()
    assert title.x0 >= 0 and title.x1 <= kept[0].bbox.x1 and title.y1 <= kept[0].bbox.y1


def test_the_table_beside_a_matrix_names_confusions_by_hand(tmp_path):
    counts = np.array([[7, 2, 0, 1], [2, 1, 0, 0], [0, 0, 5, 0], [0, 0, 0, 0]])
    figures.confusion_matrix(tmp_path / "x_confusion.png", counts, ["a, b", "c", "d", "e"], "title")
    with open(tmp_path / "x_confusion.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["truth", "answer", "count", "percent"],
            ["c", "a, b", "2", "66.67"],  # of 3
            ["a, b", "c", "2", "20.0"],  # of 10
            ["a, b", "e", "1", "10.0"],
        ]
    figures.confusion_matrix(tmp_path / "x_confusion.png", np.eye(4, dtype=int), ["a", "b", "c", "d"], "title")
    assert (tmp_path / "x_confusion.csv").read_text() == "truth,answer,count,percent\n"


def test_titles_fit_their_room():
    assert fitted("lesson 3: Queen", 15, len) == "lesson 3: Queen"
    assert fitted("lesson 3: Queens", 15, len) == "lesson 3:\nQueens"
    assert fitted("why not Glaucous-winged Gull", 15, len) == "why not\nGlaucous-winge…"
    assert fitted("a = Glaucous-winged\nb = x", 15, len) == "a = Glaucous-w…\nb = x"
    assert fitted("x" * 99, 15, len) == "x" * 14 + "…"


def test_titles_of_neighbours_do_not_run_into_each_other(tmp_path):
    """A column of pixels between two pictures stays white in the height of the titles, as no title crosses it."""
    picture = torch.zeros(3, 8, 8, dtype=torch.uint8)
    figures.tiles(
        tmp_path / "t.png", [[(picture, "why not a bird of the longest name of all birds that have names")] * 3]
    )
    page = np.array(Image.open(tmp_path / "t.png").convert("L"))
    for column in (1, 2):
        middle = GAP + column * (SIDE + GAP) - GAP // 2
        assert (page[:HEADLINE, middle] == 255).all()
    assert (page[: HEADLINE - GAP, : SIDE + GAP] < 128).any()


def test_a_lesson_without_explanations_leaves_their_places_empty(tmp_path):
    red, green = (
        torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 8) for colour in ((255, 0, 0), (0, 255, 0))
    )
    whole, bare = [(red, "a"), (green, "b"), (red, "c"), (green, "d")], [(red, "a"), (red, "b")]
    draw_course(tmp_path / "course.png", [whole, bare, bare])
    page = np.array(Image.open(tmp_path / "course.png").convert("RGB"))
    middles = [GAP + SIDE // 2 + column * (SIDE + GAP) for column in range(8)]
    seen = [
        [tuple(page[HEADLINE + SIDE // 2 + row * (SIDE + HEADLINE), x].tolist()) for x in middles] for row in range(2)
    ]
    names = {(255, 0, 0): "r", (0, 255, 0): "g", (255, 255, 255): "."}
    assert ["".join(names[colour] for colour in row) for row in seen] == ["rgrgr.r.", "r.r....."]
    draw_course(tmp_path / "course.png", [bare, bare])
    assert Image.open(tmp_path / "course.png").width == 4 * (SIDE + GAP) + GAP
