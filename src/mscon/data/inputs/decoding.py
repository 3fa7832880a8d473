"""Decoding: one image, from a file or at hand, as a square of uint8. No torch here."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from mscon.data.inputs import fingerprints
from mscon.errors import TableError

# Formats that Pillow decodes by itself. Never all it knows: for EPS it would start another program.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

# Pillow's own default for one image, 89 million pixels, kept here so that no setting elsewhere moves it.
MOST_PIXELS = 89_478_485

# Files of more bytes are read twice, since several at once might not fit into memory.
_READ_AT_ONCE = 2**24

# The disk's fault, not the image's, so it may be gone the next time.
DISK_FAULT = "cannot be read"


class Refused(Exception):
    """An image that is not taken, and why."""


def from_picture(image: Image.Image, size: int, channels: int) -> UInt8[np.ndarray, "channels size size"]:
    """A picture in memory as `decode_one` gives one in a file. The picture is left as it was.

    Raises:
        TableError: if it cannot be read, and why.
    """
    with quiet_pillow():
        try:
            own = image.copy()
            own.format = image.format  # it decides what 16 bits mean, and is lost in a copy
            return _pixels(own, size, channels)
        except Refused as fault:
            raise TableError(f"the picture {fault}.") from None


def decode_one(path: Path, size: int, channels: int) -> UInt8[np.ndarray, "channels size size"]:
    """One image as a square of `size` pixels. To be called within `quiet_pillow`, by many threads at once.

    Turned as its EXIF orientation says; transparency laid on white; 16 bits cut to 8; of a moving image the first
    frame.
    The largest centred square is kept and resized (bicubic), which is the same as resizing the short side and
    then cropping the centre. An image that has the size already keeps its pixels.

    Raises:
        Refused: with what is wrong, to follow the image's name.
    """
    with _refusing(), Image.open(path, formats=_formats()) as image:
        return _of_file(image, size, channels)


def decode_with_fingerprint(
    path: Path, size: int, channels: int
) -> tuple[UInt8[np.ndarray, "channels size size"], UInt8[np.ndarray, " bytes"]]:
    """As `decode_one`, and the fingerprint of the file; it is read once, unless it is large."""
    with _refusing(), path.open("rb") as file:
        source = io.BytesIO(file.read()) if os.fstat(file.fileno()).st_size <= _READ_AT_ONCE else file
        with Image.open(source, formats=_formats()) as image:
            pixels = _of_file(image, size, channels)
        source.seek(0)
        return pixels, fingerprints.of_file(source)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """What the disk and Pillow raise becomes Refused."""
    try:
        yield
    except Refused:
        raise
    except Image.DecompressionBombError:
        raise Refused(f"has more than {MOST_PIXELS:,} pixels") from None
    except FileNotFoundError:
        raise Refused("does not exist") from None
    except UnidentifiedImageError:
        raise Refused(f"is not an image of a kind that is read here ({', '.join(_formats())})") from None
    except Exception as error:  # a damaged file makes decoders raise nearly anything, from EOFError to struct.error
        if isinstance(error, OSError) and error.errno is not None:
            raise Refused(f"{DISK_FAULT} ({error.strerror})") from None
        cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
        raise Refused("is truncated" if cut else "is damaged") from None


def _of_file(image: Image.Image, size: int, channels: int) -> UInt8[np.ndarray, "channels size size"]:
    if image.width * image.height > MOST_PIXELS:
        raise Refused(f"has more than {MOST_PIXELS:,} pixels ({image.width:,} x {image.height:,})")
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size for a fraction of the time. Twice the size
    # that is wanted is left, so that the resizing below still decides how it looks.
    if min(image.size) > 2 * size:
        image.draft(None, (2 * size, 2 * size))
    return _pixels(image, size, channels)


def _pixels(image: Image.Image, size: int, channels: int) -> UInt8[np.ndarray, "channels size size"]:
    ImageOps.exif_transpose(image, in_place=True)
    pixels = np.asarray(_square(_eight_bits(image).convert("RGB" if channels == 3 else "L"), size))
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _square(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    # Cropped by resize itself: resizing all of a strip of 1 x 10,000 pixels first would make it gigantic.
    box = (left, top, left + short, top + short)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image in eight bits a channel and without transparency."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # Pillow's own conversion clips at 255, which leaves a white image.
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65_535) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise Refused("has 32 bits a pixel, for which there is no agreed white; save it with 8 or 16")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image)
    return image


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
