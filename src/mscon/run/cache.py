"""Cache: the folder for what is computed once, and who may write to it when. No torch here."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mscon.errors import RunError
from mscon.run import atomic
from mscon.run.locks import lock

if TYPE_CHECKING:
    import numpy as np


def cache_folder() -> Path:
    """Where decoded images lie: $MSCON_CACHE, else $XDG_CACHE_HOME/mscon, else ~/.cache/mscon; folder "images"."""
    if folder := os.environ.get("MSCON_CACHE"):
        return Path(folder) / "images"
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "mscon" / "images"


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
            f"{what} need {_in_words(size)} in '{folder}', where {_in_words(free)} are free. "
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


def _in_words(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.3g} MB"
