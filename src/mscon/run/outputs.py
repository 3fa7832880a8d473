"""Outputs: whether files may be written where somebody wants them, asked before the work begins.

A file that is there is replaced if the same command wrote it, which the file says itself, or if the user says so. A
file that is read is never replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mscon.errors import RunError, first_few
from mscon.run import atomic

ADVICE = "Choose another --out."

# A page says what made it in its head, which is shorter than this.
_HEAD = 4_096


def need_free(
    paths: Sequence[Path],
    *,
    reads: Iterable[Path] = (),
    images: Iterable[Path] = (),
    is_ours: Callable[[Path], bool] | None = None,
    overwrite: bool = False,
    advice: str = ADVICE,
    option: str = "",
) -> None:
    """Raise unless all of these files may be written. Changes nothing.

    Args:
        paths: every file that is going to be written, with those beside the one that the user named.
        reads: files that are read, or whose names are reserved in a run, existing or not. They are never written,
            under whatever name.
        images: likewise, but so many that they are compared only if a file is to be replaced.
        is_ours: whether an existing file was written by the same command; None where files do not say so.
        overwrite: also replace files that another command wrote.
        advice: what to do instead.
        option: how to set `overwrite`, said where that would help.

    Raises:
        RunError: for a file that is read, that exists and may not be replaced, or that cannot be written there.
    """
    inputs = {_identity(path) for path in reads}
    for path in paths:
        if _identity(path) in inputs:
            raise RunError(f"'{path}' is a file that is read here, or that a run keeps: not written. {advice}")
        need_place(path, advice)
    foreign = [path for path in paths if os.path.lexists(path) and not (is_ours is not None and is_ours(path))]
    if foreign and not overwrite:
        named = first_few([f"'{path}'" for path in foreign])
        why = "exists" if len(foreign) == 1 else "exist"
        if is_ours is not None:
            why += f" and {'was' if len(foreign) == 1 else 'were'} not written by this command: not replaced"
        raise RunError(
            f"{named} {why}. {advice.removesuffix('.')}, or {option}." if option else f"{named} {why}. {advice}"
        )
    replaced = {_identity(path): path for path in foreign}
    for image in images if replaced else ():
        if (there := replaced.get(_identity(image))) is not None:
            raise RunError(f"'{there}' is a file that is read here: not written. {advice}")


@contextlib.contextmanager
def writing(path: Path, advice: str = ADVICE) -> Iterator[None]:
    """What the disk refuses within is one message.

    Raises:
        RunError: for an OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"'{path}' cannot be written: {error.strerror or error}. {advice}") from None


def is_page(path: Path, kind: str) -> bool:
    """Whether a file is an HTML page that says that mscon made it, and as what: "report" or "explorer"."""
    try:
        with path.open("rb") as file:
            return f'<meta name="generator" content="mscon {kind} '.encode() in file.read(_HEAD)
    except OSError:
        return False


def json_object(path: Path) -> dict[str, Any]:
    """What a JSON file says; empty where it is none, or no object."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _identity(path: Path) -> tuple[int, int] | str:
    """The same for all names of one file, be they links, and for all spellings of a name that is free."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def need_place(path: Path, advice: str = ADVICE) -> None:
    """Raise if something in the way is no file, or if the folder, or the first above it that is there, takes none.

    A file without a name is written there and is gone again: only that shows a full disk, a quota or a read-only one.

    Raises:
        RunError: saying what is in the way, or what the disk says.
    """
    why = ""
    if os.path.isdir(path):
        why = "it is a folder"
    elif os.path.lexists(path) and not os.path.isfile(path):
        why = "it is no ordinary file"
    elif (folder := next((one for one in path.parents if os.path.lexists(one)), None)) is not None:
        why = _refusal(folder, path) if os.path.isdir(folder) else f"'{folder}' is not a folder"
    if why:
        raise RunError(f"'{path}' cannot be written: {why}. {advice}")


def _refusal(folder: Path, path: Path) -> str:
    """What the disk says to a file in a folder, and to the name of another; "" where it takes both."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b"mscon")
        with contextlib.suppress(FileNotFoundError):
            os.lstat(folder / atomic.neighbour_name(path))
    except OSError as error:
        return f"{error.strerror or error} (in '{folder}')"
    return ""
