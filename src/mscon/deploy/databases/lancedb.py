"""LanceDB: a table in a folder, or at an address that LanceDB knows, such as s3://bucket/folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import polars as pl

from mscon.deploy.databases.database import LINE, Database

_RECORD = b"mscon"
_RESERVED = ("_distance", "_rowid", "_rowaddr", "_score", "_relevance_score")


@final
class LanceDB(Database):
    """The record is metadata of the schema. Each batch is one commit of the table."""

    kind, packages = "LanceDB table", ("lancedb", "pyarrow")

    @property
    def faults(self) -> tuple[type[Exception], ...]:
        return OSError, RuntimeError, ValueError

    def connect(self) -> None:
        import lancedb

        self._database: Any = lancedb.connect(self.at)
        self._table: Any = None
        try:
            self._table = self._database.open_table(self.name)
        except (ValueError, FileNotFoundError) as error:
            if "not found" not in str(error):
                raise

    def close(self) -> None: ...

    def record(self) -> str | None:
        if self._table is None:
            return None
        return (self._table.schema.metadata or {}).get(_RECORD, b"").decode("utf-8", "replace")

    def create(self, rows: pl.DataFrame, record: str) -> None:
        self.need_no_names([name for name in rows.columns if "." in name or "`" in name or name in _RESERVED])
        schema = rows.to_arrow().schema.with_metadata({_RECORD: record})
        self._table = self._database.create_table(self.name, schema=schema)

    def drop(self, reads: Sequence[Path]) -> None:
        self._database.drop_table(self.name)

    def last_line(self) -> int:
        batches = self._table.search().select([LINE]).limit(None).to_batches()
        return max((int(batch.column(LINE).to_numpy().max(initial=0)) for batch in batches), default=0)

    def add(self, rows: pl.DataFrame) -> None:
        self._table.add(rows.to_arrow())
