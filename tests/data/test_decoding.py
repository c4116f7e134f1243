"""What picture files say about their pixels: orientation, modes, ranges, transparency, size; and nothing of it on stderr but sentences."""

import errno
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from datasets.images import inspect_image
from utils.base.errors import InputError
from utils.data import decoding
from utils.data.images import decode, eval_view, to_tensor

# Corners of a picture 3 wide and 2 high: top left, top right, bottom left, bottom right.
UPRIGHT = np.array([[[200, 0, 0], [0, 0, 0], [0, 200, 0]], [[0, 0, 200], [0, 0, 0], [200, 200, 0]]], np.uint8)
# What a camera stores of it in each orientation, from the EXIF standard: where row 0 and column 0 of the stored picture are seen.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
}


def saved(image, form, **how):
    """The content of a picture file."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, form, **how)
    return file.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[274] = orientation
    return data


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, bits, colour_type, row, *chunks):
    """A PNG of one row, written by hand, since Pillow does not write every form that it reads."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour_type, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def pixels(tmp_path):
    """From the content of a file to its pixels (h, w, 3), through the one way by which everything decodes."""

    def read(content):
        path = tmp_path / "picture"
        path.write_bytes(content)
        picture = decode(str(path), "list.txt, line 3")
        assert picture.mode == "RGB"
        return np.array(picture)

    return read


@pytest.fixture
def refusal(pixels):
    """From the content of a file to what is said about it."""

    def read(content):
        with pytest.raises(InputError) as error:
            pixels(content)
        assert str(error.value).startswith("list.txt, line 3: the image ") and str(error.value).endswith(".")
        return str(error.value)

    return read


# ---------------------------------------------------------------- orientation


@pytest.mark.parametrize(
    "how", [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})], ids=str
)
@pytest.mark.parametrize("orientation", STORED)
def test_pictures_are_upright(pixels, orientation, how):
    form, settings = how
    content = saved(np.ascontiguousarray(STORED[orientation]), form, exif=exif(orientation), **settings)
    assert np.array_equal(pixels(content), UPRIGHT)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("orientation", STORED)
def test_photographs_are_upright_whether_or_not_they_are_reduced(pixels, monkeypatch, orientation, large):
    if large:
        monkeypatch.setattr(decoding, "REDUCED_ABOVE", 96 * 64 - 1)
        monkeypatch.setattr(decoding, "SHORTEST_REDUCED", 8)
    stored = np.ascontiguousarray(STORED[orientation].repeat(32, 0).repeat(32, 1))
    found = pixels(saved(stored, "JPEG", quality=95, exif=exif(orientation)))
    assert found.shape == ((32, 48, 3) if large else (64, 96, 3))
    side = 16 if large else 32
    assert np.abs(found[side // 2 :: side, side // 2 :: side].astype(int) - UPRIGHT).max() <= 6


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_is_none_turns_nothing(pixels, orientation):
    assert np.array_equal(pixels(saved(UPRIGHT, "PNG", exif=exif(orientation))), UPRIGHT)


@pytest.mark.filterwarnings("ignore")
def test_damaged_exif_data_turn_nothing_and_refuse_nothing(pixels):
    damaged = b"Exif\0\0" + exif(6).tobytes()[6:20] + b"\xff" * 9
    plain = saved(UPRIGHT, "JPEG")
    assert np.array_equal(pixels(saved(UPRIGHT, "JPEG", exif=damaged)), pixels(plain))


# ---------------------------------------------------------------- greys of more than 8 bits

EIGHT = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (EIGHT.astype(np.uint16) * 257, "PNG"),
        (EIGHT.astype(np.uint16) * 257, "TIFF"),
        (EIGHT.astype(np.uint16) * 257, "PPM"),
        (EIGHT.astype(np.uint16) * 257 + np.uint16(256) * (EIGHT < 255), "PNG"),  # cut, not rounded
        (EIGHT.astype(np.int32) * 257, "TIFF"),
        (EIGHT.astype(np.int32), "TIFF"),
        ((EIGHT / 255).astype(np.float32), "TIFF"),
        (EIGHT.astype(np.float32), "TIFF"),
        (EIGHT.astype(np.float32) * 257, "TIFF"),
    ],
)
def test_greys_of_any_depth_are_those_of_8_bits(pixels, content, form):
    assert np.array_equal(pixels(saved(content, form)), EIGHT[..., None].repeat(3, 2))


def test_a_dark_16_bit_picture_stays_dark(pixels):
    """Files of 16 bits say what white is; their own largest value does not matter."""
    assert pixels(saved(np.full((2, 2), 255, np.uint16), "PNG")).max() == 0
    assert pixels(saved(np.full((2, 2), 514, np.uint16), "TIFF")).tolist() == [[[2] * 3] * 2] * 2


def test_big_endian_and_white_is_zero(pixels):
    values = np.array([[0, 257, 65535]], np.uint16)
    assert pixels(saved(Image.frombytes("I;16B", (3, 1), values.astype(">u2").tobytes()), "TIFF"))[
        0, :, 0
    ].tolist() == [0, 1, 255]
    assert pixels(saved(values, "TIFF", tiffinfo={262: 0}))[0, :, 0].tolist() == [255, 254, 0]


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ([-1, 1], "lie between -1 and 1,"),
        ([0, 1.5], "lie between 0 and 1.5,"),
        ([0, 1000], "lie between 0 and 1000,"),
        ([0, 70000], "lie between 0 and 70000,"),
        ([0, np.nan], "are not all finite numbers,"),
        ([np.inf, 1], "are not all finite numbers,"),
    ],
)
def test_floats_of_an_unknown_range_are_refused(refusal, values, where):
    said = refusal(saved(np.array([values], np.float32), "TIFF"))
    expected = (
        f"its greys {where} and white is expected at 1, 255 or 65535, black at 0); save it with 8 or 16 bits per pixel."
    )
    assert said.endswith(expected)


@pytest.mark.parametrize("values", [[0, 65536], [-1, 200]])
def test_whole_numbers_of_an_unknown_range_are_refused(refusal, values):
    assert f"its greys lie between {values[0]} and {values[1]}," in refusal(saved(np.array([values], np.int32), "TIFF"))


# ---------------------------------------------------------------- transparency and colours


def test_what_is_transparent_is_white_and_half_of_it_half_white(pixels):
    seen = [
        [255, 255, 255],
        [178, 128, 228],
        [100, 0, 200],
    ]  # 100 + 155 (255 - alpha) / 255 and so on, alpha 0, 127 and 255
    rgba = np.array([[[100, 0, 200, 0], [100, 0, 200, 127], [100, 0, 200, 255]]], np.uint8)
    for form, how in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert pixels(saved(rgba, form, **how))[0].tolist() == seen
    grey = Image.merge("LA", [Image.fromarray(rgba[..., 0]), Image.fromarray(rgba[..., 3])])
    assert pixels(saved(grey, "PNG"))[0].tolist() == [[255] * 3, [178] * 3, [100] * 3]


def test_opaque_alpha_changes_nothing(pixels):
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    opaque = np.dstack([colours, np.full((40, 50), 255, np.uint8)])
    assert np.array_equal(pixels(saved(opaque, "PNG")), colours)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_transparent_colours_of_a_palette_are_white(pixels, transparency):
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert pixels(saved(image, "PNG", transparency=transparency)).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    if isinstance(transparency, int):
        assert pixels(saved(image, "GIF", transparency=transparency)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("bits", "colour_type", "row", "key", "seen"),
    [
        (1, 0, b"\x40", (0,), [255, 255]),
        (2, 0, b"\x90", (1,), [170, 255]),
        (4, 0, b"\x12", (2,), [17, 255]),
        (8, 0, b"\x07\x08", (8,), [7, 255]),
        (16, 0, struct.pack(">2H", 25700, 300), (300,), [100, 255]),
        (8, 2, bytes([1, 1, 1, 2, 2, 2]), (2, 2, 2), [1, 255]),
        (16, 2, struct.pack(">6H", *[0x1234] * 3, *[0x5678] * 3), [0x5678] * 3, [0x12, 255]),
    ],
)
def test_the_transparent_colour_of_a_png_is_white(pixels, bits, colour_type, row, key, seen):
    content = png(2, bits, colour_type, row, chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)))
    assert pixels(content)[0].tolist() == [[grey] * 3 for grey in seen]


def test_colours_of_other_models(pixels):
    cyan, black = (255, 0, 0, 0), (0, 0, 0, 255)
    for form, tolerance in (("TIFF", 0), ("JPEG", 2)):  # JPEG files of CMYK are stored inverted, as Adobe does
        for ink, seen in ((cyan, [0, 255, 255]), (black, [0, 0, 0])):
            found = pixels(saved(Image.new("CMYK", (8, 8), ink), form))[4, 4].astype(int)
            assert np.abs(found - seen).max() <= tolerance, (form, ink)
    assert pixels(saved(Image.new("YCbCr", (8, 8), (76, 85, 255)), "TIFF"))[4, 4].tolist() == [254, 0, 0]
    assert np.abs(pixels(saved(Image.new("LAB", (2, 2), (255, 128, 128)), "TIFF")).astype(int) - 255).max() <= 1
    assert pixels(saved(Image.frombytes("1", (2, 1), b"\x40"), "PNG")).tolist() == [[[0] * 3, [255] * 3]]
    assert pixels(png(2, 16, 2, struct.pack(">6H", 257, 514, 771, 65535, 0, 256))).tolist() == [
        [[1, 2, 3], [255, 0, 1]]
    ]


@pytest.mark.parametrize("form", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_several_frames_the_first_is_taken(pixels, form):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    how = {"lossless": True} if form == "WEBP" else {}
    found = pixels(saved(frames[0], form, save_all=True, append_images=frames[1:], **how))
    assert found.tolist() == [[[255, 0, 0]] * 4] * 3


def test_beside_a_gifs_small_frame_the_page_is_white(pixels):
    content = bytearray(saved(Image.new("P", (2, 1), 0), "GIF"))
    place = content.index(b"\x2c")  # the frame: left, top, width, height
    content[6:10] = struct.pack("<2H", 4, 3)  # a larger page
    content[place + 1 : place + 5] = struct.pack("<2H", 1, 2)
    found = pixels(bytes(content))
    assert found[2, 1:3].tolist() == [[0, 0, 0]] * 2
    found[2, 1:3] = 255
    assert found.shape == (3, 4, 3) and (found == 255).all()


# ---------------------------------------------------------------- size


@pytest.fixture
def small_limits(monkeypatch):
    """Pictures are large from 64 x 64 on and too large from 4 times as many pixels on."""
    monkeypatch.setattr(decoding, "REDUCED_ABOVE", 64 * 64)
    monkeypatch.setattr(decoding, "SHORTEST_REDUCED", 8)
    monkeypatch.setattr(decoding, "STRIP", 500)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 4 * 64 * 64)


def test_large_pictures_are_reduced_by_averaging(pixels, small_limits):
    colours = np.random.default_rng(1).integers(0, 256, (100, 71, 3), dtype=np.uint8)
    padded = np.pad(colours, ((0, 0), (0, 1), (0, 0)), mode="edge").astype(float)  # the last column stands alone
    means = padded.reshape(50, 2, 36, 2, 3).mean((1, 3))
    assert np.abs(pixels(saved(colours, "PNG")) - means).max() <= 0.5
    assert np.array_equal(pixels(saved(colours[:, :40], "PNG")), colours[:, :40])


def test_large_greys_have_one_range(pixels, small_limits):
    """The strips of a picture, the first of which is dark here, are not judged one by one."""
    ramp = np.linspace(0, 255, 100).repeat(100).reshape(100, 100).astype(np.float32)
    assert np.abs(pixels(saved(ramp, "TIFF"))[..., 0] - ramp.reshape(50, 2, 50, 2).mean((1, 3))).max() <= 1


def test_narrow_pictures_keep_their_shorter_side(pixels, small_limits):
    assert pixels(saved(np.zeros((15, 800, 3), np.uint8), "PNG")).shape == (15, 800, 3)
    assert pixels(saved(np.zeros((16, 800, 3), np.uint8), "PNG")).shape == (8, 400, 3)


def test_photographs_of_any_size_are_read_and_others_are_not(pixels, refusal, small_limits):
    scene = Image.new("RGB", (640, 320), (10, 200, 30))
    assert pixels(saved(scene, "JPEG")).shape == (40, 80, 3)
    for form, how in (("PNG", {}), ("JPEG", {"progressive": True})):
        said = refusal(saved(scene, form, **how))
        assert (
            "cannot be decoded (it has 1 megapixels, 640 x 320, and at most 0 can be read); reduce it, to 160 x 80 pixels"
            in said
        )


def test_the_sentence_about_a_museum_scan(refusal):
    """The header alone decides: nothing is decoded."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 15000, 12000, 8, 0, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"")
    expected = "(it has 180 megapixels, 15000 x 12000, and at most 179 can be read); reduce it, to 7500 x 6000 pixels for example."
    assert refusal(content).endswith(expected)


@pytest.mark.parametrize("shape", [(40, 60), (375, 500), (90, 1000)])
def test_the_test_view_of_usual_shapes_is_cut_from_the_resized_picture(shape):
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8))
    assert np.array_equal(eval_view(image, 56), resized_then_cut(image, 56))


@pytest.mark.parametrize("shape", [(37, 5000), (9000, 33), (3, 2001), (1, 400)])
def test_the_test_view_of_long_pictures_hardly_differs(shape, monkeypatch):
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8))
    assert np.abs(eval_view(image, 56).numpy().astype(int) - resized_then_cut(image, 56)).max() <= 1


def test_a_very_long_picture_is_never_resized_as_a_whole(monkeypatch):
    sizes, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda image, size, *more, **how: sizes.append(size) or resize(image, size, *more, **how)
    )
    assert eval_view(Image.new("RGB", (20000, 50)), 224).shape == (3, 224, 224)
    assert sizes == [(224, 224)]


def resized_then_cut(image, size):
    """The test view, plainly; size is a multiple of 7."""
    shorter = size // 7 * 8
    width, height = (round(side * (shorter / min(image.size))) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = np.array(image.resize((width, height), Image.Resampling.BILINEAR)).astype(int)
    return resized[top : top + size, left : left + size].transpose(2, 0, 1)


@pytest.mark.parametrize(("kind", "head"), [(b"iCCP", b"profile\0\0"), (b"zTXt", b"notes\0\0")])
def test_long_notes_in_a_png_do_not_matter(pixels, kind, head):
    content = png(1, 8, 0, b"\x07", chunk(kind, head + zlib.compress(bytes(3_000_000))))
    assert pixels(content).tolist() == [[[7] * 3]]


# ---------------------------------------------------------------- what cannot be shown


@pytest.mark.parametrize(
    "error", [struct.error("unpack"), IndexError(), EOFError("over"), OverflowError("much"), RuntimeError("odd")]
)
def test_whatever_pillow_raises_is_one_sentence(refusal, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(Image.Image, "convert", fail)
    said = refusal(saved(UPRIGHT, "PNG"))
    assert said.endswith(f"cannot be decoded ({str(error) or 'IndexError'}); restore it.")


def test_too_little_memory_is_one_sentence(refusal, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", fail)
    assert refusal(saved(UPRIGHT, "PNG")).endswith(
        "cannot be decoded (it does not fit into the memory that is free); reduce it."
    )


def test_what_is_no_picture_is_said_so(refusal, tmp_path):
    ending = "cannot be decoded (it is in no picture format that is known here); save it as PNG or JPEG, or restore it."
    assert refusal(b"<html></html>").endswith(ending)
    assert refusal(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").endswith(ending)
    with pytest.raises(InputError, match=r"^here: the image .* cannot be read \(Is a directory\); mend that\.$"):
        decode(str(tmp_path), "here")


PREVIEW = "cannot be decoded (only a preview of it can be read here, as of cameras' raw files); develop it, or save it anew, as JPEG or TIFF."
REDUCED_ENTRY, WHOLE_ENTRY = (
    struct.pack("<HHII", 254, 4, 1, value) for value in (1, 0)
)  # of a TIFF directory: NewSubfileType


@pytest.mark.parametrize(
    "tags", [{254: 1, 330: 8, 271: "NIKON CORPORATION"}, {254: 5, 330: 8}, {50706: b"\1\4\0\0"}], ids=str
)
def test_raw_files_of_cameras_are_not_read_as_their_previews(refusal, tags):
    assert refusal(saved(UPRIGHT, "TIFF", tiffinfo=tags)).endswith(PREVIEW)


@pytest.mark.parametrize(
    "tags", [{254: 0}, {254: 2}, {254: 1}, {254: 0, 330: 8}, {271: "NIKON CORPORATION", 272: "NIKON D70"}], ids=str
)
def test_tiff_files_of_cameras_are_read(pixels, tags):
    assert np.array_equal(pixels(saved(UPRIGHT, "TIFF", tiffinfo=tags)), UPRIGHT)


def test_of_a_tiff_the_first_directory_alone_says_whether_it_is_a_preview(pixels, refusal):
    other = Image.new("RGB", (1, 1))
    content = saved(UPRIGHT, "TIFF", save_all=True, append_images=[other], tiffinfo={254: 1})
    assert content.count(REDUCED_ENTRY) == 2 and refusal(content).endswith(PREVIEW)
    assert np.array_equal(pixels(content.replace(REDUCED_ENTRY, WHOLE_ENTRY, 1)), UPRIGHT)


def test_canons_raw_files_are_told_by_their_header(pixels, refusal):
    """Their first directory does not say that it is a preview's. Other than Pillow's it does not begin at byte 8; here it is moved."""
    content = saved(UPRIGHT, "TIFF")
    count = struct.unpack("<H", content[8:10])[0]
    directory = content[8 : 8 + 2 + 12 * count + 4]
    marked, other = (
        content[:4] + struct.pack("<I", len(content)) + mark + content[12:] + directory
        for mark in (b"CR\2\0", b"ab\2\0")
    )
    assert refusal(marked).endswith(PREVIEW)
    assert np.array_equal(pixels(other), UPRIGHT)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program called `gs` where programs are looked for, which leaves a file behind when it is started."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gs").write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    (tmp_path / "bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return tmp_path / "started"


def test_no_program_is_run_to_draw_an_eps_file(refusal, ghostscript):
    assert refusal(EPS).endswith(
        "cannot be decoded (it is EPS, a program that draws, and no program is run here); save it as PNG or JPEG."
    )
    assert not ghostscript.exists()


def test_no_program_is_run_to_draw_an_eps_file_within_another(refusal, ghostscript, monkeypatch):
    def field(record, number, data):
        return struct.pack(">BBBH", 0x1C, record, number, len(data)) + data

    size = field(3, 60, b"\1\0") + field(3, 20, b"\0\x09") + field(3, 30, b"\0\x09")
    content = size + field(3, 120, b"\5") + field(8, 10, EPS)  # IPTC: a picture of its own format in a field
    assert refusal(content).endswith("cannot be decoded (Unable to locate Ghostscript on paths); restore it.")
    assert not ghostscript.exists()
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # as Pillow has it
    refusal(content)
    assert ghostscript.exists()


@pytest.mark.parametrize(("number", "passes"), [(errno.EIO, True), (errno.ESTALE, True), (errno.EINVAL, False)])
def test_faults_of_the_disk_are_not_the_pictures(number, passes):
    class Failing(io.BytesIO):
        def read(self, *_):
            raise OSError(number, "said")

    with pytest.raises(OSError if passes else decoding.Undecodable, match="said"):
        decoding.read_picture(Failing(saved(UPRIGHT, "PNG")))


def test_the_check_sees_what_training_sees(tmp_path):
    """Two files of one picture, turned in one of them, are the same to `prepare.py check`; a range unknown to training is to it."""
    for orientation in (1, 6):
        content = saved(np.ascontiguousarray(STORED[orientation]), "PNG", exif=exif(orientation))
        (tmp_path / f"{orientation}.png").write_bytes(content)
    one, other = (inspect_image(tmp_path / f"{orientation}.png") for orientation in (1, 6))
    assert one.pixels == other.pixels and one.content != other.content
    (tmp_path / "range.tif").write_bytes(saved(np.array([[-1, 1]], np.float32), "TIFF"))
    found = inspect_image(tmp_path / "range.tif")
    assert found.problem.startswith("does not decode (its greys lie between -1 and 1,") and found.remedy.startswith(
        "save it with"
    )


def test_headers_that_pillow_warns_about_are_decoded_in_silence(tmp_path, tools):
    """In a process of its own, because pytest replaces the filters of warnings."""
    palette = Image.frombytes("P", (2, 1), bytes([0, 1]))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    files = {
        "exif.jpg": saved(UPRIGHT, "JPEG", exif=b"Exif\0\0" + exif(6).tobytes()[6:20] + b"\xff" * 9),
        "palette.png": saved(palette, "PNG", transparency=bytes([255, 0])),
        "scan.png": saved(Image.new("1", (90_000, 1000)), "PNG"),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    code = "import sys; from utils.data.decoding import read_picture; [read_picture(open(name, 'rb')).close() for name in sys.argv[1:]]"
    command = [sys.executable, "-c", code, *(str(tmp_path / name) for name in files)]
    done = subprocess.run(command, cwd=tools.repository, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert to_tensor(decode(str(tmp_path / "palette.png"), "")).flatten(1).T.tolist() == [[10, 20, 30], [255, 255, 255]]
