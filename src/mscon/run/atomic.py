"""Files are written whole or not at all: in a folder beside them, then moved into place. Logs grow by whole lines.

What was written is still there after a power cut: a file reaches the disk before its name does, and the name before the
call returns.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mscon.run.locks import lock


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, never sees half of it."""
    write_with(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, content: str) -> None:
    """The same for text, as UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """The same for JSON; NaN and infinity are refused, since JSON has no word for them."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """A JSON file's content."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_with(path: Path, write: Callable[[Path], Any], before: Callable[[Path], Any] | None = None) -> None:
    """Let `write` fill a file in a neighbouring folder, then move it to `path`; on an error leave nothing.

    Removes what killed processes left when they wrote the same file.

    Args:
        path: where the file goes; its folder is made if it is not there.
        write: fills the file whose path it gets.
        before: called with the same path once the content is on the disk, just before it is moved.

    Raises:
        OSError: where the disk refuses, also if that is an error of another kind in the library that writes.
    """
    with _scratch_folder(path) as folder:
        temporary = folder / path.name
        temporary.touch()
        mode = temporary.stat().st_mode
        with refusals_as_oserror(temporary):
            write(temporary)
        if temporary.stat().st_mode != mode:  # safetensors puts a file in its place that only its owner may read
            temporary.chmod(mode)
        sync(temporary)
        if before is not None:
            before(temporary)
        temporary.replace(path)
    sync(path.parent)


@contextlib.contextmanager
def refusals_as_oserror(path: Path) -> Iterator[None]:
    """Around calls of libraries that have errors of their own for what the disk refuses.

    Raises:
        OSError: for an error whose message has the number of the system's, as Rust writes it.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        # numpy has no number of the system for an array of which only a part was written.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    except Exception as error:
        if (number := re.search(r"(?:\(os error |\bOs \{ code: )(\d+)", str(error))) is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error


def remove_leftover(path: Path) -> None:
    """Remove a file, or a folder with all in it, that no process has locked; nothing where there are no locks."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            if lock(handle) == "ours":
                remove(path)
        finally:
            os.close(handle)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which is moved to `path` once all in it is on the disk; on an error none is left.

    Removes what killed processes left when they made one of the same name.

    Args:
        path: must not exist in the end, or be an empty folder.
    """
    with _scratch_folder(path) as scratch:
        temporary = scratch / path.name
        temporary.mkdir()
        yield temporary
        for folder, _, files in os.walk(temporary):
            for name in files:
                sync(Path(folder, name))
            sync(Path(folder))
        if os.name == "nt" and path.is_dir():  # elsewhere an empty folder is replaced
            path.rmdir()
        temporary.rename(path)
    sync(path.parent)


@contextlib.contextmanager
def _scratch_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` that is gone in the end, locked; those that no process has locked any more are removed.

    Whatever libraries leave beside the file that they write goes with it.
    """
    make_folder(path.parent)
    for other in path.parent.iterdir():
        if is_leftover(other.name, of=path.name):
            remove_leftover(other)
    scratch = path.with_name(neighbour_name(path))
    scratch.mkdir()
    handle = None if os.name == "nt" else os.open(scratch, os.O_RDONLY)  # a folder cannot be opened there
    try:
        # Another process may have taken it for a leftover before it was locked; then all that follows fails.
        if handle is not None:
            lock(handle)
        yield scratch
    finally:
        if handle is not None:
            os.close(handle)
        remove(scratch)


def remove(path: Path) -> None:
    """A file, or a folder with all in it, if it is there and can be removed."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def neighbour_name(path: Path) -> str:
    """A name for the folder in which a file is written, before it is moved to `path`."""
    return f".{path.name}.{secrets.token_hex(4)}{path.suffix}"


def is_leftover(name: str, of: str) -> bool:
    """Whether a file is called as `write_with` calls `of` before it is moved into place: a killed process left it."""
    return re.fullmatch(rf"\.{re.escape(of)}\.[a-z0-9_]{{8}}{re.escape(Path(of).suffix)}", name) is not None


def make_folder(folder: Path) -> None:
    """A folder, and those above it, of which no power cut takes one away again."""
    missing = []
    while not folder.exists() and folder != folder.parent:  # the current folder may be gone
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        sync(one.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open a folder, and keeps names by itself
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError:
        # Some network disks cannot sync a folder; a file that cannot be synced is one that was not written.
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def append_json(path: Path, value: Any) -> None:
    """Add a line of JSON in one write; a line that a crash tore before it stays a line of its own."""
    line = (json.dumps(value, allow_nan=False) + "\n").encode("utf-8")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        size = os.fstat(handle).st_size
        if size:
            os.lseek(handle, size - 1, os.SEEK_SET)
            if os.read(handle, 1) != b"\n":
                line = b"\n" + line
        if os.write(handle, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(handle)


def json_lines(content: bytes) -> list[Any]:
    """The lines of a file that `append_json` wrote, without those that a crash tore."""
    values = []
    for line in content.split(b"\n"):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):  # torn, empty, not UTF-8, or nested as no line that was written
            continue
    return values
