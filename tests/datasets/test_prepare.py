"""datasets/prepare.py on small archives with the structure of the real ones, and on a local server."""

import contextlib
import hashlib
import http.server
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import archives, prepare
from datasets.archives import Member, extract_images, is_archive, is_saved_page, plain_name
from datasets.images import inspect_image
from datasets.sources import SOURCES, gull_ids
from datasets.splits import Part, apportion, draw_lists
from utils.base.errors import InputError
from utils.data import toy_moths
from utils.data.catalog import BUTTERFLIES, CHARACTERS, DATASETS, GULLS
from utils.data.lists import Example, read_examples, write_examples

ROOT = Path(__file__).resolve().parents[2]
CUB_FOLDERS = ("059.California_Gull", "060.Glaucous_winged_Gull", "061.Heermann_Gull", "064.Ring_billed_Gull", "066.Western_Gull")
NABIRDS_CLASSES = """0 Birds
53 Gulls, Terns, and Skimmers
817 California Gull (Adult)
818 California Gull (Immature)
820 Glaucous-winged Gull (Adult)
821 Heermann's Gull (Adult)
822 Ring-billed Gull
823 Western Gull (Immature/juvenile)
824 Lesser Black-backed Gull (Adult)
"""


# Small pictures and archives


def picture(seed: int, kind: str = "png") -> bytes:
    """An image file of 8 x 8 random pixels, different for every seed."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(stream, "jpeg" if kind == "jpg" else kind)
    return stream.getvalue()


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def make_tar(path: Path, members: dict[str, bytes], more: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".tgz", ".gz") else "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        for info in more:
            file.addfile(info)
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def teach_members(per_class: int = 4) -> dict[str, bytes]:
    """explain_teach in small: both datasets, one with blanks in its folders and no images/ folder, and things to leave."""
    members = {"top/readme.txt": b"hello", "top/oct/images/drusen/x.png": picture(999)}
    for label, name in enumerate(("Cabbage White", "Monarch", "Queen", "Red Admiral", "Viceroy")):
        for i in range(per_class):
            members[f"top/butterflies_crop/{name}/{label}_{i}.png"] = picture(10 * label + i)
        members[f"top/butterflies_crop/explanations/{name}/{label}_0.png"] = picture(998)
        members[f"__MACOSX/top/butterflies_crop/{name}/._{label}_0.png"] = b"not an image"
    for label, name in enumerate(CHARACTERS):
        for i in range(per_class):
            members[f"top/chinese_chars/images/{name}/{name}{i}.png"] = picture(100 + 10 * label + i)
    return members


def cub_members(per_class: int = 4) -> dict[str, bytes]:
    members = {"CUB_200_2011/README": b"hello", "CUB_200_2011/images/001.Black_footed_Albatross/a.jpg": picture(7, "jpg")}
    for label, name in enumerate(CUB_FOLDERS):
        for i in range(per_class):
            members[f"CUB_200_2011/images/{name}/{name[4:]}_{i:04d}_51{i}.jpg"] = picture(200 + 10 * label + i, "jpg")
    return members


def nabirds_members() -> dict[str, bytes]:
    """NABirds in small; classes.txt comes after the images, so that one pass would not do."""
    ids = (817, 818, 820, 821, 822, 823, 824)
    members = {
        f"nabirds/images/0{n}/{n}0aa-11-22-33-4{i}.jpg": picture(300 + 10 * k + i, "jpg") for k, n in enumerate(ids) for i in range(2)
    }
    return {**members, "nabirds/classes.txt": NABIRDS_CLASSES.encode()}


def paper_members(top: str = "") -> dict[str, bytes]:
    """The gulls as the paper's `datasets` folder holds them, two a class and folder, with its lists and what macOS adds."""
    members = {f"{top}CUBgull/CUBgull_gt_te.txt": b"hello", "__MACOSX/CUBgull/images/HeermannGull/x.jpg": b"not an image"}
    for folder, first in (("CUBgull", 400), ("NAbirdsgull", 500)):
        for label, name in enumerate(GULLS):
            for i in range(2):
                members[f"{top}{folder}/images/{name}/{name}-{i}.jpg"] = picture(first + 10 * label + i, "jpg")
            members[f"__MACOSX/{top}{folder}/images/{name}/._{name}-0.jpg"] = b"not an image"
    return members


def run(*arguments: object) -> int:
    return prepare.main([str(argument) for argument in arguments])


def names(folder: Path) -> list[str]:
    """All files below a folder, in order; [] where there is none."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def one_error(capsys) -> str:
    """The error printed: exactly one line `prepare.py: error: ...` (progress bars aside), and no traceback."""
    stderr = capsys.readouterr().err
    errors = [line for line in re.split(r"[\r\n]", stderr) if line and "it/s" not in line and "%|" not in line and "B/s" not in line]
    errors = [line for line in errors if "image/s" not in line]
    assert len(errors) == 1 and errors[0].startswith("prepare.py: error: "), stderr
    return errors[0]


# A local server


class Site:
    """What the server has and how it behaves.

    `answers` are the status and content type of a path, where they are not 200 and that of an archive; `requests` are the paths and
    Range headers that it was asked for.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, tuple[int, str]] = {}
        self.ranges = True
        self.etag: str | None = '"one"'
        self.cut: int | None = None
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.requests.append((self.path, wanted))
            data = state.files.get(self.path)
            if data is None:
                return self.send_error(404)
            start, (status, kind) = 0, state.answers.get(self.path, (200, "application/octet-stream"))
            if status == 200 and wanted and state.ranges and self.headers.get("If-Range", state.etag) == state.etag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data) - start))
            if state.etag:
                self.send_header("ETag", state.etag)
            self.end_headers()
            self.wfile.write(data[start : state.cut])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cub(tmp_path, site):
    """A small CUB archive on the server, and the arguments that make CUBgull from it."""
    data = make_tar(tmp_path / "served.tgz", cub_members()).read_bytes()
    site.files["/cub.tgz"] = data
    return data, ("gull", "--url", f"{site.url}/cub.tgz", "--split-seed", 0, "--data-root", tmp_path / "root")


# Each source


def test_butterflies_are_picked_and_renamed_and_their_lists_number_on(tmp_path, capsys):
    archive = make_zip(tmp_path / "teach.zip", teach_members(8))
    assert run("butterflies", "--archive", archive, "--split-seed", 3, "--data-root", tmp_path / "root") == 0
    assert "40 images, fewer than the paper's 1930" in capsys.readouterr().out
    folder = tmp_path / "root" / "butterflies_crop"
    assert names(folder / "images") == sorted(f"{name}/{label}_{i}.png" for label, name in enumerate(BUTTERFLIES) for i in range(8))
    assert (folder / "images/RedAdmiral/3_2.png").read_bytes() == picture(32)
    first, rest, train, test = (read_examples(folder / f"butterflies_gt_{stem}.txt", 5) for stem in ("s300_tr", "s300_rest_tr", "tr", "te"))
    assert (len(first), len(rest), len(test)) == (6, 26, 8)  # 300 : 1244 : 386 of 40
    assert train == first + rest and [row.index for row in train] == list(range(32)) and [row.index for row in test] == list(range(8))
    assert len({row.path for row in train + test}) == 40
    assert run("check", "butterflies_s300_rest", "--data-root", tmp_path / "root") == 0


def test_characters_come_from_the_same_archive(tmp_path):
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("chinese_chars", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 0
    folder = tmp_path / "root" / "chinese_chars"
    assert names(folder / "images") == sorted(f"{name}/{name}{i}.png" for name in CHARACTERS for i in range(4))
    assert (folder / "ChineseChars_gt_te.txt").exists() and run("check", "chinese_chars", "--data-root", tmp_path / "root") == 0


def test_gulls_and_nabirds_together_make_the_whole(tmp_path, capsys):
    root = tmp_path / "root"
    cub_archive, nabirds_archive = make_tar(tmp_path / "c.tgz", cub_members()), make_tar(tmp_path / "n.tar.gz", nabirds_members())
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
    assert run("gull", "--archive", make_tar(tmp_path / "c.tgz", cub_members()), *shared, 0) == 0 and run(*nabirds, 0) == 0
    before = whole.read_text()
    assert run(*nabirds, 1, "--force") == 0
    drawn = read_examples(tmp_path / "root/NAbirdsgull/NAbirdsgull_gt_tr.txt", 5)
    assert whole.read_text() != before and [row.path for row in read_examples(whole, 5)[-12:]] == [row.path for row in drawn]


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
    members = {name: data for name, data in paper_members().items() if not name.startswith(f"{folder}/images/HeermannGull")}
    archive = make_zip(tmp_path / "gulls.zip", members)
    assert run(command, "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    error = one_error(capsys)
    assert f"{archive} holds no images of HeermannGull, " in error and f"{folder}/images/<Class>/<file>" in error
    assert names(tmp_path / "root") == []


OTHER = {"CUB_200_2011/classes.txt": b"1 001.Black_footed_Albatross", "CUB_200_2011/images/001.Black_footed_Albatross/a.jpg": b""}


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


# The paper's lists


def paper_lists(folder: Path, lists: dict[str, list[tuple[str, int]]]) -> Path:
    folder.mkdir(parents=True)
    for stem, rows in lists.items():
        write_examples(folder / f"{stem}.txt", [Example(f"./datasets/{path}", label, index) for index, (path, label) in enumerate(rows)])
    return folder


CHARACTER_LISTS = {
    "ChineseChars_gt_tr": [("chinese_chars/images/stem/stem1.png", 2), ("chinese_chars/images/grass/grass0.png", 0)],
    "ChineseChars_gt_te": [("chinese_chars/images/mound/mound3.png", 1)],
}


@pytest.mark.parametrize("nested", ["", "chinese_chars"])
def test_lists_are_taken_from_a_folder_as_they_are(tmp_path, nested):
    lists = paper_lists(tmp_path / "lists" / nested, CHARACTER_LISTS)
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("chinese_chars", "--archive", archive, "--lists", tmp_path / "lists", "--data-root", tmp_path / "root") == 0
    for stem in CHARACTER_LISTS:
        assert (tmp_path / f"root/chinese_chars/{stem}.txt").read_bytes() == (lists / f"{stem}.txt").read_bytes()


@pytest.mark.parametrize("folder", ["", "/chinese_chars"])
def test_lists_are_downloaded(tmp_path, site, folder):
    lists = paper_lists(tmp_path / "lists", CHARACTER_LISTS)
    site.files = {f"/x{folder}/{stem}.txt": (lists / f"{stem}.txt").read_bytes() for stem in CHARACTER_LISTS}
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("chinese_chars", "--archive", archive, "--lists-url", f"{site.url}/x", "--data-root", tmp_path / "root") == 0
    assert (tmp_path / "root/chinese_chars/ChineseChars_gt_te.txt").read_text() == "./datasets/chinese_chars/images/mound/mound3.png 1 0\n"


def test_a_list_that_the_server_lacks_ends_the_run_before_the_archive_is_asked_for(tmp_path, site, capsys):
    arguments = ("--url", f"{site.url}/teach.zip", "--lists-url", f"{site.url}/x", "--data-root", tmp_path / "root")
    assert run("chinese_chars", *arguments) == 1
    assert "ChineseChars_gt_tr.txt" in one_error(capsys)
    assert [path for path, _ in site.requests] == ["/x/chinese_chars/ChineseChars_gt_tr.txt", "/x/ChineseChars_gt_tr.txt"]


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
    assert run("chinese_chars", "--archive", archive, "--lists", tmp_path / "lists", "--data-root", tmp_path / "root") == 2
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


# Drawn lists


def test_apportion_divides_by_largest_remainders():
    assert apportion(150, [60, 59, 60, 60, 60]) == [30, 30, 30, 30, 30]
    assert apportion(300, [386] * 5) == [60] * 5
    assert apportion(7, [1, 1, 5]) == [1, 1, 5] and apportion(3, [5, 5, 0]) == [2, 1, 0]


@pytest.mark.parametrize(
    "source, counts, expected",
    [
        ("butterflies", [386] * 5, {"butterflies_gt_tr": 1544, "butterflies_gt_te": 386, "butterflies_gt_s300_tr": 300}),
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


# Downloads


def test_a_download_is_kept_and_not_repeated(tmp_path, site, cub):
    data, arguments = cub
    assert run(*arguments, "--md5", hashlib.md5(data).hexdigest().upper()) == 0
    downloads = tmp_path / "root/.downloads"
    assert names(downloads) == ["CUB_200_2011.tgz", "CUB_200_2011.tgz.json"] and (downloads / "CUB_200_2011.tgz").read_bytes() == data
    assert run(*arguments, "--force") == 0
    assert len(site.requests) == 1


@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_cut_connection_is_taken_up_where_it_ended(tmp_path, site, cub, capsys, etag):
    data, arguments = cub
    site.etag, site.cut = etag, 1000
    assert run(*arguments) == 1
    assert f"ended at 1000 of {len(data)} bytes" in one_error(capsys)
    part = tmp_path / "root/.downloads/CUB_200_2011.tgz.part"
    assert names(tmp_path / "root") == [f".downloads/{part.name}", f".downloads/{part.name}.json"] and part.read_bytes() == data[:1000]
    site.cut = None
    assert run(*arguments) == 0
    assert site.requests[1:] == [("/cub.tgz", "bytes=1000-")]
    assert (tmp_path / "root/.downloads/CUB_200_2011.tgz").read_bytes() == data and not part.exists()


@pytest.mark.parametrize("change", ["no ranges", "other etag", "other file, no etag"])
def test_a_cut_download_starts_again_where_it_cannot_go_on(tmp_path, site, cub, change):
    data, arguments = cub
    site.cut = 1000
    site.etag = None if "no etag" in change else '"one"'
    assert run(*arguments) == 1
    site.cut = None
    if change == "no ranges":
        site.ranges = False
    else:
        data = make_tar(tmp_path / "other.tgz", cub_members(5)).read_bytes()
        site.files["/cub.tgz"], site.etag = data, '"two"' if change == "other etag" else None
    assert run(*arguments) == 0
    # An ETag goes along, so that the server itself sends a changed file whole; a length can only be compared afterwards.
    again = [("/cub.tgz", None)] if change == "other file, no etag" else []
    assert site.requests[1:] == [("/cub.tgz", "bytes=1000-"), *again]
    assert (tmp_path / "root/.downloads/CUB_200_2011.tgz").read_bytes() == data


def test_a_part_of_another_address_is_not_continued(tmp_path, site, cub):
    data, arguments = cub
    site.cut = 1000
    assert run(*arguments) == 1
    site.cut, site.files["/new.tgz"] = None, data
    assert run(*arguments[:2], f"{site.url}/new.tgz", *arguments[3:]) == 0
    assert site.requests[1:] == [("/new.tgz", None)]


def test_a_download_with_another_checksum_is_removed(tmp_path, cub, capsys):
    assert run(*cub[1], "--md5", "0" * 32) == 1
    assert "md5" in one_error(capsys) and names(tmp_path / "root") == []


def test_the_checksum_of_an_archive_given_is_checked_and_the_archive_stays(tmp_path, capsys):
    archive = make_tar(tmp_path / "c.tgz", cub_members())
    arguments = ("gull", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root", "--md5")
    assert run(*arguments, "0" * 32) == 2
    assert "md5" in one_error(capsys) and names(tmp_path) == ["c.tgz"]
    assert run(*arguments, hashlib.md5(archive.read_bytes()).hexdigest()) == 0


def test_the_known_checksum_belongs_to_the_known_address_only():
    assert SOURCES["gull"].md5 == "97eceeb196236b17998738112f37df78"
    assert all(source.md5 is None for source in SOURCES.values() if source.name != "gull")


@pytest.mark.parametrize("url", ["{site}/none.tgz", "http://127.0.0.1:9/x.tgz", "http://[::1/x.tgz"])
def test_an_address_that_gives_nothing_ends_with_one_line(tmp_path, site, capsys, url):
    assert run("gull", "--url", url.format(site=site.url), "--split-seed", 0, "--data-root", tmp_path / "root") == 1
    assert ("404" if "none" in url else "failed") in one_error(capsys) and names(tmp_path / "root") == []


PAGE = b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>Download anyway</body></html>"


@pytest.mark.parametrize("command", ["butterflies", "chinese_chars", "gull", "nabirds"])
@pytest.mark.parametrize(
    "status, kind, body, what",
    [
        (404, "text/html", PAGE, "the server answered 404 (Not Found)"),
        (403, "text/html", PAGE, "the server answered 403 (Forbidden)"),
        (410, "text/plain", b"gone", "the server answered 410 (Gone)"),
        (200, "text/html; charset=utf-8", PAGE, "gave a web page"),
        (200, "application/octet-stream", b"\r\n  " + PAGE.lower(), "gave a web page"),
        (200, "text/html", b"This file has moved.", "gave a web page"),
        (200, "application/zip", b"", "gave an empty file"),
    ],
)
def test_an_address_without_an_archive_is_named_with_the_page_that_has_one(tmp_path, site, capsys, command, status, kind, body, what):
    site.files["/data.zip"], site.answers["/data.zip"] = body, (status, kind)
    arguments = ("--url", f"{site.url}/data.zip", "--split-seed", 0, "--data-root", tmp_path / "root")
    assert run(command, *arguments) == 1
    error = one_error(capsys)
    assert all(words in error for words in (f"{site.url}/data.zip", what, *SOURCES[command].pages, "--archive FILE", "--url"))
    assert names(tmp_path / "root") == []


def test_an_archive_that_the_server_calls_a_web_page_is_taken(site, cub):
    site.answers["/cub.tgz"] = (200, "text/html")
    assert run(*cub[1]) == 0


def test_a_login_page_does_not_cost_what_was_downloaded(tmp_path, site, cub, capsys):
    data, arguments = cub
    site.cut = 1000
    assert run(*arguments) == 1
    site.cut, site.files["/cub.tgz"], site.etag = None, PAGE, '"login"'
    capsys.readouterr()
    assert run(*arguments) == 1
    assert "gave a web page" in one_error(capsys)
    assert (tmp_path / "root/.downloads/CUB_200_2011.tgz.part").read_bytes() == data[:1000]
    site.files["/cub.tgz"], site.etag = data, '"one"'
    assert run(*arguments) == 0
    assert [wanted for _, wanted in site.requests] == [None, "bytes=1000-", "bytes=1000-"]


def test_a_web_page_kept_as_an_archive_is_downloaded_anew(tmp_path, site, cub):
    data, arguments = cub
    assert run(*arguments) == 0
    kept = tmp_path / "root/.downloads/CUB_200_2011.tgz"
    kept.write_bytes(PAGE)
    assert run(*arguments, "--force") == 0 and kept.read_bytes() == data


@pytest.mark.parametrize(
    "page",
    [
        PAGE,
        b"\xef\xbb\xbf\n" + PAGE,
        PAGE.decode().encode("utf-16"),
        b"<!-- saved from url=(0014)about:internet -->\r\n<html></html>",
        b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>',
        b"From: <Saved by Blink>\r\nSnapshot-Content-Location: https://drive.google.com/\r\n",
    ],
    ids=["plain", "marked", "utf-16", "remark first", "xhtml", "one file"],
)
def test_a_web_page_saved_as_an_archive_is_recognised(tmp_path, capsys, page):
    (tmp_path / "gulls.zip").write_bytes(page)
    assert run("gull", "--archive", tmp_path / "gulls.zip", "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    error = one_error(capsys)
    assert f"--archive '{tmp_path / 'gulls.zip'}' is a web page" in error and all(page in error for page in SOURCES["gull"].pages)


def test_no_archive_is_taken_for_a_web_page(tmp_path):
    members = {"<html>.txt": b"<html>", **cub_members(1)}
    for archive in (make_zip(tmp_path / "a.zip", members), make_tar(tmp_path / "a.tgz", members), make_tar(tmp_path / "a.tar", members)):
        assert is_archive(archive.read_bytes()[:1024]) and not is_saved_page(archive)
    assert not is_archive(PAGE)


def test_a_web_page_in_the_place_of_a_list_is_named(tmp_path, site, capsys):
    site.files["/x/chinese_chars/ChineseChars_gt_tr.txt"] = PAGE
    assert run("chinese_chars", "--lists-url", f"{site.url}/x", "--data-root", tmp_path / "root") == 2
    error = one_error(capsys)
    assert f"{site.url}/x/chinese_chars/ChineseChars_gt_tr.txt gives is a web page" in error and "--lists-url" in error
    assert names(tmp_path / "root") == []


def test_the_addresses_are_those_that_the_owners_give():
    teach = "https://homepages.inf.ed.ac.uk/omacaod/files/cvpr_2018_teach_data.zip"
    cub = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
    urls = {name: source.url for name, source in SOURCES.items()}
    assert urls == {"butterflies": teach, "chinese_chars": teach, "gull": cub, "nabirds": None}


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x.tgz", "cub.tgz"])
def test_other_kinds_of_address_are_refused(tmp_path, capsys, url):
    assert run("gull", "--url", url, "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    assert "http or https" in one_error(capsys) and not (tmp_path / "root").exists()


def test_two_downloads_of_one_archive_are_kept_apart(tmp_path, cub, capsys):
    fcntl = pytest.importorskip("fcntl")
    downloads = tmp_path / "root/.downloads"
    downloads.mkdir(parents=True)
    with open(downloads / "CUB_200_2011.tgz.part", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(*cub[1]) == 1
    assert "Another process" in one_error(capsys)


# Unsafe and damaged archives


def assert_refused(capsys, tmp_path: Path, archive: Path, *words: str) -> None:
    """`prepare.py gull` (a tar) or `butterflies` (a zip) refuses the archive in one line with these words, and leaves nothing."""
    command = "butterflies" if archive.suffix == ".zip" else "gull"
    assert run(command, "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    error = one_error(capsys)
    assert all(word in error for word in (archive.name, *words)), error
    assert names(tmp_path / "root") == [] and list((tmp_path / "root").iterdir()) == []
    assert not (tmp_path / "evil.png").exists() and not Path("/evil.png").exists()


UNSAFE_NAMES = ["/evil.png", "../evil.png", "top/butterflies_crop/Monarch/../../../../evil.png", "C:\\evil.png", "top\\..\\..\\evil.png"]


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_members_that_leave_the_folder_are_refused_in_zips(tmp_path, capsys, name):
    assert_refused(capsys, tmp_path, make_zip(tmp_path / "a.zip", {**teach_members(), name: picture(0)}), repr(name), "leads out")


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_members_that_leave_the_folder_are_refused_in_tars(tmp_path, capsys, name):
    assert_refused(capsys, tmp_path, make_tar(tmp_path / "a.tgz", {**cub_members(), name: picture(0)}), repr(name), "leads out")


@pytest.mark.parametrize(
    "member, words",
    [
        (link("CUB_200_2011/passwd", "/etc/passwd"), "link that leads out"),
        (link("CUB_200_2011/up", "../../x"), "link that leads out"),
        (link("CUB_200_2011/up", "../x/../../y", tarfile.LNKTYPE), "link that leads out"),
        (link("CUB_200_2011/pipe", "", tarfile.FIFOTYPE), "neither a file"),
        (link("CUB_200_2011/null", "", tarfile.CHRTYPE), "neither a file"),
        (link(f"CUB_200_2011/images/{CUB_FOLDERS[0]}/x.jpg", "y.jpg"), "link where an image should be"),
    ],
)
def test_links_and_devices_are_refused_in_tars(tmp_path, capsys, member, words):
    assert_refused(capsys, tmp_path, make_tar(tmp_path / "a.tgz", cub_members(), (member,)), member.name, words)


def test_a_link_within_the_archive_is_merely_left(tmp_path):
    archive = make_tar(tmp_path / "a.tgz", cub_members(), (link("CUB_200_2011/docs/read", "../README"),))
    assert run("gull", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 0


@pytest.mark.parametrize("mode, target, words", [(0o120777, "../../etc", "link that leads out"), (0o010644, "", "neither a file")])
def test_links_and_devices_are_refused_in_zips(tmp_path, capsys, mode, target, words):
    archive = make_zip(tmp_path / "a.zip", teach_members())
    info = zipfile.ZipInfo("top/odd")
    info.external_attr = mode << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(info, target)
    assert_refused(capsys, tmp_path, archive, "top/odd", words)


@pytest.mark.parametrize(
    "limit, size, words",
    [("IMAGE_LIMIT", 1000, "for an image"), ("IMAGES_LIMIT", 3000, "brings the images"), ("TOTAL_LIMIT", 3000, "bytes unpacked")],
)
@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_archives_that_declare_too_much_are_refused(tmp_path, capsys, monkeypatch, limit, size, words, kind):
    monkeypatch.setattr(archives, limit, size)
    huge = bytes(1001) if limit == "IMAGE_LIMIT" else b""
    if kind == "zip":
        archive = make_zip(tmp_path / "a.zip", {**teach_members(), "top/butterflies_crop/Queen/huge.png": huge})
    else:
        archive = make_tar(tmp_path / "a.tgz", {**cub_members(), f"CUB_200_2011/images/{CUB_FOLDERS[2]}/huge.jpg": huge})
    assert_refused(capsys, tmp_path, archive, words, str(size))


def test_two_members_of_one_name_are_refused(tmp_path, capsys):
    members = {**teach_members(), "top/butterflies_crop/images/Red Admiral/3_1.png": picture(5)}
    assert_refused(capsys, tmp_path, make_zip(tmp_path / "a.zip", members), "overwrite", "RedAdmiral/3_1.png")


def test_blanks_in_file_names_become_underscores(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {**teach_members(), "top/butterflies_crop/Queen/my  queen (1).png": picture(5)})
    assert run("butterflies", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 0
    assert "Queen/my_queen_1_.png" in names(tmp_path / "root/butterflies_crop/images")
    assert plain_name("Heermann_Gull_0001-a.jpg") == "Heermann_Gull_0001-a.jpg"


@pytest.mark.parametrize("broken", [b"", b"no image at all", picture(1)[:60]], ids=["empty", "text", "cut"])
def test_a_broken_image_is_named(tmp_path, capsys, broken):
    members = {**teach_members(), "top/butterflies_crop/Queen/bad.png": broken}
    assert_refused(capsys, tmp_path, make_zip(tmp_path / "a.zip", members), "Queen/bad.png")


def test_an_archive_without_a_class_is_refused(tmp_path, capsys):
    members = {name: data for name, data in teach_members().items() if "Viceroy" not in name}
    assert_refused(capsys, tmp_path, make_zip(tmp_path / "a.zip", members), "no images of Viceroy")


# Of a plain tar file, the end is padding that nobody misses.
@pytest.mark.parametrize(
    "name, share", [*((name, share) for name in ("a.zip", "a.tgz") for share in (0.02, 0.5, 0.98, 0.9999)), ("a.tar", 0.5)]
)
def test_archives_that_are_cut_short_are_refused(tmp_path, capsys, name, share):
    archive = tmp_path / name
    make_zip(archive, teach_members()) if name == "a.zip" else make_tar(archive, cub_members())
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    assert_refused(capsys, tmp_path, archive, "damaged")


@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
def test_archives_with_a_flipped_byte_are_refused(tmp_path, capsys, name):
    archive = tmp_path / name
    make_zip(archive, teach_members()) if name == "a.zip" else make_tar(archive, cub_members())
    data = bytearray(archive.read_bytes())
    # In the zip: within the data of a wanted member; of the others only the directory is read.
    place = data.index(b"top/butterflies_crop/Monarch/1_2.png") + 60 if name == "a.zip" else len(data) // 2
    data[place] ^= 255
    archive.write_bytes(data)
    assert_refused(capsys, tmp_path, archive, "damaged")


def test_a_tar_with_an_unreadable_header_in_its_middle_is_refused(tmp_path, capsys):
    archive = make_tar(tmp_path / "a.tar", cub_members())
    data = bytearray(archive.read_bytes())
    data[data.index(b"CUB_200_2011/images/061") + 148] ^= 255  # the header's checksum
    archive.write_bytes(data)
    assert_refused(capsys, tmp_path, archive, "damaged")


def test_what_is_no_archive_is_refused(tmp_path, capsys):
    (tmp_path / "a.zip").write_bytes(b"hello " * 500)
    assert_refused(capsys, tmp_path, tmp_path / "a.zip", "neither a zip nor a tar")


def test_extraction_writes_only_what_is_chosen_under_the_name_given(tmp_path):
    archive = make_tar(tmp_path / "a.tar", {"x/one.png": b"1", "x/two.png": b"2"})
    extract_images(archive, lambda parts: ("K", "new name.png") if parts == ("x", "two.png") else None, tmp_path / "out")
    assert names(tmp_path / "out") == ["K/new_name.png"] and (tmp_path / "out/K/new_name.png").read_bytes() == b"2"
    assert Member("./a//b.png", 0, "file", "", io.BytesIO).parts == ("a", "b.png")


# Folders


def test_an_existing_folder_is_replaced_only_by_force_and_only_by_a_whole_one(tmp_path, capsys):
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    arguments = ("chinese_chars", "--split-seed", 0, "--data-root", tmp_path / "root", "--archive")
    mine = tmp_path / "root/chinese_chars/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert run(*arguments, archive) == 2
    assert "--force" in one_error(capsys)
    assert run(*arguments, make_zip(tmp_path / "none.zip", {}), "--force") == 2
    assert mine.read_text() == "mine" and os.listdir(tmp_path / "root") == ["chinese_chars"]
    assert run(*arguments, archive, "--force") == 0
    assert not mine.exists() and os.listdir(tmp_path / "root") == ["chinese_chars"]


def test_what_was_to_be_replaced_comes_back_when_the_last_step_fails(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/mine.txt").write_text("mine")
    with pytest.raises(OSError), prepare.replacing_folder(tmp_path, "d", force=True):
        pass  # nothing was made, so there is nothing to move into place
    assert names(tmp_path) == ["d/mine.txt"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/mine.txt").write_text("mine")
    (tmp_path / "d").symlink_to(tmp_path / "elsewhere")
    with prepare.replacing_folder(tmp_path, "d", force=True) as staging:
        (staging / "d").mkdir()
    assert not (tmp_path / "d").is_symlink() and names(tmp_path) == ["elsewhere/mine.txt"]


# check


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
    files[4].unlink() if fault == "is missing" else files[4].write_bytes(b"" if fault == "is empty" else files[4].read_bytes()[:50])
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
    assert status == 1 and lines[-2:] == [f"{path}, line 3: {rows[2].path} is labelled {wrong} ({CHARACTERS[wrong]}).", "1 problem."]


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


def test_pictures_of_other_sizes_are_no_duplicates(tmp_path):
    for name, size in {"wide.png": (8, 2), "high.png": (2, 8)}.items():
        Image.new("RGB", size, "red").save(tmp_path / name)
    assert inspect_image(tmp_path / "wide.png").pixels != inspect_image(tmp_path / "high.png").pixels


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
    assert status == 1 and lines[-2:] == ["... and 5 more", "25 problems."] and len(lines) == 4 + 20 + 2


# The command line


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("moths",),
        ("gull", "--bogus"),
        ("gull", "--split", "1"),
        ("gull", "--split-seed", "-1"),
        ("gull", "--split-seed", "1.5"),
        ("gull", "--md5", "abc"),
        ("gull", "--lists", "x", "--split-seed", "1"),
        ("gull", "--archive", "x", "--url", "http://y"),
        ("gull", "--archive", "no_such_file", "--split-seed", "1"),
        ("gull", "--lists", "no_such_folder"),
        ("toy", "--seed", "many"),
        ("check",),
        ("check", "moths"),
        ("check", "gull"),
    ],
)
def test_wrong_input_ends_with_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert one_error(capsys) and list(tmp_path.iterdir()) == []


def test_a_data_root_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "root").write_text("")
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("butterflies", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    assert "--data-root" in one_error(capsys)


def test_a_full_disk_ends_with_one_line_and_status_1(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("butterflies", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 1
    assert "No space left on device (x.png)" in one_error(capsys) and names(tmp_path / "root") == []


def test_ctrl_c_leaves_nothing_and_ends_with_130(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "refuse_broken", interrupted)
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("butterflies", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 130
    assert "stopped" in one_error(capsys) and names(tmp_path / "root") == []


def test_the_script_runs_from_any_folder(tmp_path):
    command = [sys.executable, ROOT / "datasets/prepare.py", "check", "gull", "--data-root", "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("prepare.py: error: The list nowhere/CUBgull/CUBgull_gt_tr.txt does not exist")
    assert done.stderr.count("\n") == 1


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as end, contextlib.redirect_stdout(io.StringIO()) as shown:
        run("gull", "--help")
    assert end.value.code == 0
    assert all(
        option in shown.getvalue() for option in ("--archive", "--url", "--md5", "--lists", "--lists-url", "--split-seed", "--force")
    )


def test_the_sources_agree_with_the_catalog():
    for name, source in {"butterflies_s300_rest": "butterflies", "gull_whole": "gull", "chinese_chars": "chinese_chars"}.items():
        dataset, source = DATASETS[name], SOURCES[source]
        assert (dataset.folder, dataset.classes) == (source.folder, source.classes)
        assert {dataset.train, dataset.test} <= set(source.list_stems)
    assert SOURCES["nabirds"].classes == GULLS
