"""`prepare.py check`: what it counts and what it finds."""

import hashlib
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from datasets.images import inspect_image
from PIL import Image

from datasets import images
from tests.helpers.archives import make_zip, run, teach_members
from utils.data.catalog import CHARACTERS, DATASETS
from utils.data.lists import Example, read_examples, write_examples


@pytest.fixture
def characters(tmp_path):
    """chinese_chars in place under tmp_path/root: 2 test images, 7 training images."""
    archive = make_zip(tmp_path / "teach.zip", teach_members(3))
    assert run("chinese_chars", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 0
    return tmp_path / "root"


def listed(root: Path, split: str) -> tuple[Path, list[Example], list[Path]]:
    """The list of a split, its rows, and where their images are."""
    path = DATASETS["chinese_chars"].list_path(root, split)
    rows = read_examples(path, 3)
    return path, rows, [root / row.path.removeprefix("./datasets/") for row in rows]


def checked(capsys, root: Path) -> tuple[int, list[str]]:
    """The exit status and the lines of `check chinese_chars`."""
    capsys.readouterr()
    return run("check", "chinese_chars", "--data-root", root), capsys.readouterr().out.splitlines()


def test_check_counts_and_passes_what_is_sound(characters, capsys):
    status, lines = checked(capsys, characters)
    counts = [Counter(row.label for row in listed(characters, split)[1]) for split in ("train", "test")]
    assert status == 0 and lines[-1].startswith("No problems")
    assert lines[1].split() == ["list", *CHARACTERS, "total"]
    assert lines[2].split() == ["ChineseChars_gt_tr", *(str(counts[0][label]) for label in range(3)), "7"]
    assert lines[3].split() == ["ChineseChars_gt_te", *(str(counts[1][label]) for label in range(3)), "2"]


@pytest.mark.parametrize("fault", ["is missing", "is empty", "does not decode"])
def test_check_finds_files_that_cannot_be_used(characters, capsys, fault):
    path, rows, files = listed(characters, "train")
    files[4].unlink() if fault == "is missing" else files[4].write_bytes(
        b"" if fault == "is empty" else files[4].read_bytes()[:50]
    )
    status, lines = checked(capsys, characters)
    assert status == 1 and lines[-1] == "1 problem." and lines[-2].startswith(f"{path}, line 5: {rows[4].path} {fault}")


def test_check_says_what_to_do_about_a_picture_that_is_whole(characters, capsys):
    path, rows, files = listed(characters, "train")
    Image.new("F", (2, 2), -3).save(files[1], format="TIFF")
    status, lines = checked(capsys, characters)
    assert status == 1 and lines[-1] == "1 problem."
    assert lines[-2].startswith(f"{path}, line 2: {rows[1].path} does not decode (its greys lie between -3 and -3, ")
    assert lines[-2].endswith("); save it with 8 or 16 bits per pixel.")


def test_check_finds_a_wrong_label(characters, capsys):
    path, rows, _ = listed(characters, "train")
    wrong = (rows[2].label + 1) % 3
    write_examples(path, [*rows[:2], Example(rows[2].path, wrong, rows[2].index), *rows[3:]])
    status, lines = checked(capsys, characters)
    assert status == 1 and lines[-2:] == [
        f"{path}, line 3: {rows[2].path} is labelled {wrong} ({CHARACTERS[wrong]}).",
        "1 problem.",
    ]


def test_check_leaves_folders_that_are_not_named_like_classes_alone(characters, capsys):
    path, rows, files = listed(characters, "train")
    (characters / "odd").mkdir()
    files[0].rename(characters / "odd/a.png")
    write_examples(path, [Example("./datasets/odd/a.png", rows[0].label, 0), *rows[1:]])
    assert checked(capsys, characters)[0] == 0


@pytest.mark.parametrize("kind", ["path", "content", "pixels"])
def test_check_finds_test_images_in_training(characters, capsys, kind):
    (path, rows, files), (test_path, test_rows, test_files) = listed(characters, "train"), listed(characters, "test")
    if kind == "path":
        write_examples(path, [*rows, Example(test_rows[1].path, test_rows[1].label, 99)])
        twin = test_rows[1].path
    else:
        twin = rows[3].path
        files[3].write_bytes(test_files[1].read_bytes())
        if kind == "pixels":
            Image.open(test_files[1]).save(files[3], compress_level=0)
            assert files[3].read_bytes() != test_files[1].read_bytes()
    status, lines = checked(capsys, characters)
    expected = f"{test_path}, line 2: {test_rows[1].path} has the same {kind} as the training image {twin}."
    assert status == 1 and lines[-2:] == [expected, "1 problem."]


@pytest.mark.parametrize(("processors", "threads"), [(3, 3), (64, 8)])
def test_as_many_threads_decode_as_this_process_may_use(tmp_path, monkeypatch, processors, threads):
    """However many processors the machine has."""
    asked = []
    monkeypatch.setattr(images, "processors", lambda: processors)
    monkeypatch.setattr(images, "ThreadPoolExecutor", lambda number: asked.append(number) or ThreadPoolExecutor(number))
    assert [one.problem for one in images.inspections([tmp_path / "none.png"])] == ["is missing"] and asked == [threads]


def test_pictures_of_other_sizes_are_no_duplicates(tmp_path):
    for name, size in {"wide.png": (8, 2), "high.png": (2, 8)}.items():
        Image.new("RGB", size, "red").save(tmp_path / name)
    assert inspect_image(tmp_path / "wide.png").pixels != inspect_image(tmp_path / "high.png").pixels


def test_a_file_of_any_length_takes_no_more_memory_than_its_picture(tmp_path):
    """A small TIFF with much behind it. The hashes are those of the whole file and of size and values."""
    picture = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    path = tmp_path / "long.tif"
    Image.fromarray(picture).save(path, compression="tiff_lzw")
    content = path.read_bytes() + bytes(16 << 20)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        found = inspect_image(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.problem == "" and found.content == hashlib.sha256(content).hexdigest()
    assert found.pixels == hashlib.sha256(b"(4, 3)" + picture.tobytes()).hexdigest()
    assert peak < 4 << 20


@pytest.mark.parametrize("place", ["read_picture", "file_digest"])
def test_too_little_memory_is_told_of_the_file(tmp_path, monkeypatch, place):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(images, place, full)
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    found = inspect_image(tmp_path / "a.png")
    assert (found.problem, found.remedy) == (
        "does not decode (it does not fit into the memory that is free)",
        "reduce it",
    )


def test_check_says_where_a_broken_link_leads(characters, capsys):
    path, rows, files = listed(characters, "train")
    files[2].rename(characters / "moved.png")
    files[2].symlink_to(characters / "gone.png")
    status, lines = checked(capsys, characters)
    said = f"is a link to {characters / 'gone.png'}, which is missing (moved, or not mounted here); restore that, or make the link anew."
    assert status == 1 and lines[-2:] == [f"{path}, line 3: {rows[2].path} {said}", "1 problem."]


def test_check_finds_an_image_listed_twice(characters, capsys):
    path, rows, _ = listed(characters, "train")
    write_examples(path, [*rows, Example(rows[0].path, rows[0].label, 99)])
    status, lines = checked(capsys, characters)
    assert status == 1 and lines[-2:] == [f"{path}, line 8: {rows[0].path} is listed in line 1 already.", "1 problem."]


def test_check_finds_names_that_leave_no_room_for_explanations(characters, capsys):
    """`_groundtruth_<a>_counter_<b>_index_5.png` takes 36 bytes of 255. The test list is not explained."""
    for split, line, status in (("test", 1, 0), ("train", 6, 1)):
        path, rows, files = listed(characters, split)
        row = rows[line - 1]
        long = f"{'x' * 220}.png"
        files[line - 1].rename(files[line - 1].with_name(long))
        rows[line - 1] = Example(f"{row.path.rsplit('/', 1)[0]}/{long}", row.label, row.index)
        write_examples(path, rows)
        found, lines = checked(capsys, characters)
        assert found == status
    assert lines[-2].startswith(f"{path}, line 6: ") and lines[-2].endswith("shorten the image's name by 1.")


def test_check_names_an_index_that_stands_twice(characters, capsys):
    path, rows, _ = listed(characters, "train")
    write_examples(path, [*rows[:6], Example(rows[6].path, rows[6].label, rows[1].index)])
    capsys.readouterr()
    assert run("check", "chinese_chars", "--data-root", characters) == 2
    assert f"{path}, line 7: index {rows[1].index} stands on line 2 already" in capsys.readouterr().err


def test_check_shows_the_first_of_many_problems(characters, capsys):
    path, rows, _ = listed(characters, "train")
    write_examples(path, [Example(f"./datasets/chinese_chars/images/stem/{i}.png", 2, i) for i in range(25)])
    status, lines = checked(capsys, characters)
    assert status == 1 and lines[-2:] == ["... and 6 more", "26 problems."] and len(lines) == 4 + 1 + 20 + 2


def test_check_names_classes_of_which_a_list_has_no_image(characters, capsys):
    train, rows, _ = listed(characters, "train")
    test, tested, _ = listed(characters, "test")
    untested = [name for label, name in enumerate(CHARACTERS) if label not in {row.label for row in tested}]
    status, lines = checked(capsys, characters)
    remark = f"{test} has no image of {untested[0]}: test accuracies say nothing of what is not there; add some."
    assert len(untested) == 1 and status == 0 and lines[4] == remark and lines[5].startswith("No problems")
    write_examples(test, [Example(row.path, -1, row.index) for row in tested])  # which may be of any class
    status, lines = checked(capsys, characters)
    assert status == 0 and lines[4].startswith("No problems")
    write_examples(train, [row for row in rows if row.label == 1])
    status, lines = checked(capsys, characters)
    problem = f"{train} has no image of grass, stem; a classifier cannot learn what it never sees: add some."
    assert status == 1 and lines[4:] == [problem, "1 problem."]
