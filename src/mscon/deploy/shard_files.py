"""Files of a job that embeds a table: the folder OUT.shards, what lies in it.

00000-<hash>.parquet            a finished shard; -partial, where rows without an image are left out
00000-<hash>.json               instead of it, or beside -partial: [[row, fault], ...] of the rows without an image
done-<number>                   of each process but the first: it has come to its end
checksums.jsonl, index.json     of the files; what the shards are, where they are the output
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from mscon.errors import counted
from mscon.run import atomic, checksums, outputs

INDEX = "index.json"
_OURS = re.compile(
    r"\.?(\d{5,}-[0-9a-f]{16}(-partial)?\.(parquet|arrow|npz|json)|done-\d+|index\.json|checksums\.jsonl)(\..*)?"
)


@dataclass(frozen=True, slots=True)
class Shard:
    """Some rows of the table, and the files of their vectors.

    Attributes:
        rows: numbers in the table.
        full: exists once the vectors of all rows are written.
        partial: the same without rows whose image cannot be read, where such rows may be left out.
        faults: written before `partial`, or instead of it: which rows, and why, as [[row, fault], ...].
    """

    rows: range
    full: Path
    partial: Path
    faults: Path

    def files(self, drops: bool) -> tuple[Path, ...]:
        """All files that may stand for it."""
        return (self.full, self.faults, *((self.partial,) if drops else ()))

    def finished(self, drops: bool) -> Path | None:
        """The file with its vectors, if it is complete."""
        if self.full.is_file():
            return self.full
        return self.partial if drops and self.partial.is_file() and self.faults.is_file() else None

    def is_answered(self, drops: bool) -> bool:
        """Whether it is finished, or its rows without an image are known."""
        return self.finished(drops) is not None or (not drops and self.faults.is_file())


def need_folder(folder: Path, reads: Sequence[Path]) -> None:
    """Raise if a file in the folder would be replaced or removed that is read, or that no such job wrote."""
    with outputs.writing(folder):
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    # Those with a dot are what a killed process left; they are removed in the end, and stand in nobody's way.
    there = [folder / name for name in names if _OURS.fullmatch(name) and not name.startswith(".")]
    checked = checksums.are_kept(folder)
    outputs.need_free(sorted({*there, folder / INDEX}), reads=reads, is_ours=lambda path: checked or path.name != INDEX)


def drop_damaged(folder: Path, shards: Sequence[Shard], drops: bool) -> None:
    """Remove files whose checksum is wrong, so that they are written again, with a note on standard error."""
    paths = [path for shard in shards for path in shard.files(drops) if path.is_file()]
    damaged = {name: one.fault for name, one in checksums.check(folder, [path.name for path in paths]).items()}
    damaged = {name: fault for name, fault in damaged.items() if fault}
    for name in damaged:
        (folder / name).unlink()
    if damaged:
        note(f"{damaged_text(folder, damaged)}. They are written again.")


def damaged_text(folder: Path, faults: Mapping[str, str]) -> str:
    """How many files are damaged, and what is wrong with the first."""
    name, fault = next(iter(faults.items()))
    return f"{folder}: {counted(len(faults), 'file')} damaged; '{name}' {fault}"


def write_checked(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file, whole or not at all, and keep its checksum."""
    checksums.write_with(path.parent, path.name, write)


def mark_done(folder: Path, process: int) -> None:
    """Let the first process know that this one has embedded all of its shards."""
    atomic.write_text(folder / f"done-{process}", _launch())


def is_done(folder: Path, process: int) -> bool:
    """Whether a process of this launch has embedded all of its shards."""
    path = folder / f"done-{process}"
    return path.is_file() and path.read_text("utf-8") == _launch()


def _launch() -> str:
    """What the processes of one start by torchrun have in common, and those of an earlier one mostly had not."""
    return " ".join(os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_PORT"))


def sweep(folder: Path, keep: set[Path]) -> None:
    """Remove the files of this job, or an earlier one, that are not needed any more; never a file of another name."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == checksums.NAME):  # what vouches for others last
        if path not in keep and _OURS.fullmatch(path.name):
            atomic.remove(path)


def remove_swept(folder: Path) -> None:
    """Sweep a folder of shards that are joined, and remove it unless something of the user's is in it."""
    sweep(folder, keep=set())
    with contextlib.suppress(OSError):
        folder.rmdir()


def note(text: str) -> None:
    """A line on standard error."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
