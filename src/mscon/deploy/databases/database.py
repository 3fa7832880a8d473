"""Database: what it takes to write the vectors of a table into one, a batch at a time.

A database holds one table of rows; each row has the line of the user's table as its key. What the rows are of is text
that is stored with them (`mscon.deploy.databases.exported.Export`), so that nothing of another model is added, and
nothing is replaced that mscon did not write. Batches are written in the order of the table, each whole or not at all,
so the highest line that is stored says where a stopped export goes on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar, final

import polars as pl

from mscon.deploy.databases import ENGINES
from mscon.errors import RunError, nearest, shortened

LINE = "line"

# What all engines allow, and every file system.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}")
_LETTERS_OF_A_REASON = 300

# In URLs and in connection strings.
_PASSWORD = re.compile(r"(?<=//)[^/]*(?=@)|(?<=password=)('[^']*'|\S+)")


class Database(ABC):
    """A table of rows in a database, which exists or not.

    Args:
        at: address of the database: a folder, a URL, or a connection string.
        name: of the table in it.
    """

    kind: ClassVar[str]
    """What messages call a table of this engine."""
    packages: ClassVar[tuple[str, ...]]
    """Modules that it imports."""

    @final
    def __init__(self, at: str, name: str) -> None:
        self.at, self.name = at, name

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}' in '{_PASSWORD.sub('…', self.at)}'"

    @property
    @abstractmethod
    def faults(self) -> tuple[type[Exception], ...]:
        """Errors of the engine that say what the database, its disk or the network refuses."""

    @abstractmethod
    def connect(self) -> None:
        """Open the database; it need not have the table."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def record(self) -> str | None:
        """What the rows are of; "" for a table that mscon did not write, None if there is none."""

    def need_cells(self, cells: pl.DataFrame) -> None:  # noqa: B027 (most engines store any text)
        """Raise RunError if one of all cells of an export is none that the engine can store."""

    @abstractmethod
    def create(self, rows: pl.DataFrame, record: str) -> None:
        """Make the table, empty, for rows as these. Columns of type Array are vectors; `line` is the key."""

    @abstractmethod
    def drop(self, reads: Sequence[Path]) -> None:
        """Remove a table that mscon wrote; a file in `reads` is never removed."""

    @abstractmethod
    def last_line(self) -> int:
        """The highest line that is stored; 0 for none."""

    @abstractmethod
    def add(self, rows: pl.DataFrame) -> None:
        """Store rows, whose lines are higher than all that are there."""

    def finish(self) -> None:  # noqa: B027 (most engines have nothing to do)
        """Called when all rows are stored."""

    def is_complete(self, last_line: int) -> bool:
        """Whether rows up to this line are stored, and it was finished."""
        return self.last_line() >= last_line

    @final
    def need_no_names(self, odd: Sequence[str]) -> None:
        """Raise RunError for columns or spaces of names that the engine does not take."""
        if odd:
            raise RunError(
                f"{self} cannot have columns or vectors of the names {', '.join(map(repr, odd))}. Leave them out: name "
                "the columns to store with --columns, and the spaces with --spaces."
            )

    @final
    @contextlib.contextmanager
    def refusals(self) -> Iterator[None]:
        """What the engine refuses within is one message.

        Raises:
            RunError: for one of `faults`.
        """
        try:
            yield
        except self.faults as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if len(reason) > _LETTERS_OF_A_REASON:
                reason = f"{reason[:_LETTERS_OF_A_REASON]}…"
            raise RunError(
                f"{self}: {reason}.\n  Rows that are stored there stay. Run the same command again, and it goes on."
            ) from None


@contextlib.contextmanager
def open_database(engine: str, at: str, name: str) -> Iterator[Database]:
    """A table of an engine, connected.

    Raises:
        RunError: if there is no such engine, its packages are missing, the name is none, or nothing answers.
    """
    if engine not in ENGINES:
        raise RunError(f"there is no engine '{engine}'.{nearest(engine, ENGINES)}\n  Engines: {', '.join(ENGINES)}.")
    if not _NAME.fullmatch(name):
        raise RunError(
            f"--name {shortened(name)}: a name has up to 60 of the letters a to z and A to Z, digits, '_', '-' and "
            "'.', and begins with a letter, a digit or '_'."
        )
    kind: type[Database] = getattr(import_module(f"mscon.deploy.databases.{engine}"), ENGINES[engine])
    if missing := [package for package in kind.packages if importlib.util.find_spec(package) is None]:
        raise RunError(f'--to {engine} needs {" and ".join(missing)}: pip install "mscon[{engine}]"')
    database = kind(at, name)
    with database.refusals():
        database.connect()
    try:
        yield database
    finally:
        database.close()
