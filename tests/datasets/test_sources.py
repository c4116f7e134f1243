"""Each source of pictures becomes the folders and lists that the scripts read."""

import pytest

from datasets.sources import SOURCES, gull_ids
from tests.helpers.archives import (
    NABIRDS_CLASSES,
    cub_members,
    make_tar,
    make_zip,
    nabirds_members,
    names,
    one_error,
    picture,
    run,
    teach_members,
)
from utils.data import toy_moths
from utils.data.catalog import BUTTERFLIES, CHARACTERS, GULLS
from utils.data.lists import read_examples


def paper_members(top: str = "") -> dict[str, bytes]:
    """The gulls as the paper's `datasets` folder holds them, two a class and folder, with its lists and what macOS adds."""
    members = {
        f"{top}CUBgull/CUBgull_gt_te.txt": b"hello",
        "__MACOSX/CUBgull/images/HeermannGull/x.jpg": b"not an image",
    }
    for folder, first in (("CUBgull", 400), ("NAbirdsgull", 500)):
        for label, name in enumerate(GULLS):
            for i in range(2):
                members[f"{top}{folder}/images/{name}/{name}-{i}.jpg"] = picture(first + 10 * label + i, "jpg")
            members[f"__MACOSX/{top}{folder}/images/{name}/._{name}-0.jpg"] = b"not an image"
    return members


def test_butterflies_are_picked_and_renamed_and_their_lists_number_on(tmp_path, capsys):
    archive = make_zip(tmp_path / "teach.zip", teach_members(8))
    assert run("butterflies", "--archive", archive, "--split-seed", 3, "--data-root", tmp_path / "root") == 0
    assert "40 images, fewer than the paper's 1930" in capsys.readouterr().out
    folder = tmp_path / "root" / "butterflies_crop"
    assert names(folder / "images") == sorted(
        f"{name}/{label}_{i}.png" for label, name in enumerate(BUTTERFLIES) for i in range(8)
    )
    assert (folder / "images/RedAdmiral/3_2.png").read_bytes() == picture(32)
    first, rest, train, test = (
        read_examples(folder / f"butterflies_gt_{stem}.txt", 5) for stem in ("s300_tr", "s300_rest_tr", "tr", "te")
    )
    assert (len(first), len(rest), len(test)) == (6, 26, 8)  # 300 : 1244 : 386 of 40
    assert (
        train == first + rest
        and [row.index for row in train] == list(range(32))
        and [row.index for row in test] == list(range(8))
    )
    assert len({row.path for row in train + test}) == 40
    assert run("check", "butterflies_s300_rest", "--data-root", tmp_path / "root") == 0


def test_characters_come_from_the_same_archive(tmp_path):
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("chinese_chars", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 0
    folder = tmp_path / "root" / "chinese_chars"
    assert names(folder / "images") == sorted(f"{name}/{name}{i}.png" for name in CHARACTERS for i in range(4))
    assert (folder / "ChineseChars_gt_te.txt").exists() and run(
        "check", "chinese_chars", "--data-root", tmp_path / "root"
    ) == 0


def test_gulls_and_nabirds_together_make_the_whole(tmp_path, capsys):
    root = tmp_path / "root"
    cub_archive, nabirds_archive = (
        make_tar(tmp_path / "c.tgz", cub_members()),
        make_tar(tmp_path / "n.tar.gz", nabirds_members()),
    )
    assert run("gull", "--archive", cub_archive, "--split-seed", 0, "--data-root", root) == 0
    assert "made and checked once both are there" in capsys.readouterr().out
    assert not (root / "CUBgull/ALLgull_gt_tr.txt").exists()
    assert (root / "CUBgull/images/RingbilledGull/Ring_billed_Gull_0002_512.jpg").read_bytes() == picture(232, "jpg")
    assert run("nabirds", "--archive", nabirds_archive, "--split-seed", 0, "--data-root", root) == 0
    found = names(root / "NAbirdsgull/images")
    assert found[:4] == ["CaliforniaGull/8170aa1122" + end for end in ("3340.jpg", "3341.jpg")] + [
        "CaliforniaGull/8180aa1122" + end for end in ("3340.jpg", "3341.jpg")
    ]
    assert len(found) == 12 and not any("824" in name for name in found)
    nabirds = read_examples(root / "NAbirdsgull/NAbirdsgull_gt_tr.txt", 5)
    assert [row.index for row in nabirds] == list(range(150, 162))
    whole = read_examples(root / "CUBgull/ALLgull_gt_tr.txt", 5)
    train = read_examples(root / "CUBgull/CUBgull_gt_tr.txt", 5)
    assert [(row.path, row.label) for row in whole] == [(row.path, row.label) for row in train + nabirds]
    assert [row.index for row in whole] == list(range(len(train) + 12))
    assert run("check", "gull_whole", "--data-root", root) == 0


def test_the_whole_gulls_follow_nabirds_drawn_anew(tmp_path):
    shared = ("--data-root", tmp_path / "root", "--split-seed")
    nabirds = ("nabirds", "--archive", make_tar(tmp_path / "n.tar.gz", nabirds_members()), *shared)
    whole = tmp_path / "root/CUBgull/ALLgull_gt_tr.txt"
    assert (
        run("gull", "--archive", make_tar(tmp_path / "c.tgz", cub_members()), *shared, 0) == 0 and run(*nabirds, 0) == 0
    )
    before = whole.read_text()
    assert run(*nabirds, 1, "--force") == 0
    drawn = read_examples(tmp_path / "root/NAbirdsgull/NAbirdsgull_gt_tr.txt", 5)
    assert whole.read_text() != before and [row.path for row in read_examples(whole, 5)[-12:]] == [
        row.path for row in drawn
    ]


@pytest.mark.parametrize("top", ["", "MEMORABLE/datasets/"])
@pytest.mark.parametrize("name", ["gulls.zip", "gulls.tgz", "gulls.tar"])
def test_the_papers_own_archive_makes_both_gulls(tmp_path, name, top):
    archive = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, paper_members(top))
    root = tmp_path / "root"
    for command, folder, first in (("gull", "CUBgull", 400), ("nabirds", "NAbirdsgull", 500)):
        assert run(command, "--archive", archive, "--split-seed", 0, "--data-root", root) == 0
        # NABirds as published loses its hyphens; the paper's archive has its files as the paper's lists name them.
        assert names(root / folder / "images") == [f"{gull}/{gull}-{i}.jpg" for gull in GULLS for i in range(2)]
        assert (root / folder / "images/RingbilledGull/RingbilledGull-1.jpg").read_bytes() == picture(first + 31, "jpg")
    assert len(read_examples(root / "CUBgull/ALLgull_gt_tr.txt", 5)) == 15  # 150 of 299 of CUB's ten, and NABirds' ten
    assert run("check", "gull_whole", "--data-root", root) == 0


@pytest.mark.parametrize("command, published", [("gull", cub_members), ("nabirds", nabirds_members)])
@pytest.mark.parametrize("paper_first", [True, False])
def test_of_two_layouts_in_one_archive_the_papers_counts(tmp_path, command, published, paper_first):
    both = (paper_members(), published())
    archive = make_tar(tmp_path / "both.tgz", both[0] | both[1] if paper_first else both[1] | both[0])
    assert run(command, "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 0
    folder = tmp_path / "root" / SOURCES[command].folder
    assert names(folder / "images") == [f"{gull}/{gull}-{i}.jpg" for gull in GULLS for i in range(2)]


@pytest.mark.parametrize("command, folder", [("gull", "CUBgull"), ("nabirds", "NAbirdsgull")])
def test_a_class_that_the_papers_archive_lacks_is_named(tmp_path, capsys, command, folder):
    members = {
        name: data for name, data in paper_members().items() if not name.startswith(f"{folder}/images/HeermannGull")
    }
    archive = make_zip(tmp_path / "gulls.zip", members)
    assert run(command, "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    error = one_error(capsys)
    assert f"{archive} holds no images of HeermannGull, " in error and f"{folder}/images/<Class>/<file>" in error
    assert names(tmp_path / "root") == []


OTHER = {
    "CUB_200_2011/classes.txt": b"1 001.Black_footed_Albatross",
    "CUB_200_2011/images/001.Black_footed_Albatross/a.jpg": b"",
}


@pytest.mark.parametrize(
    "command, members, layouts",
    [
        ("gull", teach_members(1), ("CUBgull/images/<Class>/<file>", "CUB_200_2011/images/059.California_Gull/<file>")),
        ("gull", OTHER, ("CUBgull/images/<Class>/<file>", "CUB_200_2011/images/059.California_Gull/<file>")),
        ("nabirds", OTHER, ("NAbirdsgull/images/<Class>/<file>", "nabirds/images/<class number>/<file>")),
        ("butterflies", paper_members(), ("butterflies_crop/images/<Class>/<file>",)),
    ],
)
def test_an_archive_of_no_layout_is_refused_with_those_that_are_known(tmp_path, capsys, command, members, layouts):
    archive = make_zip(tmp_path / "a.zip", members)
    assert run(command, "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    error = one_error(capsys)
    assert all(words in error for words in (str(archive), *SOURCES[command].classes, *layouts, *SOURCES[command].pages))
    assert names(tmp_path / "root") == []


def test_nabirds_classes_are_read_by_name():
    assert gull_ids("9 Herring Gull (Adult)\n12 Heermann's Gull (Adult)\n7 Western Gull\nnonsense\n") == {
        12: "HeermannGull",
        7: "WesternGull",
    }


def test_nabirds_without_one_of_the_gulls_is_refused(tmp_path, capsys):
    members = nabirds_members()
    members["nabirds/classes.txt"] = NABIRDS_CLASSES.replace("Heermann's", "Herring").encode()
    archive = make_tar(tmp_path / "n.tar.gz", members)
    assert run("nabirds", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    assert "HeermannGull" in one_error(capsys) and names(tmp_path / "root") == []


def test_nabirds_has_no_address_of_its_own(tmp_path, capsys):
    assert run("nabirds", "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    assert "--archive" in one_error(capsys)


def test_toy_is_drawn_by_its_seed_and_kept_unless_forced(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(toy_moths, "PER_CLASS", dict.fromkeys(toy_moths.PER_CLASS, 1))
    pictures = []
    for more, status in ((["--seed", 5], 0), ([], 2), (["--force"], 0), (["--force", "--seed", 5], 0)):
        assert run("toy", "--data-root", tmp_path, *more) == status
        assert status == 0 or "--force" in one_error(capsys)
        capsys.readouterr()
        pictures.append({path.read_bytes() for path in tmp_path.glob("toy/images/*/*.png")})
    assert pictures[0] == pictures[1] == pictures[3] and not pictures[0] & pictures[2]
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
