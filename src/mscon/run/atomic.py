"""Files are written whole or not at all: to a neighbour first, then moved into place. Logs grow by whole lines.

What was written is still there after a power cut: a file reaches the disk before its name does, and the name before the
call returns.
"""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
    """Let `write` fill a neighbouring file, then move it to `path`; on an error leave nothing.

    Args:
        path: where the file goes; its folder is made if it is not there.
        write: fills the file whose path it gets.
        before: called with the same path once the content is on the disk, just before it is moved.
    """
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        # mkstemp makes files that only their owner may read; what a run leaves is for others too.
        temporary.chmod(0o644)
        sync(temporary)
        if before is not None:
            before(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


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
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
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
