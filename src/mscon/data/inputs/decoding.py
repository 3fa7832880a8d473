"""Decoding: an image file, its bytes, or a picture in memory as a square of uint8; all three in the same way.

What is done is told step by step in docs/deployment.md, which a test follows. No torch here.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from mscon.data.inputs import fingerprints
from mscon.data.inputs.boxes import Box, ImageSource, Readable, box_of
from mscon.data.inputs.file_kinds import HEAD, RAW_PHOTO, kind_of
from mscon.data.inputs.large_images import PixelBudget, on_white
from mscon.data.inputs.png_chunks import File, without_side_chunks
from mscon.errors import MSConError, TableError

# Formats that Pillow decodes by itself. Never all it knows: for EPS it would start another program.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

# Pillow's own default for one image, 89 million pixels, kept here so that no setting elsewhere moves it.
MOST_PIXELS = 89_478_485

# Of all threads together. Decoding takes at most 12.5 bytes a pixel, 2.2 GB in all; twice that in formats whose decoder
# holds the image too.
_BUDGET = PixelBudget(2 * MOST_PIXELS)
_COUNT_TWICE = ("WEBP", "JPEG2000", "AVIF")

# Files of more bytes are read twice, since several at once might not fit into memory.
_READ_AT_ONCE = 2**24

# Pixels of more than 8 bits that are brought to 8 at a time.
_PIXELS_AT_ONCE = 2**20

# The disk's fault, not the image's, so it may be gone the next time.
DISK_FAULT = "cannot be read"

_SIXTEEN_BITS = 65_535.0

# Numbers of TIFF tags.
_SUBFILE, _BITS, _PHOTOMETRIC, _ORIENTATION, _DNG = 254, 258, 262, 274, 50_706

# Orientations that exchange width and height.
_ON_THEIR_SIDE = (5, 6, 7, 8)


class Refused(Exception):
    """An image that cannot be used, and why."""


def from_picture(
    picture: Image.Image | bytes, size: int, channels: int, white: float = 0.0
) -> UInt8[np.ndarray, "channels size size"]:
    """A picture in memory, or the bytes of a file, as `decode_one` gives a file. The picture is left as it was.

    Raises:
        TableError: if it cannot be read, and why.
    """
    with quiet_pillow():
        try:
            if isinstance(picture, bytes):
                return decode_one(picture, size, channels, white)
            return _pixels(picture.copy(), size, channels, white or _white_of(picture), _is_inverted(picture))
        except Refused as fault:
            raise TableError(f"the picture {fault}.") from None


def decode_one(
    source: ImageSource | bytes, size: int, channels: int, white: float = 0.0, *, to_look_at: bool = False
) -> UInt8[np.ndarray, "channels size size"]:
    """One image as a square of `size` pixels. To be called within `quiet_pillow`, by many threads at once.

    Turned as its EXIF orientation says; transparency laid on white; more than 8 bits a pixel scaled to 8, see `white`;
    of a moving image the first frame. Colour profiles are not applied, as torchvision and timm do not apply them.
    The largest centred square is resized (bicubic, after an average over whole pixels where it is much larger); where
    the source has a box, the square around it. An image that has the size already keeps its pixels.

    Args:
        source: a file, an image elsewhere, or bytes.
        size: side of the square in pixels.
        channels: 1 for grey, 3 for colour.
        white: the value of white in images of one channel with more than 8 bits; 0 for what the file says: 4,095 in a
            TIFF of 12 bits, else 65,535 for 16 bits.
        to_look_at: the picture is for people, so a large JPEG may be decoded at a fraction of its size, which is faster
            and differs in some pixels.

    Raises:
        Refused: with what is wrong, to follow the image's name.
    """
    with opened(source) as file:
        return _decoded(file, size, channels, white, to_look_at, box_of(source))


def decode_with_fingerprint(
    image: ImageSource, size: int, channels: int, white: float = 0.0
) -> tuple[UInt8[np.ndarray, "channels size size"], UInt8[np.ndarray, " bytes"]]:
    """As `decode_one`, and the fingerprint of the file and its box; it is read once, unless it is large."""
    with opened(image) as file:
        is_small = isinstance(image, Path) and image.stat().st_size <= _READ_AT_ONCE
        source = io.BytesIO(file.read()) if is_small else file
        pixels = _decoded(source, size, channels, white, box=box_of(image))
        source.seek(0)
        return pixels, fingerprints.of_file(source, box_of(image))


def side_and_mode(image: ImageSource) -> tuple[int, str]:
    """The length of the short side of an image in pixels, and Pillow's name of its mode, by its head alone.

    Where it has a box, the side of the square that is cut out.

    Raises:
        Refused: as `decode_one`, but for what is not seen in the head.
    """
    with opened(image) as file, Image.open(file, formats=_formats()) as picture:
        _check_head(picture, 0.0)
        if (box := box_of(image)) is None:
            return min(picture.size), picture.mode
        is_turned = picture.getexif().get(_ORIENTATION, 1) in _ON_THEIR_SIDE
        if is_turned and isinstance(picture, TiffImageFile):
            picture.load()  # Pillow turns these itself, some versions of it only now
            is_turned = False
        width, height = picture.size
        left, _, right, _ = _square_around(box, (height, width) if is_turned else (width, height))
        return right - left, picture.mode


def value_range(image: ImageSource) -> tuple[float, float] | None:
    """Least and largest value of an image of one channel with more than 8 bits a pixel; None for other images.

    Raises:
        Refused: as `decode_one`.
    """
    with opened(image) as file, Image.open(file, formats=_formats()) as picture:
        _check_head(picture, 0.0)
        if not _is_deep(picture):
            return None
        values = np.asarray(picture)
        return float(values.min()), float(values.max())


@contextlib.contextmanager
def opened(source: ImageSource | bytes) -> Iterator[File]:
    """An open file; errors of the disk and of Pillow become Refused."""
    head = b""
    try:
        if isinstance(source, Path) and source.exists() and not source.is_file():
            raise Refused(f"{DISK_FAULT} (it is no file)")
        content = source.read() if isinstance(source, Readable) else source
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            head = file.read(HEAD)
            file.seek(0)
            yield file
    except (Refused, MSConError):  # the latter of the cache of remote files
        raise
    except Image.DecompressionBombError:
        raise Refused(f"has more than {MOST_PIXELS:,} pixels") from None
    except FileNotFoundError:
        raise Refused("does not exist") from None
    except UnidentifiedImageError:
        unknown = f"is not an image of a kind that is read here ({', '.join(_formats())})"
        raise Refused(kind_of(head) or unknown) from None
    except Exception as error:  # a damaged file makes decoders raise nearly anything, from EOFError to struct.error
        if isinstance(error, OSError) and error.errno is not None:
            raise Refused(f"{DISK_FAULT} ({error.strerror})") from None
        cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
        raise Refused("is truncated" if cut else "is damaged") from None


def _decoded(
    file: File, size: int, channels: int, white: float, to_look_at: bool = False, box: Box | None = None
) -> UInt8[np.ndarray, "channels size size"]:
    try:
        return _of_file(file, size, channels, white, to_look_at, box)
    except (Refused, MemoryError):
        raise
    except Exception:
        # Other programs open a PNG whose texts or profile are damaged or very large: none of that is in its pixels.
        if (bare := without_side_chunks(file)) is None:
            raise
    return _of_file(bare, size, channels, white, to_look_at, box)


def _of_file(
    file: File, size: int, channels: int, white: float, to_look_at: bool, box: Box | None
) -> UInt8[np.ndarray, "channels size size"]:
    with Image.open(file, formats=_formats()) as image:
        _check_head(image, white)
        if to_look_at and box is None and min(image.size) > 2 * size:
            image.draft(None, (2 * size, 2 * size))
        with _BUDGET.spent(image.width * image.height * (2 if image.format in _COUNT_TWICE else 1)):
            return _pixels(image, size, channels, white or _white_of(image), _is_inverted(image), box)


def _check_head(image: ImageFile.ImageFile, white: float) -> None:
    """Refuse what can be told before an image is decoded."""
    if image.width * image.height > MOST_PIXELS:
        raise Refused(f"has more than {MOST_PIXELS:,} pixels ({image.width:,} x {image.height:,})")
    if isinstance(image, TiffImageFile) and (_DNG in image.tag_v2 or image.tag_v2.get(_SUBFILE, 0) & 1):
        raise Refused(RAW_PHOTO)
    has_sixteen_bits = any(";16" in str(tile[3]) for tile in image.tile)
    if white not in (0, _SIXTEEN_BITS) and has_sixteen_bits and not _is_deep(image):
        raise Refused(
            "has several channels of 16 bits, of which the upper 8 are read, so [data] white cannot be applied; save "
            "it with 8 bits or one channel"
        )


def _pixels(
    image: Image.Image, size: int, channels: int, white: float, is_inverted: bool, box: Box | None = None
) -> UInt8[np.ndarray, "channels size size"]:
    ImageOps.exif_transpose(image, in_place=True)
    if box is not None:
        image = image.crop(_square_around(box, image.size))
    shallow = _eight_bits(image, white, is_inverted) if _is_deep(image) else image
    if shallow.has_transparency_data:
        shallow = on_white(shallow)
    pixels = np.asarray(_square(shallow.convert("RGB" if channels == 3 else "L"), size))
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _square_around(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    if fault := box.fault(size):
        raise Refused(fault)
    return box.square(size)


def _square(image: Image.Image, size: int) -> Image.Image:
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    # Cropped by resize itself: resizing all of a strip of 1 x 10,000 pixels first would make it gigantic.
    box = (left, top, left + short, top + short)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


def _is_deep(image: Image.Image) -> bool:
    """Whether it has one channel of more than 8 bits; of several channels Pillow reads the upper 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _white_of(image: Image.Image) -> float:
    """The value of white in an image of more than 8 bits, as its file says; 0 if there is no agreed one."""
    if isinstance(image, TiffImageFile) and image.tag_v2.get(_BITS) == (12,):
        return 4_095.0
    # Of PNG and PPM Pillow gives 16 bits in the mode of 32 bits, PPM scaled to all of the 16.
    is_sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    return _SIXTEEN_BITS if is_sixteen else 0.0


def _is_inverted(image: Image.Image) -> bool:
    """Whether 0 is white. Pillow turns such images of 8 bits over, but not those of 16."""
    return isinstance(image, TiffImageFile) and _is_deep(image) and image.tag_v2.get(_PHOTOMETRIC) == 0


def _eight_bits(image: Image.Image, white: float, is_inverted: bool) -> Image.Image:
    """An image of one channel in eight bits; Pillow's own conversion clips at 255, which leaves a white image."""
    if not white:
        raise Refused(
            f"has {'floating-point numbers' if image.mode == 'F' else '32 bits'} as pixels, for which there is no "
            "agreed white; set [data] white, or save it with 8 or 16 bits"
        )
    values = np.asarray(image)
    pixels = np.empty(values.shape, np.uint8)
    rows_at_once = max(1, _PIXELS_AT_ONCE // max(1, values.shape[1]))
    for start in range(0, len(values), rows_at_once):
        rows = slice(start, start + rows_at_once)
        block = values[rows].clip(0, white)
        if np.isnan(block).any():
            raise Refused("has pixels that are NaN, not numbers")
        # Of 16 bits the upper 8, as Pillow reads images of several channels.
        pixels[rows] = block.astype(np.int64) >> 8 if white == _SIXTEEN_BITS else np.rint(block * (255 / white))
    return Image.fromarray(255 - pixels if is_inverted else pixels)


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """No warnings about odd files on the terminal. For the whole process, so it is set around threads, not in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
