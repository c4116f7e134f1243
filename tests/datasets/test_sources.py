"""Archives, downloads and lists of the paper's datasets."""

import functools
import hashlib
import http.server
import itertools
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from datasets.sources import SOURCES
from datasets.splits import Part, draw_lists
from tests.helpers.archives import (
    cub_members,
    make_archive,
    nabirds_members,
    names,
    one_error,
    picture,
    run,
    teach_members,
)
from utils.data.catalog import BUTTERFLIES, CHARACTERS, GULLS
from utils.data.lists import Example, read_examples, write_examples


def paper_members() -> dict[str, bytes]:
    """The gulls as in the paper's `datasets` folder, two per class and folder, with files that macOS adds."""
    members = {"CUBgull/CUBgull_gt_te.txt": b"hello"}
    for number, (folder, name, i) in enumerate(itertools.product(("CUBgull", "NAbirdsgull"), GULLS, range(2))):
        members[f"MEMORABLE/datasets/{folder}/images/{name}/{name}-{i}.jpg"] = picture(400 + number, "jpeg")
        members[f"__MACOSX/datasets/{folder}/images/{name}/x.jpg"] = b"not an image"
    return members


# ---------------------------------------------------------------- archives


def test_butterflies_are_selected_and_renamed_and_their_lists_numbered_consecutively(tmp_path):
    members = {**teach_members(8), "top/butterflies_crop/Queen/my  queen (1).png": picture(5000)}
    archive = make_archive(tmp_path / "teach.zip", members)
    assert run("butterflies", "--archive", archive, "--split-seed", 3, "--data-root", tmp_path / "root") == 0
    folder = tmp_path / "root" / "butterflies_crop"
    expected = [f"{name}/{label}_{i}.png" for label, name in enumerate(BUTTERFLIES) for i in range(8)]
    assert names(folder / "images") == sorted([*expected, "Queen/my_queen_1_.png"])
    assert (folder / "images/RedAdmiral/3_2.png").read_bytes() == picture(32)
    first, rest, train, test = (
        read_examples(folder / f"butterflies_gt_{stem}.txt", 5) for stem in ("s300_tr", "s300_rest_tr", "tr", "te")
    )
    assert (len(first), len(rest), len(test)) == (6, 27, 8)  # 300 : 1244 : 386 of 41
    assert train == first + rest
    assert [row.index for row in train] == list(range(33)) and [row.index for row in test] == list(range(8))
    assert run("check", "butterflies_s300_rest", "--data-root", tmp_path / "root") == 0


def test_gulls_and_nabirds_together_make_the_whole(tmp_path):
    root = tmp_path / "root"
    cub = make_archive(tmp_path / "c.tgz", cub_members())
    nabirds = make_archive(tmp_path / "n.tar.gz", nabirds_members())
    assert run("gull", "--archive", cub, "--split-seed", 0, "--data-root", root) == 0
    assert (root / "CUBgull/images/RingbilledGull/Ring_billed_Gull_0002_512.jpg").read_bytes() == picture(232, "jpeg")
    assert run("nabirds", "--archive", nabirds, "--split-seed", 0, "--data-root", root) == 0
    found = names(root / "NAbirdsgull/images")
    assert found[:4] == [f"CaliforniaGull/81{n}0aa1122334{i}.jpg" for n in (7, 8) for i in range(2)]
    assert len(found) == 12 and not any("824" in name for name in found)
    drawn = read_examples(root / "NAbirdsgull/NAbirdsgull_gt_tr.txt", 5)
    assert [row.index for row in drawn] == list(range(150, 162))
    whole = read_examples(root / "CUBgull/ALLgull_gt_tr.txt", 5)
    train = read_examples(root / "CUBgull/CUBgull_gt_tr.txt", 5)
    assert [(row.path, row.label) for row in whole] == [(row.path, row.label) for row in train + drawn]
    assert [row.index for row in whole] == list(range(len(train) + 12))
    assert run("check", "gull_whole", "--data-root", root) == 0
    assert run("nabirds", "--archive", nabirds, "--split-seed", 1, "--data-root", root, "--force") == 0
    redrawn = [row.path for row in read_examples(root / "CUBgull/ALLgull_gt_tr.txt", 5)[-12:]]
    assert redrawn == [row.path for row in read_examples(root / "NAbirdsgull/NAbirdsgull_gt_tr.txt", 5)]


def test_the_papers_archive_makes_both_gull_datasets(tmp_path):
    archive, root = make_archive(tmp_path / "gulls.tgz", paper_members()), tmp_path / "root"
    for command, folder in (("gull", "CUBgull"), ("nabirds", "NAbirdsgull")):
        assert run(command, "--archive", archive, "--split-seed", 0, "--data-root", root) == 0
        # Hyphens are removed only from NABirds as published. The paper's archive has the names of the paper's lists.
        assert names(root / folder / "images") == [f"{gull}/{gull}-{i}.jpg" for gull in GULLS for i in range(2)]
    assert run("check", "gull_whole", "--data-root", root) == 0


@pytest.mark.parametrize(
    ("command", "members", "words"),
    [
        ("gull", teach_members(1), "CUBgull/images/<Class>/<file> or CUB_200_2011/images/<Class>/<file>"),
        ("butterflies", paper_members(), ", ".join(BUTTERFLIES)),
        ("nabirds", {n: d for n, d in nabirds_members().items() if "0821/" not in n}, "no images of HeermannGull ("),
        ("nabirds", nabirds_members() | {"nabirds/classes.txt": b"0 Birds\n"}, "Heermann"),
        ("butterflies", {**teach_members(1), "top/butterflies_crop/Queen/bad.png": picture(1)[:60]}, "Queen/bad.png"),
        ("butterflies", teach_members() | cub_members(), "is damaged"),  # truncated
    ],
)
@pytest.mark.parametrize("ending", ["zip", "tgz"])
def test_an_archive_that_does_not_fit_is_refused(tmp_path, capsys, command, members, words, ending):
    archive = make_archive(tmp_path / f"a.{ending}", members)
    if words == "is damaged":
        archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * 0.6)])
    assert run(command, "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    error = one_error(capsys)
    assert str(archive) in error and words in error and names(tmp_path / "root") == []


@pytest.mark.parametrize("ending", ["zip", "tgz"])
def test_no_member_is_written_outside(tmp_path, ending):
    (tmp_path / "root").mkdir()
    members = teach_members() | {"/evil/evil.png": picture(0), "../../butterflies_crop/Queen/e.png": picture(1)}
    archive = make_archive(tmp_path / f"a.{ending}", members)
    assert run("butterflies", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 0
    assert [path.name for path in tmp_path.iterdir() if path != archive] == ["root"]
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["butterflies_crop"]
    assert "Queen/e.png" in names(tmp_path / "root/butterflies_crop/images")


# ---------------------------------------------------------------- downloads


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The address of a server, and the folder that it serves."""
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "site").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", tmp_path / "site"
        server.shutdown()
        thread.join()


def test_a_download_is_checked_and_kept(tmp_path, site, monkeypatch, capsys):
    address, folder = site
    data = make_archive(folder / "cub.tgz", cub_members()).read_bytes()
    arguments = ("gull", "--split-seed", 0, "--data-root", tmp_path / "root")
    own = replace(SOURCES["gull"], url=f"{address}/cub.tgz", md5="0" * 32)
    monkeypatch.setitem(SOURCES, "gull", own)
    assert run(*arguments) == 1
    assert "corrupted" in one_error(capsys) and not (tmp_path / "root/CUBgull").exists()
    monkeypatch.setitem(SOURCES, "gull", replace(own, md5=hashlib.md5(data).hexdigest()))
    assert run(*arguments) == 0
    assert names(tmp_path / "root/.downloads") == ["CUB_200_2011.tgz"]
    (folder / "cub.tgz").unlink()
    assert run(*arguments, "--force") == 0


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [("{site}/none.tgz", 1, "404"), ("{site}/page.tgz", 2, "not an archive"), ("cub.tgz", 2, "http or https")],
)
def test_an_address_without_an_archive_ends_with_one_line(tmp_path, site, capsys, url, status, words):
    (site[1] / "page.tgz").write_bytes(b"<!DOCTYPE html><html><head><title>Virus scan warning</title></head></html>")
    arguments = ("gull", "--url", url.format(site=site[0]), "--split-seed", 0, "--data-root", tmp_path / "root")
    assert run(*arguments) == status
    error = one_error(capsys)
    assert words in error and all(page in error for page in SOURCES["gull"].pages)
    assert not (tmp_path / "root/CUBgull").exists()


# ---------------------------------------------------------------- lists


def paper_lists(folder: Path, *test_row: object) -> Path:
    """The lists of chinese_chars with three images, and a row (path, label) that may be wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [("chinese_chars/images/mound/mound3.png", 1), *([test_row] if test_row else [])]
    train = [("chinese_chars/images/stem/stem1.png", 2), ("chinese_chars/images/grass/grass0.png", 0)]
    for stem, pairs in (("ChineseChars_gt_tr", train), ("ChineseChars_gt_te", rows)):
        examples = [Example(f"./datasets/{path}", label, index) for index, (path, label) in enumerate(pairs)]
        write_examples(folder / f"{stem}.txt", examples)
    return folder


@pytest.mark.parametrize(("nested", "downloaded"), [("", False), ("chinese_chars", False), ("chinese_chars", True)])
def test_lists_are_taken_as_they_are(tmp_path, site, nested, downloaded):
    address, folder = site
    lists = paper_lists(folder / "x" / nested)
    archive = make_archive(tmp_path / "teach.zip", teach_members())
    place = ("--lists-url", f"{address}/x") if downloaded else ("--lists", folder / "x")
    assert run("chinese_chars", "--archive", archive, *place, "--data-root", tmp_path / "root") == 0
    for path in lists.iterdir():
        assert (tmp_path / "root/chinese_chars" / path.name).read_bytes() == path.read_bytes()


def test_a_missing_list_ends_the_run_before_the_archive_is_downloaded(tmp_path, site, capsys):
    arguments = ("--url", f"{site[0]}/teach.zip", "--lists-url", f"{site[0]}/x", "--data-root", tmp_path / "root")
    assert run("chinese_chars", *arguments) == 1
    assert "ChineseChars_gt_tr.txt" in one_error(capsys)


@pytest.mark.parametrize(("stem", "label"), [("stem77", 2), ("stem1", 1)])
def test_a_listed_image_that_is_missing_or_of_another_class_is_named(tmp_path, capsys, stem, label):
    listed = paper_lists(tmp_path / "lists", f"chinese_chars/images/stem/{stem}.png", label)
    arguments = ("--lists", listed, "--data-root", tmp_path / "root")
    assert run("chinese_chars", "--archive", make_archive(tmp_path / "teach.zip", teach_members()), *arguments) == 2
    assert "ChineseChars_gt_te.txt, line 2: " in one_error(capsys) and names(tmp_path / "root") == []


@pytest.mark.parametrize(
    ("name", "counts", "expected"),
    [
        ("butterflies", [386] * 5, {"butterflies_gt_tr": 1544, "butterflies_gt_te": 386}),
        ("gull", [60, 59, 60, 60, 60], {"CUBgull_gt_tr": 150, "CUBgull_gt_te": 149}),
        ("nabirds", [100, 90, 110, 240, 80], {"NAbirdsgull_gt_tr": 431}),
    ],
)
def test_drawn_lists_have_the_papers_sizes_and_the_proportions_of_the_classes(name, counts, expected):
    source = SOURCES[name]
    files = {label: [f"{i}.png" for i in range(n)] for label, n in zip(source.classes, counts, strict=True)}
    lists = draw_lists(source.folder, files, source.parts, seed=1)
    assert {stem: len(lists[stem]) for stem in expected} == expected
    for rows in lists.values():
        for label, count in enumerate(counts):
            assert abs(Counter(row.label for row in rows)[label] - len(rows) * count / sum(counts)) < 1.5
    drawn = [row.path for part in source.parts for row in lists[part.stem]]
    assert len(set(drawn)) == len(drawn) == sum(part.size for part in source.parts)
    if name == "butterflies":
        assert [row.index for row in lists["butterflies_gt_s300_rest_tr"]] == list(range(300, 1544))


def test_drawn_lists_depend_on_the_seed_and_not_on_the_order_of_the_files():
    files = {name: [f"{i}.png" for i in range(20)] for name in CHARACTERS}
    backwards = {name: found[::-1] for name, found in files.items()}
    parts = (Part("a", 30), Part("b", 30))
    assert draw_lists("f", files, parts, 4) == draw_lists("f", backwards, parts, 4)
    assert draw_lists("f", files, parts, 4) != draw_lists("f", files, parts, 5)
