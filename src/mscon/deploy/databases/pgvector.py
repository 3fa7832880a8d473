"""pgvector: a table of PostgreSQL with a column of type `vector` for each space.

Names of columns are the user's. They reach SQL as identifiers, and texts as parameters or literals, only.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import polars as pl

from mscon.deploy.databases.database import LINE, Database
from mscon.errors import RunError, numbered

_SECONDS_TO_CONNECT = 10


@final
class PgVector(Database):
    """The record is the comment of the table. Each batch is one transaction."""

    kind, packages = "PostgreSQL table", ("psycopg", "pgvector")

    @property
    def faults(self) -> tuple[type[Exception], ...]:
        import psycopg

        return (psycopg.Error,)

    def connect(self) -> None:
        import psycopg
        from pgvector.psycopg import register_vector
        from psycopg import sql

        self._sql = sql
        self._connection: Any = psycopg.connect(self.at, autocommit=True, connect_timeout=_SECONDS_TO_CONNECT)
        try:
            self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(self._connection)
        except psycopg.Error:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def record(self) -> str | None:
        table = self._sql.Identifier(self.name).as_string(self._connection)
        query = "SELECT to_regclass(%s) IS NOT NULL, obj_description(to_regclass(%s), 'pg_class')"
        exists, comment = self._connection.execute(query, (table, table)).fetchone()
        return (comment or "") if exists else None

    def need_cells(self, cells: pl.DataFrame) -> None:
        texts = cells.select(pl.col(pl.String).str.contains("\0", literal=True).fill_null(False))
        if lines := cells[LINE].filter(texts.fold(operator.or_)).to_list() if texts.width else []:
            names = ", ".join(repr(column.name) for column in texts if column.any())
            raise RunError(
                f"{self}: PostgreSQL stores no zero byte in a text, but cells of {names} have one, in "
                f"{numbered('line', lines)}. Take it out of the table, or name other columns with --columns."
            )

    def create(self, rows: pl.DataFrame, record: str) -> None:
        self.need_no_names([name for name in rows.columns if "\0" in name])  # PostgreSQL would cut it off there
        sql = self._sql
        columns = [
            sql.SQL("{} {}").format(sql.Identifier(name), _type(sql, kind)) for name, kind in rows.schema.items()
        ]
        key = sql.SQL("PRIMARY KEY ({})").format(sql.Identifier(LINE))
        with self._connection.transaction():
            self._execute("CREATE TABLE {} ({})", sql.Identifier(self.name), sql.SQL(", ").join([*columns, key]))
            self._execute("COMMENT ON TABLE {} IS {}", sql.Identifier(self.name), sql.Literal(record))

    def drop(self, reads: Sequence[Path]) -> None:
        self._execute("DROP TABLE {}", self._sql.Identifier(self.name))

    def last_line(self) -> int:
        names = self._sql.Identifier(LINE), self._sql.Identifier(self.name)
        return int(self._execute("SELECT coalesce(max({}), 0) FROM {}", *names).fetchone()[0])

    def add(self, rows: pl.DataFrame) -> None:
        sql = self._sql
        columns = [column.to_numpy() if isinstance(column.dtype, pl.Array) else column for column in rows]
        names = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
        copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(self.name), names)
        with self._connection.transaction(), self._connection.cursor() as cursor, cursor.copy(copy) as rows_out:
            rows_out.set_types([_TYPES.get(kind, "vector") for kind in rows.schema.values()])
            for row in zip(*columns, strict=True):
                rows_out.write_row(row)

    def _execute(self, template: str, *parts: Any) -> Any:
        return self._connection.execute(self._sql.SQL(template).format(*parts))


_TYPES: dict[Any, str] = {pl.Int64: "int8", pl.Float64: "float8", pl.String: "text"}


def _type(sql: Any, kind: Any) -> Any:
    if isinstance(kind, pl.Array):
        return sql.SQL("vector({})").format(sql.Literal(kind.size))
    return sql.SQL(_TYPES[kind])
