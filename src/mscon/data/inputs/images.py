"""Images: decoded once into a file of uint8 that later epochs and runs map into memory. No torch here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int, UInt8

from mscon.data.inputs import fingerprints
from mscon.data.inputs.decoding import DISK_FAULT, decode_with_fingerprint
from mscon.data.inputs.image_files import WAIT, Stamp, changed_since, decode_some, each_file, similar_name, stamped
from mscon.data.table.table import at_lines
from mscon.errors import TableError, counted, first_few
from mscon.run import atomic
from mscon.run.cache import alone, cache_folder, need_room, new_array
from mscon.run.recipe import Data

# Raised whenever the same file would decode to other pixels: old stores are then left alone, not misread.
_FORMAT = 2

_ADVICE = (
    "Replace or take out these rows;\n"
    '  to leave them out on purpose, set missing_images = "drop" under [data] in the recipe.'
)

# For images that are gone, before training and after it.
_MOVED = (
    "If the pictures moved, pass --images DIR, the folder that the paths are relative to;\n"
    '  to leave such rows out on purpose, set missing_images = "drop" under [data] in the recipe before training.'
)

# How messages call what is written here.
_WHAT = "the decoded images"


@dataclass(frozen=True, slots=True, eq=False)
class ImageStore:
    """All images of some rows, square and of one size, in the order of the rows.

    Attributes:
        images: mapped from a file, so opening costs nothing and processes share the memory.
        fingerprints: of the image files (see `mscon.data.inputs.fingerprints`), as they were when they were decoded;
            None where the images are from no files.
    """

    images: UInt8[np.ndarray, "rows channels size size"]
    fingerprints: UInt8[np.ndarray, "rows bytes"] | None = None

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


def open_store(rows: pl.DataFrame, images_root: Path, data: Data, table_name: str) -> ImageStore:
    """The images of `rows`, decoded now or by an earlier run.

    The store is a file in the cache folder. Its name is a hash of the root, of all paths, of the size, the times of
    change and the number of each file, and of what is made of them; if one image changes, all are decoded anew.
    Several processes may call this at once: one decodes, the others wait.

    Args:
        rows: columns `line` and `image`, as `select_rows` gives them.
        images_root: folder that the paths are relative to.
        data: size, channels and white; and where links may lead.
        table_name: how messages call the table.

    Raises:
        TableError: once for all images that are gone, not images, truncated, too large or outside the root; or that
            change while they are decoded.
        RunError: if the cache folder cannot be written, or the disk is too full.
        ValueError: if there are no rows.
    """
    if not rows.height:
        raise ValueError("there are no rows, so there are no images to store.")
    images, lines = rows.get_column("image").to_list(), rows.get_column("line").to_list()
    paths, stamps = stamped(images_root, images, data.link_folders)
    shape = _shape(images, data)
    path = _store_of(images_root, stamps, data)
    if (store := _open(path, shape)) is not None:
        return store

    def decode(target: Path) -> None:
        if faults := _decode_all(target, paths, data, "decoding images"):
            raise TableError(fault_message(faults, images, lines, table_name, images_root))
        if changed := changed_since(stamps, images_root, data.link_folders):
            what = f"image {images[changed[0]]!r} has changed while the images were being decoded."
            raise TableError(at_lines(table_name, [lines[n] for n in changed], len(images), what, WAIT))

    with alone(path, _WHAT):
        if (store := _open(path, shape)) is None:
            atomic.write_with(path, decode)
            store = _open(path, shape)
    assert store is not None
    return store


def some_images(
    rows: pl.DataFrame, numbers: Int[np.ndarray, " some"], images_root: Path, data: Data
) -> tuple[UInt8[np.ndarray, "some channels size size"], dict[int, str]]:
    """The images of a few rows: from the store of all `rows` where there is one, else only these are decoded.

    Args:
        rows, images_root, data: as of `open_store`.
        numbers: which rows.

    Returns:
        Black where an image cannot be read; and what is wrong with it, by its place in `numbers`.
    """
    images = rows.get_column("image").to_list()
    paths, stamps = stamped(images_root, images, data.link_folders)
    if (store := _open(_store_of(images_root, stamps, data), _shape(images, data))) is not None:
        return store[numbers], {}
    return decode_some([paths[n] for n in numbers], data.image_size, data.channels, data.white)


def unreadable(images_root: Path, images: Sequence[str], data: Data) -> list[int]:
    """Numbers of the images that cannot be decoded. Each is decoded once, and the result is cached.

    The others are then in the store that `open_store` opens for their rows, so that none is decoded again.

    Raises:
        TableError: if an image changes while they are tried.
        RunError: as of `open_store`.
    """
    paths, stamps = stamped(images_root, images, data.link_folders)
    faults = dict[int, str]()
    if _open(_store_of(images_root, stamps, data), _shape(images, data)) is not None:
        return []
    memory = cache_folder() / f"{_key('unreadable', images_root, stamps, [data.white])}.json"
    tried = memory.with_suffix(".npy")

    def decode(target: Path) -> None:
        faults.update(_decode_all(target, paths, data, "decoding images"))
        if changed := changed_since(stamps, images_root, data.link_folders):
            raise TableError(
                f"{len(changed):,} of {counted(len(images), 'image')} in '{images_root}' changed while they were being "
                f"decoded: {first_few([repr(images[n]) for n in changed])}.\n  {WAIT}"
            )

    with alone(tried, _WHAT):
        with contextlib.suppress(OSError, ValueError, TypeError):
            return [int(number) for number in json.loads(memory.read_text("utf-8"))]
        atomic.write_with(tried, decode)
        readable = [number for number in range(len(images)) if number not in faults]
        store = _store_of(images_root, [stamps[number] for number in readable], data)
        if not faults:
            tried.replace(store)
        else:
            if readable:
                atomic.write_with(store, lambda target: _copy_rows(tried, target, readable))
            tried.unlink()
        if not any(fault.startswith(DISK_FAULT) for fault in faults.values()):
            atomic.write_json(memory, sorted(faults))
    return sorted(faults)


def _shape(images: Sequence[str], data: Data) -> tuple[int, int, int, int]:
    return (len(images), data.channels, data.image_size, data.image_size)


def _store_of(images_root: Path, stamps: Sequence[Stamp], data: Data) -> Path:
    return cache_folder() / f"{_key('pixels', images_root, stamps, [*_shape((), data)[1:], data.white])}.npy"


def _key(what: str, images_root: Path, stamps: Sequence[Stamp], settings: Sequence[float | int]) -> str:
    digest = hashlib.sha256(json.dumps([what, _FORMAT, os.path.realpath(images_root), settings]).encode())
    for stamp in stamps:
        digest.update(json.dumps(stamp).encode())
    return digest.hexdigest()[:32]


def _row(shape: tuple[int, ...]) -> np.dtype:
    """A row of a store: its pixels and its fingerprint, in one file, so that they always belong together."""
    return np.dtype([("image", np.uint8, shape[1:]), ("fingerprint", np.uint8, fingerprints.SIZE)])


def _open(path: Path, shape: tuple[int, ...]) -> ImageStore | None:
    """The store at `path`, or None if there is none of that shape."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or spoilt: it is made anew, and writing says what is wrong
        return None
    if rows.shape != shape[:1] or rows.dtype != _row(shape):
        return None
    return ImageStore(rows["image"], rows["fingerprint"])


def _decode_all(target: Path, paths: Sequence[Path | None], data: Data, title: str) -> dict[int, str]:
    """Fill a store, black where an image cannot be read, and say what is wrong with those."""
    shape = (len(paths), data.channels, data.image_size, data.image_size)
    need_room(target.parent, shape[0] * _row(shape).itemsize, _WHAT, "image_size under [data]")
    store = new_array(target, _row(shape), shape[:1])

    def decode_into(number: int, path: Path) -> None:
        pixels, fingerprint = decode_with_fingerprint(path, data.image_size, data.channels, data.white)
        store["image"][number], store["fingerprint"][number] = pixels, fingerprint

    faults = each_file(paths, decode_into, title)
    store.flush()
    return faults


def _copy_rows(source: Path, target: Path, numbers: Sequence[int]) -> None:
    before = np.load(source, mmap_mode="r", allow_pickle=False)
    after = new_array(target, before.dtype, (len(numbers),))
    for place, number in enumerate(numbers):  # one at a time: together they may be more than fits
        after[place] = before[number]
    after.flush()


def fault_message(
    faults: dict[int, str], images: Sequence[str], lines: Sequence[int], table_name: str, images_root: Path
) -> str:
    """One message for all faults, a paragraph for each kind of fault.

    Args:
        faults: by the number of the image, to follow its name.
        images: as the table names them.
        lines: where each stands in the table.
        table_name: how messages call the table.
        images_root: folder that was looked in.
    """
    kinds: dict[str, list[int]] = {}
    for number in sorted(faults):
        kinds.setdefault(faults[number].partition(" (")[0], []).append(number)
    messages = []
    for kind, numbers in kinds.items():
        image, fault, advice, similar = images[numbers[0]], faults[numbers[0]], _ADVICE, ""
        if kind == "does not exist":
            fault, advice, similar = f"{kind} (looked in {images_root})", _MOVED, similar_name(images_root / image)
            if any("\\" in images[number] for number in numbers):
                advice += "\n  Some of these paths hold a backslash; folders are separated by '/' here."
        what = f"image {image!r} {fault}.{similar}"
        messages.append(at_lines(table_name, [lines[n] for n in numbers], len(images), what, advice))
    return "\n".join(messages)
