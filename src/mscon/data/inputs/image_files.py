"""Image files: what cells of a table name, within the folder of the images, many at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from mscon.data.inputs import fingerprints
from mscon.data.inputs.decoding import DISK_FAULT, Refused, decode_one, quiet_pillow
from mscon.run.progress import ProgressBar

_IMAGES_A_TASK = 32

# A file's path as written, size, times of change of content and of anything, and number. Size and time of content are
# what an archive sets as it is unpacked; they may be those of the file that was there before.
Stamp = tuple[str, int, int, int, int]


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


def stamped(images_root: Path, images: Sequence[str]) -> tuple[list[Path | None], list[Stamp]]:
    """Each image's file (None outside the root), and what tells whether it is still the same."""
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
    """Numbers of the images whose files are not what they were."""
    now = stamped(images_root, [image for image, *_ in stamps])[1]
    return [number for number, (old, new) in enumerate(zip(stamps, now, strict=True)) if old != new]


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
    found = np.zeros((len(paths), fingerprints.SIZE), dtype=np.uint8)

    def take(number: int, path: Path) -> None:
        try:
            with path.open("rb") as file:
                found[number] = fingerprints.of_file(file)
        except OSError:
            raise Refused(DISK_FAULT) from None

    return found, each_file(paths, take, title)


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
