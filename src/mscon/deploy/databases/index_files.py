"""Index files: a folder with one file for each space, and the rows beside them, for engines that are libraries.

AT/NAME/record.json         what the rows are of, and which file has which space
AT/NAME/rows.parquet        line and columns of each row; its place, from 0, is its id in every index
AT/NAME/<space>.<engine>    the vectors of a space
AT/NAME.parts               record.json and one Parquet file for each batch, until all rows are there

The folder appears whole. Building it takes the memory of one index.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import polars as pl
from jaxtyping import Float32

from mscon.deploy.databases.database import LINE, Database
from mscon.errors import RunError, first_few
from mscon.run import atomic, outputs

_RECORD, _ROWS = "record.json", "rows.parquet"

Blocks = Iterator[Float32[np.ndarray, "rows dim"]]


class IndexFiles(Database):
    """What engines share that keep an index in a file."""

    suffix: str
    """Of the files."""

    @property
    def faults(self) -> tuple[type[Exception], ...]:
        return OSError, RuntimeError

    @abstractmethod
    def write_index(self, path: Path, space: str, dim: int, blocks: Blocks) -> None:
        """Write the index of a space, whose vectors come in blocks of rows."""

    @property
    def folder(self) -> Path:
        """Where the finished files are."""
        return Path(self.at, self.name)

    @property
    def parts(self) -> Path:
        """Where those of an unfinished export are."""
        return Path(self.at, f"{self.name}.parts")

    def connect(self) -> None:
        outputs.need_place(self.parts / _RECORD, "Choose another --at.")

    def close(self) -> None: ...

    def record(self) -> str | None:
        for folder in (self.folder, self.parts):
            if folder.exists():
                path = folder / _RECORD
                return path.read_text("utf-8", "replace") if path.is_file() else ""
        return None

    def create(self, rows: pl.DataFrame, record: str) -> None:
        with atomic.new_folder(self.parts) as folder:
            (folder / _RECORD).write_text(record, "utf-8")

    def drop(self, reads: Sequence[Path]) -> None:
        for folder in (self.folder, self.parts):
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            foreign = [path.name for path in files if path.suffix not in (self.suffix, ".json", ".parquet")]
            if foreign:
                raise RunError(
                    f"{self}: the folder '{folder}' also holds {first_few(foreign)}. Move that, or choose another "
                    "--name."
                )
            outputs.need_free(files, reads=reads, overwrite=True, advice="Choose another --name.")
            # Last the record: what a stopped process leaves is still known as an export.
            for path in sorted(files, key=lambda path: path.name == _RECORD):
                path.unlink()
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()

    def last_line(self) -> int:
        paths = [self.folder / _ROWS] if self.folder.exists() else self._part_files()[-1:]
        return int(pl.scan_parquet(paths).select(pl.col(LINE).max()).collect().item() or 0) if paths else 0

    def add(self, rows: pl.DataFrame) -> None:
        # Twelve digits: the order of the names is that of the lines.
        atomic.write_with(self.parts / f"{rows[LINE][0]:012}.parquet", rows.write_parquet)

    def finish(self) -> None:
        if not self.folder.exists():  # else an export was stopped after that
            self._build()
        for path in [*self._part_files(), self.parts / _RECORD]:  # last what says what they are
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.parts.rmdir()

    def is_complete(self, last_line: int) -> bool:
        return self.folder.exists() and not self.parts.exists()

    def _build(self) -> None:
        parts, record = self._part_files(), (self.parts / _RECORD).read_text("utf-8")
        schema = pl.read_parquet_schema(parts[0])
        spaces = {name: kind.size for name, kind in schema.items() if isinstance(kind, pl.Array)}
        with atomic.new_folder(self.folder) as folder, atomic.refusals_as_oserror(self.folder):
            for space, dim in spaces.items():
                blocks = (pl.read_parquet(part, columns=[space])[space].to_numpy() for part in parts)
                self.write_index(folder / f"{quote(space, safe=' ')}{self.suffix}", space, dim, blocks)
            pl.scan_parquet(parts).drop(list(spaces)).sink_parquet(folder / _ROWS)
            (folder / _RECORD).write_text(record, "utf-8")

    def _part_files(self) -> list[Path]:
        return sorted(path for path in self.parts.glob("*.parquet") if path.stem.isdigit())
