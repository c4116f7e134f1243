"""`prepare.py check`: counts and problems."""

import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from datasets.checking import fingerprints
from tests.helpers.archives import make_archive, one_error, run, teach_members
from tests.helpers.own_images import draw
from utils.base.files import TableReader
from utils.data.catalog import CHARACTERS, DATASETS
from utils.data.lists import Example, read_examples, write_examples


@pytest.fixture
def characters(tmp_path):
    """chinese_chars below tmp_path/root: 7 training images and 2 test images."""
    archive = make_archive(tmp_path / "teach.zip", teach_members(3))
    assert run("chinese_chars", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 0
    return tmp_path / "root"


def listed(root: Path, split: str) -> tuple[Path, list[Example], list[Path]]:
    """A list, its rows, and the files of its images."""
    path = DATASETS["chinese_chars"].list_path(root, split)
    rows = read_examples(path, 3)
    return path, rows, [root / row.path.removeprefix("./datasets/") for row in rows]


def checked(capsys, root: Path) -> tuple[int, list[str]]:
    """Exit status and output of `check chinese_chars`, from the line after the table on."""
    capsys.readouterr()
    return run("check", "chinese_chars", "--data-root", root), capsys.readouterr().out.splitlines()[7:]


def test_check_counts_and_accepts_a_sound_dataset(characters, capsys):
    path, rows, files = listed(characters, "train")
    (characters / "odd").mkdir()
    files[0].rename(characters / "odd/a.png")  # a folder that is not named after a class
    write_examples(path, [Example("./datasets/odd/a.png", rows[0].label, 0), *rows[1:]])
    capsys.readouterr()
    assert run("check", "chinese_chars", "--data-root", characters) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    labels = [[row.label for row in listed(characters, split)[1]] for split in ("train", "test")]
    assert table[1] == ["class", "ChineseChars_gt_tr", "ChineseChars_gt_te"]
    counts = [[name, *(str(column.count(label)) for column in labels)] for label, name in enumerate(CHARACTERS)]
    assert table[2:7] == [*counts, ["unknown", "0", "0"], ["total", "7", "2"]] and table[-1] == ["Problems:", "0"]


def test_check_finds_files_and_rows_that_cannot_be_used(characters, capsys):
    """Among them a name that leaves no room for the 36 bytes that explanations append."""
    path, rows, files = listed(characters, "train")
    wrong, long = (rows[2].label + 1) % 3, f"{'x' * 220}.png"
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:50])
    files[5].rename(files[5].with_name(long))
    rows[2] = Example(rows[2].path, wrong, rows[2].index)
    rows[5] = Example(f"{rows[5].path.rsplit('/', 1)[0]}/{long}", rows[5].label, rows[5].index)
    write_examples(path, [*rows, Example(rows[6].path, rows[6].label, 99)])
    status, lines = checked(capsys, characters)
    problems = [line for line in lines if line.startswith(f"{path}, line ")]
    assert status == 1 and lines[-1] == "Problems: 5" and len(problems) == 5
    assert problems[0].startswith(f"{path}, line 1: {rows[0].path} is missing")
    assert problems[1].startswith(f"{path}, line 2: {rows[1].path} cannot be decoded")
    assert problems[2] == f"{path}, line 3: {rows[2].path} is labeled {wrong} ({CHARACTERS[wrong]})."
    assert problems[3].startswith(f"{path}, line 6: ") and "long" in problems[3]
    assert problems[4] == f"{path}, line 8: {rows[6].path} is already listed on line 7."


def test_check_finds_test_images_in_training(characters, capsys):
    (path, rows, files), (test_path, test_rows, test_files) = listed(characters, "train"), listed(characters, "test")
    write_examples(path, [*rows, Example(test_rows[0].path, test_rows[0].label, 99)])
    Image.open(test_files[1]).save(files[3], compress_level=0)
    assert files[3].read_bytes() != test_files[1].read_bytes()
    status, lines = checked(capsys, characters)
    assert status == 1 and lines[-3:] == [
        f"{test_path}, line 1: {test_rows[0].path} has the same path as {test_rows[0].path} in {path}.",
        f"{test_path}, line 2: {test_rows[1].path} has the same pixels as {rows[3].path} in {path}.",
        "Problems: 2",
    ]


def test_check_names_classes_without_images(characters, capsys):
    train, rows, _ = listed(characters, "train")
    test, tested, _ = listed(characters, "test")
    untested = [name for label, name in enumerate(CHARACTERS) if label not in {row.label for row in tested}]
    status, lines = checked(capsys, characters)
    assert len(untested) == 1 and status == 0 and lines[0].startswith(f"No test image of {untested[0]}.")
    write_examples(test, [Example(row.path, -1, row.index) for row in tested])  # may be of any class
    assert checked(capsys, characters) == (0, ["Problems: 0"])
    write_examples(train, [row for row in rows if row.label == 1])
    status, lines = checked(capsys, characters)
    assert status == 1 and lines[0].startswith(f"{train} has no image of grass, stem.") and lines[1] == "Problems: 1"


def test_images_of_different_sizes_are_not_the_same(tmp_path):
    for name, size in {"wide.png": (8, 2), "high.png": (2, 8)}.items():
        Image.new("RGB", size, "red").save(tmp_path / name)
    (_, wide), (_, high) = fingerprints([tmp_path / "wide.png", tmp_path / "high.png"])
    assert wide != high


def test_remarks_on_what_looks_like_a_mistake(tmp_path, capsys):
    """Of a new dataset, and the same again by `check`."""
    folder, size = tmp_path / "pictures", (20, 18)
    names = ("Red Admiral", "red-admiral", "1", "1.0", "NA", "Gulls/Herring", "Gulls/Common", "Last")
    for number, name in enumerate(names):
        for i in range(4):
            draw(folder / name / f"{chr(97 + i)}.png", 10 * number + i, size)
    assert run("folder", folder, "--name", "mine", "--data-root", tmp_path / "root") == 0
    remarks = [line for line in capsys.readouterr().out.splitlines() if ": " in line][1:-1]
    names = [re.split(r": |\. ", line)[1] for line in remarks]
    assert names == ["1 / 1.0, Red Admiral / red-admiral", "NA", "Gulls"]
    assert run("check", "mine", "--data-root", tmp_path / "root") == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [*remarks, "Problems: 0"]


def test_series_are_named_and_can_be_kept_together(tmp_path, capsys):
    for number in range(50):
        scene, frame = divmod(number, 5)
        draw(tmp_path / "traps" / "AB"[scene % 2] / f"cam_{scene:02d}_burst{frame}.png", number, (16, 16))
        draw(tmp_path / f"traps/C/IMG_{number:04d}.png", 900 + number, (16, 16))  # numbered like most files
    prepare = ("folder", tmp_path / "traps", "--name", "mine", "--data-root", tmp_path / "root", "--force")
    assert run(*prepare) == 0
    (remark,) = [line for line in capsys.readouterr().out.splitlines() if "Numbered series" in line]
    assert "A/cam_" in remark and "IMG" not in remark
    assert run(*prepare, "--group-by", remark.split("'")[1]) == 0 and "Numbered series" not in capsys.readouterr().out
    rows = TableReader((tmp_path / "root/mine/original_names.csv").read_text())
    lists = {(row["original"].rsplit("_", 1)[0], row["list"]) for row in rows}
    assert Counter(name for _, name in lists) == {"train": 9, "test": 2}  # a fifth of A's and B's; C is one series
    for wrong in ("(", "no such path"):
        assert run(*prepare, "--group-by", wrong) == 2 and "--group-by" in one_error(capsys)
