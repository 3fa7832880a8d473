"""Checksums: size and SHA-256 of every file that was written to a folder, so that one that has changed is noticed.

    checksums.jsonl     a line a file and time of writing: {"file": "run.json", "bytes": 812, "sha256": "..."}

A line is there before its file is, so a crash between the two leaves a file that an earlier line knows. Lines are only
added, each in one write, so several processes may write to one folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscon.run import atomic
from mscon.run.layout import CHECKSUMS as NAME

Known = dict[str, list[tuple[int, str]]]


@dataclass(frozen=True, slots=True)
class Checked:
    """A file as it is now: its size, its SHA-256, and what is wrong with it, to follow its name, or ""."""

    bytes: int
    sha256: str
    fault: str


def write_with(folder: Path, name: str, write: Callable[[Path], Any]) -> None:
    """Let `write` fill the file `name` of a folder, whole or not at all, and keep its checksum."""
    atomic.write_with(folder / name, write, before=lambda temporary: record(folder, name, temporary))


def record(folder: Path, name: str, content: Path | None = None) -> None:
    """Keep the checksum of a file, or of what is about to become it."""
    size, digest = _measure(folder / name if content is None else content)
    atomic.append_json(folder / NAME, {"file": name, "bytes": size, "sha256": digest})
    atomic.sync(folder / NAME)


def are_kept(folder: Path) -> bool:
    """Whether a folder has checksums at all."""
    return (folder / NAME).is_file()


def fault(folder: Path, name: str, content: bytes | None = None, known: Known | None = None) -> str:
    """What is wrong with a file, to follow its name; "" where it is as it was written.

    Args:
        folder: one with checksums.
        name: of a file that is there.
        content: of the file, where it has been read already.
        known: the checksums of the folder, where they have been read already.
    """
    measured = _measure(folder / name) if content is None else (len(content), hashlib.sha256(content).hexdigest())
    return _fault(*measured, (read(folder) if known is None else known).get(name, []))


def check(folder: Path, names: Iterable[str]) -> dict[str, Checked]:
    """The same of several files at once: the list is read once, and each file to its end."""
    known = read(folder)
    checked = {}
    for name in names:
        size, digest = _measure(folder / name)
        checked[name] = Checked(size, digest, _fault(size, digest, known.get(name, [])))
    return checked


def _fault(size: int, digest: str, lines: list[tuple[int, str]]) -> str:
    if not lines:
        return f"is not in {NAME}, so mscon did not write it, or that list is damaged"
    if (size, digest) in lines:
        return ""
    sizes = sorted({known for known, _ in lines})
    if size not in sizes:
        return f"has changed since mscon wrote it: it has {size:,} bytes, not {sizes[-1]:,}"
    return "has changed since mscon wrote it: its content is another"


def grown_fault(content: bytes, lines: list[tuple[int, str]]) -> str:
    """The same of a file that grows by lines: it may be longer than when its checksum was last taken, or cut short.

    Args:
        content: of the file.
        lines: the sizes and checksums that it has had, oldest first.
    """
    fitting = [line for line in lines if line[0] <= len(content)]
    # A file that is written anew with fewer lines gets its checksum first; until it is moved the old one is there.
    is_anew = len(fitting) > 1 and fitting[-1][0] <= fitting[-2][0]
    known = fitting[-2:] if is_anew else fitting[-1:]
    for size, digest in known:
        if hashlib.sha256(content[:size]).hexdigest() == digest:
            return ""
    return "has changed since mscon wrote it: its content is another" if known else ""


def is_short(path: Path, lines: list[tuple[int, str]]) -> bool:
    """Whether such a file has lost what it had when its checksum was last taken."""
    return bool(lines) and (not path.is_file() or path.stat().st_size < lines[-1][0])


def read(folder: Path) -> Known:
    """For each file the sizes and checksums that it has had, oldest first."""
    path = folder / NAME
    lines: Known = {}
    for line in atomic.json_lines(path.read_bytes()) if path.is_file() else []:
        if isinstance(line, dict) and {"file", "bytes", "sha256"} <= line.keys():
            lines.setdefault(str(line["file"]), []).append((line["bytes"], line["sha256"]))
    return lines


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
