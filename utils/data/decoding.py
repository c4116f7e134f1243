"""What a picture file says about its pixels, and the picture that a viewer shows of it: upright, RGB, of a size that fits into memory.

The only place where pictures of unknown origin are read. Pillow knows the formats; what it leaves to its callers is done here: the
orientation that a camera noted, greys of more than 8 bits, transparency, very large scans, and its warnings.
"""

import errno
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import EpsImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin

MOST_PIXELS = 179_000_000  # that are held at once; a little more than where Pillow stops by itself
REDUCED_ABOVE = 32_000_000  # pixels: more than most cameras give; larger pictures are reduced, since every view of them is far smaller
SHORTEST_REDUCED = 1024  # pixels that a reduced picture's shorter side keeps
STRIP = 4_000_000  # pixels of a large picture that are converted at once
WHITE = (255, 255, 255)

ORIENTATION, BITS, PHOTOMETRIC = 274, 258, 262  # tags of EXIF and TIFF
WHITE_IS_ZERO = 0  # of PHOTOMETRIC
SUBFILE, DIRECTORIES, DNG_VERSION = 254, 330, 50706  # tags of TIFF
REDUCED = 1  # the bit of SUBFILE that says that a directory holds a smaller version of another's picture
CANON_RAW = b"CR"  # what Canon's raw files, which are TIFF, have behind TIFF's header of 8 bytes
PNG_TO_8_BITS = {
    "L;2": 85,
    "L;4": 17,
    "RGB;16B": 1 / 256,
}  # what Pillow multiplies a PNG's colours by, by its name of the form
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SLACK = 0.001  # by which floats of 0 .. 1 may miss their range, as results of computations do
ROUNDING = 0.001  # of an 8-bit grey, by which a computed one may miss a whole number
CLEARLY = 1 / 8  # part of 0 .. 255 or 0 .. 65535 that floats must reach: below, they may be anything

# Damaged or odd headers and large sizes are dealt with here, in sentences; users are not to see lines of Pillow's source. The filters
# are the process's, set once, because `warnings.catch_warnings` is not made for threads, in which pictures are decoded.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
PngImagePlugin.MAX_TEXT_CHUNK = (
    PngImagePlugin.MAX_TEXT_MEMORY
)  # notes and profiles of more than 1 MB, never read here, spoil no picture
Image.MAX_IMAGE_PIXELS = (
    None  # `_refuse_size` replaces it; Pillow would refuse large JPEG files before they can be reduced
)
# Pillow would have Ghostscript run the program that an EPS file is; other files may hold one (IPTC), so that its form alone tells nothing.
EpsImagePlugin.gs_binary = False
NO_MEMORY = ("it does not fit into the memory that is free", "reduce it")  # reason and remedy
DAMAGED = {
    None,
    errno.EINVAL,
}  # numbers of errors that are the file's: Pillow's own have none, offsets before its start have EINVAL


class Undecodable(Exception):
    """A file's content is not a picture that can be shown.

    Attributes:
        reason: what is wrong with it.
        remedy: what to do, as an order.
    """

    def __init__(self, reason: str, remedy: str = "restore it") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


def read_picture(stream: BinaryIO) -> Image.Image:
    """Decodes a picture completely, as RGB, upright, as a viewer shows it.

    - It is turned as EXIF or TIFF say.
    - Greys of 16 bits are divided by 257, floats in 0 .. 1 multiplied by 255. Whole numbers of 32 bits and floats say nothing about
      their range: it is 0 .. 255 or 0 .. 65535 where the largest fits (and, of floats, is at least an eighth of it).
    - What is transparent is laid on white; the colours hidden below never show.
    - CMYK, LAB, HSV and YCbCr are converted as Pillow converts them. An embedded colour profile is not applied.
    - Of several frames or pages it is the first.
    - More than `REDUCED_ABOVE` pixels are reduced 2, 4, 8 ... times to at most that many, as long as the shorter side keeps
      `SHORTEST_REDUCED`: baseline JPEG while it is decoded, so that it may have any size; the rest in strips, after decoding.

    Returns:
        The picture. Its `format` is that of the stream, by Pillow's names, as its content tells it; nothing else of the file is kept.

    Raises:
        Undecodable: it is none, broken or cut short, a camera's raw file, a program (EPS), its greys have an unknown range, or it has
            more than `MOST_PIXELS` pixels.
        OSError: the disk fails.
    """
    try:
        with Image.open(stream) as image:
            _refuse_kind(image, stream)
            _refuse_size(image)
            _match_transparency(image)
            frame = (image.tile[0][1] if image.format == "GIF" and image.tile else None) or (0, 0, *image.size)
            image.load()
            picture = _in_frame(_shrunk(image, _conversion(image)), image.size, frame)
            upright = _turned(picture, _orientation(image))
            upright.format = image.format
            return upright
    except Undecodable:
        raise
    except Image.UnidentifiedImageError as error:
        raise Undecodable(
            "it is in no picture format that is known here", "save it as PNG or JPEG, or restore it"
        ) from error
    except MemoryError as error:
        raise Undecodable(*NO_MEMORY) from error
    except (
        Exception
    ) as error:  # on damaged files, Pillow raises OSError, SyntaxError, ValueError, struct.error, EOFError and more
        if isinstance(error, OSError) and error.errno not in DAMAGED:
            raise
        raise Undecodable(str(error) or type(error).__name__) from error


def _refuse_kind(image: Image.Image, stream: BinaryIO) -> None:
    """Refuses what no viewer shows as it would be read here: programs, and raw files of cameras, whose first picture is a preview."""
    if image.format == "EPS":
        raise Undecodable("it is EPS, a program that draws, and no program is run here", "save it as PNG or JPEG")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_preview(image, stream):
        raise Undecodable(
            "only a preview of it can be read here, as of cameras' raw files",
            "develop it, or save it anew, as JPEG or TIFF",
        )


def _is_preview(image: TiffImagePlugin.TiffImageFile, stream: BinaryIO) -> bool:
    """Whether the first directory of a TIFF file, the only one that is read, holds a preview of a picture that another directory holds.

    Raw files of most cameras say so there (NEF, ARW, SRW, 3FR ...); DNG and Canon's CR2 may not, and are told by what sets them apart.
    """
    kind = image.tag_v2.get(SUBFILE)
    reduced = isinstance(kind, int) and kind & REDUCED and (DIRECTORIES in image.tag_v2 or image.n_frames > 1)
    if reduced or DNG_VERSION in image.tag_v2:
        return True
    stream.seek(8)
    return stream.read(len(CANON_RAW)) == CANON_RAW


def _refuse_size(image: Image.Image) -> None:
    """Lets formats that can do so reduce a large picture while they decode it, and refuses what has too many pixels even then."""
    width, height = image.size
    factor = _factor(width, height)
    if factor > 1 and not image.info.get(
        "progressive"
    ):  # a progressive JPEG is held as a whole before its first pixel is there
        image.draft(None, (width // factor, height // factor))
    if image.width * image.height == 0:
        raise Undecodable(f"it has no pixels, {width} x {height}")
    if image.width * image.height > MOST_PIXELS:
        halved = 2 ** math.ceil(math.log2(width * height / MOST_PIXELS) / 2)
        raise Undecodable(
            f"it has {math.ceil(width * height / 1e6)} megapixels, {width} x {height}, and at most {MOST_PIXELS // 10**6} can be read",
            f"reduce it, to {max(1, width // halved)} x {max(1, height // halved)} pixels for example",
        )


def _factor(width: int, height: int) -> int:
    """How many times a picture is reduced: 1, 2, 4, ..."""
    factor = 1
    while width * height > REDUCED_ABOVE * factor**2 and min(width, height) >= 2 * factor * SHORTEST_REDUCED:
        factor *= 2
    return factor


def _match_transparency(image: ImageFile.ImageFile) -> None:
    """Brings the transparent colour of a PNG to 8 bits, which Pillow does with the pixels alone."""
    colour = image.info.get("transparency")
    form = image.tile[0][3] if image.format == "PNG" and image.tile else None
    scale = PNG_TO_8_BITS.get(form) if isinstance(form, str) else None
    if scale and isinstance(colour, int | tuple):
        image.info["transparency"] = (
            int(colour * scale) if isinstance(colour, int) else tuple(int(value * scale) for value in colour)
        )


def _in_frame(picture: Image.Image, size: tuple[int, int], frame: tuple[int, int, int, int]) -> Image.Image:
    """A GIF's first frame on a white page: beside a frame that is smaller than the page, viewers show nothing.

    Args:
        picture: RGB, reduced or not.
        size: width and height before it was reduced.
        frame: left, top, right and bottom of the frame before that.
    """
    if frame == (0, 0, *size):
        return picture
    left, top, right, bottom = (round(side * picture.width / size[0]) for side in frame)
    box = (left, top, right, bottom)
    page = Image.new("RGB", picture.size, WHITE)
    page.paste(picture.crop(box), box)
    return page


def _shrunk(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """A decoded picture as RGB, reduced where it is large; never more than a strip is held in full size besides the picture itself."""
    factor = _factor(*image.size)
    if factor == 1:
        return to_rgb(image)
    small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top, strip in _strips(image, factor):
        small.paste(to_rgb(strip).reduce(factor), (0, top // factor))
    return small


def _strips(image: Image.Image, factor: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """A picture's rows, some at a time, a multiple of `factor` but for the last: the first row's number and the strip."""
    rows = factor * max(1, STRIP // (image.width * factor))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _conversion(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What makes RGB of a decoded picture, or of any part of it."""
    if not image.mode.startswith(("I", "F")):
        return _on_white
    white = _white_level(image)
    inverted = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
    transparent = image.info.get("transparency")
    return partial(_scaled_greys, white=white, inverted=inverted, transparent=transparent)


def _on_white(image: Image.Image) -> Image.Image:
    """A picture of 8 bits per colour or fewer as RGB; what is transparent shows white, as on a page."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    straight = image.convert("LA") if image.mode == "La" else image
    coloured = straight.convert("RGBA")
    page = Image.new("RGB", image.size, WHITE)
    page.paste(coloured, mask=coloured.getchannel("A"))
    return page


def _scaled_greys(image: Image.Image, white: int, inverted: bool, transparent: int | None) -> Image.Image:
    """Greys of more than 8 bits, 0 .. `white`, as RGB; the value `transparent` shows white."""
    values = np.asarray(image, np.float32)
    scaled = (white - values if inverted else values) * (255 / white)
    greys = (scaled + ROUNDING).clip(0, 255).astype(np.uint8)  # cut, not rounded, as Pillow cuts colours of 16 bits
    if isinstance(transparent, int):
        greys[values == transparent] = 255
    return Image.fromarray(greys).convert("RGB")


def _white_level(image: Image.Image) -> int:
    """The value that is white in a picture of greys of more than 8 bits.

    Raises:
        Undecodable: the values fit no usual range.
    """
    if image.mode.startswith("I;16"):
        return 2 ** image.tag_v2.get(BITS, (16,))[0] - 1 if isinstance(image, TiffImagePlugin.TiffImageFile) else 65535
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # 16 bits, which Pillow has put into 32
        return 65535
    ranges = [(values.min(), values.max()) for values in (np.asarray(strip) for _, strip in _strips(image))]
    low, high = (
        float(value) for value in (np.min(ranges), np.max(ranges))
    )  # not a number where one of the values is not
    floats = image.mode == "F"
    if floats and -SLACK <= low and high <= 1 + SLACK:
        return 1
    for white in (255, 65535):
        if low >= 0 and (white * CLEARLY if floats else 0) <= high <= white:
            return white
    where = f"lie between {low:g} and {high:g}" if math.isfinite(low + high) else "are not all finite numbers"
    raise Undecodable(
        f"its greys {where}, and white is expected at 1, 255 or 65535, black at 0",
        "save it with 8 or 16 bits per pixel",
    )


def _orientation(image: Image.Image) -> int:
    """The orientation of a loaded picture, 1 .. 8; 1 where there is none or where it cannot be read, as viewers take it."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF data, in as many ways as damaged files
        return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """A picture as it is seen in its orientation."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image
