"""Shards: tar and Parquet files that hold many images. Members are read in place; nothing is unpacked to a path."""

from __future__ import annotations

import bisect
import functools
import io
import itertools
import tarfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscon.data.inputs.addresses import Address
from mscon.data.inputs.boxes import Box
from mscon.data.inputs.decoding import Refused
from mscon.data.inputs.remote_files import NO_ANSWER, RemoteFile, stamp

Version = tuple[int, int, int, int]
"""Size of a file, and what changes with it: its times and number, or what its host says."""

NO_SHARD = "is in a shard that does not exist"

_NOT_IN_SHARD = "is not in its shard"
_CUT_OFF = f"{_NOT_IN_SHARD}, which is cut off or damaged"

# Shards whose members are known, and groups of rows of Parquet files, which are decoded whole.
_INDEXES, _GROUPS = 16, 4

# The largest group of rows in bytes, as its file says; and the largest image.
_LARGEST_GROUP, _LARGEST_IMAGE = 2**32, 2**30

_opening = [threading.Lock() for _ in range(64)]


@dataclass(frozen=True, slots=True)
class VersionedFile:
    """A file of this machine, or a remote one, as it was when it was looked for.

    Attributes:
        place: its path or its address.
        cache_bytes: see `[data] cache_bytes`.
    """

    place: Path | str
    version: Version
    cache_bytes: int

    @classmethod
    def now(cls, place: Path | str, cache_bytes: int) -> VersionedFile:
        """As it is.

        Raises:
            Refused: if it is not there, or is remote and cannot be reached.
        """
        if isinstance(place, str):
            return cls(place, (*stamp(place), 0, 0), cache_bytes)
        try:
            status = place.stat()
        except OSError:
            raise Refused(NO_SHARD) from None
        return cls(place, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino), cache_bytes)

    def open(self) -> io.BufferedReader:
        """To be read at any place."""
        if isinstance(self.place, Path):
            return self.place.open("rb")
        return io.BufferedReader(RemoteFile(self.place, self.version[:2], self.cache_bytes), 2**16)


@dataclass(slots=True, eq=False)
class ImageAt:
    """An image at an address: a remote file, or a member of a shard.

    Attributes:
        address: as its cell has it.
        place: of the image or of its shard, a path of this machine or an address.
        cache_bytes: see `[data] cache_bytes`.
        fault: why it cannot be used, to follow the cell; "" where nothing is known against it.
        file: the image or its shard, once it was looked for.
        span: of the bytes in a tar file, once they were read.
        box: what is taken of it; None for the whole.
    """

    address: Address
    place: Path | str
    cache_bytes: int
    fault: str = ""
    file: VersionedFile | None = None
    span: tuple[int, int] | None = None
    box: Box | None = None

    @property
    def may_be_left_out(self) -> bool:
        """Whether what is wrong is wrong with this image, and not with the recipe, the address or its host."""
        return not self.address.fault and not self.fault.startswith(NO_ANSWER)

    def look(self) -> VersionedFile:
        """The file, as it is unless it was looked for before.

        Raises:
            Refused: if there is none, or it cannot be reached, with the reason.
        """
        if self.fault:
            raise Refused(self.fault)
        if self.file is None:
            self.file = VersionedFile.now(self.place, self.cache_bytes)
        return self.file

    def read(self) -> bytes:
        """The bytes of the image.

        Raises:
            Refused: if it cannot be read, with the reason.
        """
        shard = self.look()
        if not self.address.shard:
            self.span = (0, shard.version[0])
        if self.span is None:
            with _opening[hash(shard) % len(_opening)]:  # else threads read the same shard at once
                if self.address.shard == "parquet":
                    return _parquet_cell(shard, self.address.member, self.address.row)
                self.span = _span(shard, self.address.member)
        start, size = self.span
        if size > _LARGEST_IMAGE:  # it is read whole
            raise Refused(f"has {size:,} bytes, more than {_LARGEST_IMAGE:,}")
        with shard.open() as file:
            file.seek(start)
            content = file.read(size)
        if len(content) != size:
            raise Refused(_CUT_OFF)
        return content


@dataclass(frozen=True, slots=True)
class _TarIndex:
    spans: Mapping[str, tuple[int, int]]
    is_whole: bool


def _span(file: VersionedFile, member: str) -> tuple[int, int]:
    index = _tar_index(file)
    for name in (member, f"./{member}"):  # as `tar -c .` writes them
        if name in index.spans:
            return index.spans[name]
    raise Refused(_NOT_IN_SHARD if index.is_whole else _CUT_OFF)


@functools.lru_cache(_INDEXES)
def _tar_index(file: VersionedFile) -> _TarIndex:
    """Where the files in a tar file are. Links and folders are none; of two of a name the last one counts."""
    spans: dict[str, tuple[int, int]] = {}
    with file.open() as opened:
        try:
            with tarfile.open(fileobj=opened, mode="r:") as archive:
                end = 0
                while (member := archive.next()) is not None:
                    if member.size < 0 or archive.offset <= end:  # would lead back, and round for ever
                        return _TarIndex(spans, is_whole=False)
                    end = archive.offset
                    archive.members = []  # type: ignore[attr-defined]  # else all of them stay in memory
                    if member.isreg() and not member.issparse():
                        spans[member.name] = (member.offset_data, member.size)
                opened.seek(archive.offset)
                return _TarIndex(spans, is_whole=opened.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE))
        except tarfile.TarError:
            if not spans:
                raise Refused("is in a shard that is no tar file, or a compressed one: unpack that first") from None
    return _TarIndex(spans, is_whole=False)


def _parquet_cell(file: VersionedFile, column: str, row: int) -> bytes:
    try:
        import pyarrow
    except ImportError:
        raise Refused('is in a Parquet shard, which needs the package pyarrow (pip install "mscon[remote]")') from None
    try:
        starts = _group_starts(file)
        if row >= starts[-1]:
            raise Refused(f"{_NOT_IN_SHARD}, which has {starts[-1]:,} rows")
        group = bisect.bisect_right(starts, row) - 1
        cell = _group(file, column, group)[row - starts[group]].as_py()
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Refused("is in a shard that is no Parquet file, or is cut off or damaged") from None
    content = cell.get("bytes") if isinstance(cell, dict) else cell  # as the Hugging Face writes images
    if not isinstance(content, bytes):
        raise Refused("is an empty cell of its shard" if content is None else "is no column of bytes in its shard")
    return content


@functools.lru_cache(_INDEXES)
def _metadata(file: VersionedFile) -> Any:
    from pyarrow.parquet import read_metadata

    with file.open() as opened:
        return read_metadata(opened)


def _group_starts(file: VersionedFile) -> list[int]:
    """The first row of each group, and in the end how many rows there are."""
    metadata = _metadata(file)
    sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return [0, *itertools.accumulate(sizes)]


@functools.lru_cache(_GROUPS)
def _group(file: VersionedFile, column: str, group: int) -> Any:
    from pyarrow.parquet import ParquetFile

    if (size := _metadata(file).row_group(group).total_byte_size) > _LARGEST_GROUP:
        raise Refused(f"is in a group of rows of {size:,} bytes; write its shard with smaller groups")
    with file.open() as opened, ParquetFile(opened, metadata=_metadata(file)) as shard:
        if column not in shard.schema_arrow.names:
            raise Refused(f"{_NOT_IN_SHARD}, which has no column {column!r}")
        return shard.read_row_group(group, columns=[column]).column(0)
