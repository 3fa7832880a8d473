"""Cache: the folder for what is computed once, and who may write to it when. No torch here."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mscon.errors import RunError
from mscon.run import atomic
from mscon.run.locks import lock

if TYPE_CHECKING:
    import numpy as np


# Folder -> what is in it. Every entry is named after a digest, by which it is told from files of somebody else.
CONTENTS = {
    "images": "decoded images",
    "features": "features of frozen encoders",
    "starts": "features before training",
    "remote": "parts of remote images and shards",
    "text": "vectors of texts",
    "unpacked": "images that lay within a table",
}
_ENTRY = re.compile(r"([0-9a-f]{32})(\.npy|\.json|\.partial|\.lock)?|\.[0-9a-f]{32}(\.\w+){1,3}")


def cache_folder(name: str = "images") -> Path:
    """A folder of the cache, which lies in $MSCON_CACHE, else $XDG_CACHE_HOME/mscon, else ~/.cache/mscon."""
    if folder := os.environ.get("MSCON_CACHE"):
        return Path(folder) / name
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "mscon" / name


@dataclass(frozen=True, slots=True)
class Cached:
    """What one folder of the cache holds.

    Attributes:
        folder: where it lies; it need not exist.
        contents: what is in it, in words.
        entries: files and folders that mscon wrote; others that lie beside them are not listed.
        size: of the entries, in bytes.
    """

    folder: Path
    contents: str
    entries: tuple[Path, ...]
    size: int


def caches() -> list[Cached]:
    """Every folder of the cache with what mscon wrote there; one that cannot be read counts as empty."""
    entries = {name: _entries(cache_folder(name)) for name in CONTENTS}
    return [
        Cached(cache_folder(name), contents, entries[name], sum(map(_size, entries[name])))
        for name, contents in CONTENTS.items()
    ]


def strangers(data_sets: Collection[str]) -> list[str]:
    """Names in the folder of all caches that are neither a cache nor a data set: then it is not mscon's alone.

    Where people name files by digests too, only this tells theirs from those of mscon.

    Args:
        data_sets: folders that the reproduction of the paper makes there.
    """
    with contextlib.suppress(OSError):
        return sorted(path.name for path in cache_folder().parent.iterdir() if path.name not in {*CONTENTS, *data_sets})
    return []


def clear(cached: Cached) -> int:
    """Remove the entries of a folder; those that a process is writing stay. Returns how many bytes are gone."""
    for path in cached.entries:
        key = _ENTRY.fullmatch(path.name)
        if path.name.startswith("."):
            atomic.remove_leftover(path)
        elif key and not _is_being_written(path.with_name(f"{key[1]}.lock")):
            atomic.remove(path)
    return cached.size - sum(_size(path) for path in cached.entries)


def _entries(folder: Path) -> tuple[Path, ...]:
    with contextlib.suppress(OSError):
        return tuple(sorted(path for path in folder.iterdir() if _ENTRY.fullmatch(path.name)))
    return ()


def _is_being_written(lock_file: Path) -> bool:
    with contextlib.suppress(OSError), lock_file.open("rb") as file:
        return lock(file.fileno()) == "another's"
    return False


def _size(path: Path) -> int:
    """Of a file, or of all files in a folder; 0 for what is gone. Links count as what they are."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            return sum(map(_size, path.iterdir()))
        return path.lstat().st_size
    return 0


@contextlib.contextmanager
def cache_writing(folder: Path, what: str) -> Iterator[None]:
    """Around code that writes to a folder of the cache.

    Args:
        folder: is created if it is not there.
        what: is written, in words, for the message.

    Raises:
        RunError: if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise RunError(
            f"{what} cannot be written to '{folder}': {error.strerror or error}. "
            "Set the environment variable MSCON_CACHE to a folder that can be."
        ) from None


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Lock a file of the cache for this process, and remove temporary files of it that killed processes left.

    Args:
        path: of the file.
        what: is in it, in words, for the message.

    Raises:
        RunError: if its folder cannot be written.
    """
    with cache_writing(path.parent, what), path.with_suffix(".lock").open("a") as file:
        if lock(file.fileno(), waits=True) == "ours":  # where there are no locks, two processes do the work twice
            for left in path.parent.glob(f".{path.name}.*"):
                atomic.remove(left)
        yield


def need_room(folder: Path, size: int, what: str, setting: str) -> None:
    """That there is room for a file.

    Args:
        folder: where it is to be written.
        size: in bytes.
        what: is written, in words, for the message.
        setting: of a recipe that makes it smaller.

    Raises:
        RunError: if there is less.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise RunError(
            f"{what} need {size_in_words(size)} in '{folder}', where {size_in_words(free)} are free. "
            f"Set the environment variable MSCON_CACHE to a larger disk, or {setting} to a smaller number."
        )


def new_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """An array of zeros in a new .npy file, mapped, with its room on the disk reserved.

    Without that a full disk would end the process by a signal, at some page of the array, and without a word.

    Raises:
        OSError: if there is no room.
    """
    import numpy as np

    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return array


def size_in_words(size: int) -> str:
    """`size_in_words(3_400_000)` is "3.4 MB"."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.3g} MB"
