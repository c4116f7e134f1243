"""Lists: the paper's as they are, and those that are drawn."""

from collections import Counter
from pathlib import Path

import pytest

from datasets.sources import SOURCES
from datasets.splits import Part, apportion, draw_lists
from tests.helpers.archives import (
    cub_members,
    make_tar,
    make_zip,
    nabirds_members,
    names,
    one_error,
    run,
    teach_members,
)
from utils.base.errors import InputError
from utils.data.catalog import BUTTERFLIES, CHARACTERS
from utils.data.lists import Example, read_examples, write_examples


def paper_lists(folder: Path, lists: dict[str, list[tuple[str, int]]]) -> Path:
    folder.mkdir(parents=True)
    for stem, rows in lists.items():
        write_examples(
            folder / f"{stem}.txt",
            [Example(f"./datasets/{path}", label, index) for index, (path, label) in enumerate(rows)],
        )
    return folder


CHARACTER_LISTS = {
    "ChineseChars_gt_tr": [("chinese_chars/images/stem/stem1.png", 2), ("chinese_chars/images/grass/grass0.png", 0)],
    "ChineseChars_gt_te": [("chinese_chars/images/mound/mound3.png", 1)],
}


@pytest.mark.parametrize("nested", ["", "chinese_chars"])
def test_lists_are_taken_from_a_folder_as_they_are(tmp_path, nested):
    lists = paper_lists(tmp_path / "lists" / nested, CHARACTER_LISTS)
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert (
        run("chinese_chars", "--archive", archive, "--lists", tmp_path / "lists", "--data-root", tmp_path / "root") == 0
    )
    for stem in CHARACTER_LISTS:
        assert (tmp_path / f"root/chinese_chars/{stem}.txt").read_bytes() == (lists / f"{stem}.txt").read_bytes()


@pytest.mark.parametrize("folder", ["", "/chinese_chars"])
def test_lists_are_downloaded(tmp_path, site, folder):
    lists = paper_lists(tmp_path / "lists", CHARACTER_LISTS)
    site.files = {f"/x{folder}/{stem}.txt": (lists / f"{stem}.txt").read_bytes() for stem in CHARACTER_LISTS}
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert (
        run("chinese_chars", "--archive", archive, "--lists-url", f"{site.url}/x", "--data-root", tmp_path / "root")
        == 0
    )
    assert (
        tmp_path / "root/chinese_chars/ChineseChars_gt_te.txt"
    ).read_text() == "./datasets/chinese_chars/images/mound/mound3.png 1 0\n"


def test_a_list_that_the_server_lacks_ends_the_run_before_the_archive_is_asked_for(tmp_path, site, capsys):
    arguments = ("--url", f"{site.url}/teach.zip", "--lists-url", f"{site.url}/x", "--data-root", tmp_path / "root")
    assert run("chinese_chars", *arguments) == 1
    assert "ChineseChars_gt_tr.txt" in one_error(capsys)
    assert [path for path, _ in site.requests] == [
        "/x/chinese_chars/ChineseChars_gt_tr.txt",
        "/x/ChineseChars_gt_tr.txt",
    ]


@pytest.mark.parametrize(
    "row, reason",
    [
        (("chinese_chars/images/stem/stem77.png", 2), "does not hold"),
        (("chinese_chars/images/stem/stem1.png", 1), "expected"),
        (("other/images/stem/stem1.png", 2), "expected"),
        (("chinese_chars/images/stem/../../../secret.png", 2), "expected"),
    ],
)
def test_a_listed_image_that_is_missing_or_foreign_is_named_by_line(tmp_path, capsys, row, reason):
    lists = {**CHARACTER_LISTS, "ChineseChars_gt_te": [*CHARACTER_LISTS["ChineseChars_gt_te"], row]}
    paper_lists(tmp_path / "lists", lists)
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert (
        run("chinese_chars", "--archive", archive, "--lists", tmp_path / "lists", "--data-root", tmp_path / "root") == 2
    )
    error = one_error(capsys)
    assert "ChineseChars_gt_te.txt, line 2: " in error and reason in error and names(tmp_path / "root") == []


def test_the_whole_gulls_list_is_checked_when_both_folders_are_there(tmp_path, capsys):
    gull = "images/WesternGull/Western_Gull_0000_510.jpg"
    lists = {
        "CUBgull_gt_tr": [(f"CUBgull/{gull}", 4)],
        "CUBgull_gt_te": [(f"CUBgull/{gull}".replace("0000_510", "0001_511"), 4)],
        "ALLgull_gt_tr": [(f"CUBgull/{gull}", 4), ("NAbirdsgull/images/WesternGull/none.jpg", 4)],
        "NAbirdsgull_gt_tr": [("NAbirdsgull/images/WesternGull/8230aa11223340.jpg", 4)],
    }
    shared = ("--lists", paper_lists(tmp_path / "lists", lists), "--data-root", tmp_path / "root")
    assert run("gull", "--archive", make_tar(tmp_path / "c.tgz", cub_members()), *shared) == 0
    capsys.readouterr()
    assert run("nabirds", "--archive", make_tar(tmp_path / "n.tar.gz", nabirds_members()), *shared) == 2
    assert "ALLgull_gt_tr.txt, line 2" in one_error(capsys)
    assert len(read_examples(tmp_path / "root/CUBgull/ALLgull_gt_tr.txt", 5)) == 2  # the paper's list is not replaced


def test_apportion_divides_by_largest_remainders():
    assert apportion(150, [60, 59, 60, 60, 60]) == [30, 30, 30, 30, 30]
    assert apportion(300, [386] * 5) == [60] * 5
    assert apportion(7, [1, 1, 5]) == [1, 1, 5] and apportion(3, [5, 5, 0]) == [2, 1, 0]


@pytest.mark.parametrize(
    "source, counts, expected",
    [
        (
            "butterflies",
            [386] * 5,
            {"butterflies_gt_tr": 1544, "butterflies_gt_te": 386, "butterflies_gt_s300_tr": 300},
        ),
        ("gull", [60, 59, 60, 60, 60], {"CUBgull_gt_tr": 150, "CUBgull_gt_te": 149}),
        ("chinese_chars", [237] * 3, {"ChineseChars_gt_tr": 568, "ChineseChars_gt_te": 143}),
        ("nabirds", [100, 90, 110, 240, 80], {"NAbirdsgull_gt_tr": 431}),
    ],
)
def test_drawn_lists_have_the_papers_sizes_and_the_classes_proportions(source, counts, expected):
    source = SOURCES[source]
    files = {name: [f"{i}.png" for i in range(count)] for name, count in zip(source.classes, counts, strict=True)}
    lists = draw_lists(source.folder, files, source.parts, seed=1)
    assert {stem: len(lists[stem]) for stem in expected} == expected
    for rows in lists.values():
        for label, count in enumerate(counts):
            assert abs(Counter(row.label for row in rows)[label] - len(rows) * count / sum(counts)) < 1.5
    drawn = [row.path for part in source.parts for row in lists[part.stem]]
    assert len(set(drawn)) == len(drawn) == sum(part.size for part in source.parts)
    labels = [row.label for row in lists[source.parts[0].stem]]
    assert labels != sorted(labels)


def test_the_first_300_butterflies_have_60_of_each():
    files = {name: [f"{i}.png" for i in range(386)] for name in BUTTERFLIES}
    lists = draw_lists("butterflies_crop", files, SOURCES["butterflies"].parts, seed=9)
    assert Counter(row.label for row in lists["butterflies_gt_tr"][:300]) == dict.fromkeys(range(5), 60)
    assert lists["butterflies_gt_s300_rest_tr"][0].index == 300 and lists["butterflies_gt_tr"][-1].index == 1543


def test_drawn_lists_depend_on_the_seed_and_not_on_the_order_of_the_files():
    files = {name: [f"{i}.png" for i in range(20)] for name in CHARACTERS}
    backwards = {name: found[::-1] for name, found in files.items()}
    parts = (Part("a", 30), Part("b", 30))
    assert draw_lists("f", files, parts, 4) == draw_lists("f", backwards, parts, 4)
    assert draw_lists("f", files, parts, 4) != draw_lists("f", files, parts, 5)


def test_too_few_images_for_every_list_are_refused():
    with pytest.raises(InputError, match="2 images are too few: the list butterflies_gt_s300_tr"):
        draw_lists("f", {"a": ["1.png"], "b": ["2.png"]}, SOURCES["butterflies"].parts, 0)
