"""Unsafe and damaged archives are refused, and nothing is written outside."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from datasets import archives
from datasets.archives import Member, extract_images
from tests.helpers.archives import (
    CUB_FOLDERS,
    cub_members,
    make_tar,
    make_zip,
    names,
    one_error,
    picture,
    run,
    teach_members,
)
from utils.data.names import plain_name


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def assert_refused(capsys, tmp_path: Path, archive: Path, *words: str) -> None:
    """`prepare.py gull` (a tar) or `butterflies` (a zip) refuses the archive in one line with these words, and leaves nothing."""
    command = "butterflies" if archive.suffix == ".zip" else "gull"
    assert run(command, "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    error = one_error(capsys)
    assert all(word in error for word in (archive.name, *words)), error
    assert names(tmp_path / "root") == [] and list((tmp_path / "root").iterdir()) == []
    assert not (tmp_path / "evil.png").exists() and not Path("/evil.png").exists()


UNSAFE_NAMES = [
    "/evil.png",
    "../evil.png",
    "top/butterflies_crop/Monarch/../../../../evil.png",
    "C:\\evil.png",
    "top\\..\\..\\evil.png",
]


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_members_that_leave_the_folder_are_refused_in_zips(tmp_path, capsys, name):
    assert_refused(
        capsys, tmp_path, make_zip(tmp_path / "a.zip", {**teach_members(), name: picture(0)}), repr(name), "leads out"
    )


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_members_that_leave_the_folder_are_refused_in_tars(tmp_path, capsys, name):
    assert_refused(
        capsys, tmp_path, make_tar(tmp_path / "a.tgz", {**cub_members(), name: picture(0)}), repr(name), "leads out"
    )


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


@pytest.mark.parametrize(
    "mode, target, words", [(0o120777, "../../etc", "link that leads out"), (0o010644, "", "neither a file")]
)
def test_links_and_devices_are_refused_in_zips(tmp_path, capsys, mode, target, words):
    archive = make_zip(tmp_path / "a.zip", teach_members())
    info = zipfile.ZipInfo("top/odd")
    info.external_attr = mode << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(info, target)
    assert_refused(capsys, tmp_path, archive, "top/odd", words)


@pytest.mark.parametrize(
    "limit, size, words",
    [
        ("IMAGE_LIMIT", 1000, "for an image"),
        ("IMAGES_LIMIT", 3000, "brings the images"),
        ("TOTAL_LIMIT", 3000, "bytes unpacked"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_archives_that_declare_too_much_are_refused(tmp_path, capsys, monkeypatch, limit, size, words, kind):
    monkeypatch.setattr(archives, limit, size)
    huge = bytes(1001) if limit == "IMAGE_LIMIT" else b""
    if kind == "zip":
        archive = make_zip(tmp_path / "a.zip", {**teach_members(), "top/butterflies_crop/Queen/huge.png": huge})
    else:
        archive = make_tar(
            tmp_path / "a.tgz", {**cub_members(), f"CUB_200_2011/images/{CUB_FOLDERS[2]}/huge.jpg": huge}
        )
    assert_refused(capsys, tmp_path, archive, words, str(size))


def test_two_members_of_one_name_are_refused(tmp_path, capsys):
    members = {**teach_members(), "top/butterflies_crop/images/Red Admiral/3_1.png": picture(5)}
    assert_refused(capsys, tmp_path, make_zip(tmp_path / "a.zip", members), "overwrite", "RedAdmiral/3_1.png")


def test_blanks_in_file_names_become_underscores(tmp_path):
    archive = make_zip(
        tmp_path / "a.zip", {**teach_members(), "top/butterflies_crop/Queen/my  queen (1).png": picture(5)}
    )
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
    "name, share",
    [*((name, share) for name in ("a.zip", "a.tgz") for share in (0.02, 0.5, 0.98, 0.9999)), ("a.tar", 0.5)],
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
    extract_images(
        archive, lambda parts: ("K", "new name.png") if parts == ("x", "two.png") else None, tmp_path / "out"
    )
    assert names(tmp_path / "out") == ["K/new_name.png"] and (tmp_path / "out/K/new_name.png").read_bytes() == b"2"
    assert Member("./a//b.png", 0, "file", "", io.BytesIO).parts == ("a", "b.png")
