"""Images: decoded once into a file of uint8 that later epochs and runs map into memory. No torch here."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from mscon import whole
from mscon.data.table import at_lines
from mscon.errors import RunError, TableError
from mscon.recipe import Data

try:
    import fcntl
except ImportError:  # not on Windows: there two processes may decode the same images, each for itself
    fcntl = None  # type: ignore[assignment]

# Raised whenever the same file would decode to other pixels: old stores are then left alone, not misread.
_FORMAT = 1

# Formats that Pillow decodes by itself. Never all it knows: for EPS it would start another program.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

# Pillow's own default for one image, 89 million pixels, kept here so that no setting elsewhere moves it.
MOST_PIXELS = 89_478_485

_IMAGES_A_TASK = 32

# The disk's fault, not the image's, so it may be gone the next time.
_DISK_FAULT = "cannot be read"

_ADVICE = (
    "Replace or take out these rows;\n"
    '  to leave them out on purpose, set missing_images = "drop" under [data] in the recipe.'
)


class _Refused(Exception):
    """An image that is not taken, and why."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageStore:
    """All images of some rows, square and of one size, in the order of the rows.

    Attributes:
        images: mapped from a file, so opening costs nothing and processes share the memory.
    """

    images: UInt8[np.ndarray, "rows channels size size"]

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitem__(
        self, rows: Int[np.ndarray, " batch"] | Sequence[int]
    ) -> UInt8[np.ndarray, "batch channels size size"]:
        """A copy of the images of these rows.

        Raises:
            IndexError: for a row that is not there; a negative number is no row.
        """
        numbers = np.asarray(rows, dtype=np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"rows {numbers.min()} to {numbers.max()} asked of a store of {len(self)} images.")
        return np.asarray(self.images[numbers])

    def thumbnail(self, row: int) -> Image.Image:
        """One image to look at, as large as it is stored."""
        pixels = self[[row]][0]
        return Image.fromarray(pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def open_store(rows: pl.DataFrame, images_root: Path, data: Data, table_name: str) -> ImageStore:
    """The images of `rows`, decoded now or by an earlier run.

    The store is a file in the cache folder. Its name is a hash of the root, of all paths, sizes and times of
    change, and of what is made of them; if one image changes, all are decoded anew. Several processes may call
    this at once: one decodes, the others wait.

    Args:
        rows: columns `line` and `image`, as `select_rows` gives them.
        images_root: folder that the paths are relative to.
        data: size and channels.
        table_name: how messages call the table.

    Raises:
        TableError: once for all images that are gone, not images, truncated, too large or outside the root.
        RunError: if the cache folder cannot be written, or the disk is too full.
        ValueError: if there are no rows.
    """
    if not rows.height:
        raise ValueError("there are no rows, so there are no images to store.")
    images, lines = rows.get_column("image").to_list(), rows.get_column("line").to_list()
    paths, stamps = _stamps(images_root, images)
    shape = (len(images), data.channels, data.image_size, data.image_size)
    path = cache_folder() / f"{_key('pixels', images_root, stamps, shape[1:])}.npy"
    if (found := _open(path, shape)) is not None:
        return ImageStore(found)
    try:
        with _alone(path):
            if (found := _open(path, shape)) is None:
                _need_room(path.parent, int(np.prod(shape)))
                whole.write_with(
                    path, lambda temporary: _decode_all(temporary, paths, images, lines, shape, table_name)
                )
                found = _open(path, shape)
    except OSError as error:
        raise RunError(
            f"the decoded images cannot be written to '{path.parent}': {error.strerror or error}. "
            "Set the environment variable MSCON_CACHE to a folder that can be."
        ) from None
    assert found is not None
    return ImageStore(found)


def unreadable(images_root: Path, images: Sequence[str], data: Data) -> list[int]:
    """Numbers of the images that cannot be decoded. Each is tried once, and the answer remembered."""
    paths, stamps = _stamps(images_root, images)
    path = cache_folder() / f"{_key('unreadable', images_root, stamps, ())}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [int(number) for number in json.loads(path.read_text("utf-8"))]

    def check(number: int, path: Path) -> None:
        _decode(path, data.image_size, data.channels)

    faults = _each(paths, check, "checking images")
    if not any(fault.startswith(_DISK_FAULT) for fault in faults.values()):
        with contextlib.suppress(OSError):  # only a memory: without it the images are tried again
            whole.write_json(path, sorted(faults))
    return sorted(faults)


def cache_folder() -> Path:
    """Where decoded images lie: $MSCON_CACHE, else $XDG_CACHE_HOME/mscon, else ~/.cache/mscon; folder "images"."""
    if own := os.environ.get("MSCON_CACHE"):
        return Path(own) / "images"
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "mscon" / "images"


def locate(images_root: Path, images: Sequence[str]) -> list[Path | None]:
    """The files that cells of the image column name, None for each that lies outside the root.

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


def decode(path: Path, size: int, channels: int) -> UInt8[np.ndarray, "channels size size"]:
    """One image as a square of `size` pixels.

    Turned as its EXIF orientation says; transparency laid on white; 16 bits cut to 8; of a moving image the first
    frame.
    The largest centred square is kept and resized (bicubic), which is the same as resizing the short side and
    then cropping the centre. An image that has the size already keeps its pixels.

    Raises:
        TableError: if it cannot be read, and why.
    """
    with _quiet_pillow():
        try:
            return _decode(path, size, channels)
        except _Refused as fault:
            raise TableError(f"image '{path}' {fault}.") from None


def decode_some(
    paths: Sequence[Path | None], size: int, channels: int
) -> tuple[UInt8[np.ndarray, "images channels size size"], dict[int, str]]:
    """Several images as `decode` gives them, and what is wrong with those that cannot be read, by number.

    Args:
        paths: as `locate` gives them; None lies outside the folder of the images.

    Returns:
        Black where an image is at fault; and its fault, to follow the image's name: "is truncated".
    """
    pixels = np.zeros((len(paths), channels, size, size), dtype=np.uint8)

    def decode_into(number: int, path: Path) -> None:
        pixels[number] = _decode(path, size, channels)

    return pixels, _each(paths, decode_into, "")


def from_picture(image: Image.Image, size: int, channels: int) -> UInt8[np.ndarray, "channels size size"]:
    """A picture in memory as `decode` gives one in a file. The picture is left as it was.

    Raises:
        TableError: if it cannot be read, and why.
    """
    with _quiet_pillow():
        try:
            own = image.copy()
            own.format = image.format  # it decides what 16 bits mean, and is lost in a copy
            return _pixels(own, size, channels)
        except _Refused as fault:
            raise TableError(f"the picture {fault}.") from None


def _decode(path: Path, size: int, channels: int) -> UInt8[np.ndarray, "channels size size"]:
    """The same within `_quiet_pillow`, for many threads at once.

    Raises:
        _Refused: with what is wrong, to follow the image's name.
    """
    try:
        with Image.open(path, formats=_formats()) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _Refused(f"has more than {MOST_PIXELS:,} pixels ({image.width:,} x {image.height:,})")
            # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size for a fraction of the time. Twice the size
            # that is wanted is left, so that the resizing below still decides how it looks.
            if min(image.size) > 2 * size:
                image.draft(None, (2 * size, 2 * size))
            return _pixels(image, size, channels)
    except _Refused:
        raise
    except Image.DecompressionBombError:
        raise _Refused(f"has more than {MOST_PIXELS:,} pixels") from None
    except FileNotFoundError:
        raise _Refused("does not exist") from None
    except UnidentifiedImageError:
        raise _Refused(f"is not an image of a kind that is read here ({', '.join(_formats())})") from None
    except Exception as error:  # a damaged file makes decoders raise nearly anything, from EOFError to struct.error
        if isinstance(error, OSError) and error.errno is not None:
            raise _Refused(f"{_DISK_FAULT} ({error.strerror})") from None
        cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
        raise _Refused("is truncated" if cut else "is damaged") from None


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
        raise _Refused("has 32 bits a pixel, for which there is no agreed white; save it with 8 or 16")
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
def _quiet_pillow() -> Iterator[None]:
    """No warnings about odd files on the terminal. For the whole process, so it is set around threads, not in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ------------------------------------------------------------------------------------------------


def _stamps(images_root: Path, images: Sequence[str]) -> tuple[list[Path | None], list[tuple[str, int, int]]]:
    """Each image's file (None outside the root), and what tells whether it is still the same."""
    paths, stamps = locate(images_root, images), []
    for image, path in zip(images, paths, strict=True):
        size, changed = -1, -1
        if path is not None:
            with contextlib.suppress(OSError):
                found = path.stat()
                size, changed = found.st_size, found.st_mtime_ns
        stamps.append((image, size, changed))
    return paths, stamps


def _key(what: str, images_root: Path, stamps: Sequence[tuple[str, int, int]], shape: tuple[int, ...]) -> str:
    digest = hashlib.sha256(json.dumps([what, _FORMAT, os.path.realpath(images_root), shape]).encode())
    for stamp in stamps:
        digest.update(json.dumps(stamp).encode())
    return digest.hexdigest()[:32]


def _open(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "rows channels size size"] | None:
    """The store at `path`, or None if there is none of that shape."""
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or spoilt: it is made anew, and writing says what is wrong
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time for a store. What a killed one left of it is swept away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:  # some network disks know no locks; then two processes do the work twice
                pass
            else:
                for left in path.parent.glob(f".{path.name}.*"):
                    left.unlink(missing_ok=True)
        yield


def _need_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise RunError(
            f"the decoded images need {size / 1e9:,.1f} GB in '{folder}', where {free / 1e9:,.1f} GB are free. "
            "Set the environment variable MSCON_CACHE to a larger disk, or image_size under [data] to a smaller number."
        )


def _decode_all(
    target: Path,
    paths: Sequence[Path | None],
    images: Sequence[str],
    lines: Sequence[int],
    shape: tuple[int, ...],
    table_name: str,
) -> None:
    store = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)

    def decode_into(number: int, path: Path) -> None:
        store[number] = _decode(path, size=shape[2], channels=shape[1])

    faults = _each(paths, decode_into, "decoding images")
    if faults:
        raise TableError(_fault_message(faults, images, lines, table_name))
    store.flush()


def _fault_message(faults: dict[int, str], images: Sequence[str], lines: Sequence[int], table_name: str) -> str:
    """One message for all faults, a paragraph for each kind of fault."""
    kinds: dict[str, list[int]] = {}
    for number in sorted(faults):
        kinds.setdefault(faults[number].partition(" (")[0], []).append(number)
    return "\n".join(
        at_lines(
            table_name,
            [lines[n] for n in numbers],
            len(images),
            f"image {images[numbers[0]]!r} {faults[numbers[0]]}.",
            _ADVICE,
        )
        for numbers in kinds.values()
    )


def _each(paths: Sequence[Path | None], do: Callable[[int, Path], None], title: str) -> dict[int, str]:
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
                    raise _Refused("lies outside the folder of the images")
                do(number, path)
            except _Refused as fault:
                faults[number] = str(fault)
        return len(numbers)

    with _quiet_pillow(), _progress(title, len(paths)) as advance:
        pool = ThreadPoolExecutor(max_workers=_workers())
        try:
            for done in pool.map(task, range(0, len(paths), _IMAGES_A_TASK)):
                advance(done)
        finally:
            # Not "with pool": after Ctrl-C that would decode all that is left before it stops.
            pool.shutdown(wait=True, cancel_futures=True)
    return faults


def _workers() -> int:
    # sched_getaffinity also sees what a container allows; it is Linux's own.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)


@contextlib.contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on the terminal, if stderr is one and there is a title."""
    if not title or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(title, total=total)
        yield lambda done: progress.advance(bar, done)
