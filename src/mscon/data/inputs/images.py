"""Images: decoded once into a file of uint8 that later epochs and runs map into memory. No torch here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int, UInt8

from mscon.data.inputs import fingerprints
from mscon.data.inputs.boxes import ImageSource
from mscon.data.inputs.decoding import DISK_FAULT, decode_with_fingerprint
from mscon.data.inputs.image_faults import fault_message
from mscon.data.inputs.image_files import WAIT, Stamp, changed_since, decode_some, each_file, stamped
from mscon.data.inputs.images_on_demand import ImagesOnDemand
from mscon.data.inputs.remote_files import NO_ANSWER
from mscon.data.inputs.shards import ImageAt
from mscon.data.table.table import at_lines
from mscon.errors import TableError, counted, first_few
from mscon.run import atomic
from mscon.run.cache import alone, cache_folder, need_room, new_array
from mscon.run.recipe import Data

# Raised whenever the same file would decode to other pixels: old stores are then left alone, not misread.
_FORMAT = 2

# How messages call what is written here.
_WHAT = "the decoded images"


class Unanswered(Exception):
    """Images whose hosts do not answer.

    Attributes:
        faults: by their numbers.
    """

    def __init__(self, faults: dict[int, str]) -> None:
        super().__init__(faults)
        self.faults = faults


@dataclass(frozen=True, slots=True, eq=False)
class ImageStore:
    """All images of some rows, square and of one size, in the order of the rows.

    Attributes:
        images: mapped from a file, so opening costs nothing and processes share the memory; or decoded whenever they
            are read ([data] decode).
        fingerprints: of the image files (see `mscon.data.inputs.fingerprints`), as they were when they were decoded;
            None where the images are from no files.
    """

    images: UInt8[np.ndarray, "rows channels size size"] | ImagesOnDemand
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
    files, stamps = stamped(images_root, images, data)
    path = _store_of(images_root, stamps, data)

    def stored() -> ImageStore | None:
        if (store := _open(path, len(images), data)) is None:
            return None
        if data.decode == "once":
            return ImageStore(store["image"], store["fingerprint"])
        on_demand = ImagesOnDemand(files, store["fingerprint"], images, lines, data, table_name, images_root)
        return ImageStore(on_demand, store["fingerprint"])

    def decode(target: Path) -> None:
        # What is known of addresses is told before anything else is fetched.
        faults = {number: file.fault for number, file in enumerate(files) if isinstance(file, ImageAt) and file.fault}
        if faults := faults or _decode_all(target, files, data, "decoding images"):
            raise TableError(fault_message(faults, images, lines, table_name, images_root))
        if changed := changed_since(stamps, images_root, data):
            what = f"image {images[changed[0]]!r} has changed while the images were being decoded."
            raise TableError(at_lines(table_name, [lines[n] for n in changed], len(images), what, WAIT))

    if (store := stored()) is not None:
        return store
    with alone(path, _WHAT):
        if (store := stored()) is None:
            atomic.write_with(path, decode)
            store = stored()
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
    files, stamps = stamped(images_root, images, data)
    once = replace(data, decode="once")
    if (store := _open(_store_of(images_root, stamps, once), len(images), once)) is not None:
        return np.asarray(store["image"][numbers]), {}
    return decode_some([files[n] for n in numbers], data.image_size, data.channels, data.white)


def unreadable(images_root: Path, images: Sequence[str], data: Data) -> list[int]:
    """Numbers of the images that cannot be decoded. Each is decoded once, and the result is cached.

    The others are then in the store that `open_store` opens for their rows, so that none is decoded again.

    Raises:
        TableError: if an image changes while they are tried.
        Unanswered: if the host of an image does not answer: that says nothing about the image.
        RunError: as of `open_store`.
    """
    files, stamps = stamped(images_root, images, data)
    faults = dict[int, str]()
    if _open(_store_of(images_root, stamps, data), len(images), data) is not None:
        return []
    memory = cache_folder() / f"{_key('unreadable', images_root, stamps, [data.white])}.json"
    tried = memory.with_suffix(".npy")

    def decode(target: Path) -> None:
        faults.update(_decode_all(target, files, data, "decoding images"))
        if silent := {number: fault for number, fault in faults.items() if fault.startswith(NO_ANSWER)}:
            raise Unanswered(silent)
        if changed := changed_since(stamps, images_root, data):
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


def _store_of(images_root: Path, stamps: Sequence[Stamp], data: Data) -> Path:
    what = "pixels" if data.decode == "once" else "fingerprints"
    settings = [data.channels, data.image_size, data.image_size, data.white]
    return cache_folder() / f"{_key(what, images_root, stamps, settings)}.npy"


def _key(what: str, images_root: Path, stamps: Sequence[Stamp], settings: Sequence[float | int]) -> str:
    digest = hashlib.sha256(json.dumps([what, _FORMAT, os.path.realpath(images_root), settings]).encode())
    for stamp in stamps:
        digest.update(json.dumps(stamp).encode())
    return digest.hexdigest()[:32]


def _row(data: Data) -> np.dtype:
    """A row of a store: its pixels and its fingerprint, in one file, so that they always belong together.

    Only the fingerprint where images are decoded whenever they are read: it says that they can be, and did not change.
    """
    image = [("image", np.uint8, (data.channels, data.image_size, data.image_size))] if data.decode == "once" else []
    return np.dtype([*image, ("fingerprint", np.uint8, fingerprints.SIZE)])


def _open(path: Path, count: int, data: Data) -> np.ndarray | None:
    """The rows of the store at `path`, or None if there is none of so many."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or spoilt: it is made anew, and writing says what is wrong
        return None
    return rows if rows.shape == (count,) and rows.dtype == _row(data) else None


def _decode_all(target: Path, files: Sequence[ImageSource | None], data: Data, title: str) -> dict[int, str]:
    """Fill a store, black where an image cannot be read, and say what is wrong with those."""
    need_room(target.parent, len(files) * _row(data).itemsize, _WHAT, "image_size under [data]")
    store = new_array(target, _row(data), (len(files),))

    def decode_into(number: int, image: ImageSource) -> None:
        pixels, fingerprint = decode_with_fingerprint(image, data.image_size, data.channels, data.white)
        store["fingerprint"][number] = fingerprint
        if data.decode == "once":
            store["image"][number] = pixels

    faults = each_file(files, decode_into, title)
    store.flush()
    return faults


def _copy_rows(source: Path, target: Path, numbers: Sequence[int]) -> None:
    before = np.load(source, mmap_mode="r", allow_pickle=False)
    after = new_array(target, before.dtype, (len(numbers),))
    for place, number in enumerate(numbers):  # one at a time: together they may be more than fits
        after[place] = before[number]
    after.flush()
