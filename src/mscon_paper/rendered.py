"""Rendered: pictures that are drawn here, the table that names them, and the record that vouches for both.

What sources that draw share. It knows no data set.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mscon.run import atomic, outputs
from mscon_paper.prepared import csv_line, has_header


@dataclass(frozen=True, slots=True)
class Rendered:
    """A table of pictures, a folder with them, and last a record `<source>.json` of what they were made with.

    Attributes:
        source: name of the data set.
        root: folder that they are written to. Nothing else in it is touched.
        columns: of the table; the first is the picture's path.
        record: settings and versions that table and pictures depend on. The folder is named after them.
    """

    source: str
    root: Path
    columns: tuple[str, ...]
    record: Mapping[str, Any]

    @property
    def table(self) -> Path:
        return self.root / f"{self.source}.csv"

    @property
    def folder(self) -> Path:
        digest = hashlib.sha256(json.dumps(self.record).encode()).hexdigest()
        return self.root / f"{self.source}-{digest[:10]}"

    @property
    def _record_file(self) -> Path:
        return self.root / f"{self.source}.json"

    def is_there(self) -> bool:
        """Whether an earlier call left exactly this, and all of it."""
        earlier = outputs.json_object(self._record_file)
        if any(earlier.get(key) != value for key, value in self.record.items()):
            return False
        try:
            table = self.table.read_bytes()
        except OSError:
            return False
        images = sum(1 for _ in self.folder.glob("*/*.png"))
        return earlier.get("images") == images and earlier.get("table") == hashlib.sha256(table).hexdigest()

    def need_free(self) -> None:
        """Raise if files of another making lie where these go.

        Raises:
            RunError: naming them.
        """
        outputs.need_free(
            [self.table, self._record_file],
            is_ours=lambda path: (
                has_header(self.table, self.columns)
                or self.record.keys() <= outputs.json_object(self._record_file).keys()
            ),
            advice="Name another folder than ROOT.",
        )

    def write(self, images: Mapping[str, Image.Image], rows: Sequence[Sequence[object]]) -> None:
        """Write pictures, then the table that names them, then the record; remove pictures of other settings.

        Args:
            images: by path inside the folder, "group/name.png".
            rows: a cell for each column; the first is such a path.
        """
        if self.folder.exists():  # incomplete, or it would have been reused
            shutil.rmtree(self.folder)
        with atomic.new_folder(self.folder) as folder:
            for group in sorted({path.partition("/")[0] for path in images}):
                (folder / group).mkdir()
            for path, image in images.items():
                image.save(folder / path)
        lines = [csv_line(self.columns), *(csv_line([f"{self.folder.name}/{row[0]}", *row[1:]]) for row in rows)]
        table = "".join(lines).encode("utf-8")
        atomic.write_bytes(self.table, table)
        vouched = {"images": len(images), "table": hashlib.sha256(table).hexdigest()}
        atomic.write_json(self._record_file, {**self.record, **vouched})
        for older in self.root.iterdir():
            if re.fullmatch(rf"{self.source}-[0-9a-f]{{10}}", older.name) and older != self.folder:
                shutil.rmtree(older)
            elif re.fullmatch(rf"\.{self.source}-[0-9a-f]{{10}}\.[0-9a-f]{{8}}", older.name):
                atomic.remove_leftover(older)
