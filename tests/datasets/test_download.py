"""Downloads: kept, taken up where they ended, checked; and web pages are no archives."""

import hashlib

import pytest

from datasets.archives import is_archive, is_saved_page
from datasets.sources import SOURCES
from tests.helpers.archives import cub_members, make_tar, make_zip, names, one_error, run


@pytest.fixture
def cub(tmp_path, site):
    """A small CUB archive on the server, and the arguments that make CUBgull from it."""
    data = make_tar(tmp_path / "served.tgz", cub_members()).read_bytes()
    site.files["/cub.tgz"] = data
    return data, ("gull", "--url", f"{site.url}/cub.tgz", "--split-seed", 0, "--data-root", tmp_path / "root")


def test_a_download_is_kept_and_not_repeated(tmp_path, site, cub):
    data, arguments = cub
    assert run(*arguments, "--md5", hashlib.md5(data).hexdigest().upper()) == 0
    downloads = tmp_path / "root/.downloads"
    assert (
        names(downloads) == ["CUB_200_2011.tgz", "CUB_200_2011.tgz.json"]
        and (downloads / "CUB_200_2011.tgz").read_bytes() == data
    )
    assert run(*arguments, "--force") == 0
    assert len(site.requests) == 1


@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_cut_connection_is_taken_up_where_it_ended(tmp_path, site, cub, capsys, etag):
    data, arguments = cub
    site.etag, site.cut = etag, 1000
    assert run(*arguments) == 1
    assert f"ended at 1000 of {len(data)} bytes" in one_error(capsys)
    part = tmp_path / "root/.downloads/CUB_200_2011.tgz.part"
    assert (
        names(tmp_path / "root") == [f".downloads/{part.name}", f".downloads/{part.name}.json"]
        and part.read_bytes() == data[:1000]
    )
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
def test_an_address_without_an_archive_is_named_with_the_page_that_has_one(
    tmp_path, site, capsys, command, status, kind, body, what
):
    site.files["/data.zip"], site.answers["/data.zip"] = body, (status, kind)
    arguments = ("--url", f"{site.url}/data.zip", "--split-seed", 0, "--data-root", tmp_path / "root")
    assert run(command, *arguments) == 1
    error = one_error(capsys)
    assert all(
        words in error for words in (f"{site.url}/data.zip", what, *SOURCES[command].pages, "--archive FILE", "--url")
    )
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
    assert f"--archive '{tmp_path / 'gulls.zip'}' is a web page" in error and all(
        page in error for page in SOURCES["gull"].pages
    )


def test_no_archive_is_taken_for_a_web_page(tmp_path):
    members = {"<html>.txt": b"<html>", **cub_members(1)}
    for archive in (
        make_zip(tmp_path / "a.zip", members),
        make_tar(tmp_path / "a.tgz", members),
        make_tar(tmp_path / "a.tar", members),
    ):
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
