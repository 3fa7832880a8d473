"""Image files: what cells of a table name, within the folder of the images; decoded in a pool of threads.

No torch here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from mscon.data.inputs import fingerprints
from mscon.data.inputs.addresses import is_address, parse
from mscon.data.inputs.boxes import ImageSource, box_of, name_and_box, with_box
from mscon.data.inputs.decoding import Refused, decode_one, opened, quiet_pillow
from mscon.data.inputs.remote_files import NO_ANSWER
from mscon.data.inputs.shards import NO_SHARD, ImageAt
from mscon.errors import nearest
from mscon.run.progress import ProgressBar
from mscon.run.recipe import Data

_IMAGES_A_TASK = 32

_MOST_WORKERS = 16

# Names of a folder among which a misspelt one is looked for; more would take seconds.
_MOST_NAMES = 20_000

OUTSIDE = "lies outside the folder of the images"

# What to do about files that change while they are read.
WAIT = "Wait until nothing writes these files any more, then run again."

# A cell as written; and of its file, or its shard, size, times of change of content and of anything, and number. Size
# and time of content are what an archive sets as it is unpacked; they may be those of the file that was there before.
Stamp = tuple[str, int, int, int, int]


def locate(images_root: Path, images: Sequence[str], link_folders: Sequence[str] = ()) -> list[Path | None]:
    """The files named by cells of the image column; None for files outside the root.

    A path is judged by where it leads once its links and ".." are followed, an absolute one too. The files need not
    exist.

    Args:
        images_root: the folder that paths are relative to.
        images: the cells.
        link_folders: folders, relative to the root, in which files may lie too.
    """
    named = [os.path.join(images_root, folder) for folder in ("", *link_folders)]
    roots = [os.path.realpath(folder) for folder in named if "\0" not in folder]  # else there is no such folder
    folders: dict[str, str] = {}  # thousands of images share a folder: its links are followed once

    def find(image: str) -> Path | None:
        if "\0" in image:  # no file can have it in its name
            return None
        path = os.path.join(images_root, image)
        folder, name = os.path.split(path)
        if name in ("", ".", "..") or os.path.islink(path):
            real = os.path.realpath(path)
        else:
            real = os.path.join(folders.get(folder) or folders.setdefault(folder, os.path.realpath(folder)), name)
        return Path(path) if any(os.path.commonpath([root, real]) == root for root in roots) else None

    return [find(image) for image in images]


def link_folder(images_root: Path, images: Sequence[str]) -> str:
    """The folder that links among some images lead into, relative to the root; "" without links or such a folder.

    Args:
        images_root: the folder that paths are relative to.
        images: cells that `locate` finds outside.
    """
    paths = [
        os.path.join(images_root, image.rstrip("/"))
        for image in images
        if not os.path.isabs(image) and "\0" not in image
    ]
    inner = os.path.abspath(images_root)
    targets = [
        os.path.dirname(os.path.realpath(path))
        for path in paths[:1_000]
        if os.path.commonpath([inner, os.path.abspath(path)]) == inner  # else it is no link but ".." that leads out
    ]
    if not targets:
        return ""
    folder, root = os.path.commonpath(targets), os.path.realpath(images_root)
    # One that holds the root would open more than links need.
    return "" if os.path.commonpath([folder, root]) == folder else os.path.relpath(folder, root)


def ways_out(images_root: Path, images: Sequence[str], link_folders: Sequence[str] = ()) -> str:
    """What to do about images outside the root, in a sentence or two.

    Args:
        images_root: the folder that paths are relative to.
        images: cells that `locate` finds outside.
        link_folders: those that it looked in too; one that does not exist is named first.
    """
    if not (images := [image for image in images if "\0" not in image]):
        return "No file has a zero byte in its name. Write the name without it."
    advice = _ways_out(images_root, images)
    if absent := [repr(folder) for folder in link_folders if not os.path.isdir(os.path.join(images_root, folder))]:
        return (
            f"[data] link_folders: there is no folder {', '.join(absent)}, looked for relative to "
            f"'{os.path.abspath(images_root)}'.\n  {advice}"
        )
    return advice


def _ways_out(images_root: Path, images: Sequence[str]) -> str:
    if all(os.path.isabs(image) for image in images):
        folder = os.path.commonpath([os.path.dirname(os.path.realpath(image)) for image in images[:1_000]])
        return f"Pass --images DIR, a folder that all images lie in, such as --images '{folder}'."
    folder = link_folder(images_root, images) or "../../blobs"
    return (
        "Paths are relative to that folder. To name another one pass --images DIR. To follow links out of it, as in\n"
        f'  caches of the Hugging Face or DVC, name the folder that they lead to: [data] link_folders = ["{folder}"].'
    )


def find_images(images_root: Path, images: Sequence[str], data: Data) -> list[ImageSource | None]:
    """What cells of the image column name: files, as `locate` finds them, and images at addresses; with their boxes.

    None lies outside the root. No host is asked; what is wrong with an address is told when it is read.

    Args:
        images_root: the folder that paths are relative to, those of shards too.
        images: the cells.
        data: where links may lead, and which addresses are allowed.
    """
    images, boxes = zip(*map(name_and_box, images), strict=True) if images else ((), ())
    addresses = {n: parse(image, data.remote) for n, image in enumerate(images) if is_address(image)}
    elsewhere = {n for n, address in addresses.items() if address.is_remote or address.fault}
    names = [addresses[n].file if n in addresses else image for n, image in enumerate(images) if n not in elsewhere]
    paths = iter(locate(images_root, names, data.link_folders))
    files: list[ImageSource | None] = []
    for number in range(len(images)):
        place = addresses[number].file if number in elsewhere else next(paths)
        if (address := addresses.get(number)) is None or place is None:
            assert not isinstance(place, str)
            files.append(None if place is None else with_box(place, boxes[number]))
        else:
            files.append(ImageAt(address, place, data.cache_bytes, address.fault, box=boxes[number]))
    return files


def stamped(images_root: Path, images: Sequence[str], data: Data) -> tuple[list[ImageSource | None], list[Stamp]]:
    """As `find_images`, and of each image a stamp that changes with its file. Hosts are asked once for each file."""
    files, stamps = find_images(images_root, images, data), list[Stamp]()
    _look(files)
    for image, file in zip(images, files, strict=True):
        stamp: Stamp = (image, -1, -1, -1, -1)
        if isinstance(file, ImageAt):
            stamp = stamp if file.file is None else (image, *file.file.version)
        elif isinstance(file, Path):
            with contextlib.suppress(OSError):
                status = file.stat()
                stamp = (image, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        stamps.append(stamp)
    return files, stamps


def known_fault(file: ImageSource | None) -> str:
    """What is wrong with an image by where it is alone; "" if nothing is. No host is asked."""
    if isinstance(file, ImageAt):
        return file.fault or (NO_SHARD if isinstance(file.place, Path) and not os.path.isfile(file.place) else "")
    # Path.is_file raises for a name that is too long.
    return OUTSIDE if file is None else "" if isinstance(file, Path) and os.path.isfile(file) else "does not exist"


def _look(images: Sequence[ImageSource | None]) -> None:
    """Look for the files of images at addresses, for each file once."""
    of_file: dict[Path | str, list[ImageAt]] = {}
    for image in images:
        if isinstance(image, ImageAt) and not image.fault:
            of_file.setdefault(image.place, []).append(image)
    first = [members[0] for members in of_file.values()]
    faults = each_file(first, lambda number, _: first[number].look(), "")
    for number, members in enumerate(of_file.values()):
        for image in members:
            image.file, image.fault = first[number].file, faults.get(number, "")


def changed_since(stamps: Sequence[Stamp], images_root: Path, data: Data) -> list[int]:
    """Numbers of the images whose files have changed. One whose host does not answer now has not."""
    files, now = stamped(images_root, [image for image, *_ in stamps], data)
    silent = {n for n, image in enumerate(files) if isinstance(image, ImageAt) and image.fault.startswith(NO_ANSWER)}
    return [n for n, (old, new) in enumerate(zip(stamps, now, strict=True)) if old != new and n not in silent]


def similar_name(path: Path) -> str:
    """ " Did you mean 'img000.png'?" for a file that is not there, if its folder has one of a similar name; else ""."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MOST_NAMES), strict=False)]
    except (OSError, ValueError):
        return ""
    same = next((name for name in sorted(names) if name.casefold() == path.name.casefold()), None)
    stem = next((name for name in sorted(names) if Path(name).stem.casefold() == path.stem.casefold()), None)
    return f" Did you mean '{same or stem}'?" if same or stem else nearest(path.name, names, cutoff=0.8)


def decode_some(
    images: Sequence[ImageSource | None], size: int, channels: int, white: float = 0.0, *, to_look_at: bool = False
) -> tuple[UInt8[np.ndarray, "images channels size size"], dict[int, str]]:
    """Several images as `decode_one` gives them, and what is wrong with those that cannot be read, by number.

    Args:
        images: as `find_images` gives them; None lies outside the folder of the images.
        size, channels, white, to_look_at: see `decode_one`.

    Returns:
        Black where an image is at fault; and its fault, to follow the image's name: "is truncated".
    """
    pixels = np.zeros((len(images), channels, size, size), dtype=np.uint8)

    def decode_into(number: int, image: ImageSource) -> None:
        pixels[number] = decode_one(image, size, channels, white, to_look_at=to_look_at)

    return pixels, each_file(images, decode_into, "")


def fingerprint_some(
    images: Sequence[ImageSource | None], title: str
) -> tuple[UInt8[np.ndarray, "images bytes"], dict[int, str]]:
    """Fingerprints of files, and what is wrong with those that cannot be read, by number; theirs are zeros."""
    digests = np.zeros((len(images), fingerprints.SIZE), dtype=np.uint8)

    def take(number: int, image: ImageSource) -> None:
        with opened(image) as file:
            digests[number] = fingerprints.of_file(file, box_of(image))

    return digests, each_file(images, take, title)


def each_file(
    images: Sequence[ImageSource | None], do: Callable[[int, ImageSource], object], title: str
) -> dict[int, str]:
    """Call `do` for every image in a pool of threads (Pillow decodes outside the interpreter's lock).

    Images of one shard come one after the other, so that it is read once and in its order as far as rows have it.

    Returns:
        What is wrong with which image; empty if all went well.
    """
    faults: dict[int, str] = {}
    order = sorted(range(len(images)), key=lambda number: _shard_of(images[number]))
    is_remote = any(isinstance(image, ImageAt) and isinstance(image.place, str) for image in images)

    def task(start: int) -> int:
        numbers = order[start : start + _IMAGES_A_TASK]
        for number in numbers:
            image = images[number]
            try:
                if image is None:
                    raise Refused(OUTSIDE)
                do(number, image)
            except Refused as fault:
                faults[number] = str(fault)
        return len(numbers)

    with quiet_pillow(), ProgressBar(title, len(images), shown=bool(title)) as bar:
        # Hosts are waited for more than processors.
        pool = ThreadPoolExecutor(max_workers=_MOST_WORKERS if is_remote else _workers())
        try:
            for count in pool.map(task, range(0, len(images), _IMAGES_A_TASK)):
                bar.advance(count)
        finally:
            # Not "with pool": after Ctrl-C that would decode all that is left before it stops.
            pool.shutdown(wait=True, cancel_futures=True)
    return faults


def _shard_of(image: ImageSource | None) -> str:
    return str(image.place) if isinstance(image, ImageAt) and image.address.shard else ""


def _workers() -> int:
    # sched_getaffinity also sees what a container allows; it is Linux's own.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_WORKERS, cores)
