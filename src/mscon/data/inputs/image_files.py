"""Image files: what cells of a table name, within the folder of the images, decoded as squares of uint8.

Many at once, in a pool of threads. No torch here.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from mscon.data.inputs import fingerprints
from mscon.data.inputs.large_images import PixelBudget, on_white
from mscon.errors import TableError
from mscon.run.progress import ProgressBar

# Formats that Pillow decodes by itself. Never all it knows: for EPS it would start another program.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

# Pillow's own default for one image, 89 million pixels, kept here so that no setting elsewhere moves it.
MOST_PIXELS = 89_478_485

# Of all threads together: that of one of the largest images.
_BUDGET = PixelBudget(MOST_PIXELS)

# Files of more bytes are read twice, since several at once might not fit into memory.
_READ_AT_ONCE = 2**24

# The disk's fault, not the image's, so it may be gone the next time.
DISK_FAULT = "cannot be read"

_IMAGES_A_TASK = 32

# A file's path as written, size, times of change of content and of anything, and number. Size and time of content are
# what an archive sets as it is unpacked; they may be those of the file that was there before.
Stamp = tuple[str, int, int, int, int]


def locate(images_root: Path, images: Sequence[str]) -> list[Path | None]:
    """The files named by cells of the image column; None for files outside the root.

    An absolute path is outside, also where it points back in; so is one whose links or ".." lead out.
    The files need not exist.
    """
    root = os.path.realpath(images_root)
    folders: dict[str, str] = {}  # thousands of images share a folder: its links are followed once

    def find(image: str) -> Path | None:
        if os.path.isabs(image) or "\0" in image:  # no file can have a zero byte in its name
            return None
        path = os.path.join(images_root, image)
        folder, name = os.path.split(path)
        if name in ("", ".", "..") or os.path.islink(path):
            real = os.path.realpath(path)
        else:
            real = os.path.join(folders.get(folder) or folders.setdefault(folder, os.path.realpath(folder)), name)
        return Path(path) if os.path.commonpath([root, real]) == root else None

    return [find(image) for image in images]


def stamped(images_root: Path, images: Sequence[str]) -> tuple[list[Path | None], list[Stamp]]:
    """Each image's file (None outside the root), and a stamp that changes with the file."""
    paths, stamps = locate(images_root, images), list[Stamp]()
    for image, path in zip(images, paths, strict=True):
        stamp: Stamp = (image, -1, -1, -1, -1)
        if path is not None:
            with contextlib.suppress(OSError):
                status = path.stat()
                stamp = (image, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        stamps.append(stamp)
    return paths, stamps


def changed_since(stamps: Sequence[Stamp], images_root: Path) -> list[int]:
    """Numbers of the images whose files have changed."""
    now = stamped(images_root, [image for image, *_ in stamps])[1]
    return [number for number, (old, new) in enumerate(zip(stamps, now, strict=True)) if old != new]


class Refused(Exception):
    """An image that cannot be used, and why."""


def from_picture(image: Image.Image, size: int, channels: int) -> UInt8[np.ndarray, "channels size size"]:
    """A picture in memory as `decode_one` gives one in a file. The picture is left as it was.

    Raises:
        TableError: if it cannot be read, and why.
    """
    with quiet_pillow():
        try:
            copy = image.copy()
            copy.format = image.format  # it decides what 16 bits mean, and is lost in a copy
            return _pixels(copy, size, channels)
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


def side_and_mode(path: Path) -> tuple[int, str]:
    """The length of the short side of an image in pixels, and Pillow's name of its mode, by its head alone.

    Raises:
        Refused: as `decode_one`.
    """
    with _refusing(), Image.open(path, formats=_formats()) as image:
        return min(image.size), image.mode


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
    """Turns errors of the disk and of Pillow into Refused."""
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
    with _BUDGET.spent(image.width * image.height):
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
        return Image.fromarray((np.asarray(image).clip(0, 65_535) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise Refused("has 32 bits a pixel, for which there is no agreed white; save it with 8 or 16")
    if image.has_transparency_data:
        return on_white(image)
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


def decode_some(
    paths: Sequence[Path | None], size: int, channels: int
) -> tuple[UInt8[np.ndarray, "images channels size size"], dict[int, str]]:
    """Several images as `decode_one` gives them, and what is wrong with those that cannot be read, by number.

    Args:
        paths: as `locate` gives them; None lies outside the folder of the images.

    Returns:
        Black where an image is at fault; and its fault, to follow the image's name: "is truncated".
    """
    pixels = np.zeros((len(paths), channels, size, size), dtype=np.uint8)

    def decode_into(number: int, path: Path) -> None:
        pixels[number] = decode_one(path, size, channels)

    return pixels, each_file(paths, decode_into, "")


def fingerprint_some(
    paths: Sequence[Path | None], title: str
) -> tuple[UInt8[np.ndarray, "images bytes"], dict[int, str]]:
    """Fingerprints of files, and what is wrong with those that cannot be read, by number; theirs are zeros."""
    digests = np.zeros((len(paths), fingerprints.SIZE), dtype=np.uint8)

    def take(number: int, path: Path) -> None:
        try:
            with path.open("rb") as file:
                digests[number] = fingerprints.of_file(file)
        except OSError:
            raise Refused(DISK_FAULT) from None

    return digests, each_file(paths, take, title)


def each_file(paths: Sequence[Path | None], do: Callable[[int, Path], None], title: str) -> dict[int, str]:
    """Call `do` for every image in a pool of threads (Pillow decodes outside the interpreter's lock).

    Returns:
        What is wrong with which image; empty if all went well.
    """
    faults: dict[int, str] = {}

    def task(start: int) -> int:
        numbers = range(start, min(start + _IMAGES_A_TASK, len(paths)))
        for number in numbers:
            path = paths[number]
            try:
                if path is None:
                    raise Refused("lies outside the folder of the images")
                do(number, path)
            except Refused as fault:
                faults[number] = str(fault)
        return len(numbers)

    with quiet_pillow(), ProgressBar(title, len(paths), shown=bool(title)) as bar:
        pool = ThreadPoolExecutor(max_workers=_workers())
        try:
            for count in pool.map(task, range(0, len(paths), _IMAGES_A_TASK)):
                bar.advance(count)
        finally:
            # Not "with pool": after Ctrl-C that would decode all that is left before it stops.
            pool.shutdown(wait=True, cancel_futures=True)
    return faults


def _workers() -> int:
    # sched_getaffinity also sees what a container allows; it is Linux's own.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)
