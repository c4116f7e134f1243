"""The pool of a course: masks on the grid of a network, explanations of the right images; course files."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from utils.base.errors import InputError
from utils.data.images import to_tensor, whole_view
from utils.data.lists import Example, Explanation, write_explanations
from utils.data.loading import ImageSet
from utils.data.outputs import Layout, faithfulness_of
from utils.explanations.faithfulness import trusted, write_faithfulness
from utils.teaching.course import CourseFiles, people_rows, read_course
from utils.teaching.loop import Lesson
from utils.teaching.pool import Pool, match_explanations
from utils.teaching.selector import Choice

SIZE = 64


@pytest.fixture
def pool(tmp_path):
    """Two images. The mask of the first is its top left 16 x 16 pixels and its right half; the second's is empty."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    mask[:16, :16] = mask[:, 32:] = 255
    rows, explanations = [], []
    for label, pixels in enumerate((mask, torch.zeros_like(mask))):
        name = f"{label}_groundtruth_{label}_counter_{1 - label}_index_{label}.png"
        for folder, file in (("images", f"{label}.png"), ("x_img/0.05", name), ("x_mask/0.05", name)):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(tmp_path / folder / file)
        rows.append(Example(str(tmp_path / f"images/{label}.png"), label, label))
        explanations.append(Explanation(str(tmp_path / "x_img/0.05" / name), label, 1 - label, label))
    write_explanations(tmp_path / "CE.txt", explanations)
    images = ImageSet(rows, "list.txt", tmp_path, partial(whole_view, size=SIZE), ram_budget=1)
    return Pool(images, str(tmp_path / "CE.txt"), 2, "attention", SIZE)


def test_masks_are_averaged_down_to_the_grid(pool):
    assert pool.weights(0, 2).tolist() == [[0.25, 1], [0, 1]]
    assert pool.weights(0, 4).tolist() == [[1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert torch.equal(pool.image_weights(0, 2), torch.stack([torch.ones(2, 2), pool.weights(0, 2)]))


def test_the_most_faithful_explanations_are_outlined(tmp_path):
    """By hand. Equal values are outlined together. Without the file, all are."""
    rows = [Explanation(f"./d/x_img/0.05/{number}.png", 0, 1, number) for number in range(8)]
    ce_list, measured = tmp_path / "CE.txt", torch.tensor([0.5, -1, 0.4, 2, 0.4, 0.1, 0.4])[:, None].expand(7, 3)
    assert trusted(ce_list, 0.75, rows) == ({}, "All explanations are outlined.")
    write_faithfulness(faithfulness_of(ce_list), rows[:7], measured)
    for share, least, expected in ((0.8, "0.100", [0, 2, 3, 4, 5, 6]), (0.5, "0.400", [0, 2, 3, 4, 6]), (0, "inf", [])):
        outlined, sentence = trusted(ce_list, share, rows[:7])
        assert [number for number in range(7) if outlined[f"{number}.png"]] == expected
        assert sentence == f"Outlined: explanations of faithfulness {least} or more ({100 * share:.0f} % of {ce_list})."
    with pytest.raises(InputError, match=r"CE_faithfulness.csv does not fit \S+CE.txt. Explain the list again"):
        trusted(ce_list, 0.75, rows)


@pytest.mark.parametrize("outlined", [(True, True), (True, False), (False, True), (False, False)])
def test_the_course_sheet_shows_the_others_plain(pool, tmp_path, outlined):
    pool.outlined = torch.tensor(outlined)
    cfg = SimpleNamespace(ce_list=str(tmp_path / "CE.txt"), data_root=tmp_path, image_size=SIZE)
    files = CourseFiles(SimpleNamespace(classes="ab"), Layout(tmp_path), pool, True, cfg)
    shown = files._panels(Lesson(0, Choice(0, 1, 1, {1: 1}, None), 0, 0), "ab")[1::2]
    plain = "look for what the other picture has" if any(outlined) else None
    titles = ["why not b" if outlined[0] else plain, "why not a" if outlined[1] else plain]
    assert [tile and tile[1] for tile in shown] == titles


def test_an_empty_mask_is_refused(pool):
    with pytest.raises(InputError, match=r"CE\.txt, line 2: the mask \S+x_mask/0\.05/1_\S+ is empty"):
        pool.weights(1, 2)


def test_explanations_of_other_images_are_refused(tmp_path):
    """A new version of a list may number other images: index 0 was image x, and now it is y."""
    for name in ("y.jpg", "z.png"):
        (tmp_path / name).write_bytes(b"not decoded")
    listed = [Example("./datasets/y.jpg", 0, 0), Example("./datasets/z.png", 1, 1)]
    now = ImageSet(listed, "d_gt_tr.txt", tmp_path, to_tensor)

    def rows(first, second="z_groundtruth_1_counter_0_index_1.png", index=0, label=0):
        return [Explanation(first, label, 1, index), Explanation(f"./d/x_img/0.05/{second}", 1, 0, 1)]

    name = "y_groundtruth_0_counter_1_index_0.png"
    for folder in ("/elsewhere/", "./", "", "../a b/0.05/"):  # the folder does not matter
        assert match_explanations(now, rows(folder + name), "CE.txt", 2).tolist() == [[-1, 0], [1, -1]]
    for wrong in (rows("./d/x_groundtruth_0_counter_1_index_0.png"), rows(name, index=7), rows(name, label=1)):
        with pytest.raises(InputError, match=r"CE.txt, line 1: \S+ is not an explanation of an image of d_gt_tr.txt"):
            match_explanations(now, wrong, "CE.txt", 2)
    with pytest.raises(InputError, match="CE.txt has 0 explanations of ./datasets/z.png, but 1 of other images"):
        match_explanations(now, rows(name)[:1], "CE.txt", 2)


def test_pictures_for_people_of_other_images_are_refused(tmp_path):
    listed = {name: [Explanation(f"./{name}_groundtruth_0_counter_1_index_0.png", 0, 1, 0)] for name in "xy"}
    write_explanations(tmp_path / "CE_HTML.txt", listed["x"])
    assert people_rows(str(tmp_path / "CE.txt"), listed["x"], 2) == listed["x"]
    with pytest.raises(InputError, match=r"CE_HTML\.txt and .*CE\.txt list different explanations"):
        people_rows(str(tmp_path / "CE.txt"), listed["y"], 2)


def test_a_file_that_is_not_a_course_is_refused(tmp_path):
    path, dataset = tmp_path / "course_random.json", SimpleNamespace(name="d", classes=("a", "b"))
    with pytest.raises(InputError, match="not found. Run the teaching script"):
        read_course(path, dataset)
    course = {"dataset": "d", "classes": ["a", "b"], "lessons": [{"image": "x.png"}]}
    path.write_text(json.dumps(course))
    assert read_course(path, dataset) == course
    for text in ("", "[]", "{}", json.dumps(course | {"lessons": []})):
        path.write_text(text)
        with pytest.raises(InputError, match="is not a course file"):
            read_course(path, dataset)
    path.write_text(json.dumps(course | {"dataset": "e"}))
    with pytest.raises(InputError, match="is a course of e, not of d"):
        read_course(path, dataset)
