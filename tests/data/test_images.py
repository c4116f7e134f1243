"""Decoding: orientation, grays of more than 8 bits, transparency, refusals; and the views."""

import io

import numpy as np
import pytest
from PIL import Image

from utils.base.errors import InputError
from utils.data.images import decode, eval_view, full_view, whole_view

# A picture 3 wide and 2 high with four corners, and how a camera stores it in each orientation (EXIF standard).
UPRIGHT = np.array([[[200, 0, 0], [0, 0, 0], [0, 200, 0]], [[0, 0, 200], [0, 0, 0], [200, 200, 0]]], np.uint8)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
    300: UPRIGHT,  # undefined
}
EIGHT = np.arange(256, dtype=np.uint8).reshape(16, 16)


def saved(image, form, **how):
    """The content of a picture file."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, form, **how)
    return file.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[274] = orientation
    return data


@pytest.fixture
def pixels(tmp_path):
    """From the content of a file to its pixels (h, w, 3)."""

    def read(content, name="picture"):
        (tmp_path / name).write_bytes(content)
        picture = decode(tmp_path / name, "list.txt, line 3")
        assert picture.mode == "RGB"
        return np.array(picture)

    return read


@pytest.fixture
def refusal(pixels):
    """From the content of a file to the error message."""

    def read(content, name="picture"):
        with pytest.raises(InputError) as error:
            pixels(content, name)
        assert str(error.value).startswith("list.txt, line 3: the image ") and str(error.value).endswith(".")
        return str(error.value)

    return read


@pytest.mark.parametrize("how", [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})], ids=str)
@pytest.mark.parametrize("orientation", STORED)
def test_pictures_are_upright(pixels, orientation, how):
    form, settings = how
    content = saved(np.ascontiguousarray(STORED[orientation]), form, exif=exif(orientation), **settings)
    assert np.array_equal(pixels(content), UPRIGHT)


def test_jpeg_photographs_are_upright(pixels):
    stored = np.ascontiguousarray(STORED[6].repeat(32, 0).repeat(32, 1))
    found = pixels(saved(stored, "JPEG", quality=95, exif=exif(6)))
    assert found.shape == (64, 96, 3)
    assert np.abs(found[16::32, 16::32].astype(int) - UPRIGHT).max() <= 6


@pytest.mark.filterwarnings("ignore")
def test_damaged_exif_data_are_ignored(pixels):
    damaged = b"Exif\0\0" + exif(6).tobytes()[6:20] + b"\xff" * 9
    assert np.array_equal(pixels(saved(UPRIGHT, "JPEG", exif=damaged)), pixels(saved(UPRIGHT, "JPEG")))


SIXTEEN = EIGHT.astype(np.uint16) * 257
DEEP = [
    *((SIXTEEN, form) for form in ("PNG", "TIFF", "PPM")),
    (SIXTEEN + np.uint16(256) * (EIGHT < 255), "PNG"),  # truncated, not rounded
    *((EIGHT.astype(kind) * scale, "TIFF") for kind in (np.int32, np.float32) for scale in (1, 257)),
    ((EIGHT / 255).astype(np.float32), "TIFF"),
]


@pytest.mark.parametrize(("content", "form"), DEEP)
def test_grays_of_any_depth_become_those_of_8_bits(pixels, content, form):
    assert np.array_equal(pixels(saved(content, form)), EIGHT[..., None].repeat(3, 2))


def test_a_dark_16_bit_picture_stays_dark(pixels):
    assert pixels(saved(np.full((2, 2), 255, np.uint16), "PNG")).max() == 0
    assert pixels(saved(np.full((2, 2), 514, np.uint16), "TIFF")).tolist() == [[[2] * 3] * 2] * 2


@pytest.mark.parametrize("values", [[-1, 1], [0, 70000], [0, np.nan], [np.inf, 1]])
def test_floats_of_an_unknown_range_are_refused(refusal, values):
    assert "has grays between" in refusal(saved(np.array([values], np.float32), "TIFF"))


def test_transparency_becomes_white(pixels):
    """The first channel is 100 + 155 (255 - alpha) / 255 for alpha 0, 127 and 255."""
    rgba = np.array([[[100, 0, 200, 0], [100, 0, 200, 127], [100, 0, 200, 255]]], np.uint8)
    for form, how in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert pixels(saved(rgba, form, **how))[0].tolist() == [[255, 255, 255], [178, 128, 228], [100, 0, 200]]
    grey = Image.merge("LA", [Image.fromarray(rgba[..., 0]), Image.fromarray(rgba[..., 3])])
    assert pixels(saved(grey, "PNG"))[0].tolist() == [[255] * 3, [178] * 3, [100] * 3]
    palette = Image.frombytes("P", (2, 1), bytes([0, 1]))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert pixels(saved(palette, "PNG", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_other_colour_models_and_several_frames(pixels):
    assert pixels(saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "TIFF"))[4, 4].tolist() == [0, 255, 255]
    assert pixels(saved(Image.frombytes("1", (2, 1), b"\x40"), "PNG")).tolist() == [[[0] * 3, [255] * 3]]
    frames = [Image.new("RGB", (4, 3), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    for form in ("GIF", "PNG", "TIFF"):
        found = pixels(saved(frames[0], form, save_all=True, append_images=frames[1:]))
        assert found.tolist() == [[[255, 0, 0]] * 4] * 3


def test_refusals(refusal, tmp_path):
    whole = saved(UPRIGHT.repeat(40, 0).repeat(40, 1), "PNG")
    assert "cannot be decoded (" in refusal(whole[: len(whole) // 2])
    assert "cannot be decoded (cannot identify image file" in refusal(b"no picture")
    assert "is a raw camera file or EPS. Convert it" in refusal(saved(UPRIGHT, "TIFF"), "photo.NEF")
    assert "cannot be decoded (Unable to locate Ghostscript" in refusal(saved(UPRIGHT, "EPS"), "drawing.png")
    scan = Image.new("1", (15000, 12000))
    assert "has more than 179 megapixels. Reduce its size." in refusal(saved(scan, "PNG"))
    with pytest.raises(InputError, match="list.txt, line 3: the image .* is missing. Restore it.$"):
        decode(tmp_path / "none.png", "list.txt, line 3")


def test_views():
    image = Image.fromarray(np.zeros((256, 512, 3), dtype=np.uint8))
    image.paste((255, 255, 255), (144, 16, 368, 240))  # exactly the central 224 x 224
    assert (eval_view(image, 224) == 255).all()
    assert whole_view(image, 96).shape == (3, 96, 96)
    assert full_view(image).shape == (3, 256, 512)
    assert eval_view(image.resize((33, 500)), 64).shape == (3, 64, 64)
