"""Qdrant: a collection with named vectors, on a server or, for small tables and tests, in a folder."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import polars as pl

from mscon.deploy.databases.database import LINE, Database
from mscon.deploy.vectors import FEATURES
from mscon.errors import RunError

_RECORD = "mscon"
# A server takes requests of up to 32 MB, and a number is some 20 letters of JSON.
_NUMBERS_OF_A_REQUEST = 500_000
# Vectors are files of their names there.
_ODD = re.compile(r'[<>:"/\\|?*\0\x1f]')
_BYTES_OF_A_NAME = 200
# For one request, which is answered once its points are stored.
_SECONDS = 120
# A collection knows metadata from this version of the server on.
_SERVER = "1.16"


@final
class Qdrant(Database):
    """The record is metadata of the collection. The line is the id of a point and in its payload."""

    kind, packages = "Qdrant collection", ("qdrant_client",)

    @property
    def faults(self) -> tuple[type[Exception], ...]:
        from qdrant_client.http.exceptions import ApiException

        return ApiException, OSError, RuntimeError, ValueError, sqlite3.Error

    def connect(self) -> None:
        from qdrant_client import QdrantClient

        self._is_server = self.at.startswith(("http://", "https://"))
        if self._is_server:
            # The key is no argument: those of a process can be read by other users of the machine.
            key = os.environ.get("QDRANT_API_KEY")
            self._client: Any = QdrantClient(url=self.at, api_key=key, timeout=_SECONDS, check_compatibility=False)
        else:
            self._client = QdrantClient(path=self.at)
        self._client.get_collections()  # says whether anything answers

    def close(self) -> None:
        self._client.close()

    def record(self) -> str | None:
        if not self._client.collection_exists(self.name):
            return None
        return str((self._client.get_collection(self.name).config.metadata or {}).get(_RECORD, ""))

    def create(self, rows: pl.DataFrame, record: str) -> None:
        from qdrant_client import models

        # Features are compared by cosine, and are no unit vectors. Qdrant stores those of cosine at unit length.
        vectors = {
            name: models.VectorParams(
                size=kind.size, distance=models.Distance.COSINE if name == FEATURES else models.Distance.DOT
            )
            for name, kind in rows.schema.items()
            if isinstance(kind, pl.Array)
        }
        self.need_no_names([name for name in vectors if _ODD.search(name) or len(name.encode()) > _BYTES_OF_A_NAME])
        self._client.create_collection(self.name, vectors_config=vectors, metadata={_RECORD: record})
        if self.record() != record:
            self._client.delete_collection(self.name)
            raise RunError(f"{self}: the server keeps no metadata of collections. Use Qdrant {_SERVER} or newer.")
        self._index_lines()

    def drop(self, reads: Sequence[Path]) -> None:
        self._client.delete_collection(self.name)

    def last_line(self) -> int:
        from qdrant_client import models

        self._index_lines()  # an export may have been stopped before it was there
        order = models.OrderBy(key=LINE, direction=models.Direction.DESC)
        points, _ = self._client.scroll(self.name, limit=1, order_by=order)
        return max((int(point.id) for point in points), default=0)

    def add(self, rows: pl.DataFrame) -> None:
        from qdrant_client import models

        names = [name for name, kind in rows.schema.items() if isinstance(kind, pl.Array)]
        numbers = sum(rows.schema[name].size for name in names)  # type: ignore[attr-defined]
        for part in rows.iter_slices(max(1, _NUMBERS_OF_A_REQUEST // numbers)):
            vectors = zip(*(part.get_column(name).to_list() for name in names), strict=True)
            points = [
                models.PointStruct(id=payload[LINE], vector=dict(zip(names, each, strict=True)), payload=payload)
                for each, payload in zip(vectors, part.drop(names).iter_rows(named=True), strict=True)
            ]
            self._client.upsert(self.name, points, wait=True)

    def _index_lines(self) -> None:
        """Let a server sort by line, which takes an index; nothing where it is there. A folder has none."""
        from qdrant_client import models

        if self._is_server:
            self._client.create_payload_index(self.name, LINE, models.PayloadSchemaType.INTEGER, wait=True)
