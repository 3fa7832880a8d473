"""Shards of images for tests, and how cells name their members."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
from PIL import Image


def encoded(image: Image.Image) -> bytes:
    """As a PNG file."""
    content = io.BytesIO()
    image.save(content, "png")
    return content.getvalue()


def tar(members: Mapping[str, bytes]) -> bytes:
    """A tar file with these files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, member in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(member)
            archive.addfile(entry, io.BytesIO(member))
    return content.getvalue()


def parquet(path: Path, cells: Sequence[bytes | None], column: str = "image", group: int = 4) -> Path:
    """A Parquet file with a column of bytes, in groups of some rows."""
    pl.DataFrame({column: pl.Series(cells, dtype=pl.Binary)}).write_parquet(path, row_group_size=group)
    return path
