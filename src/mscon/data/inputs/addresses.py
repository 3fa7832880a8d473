"""Addresses: image cells that name a file elsewhere, or a member of a shard. Nothing is opened here.

Written as fsspec chains them: `s3://bucket/17.jpg`, `tar://img/17.jpg::shards/000.tar`, `parquet://image/17::https://...`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from mscon.run.recipe import REMOTE_PROTOCOLS

NOT_ALLOWED = "is an address that [data] remote does not allow"

_FORMS = "A shard is named as tar://MEMBER::FILE or parquet://COLUMN/ROW::FILE, with rows from 0."


@dataclass(frozen=True, slots=True)
class Address:
    """Where the bytes of an image are.

    Attributes:
        file: a path as written, or the address of a remote file: of the image, or of the shard that it lies in.
        shard: the kind of the shard; "" where the file is the image.
        member: its name in a tar file, or its column in a Parquet file.
        row: in a Parquet file.
        fault: why it cannot be used, to follow the cell; "" if it can.
    """

    file: str
    shard: Literal["", "tar", "parquet"] = ""
    member: str = ""
    row: int = 0
    fault: str = ""

    @property
    def is_remote(self) -> bool:
        return is_address(self.file)


def is_address(cell: str) -> bool:
    """Whether a cell is an address or a data URI, and no path of a file."""
    return cell.startswith("data:") or "://" in cell[:16]


def parse(cell: str, remote: Sequence[str]) -> Address:
    """Read a cell that is an address.

    Args:
        cell: as written.
        remote: with what allowed addresses begin, see `[data] remote`.
    """
    scheme, _, rest = cell.partition("://")
    address = Address(cell)
    if scheme in ("tar", "parquet"):
        member, chained, file = rest.rpartition("::")
        column, _, row = member.rpartition("/")
        is_row = column and row.isascii() and row.isdecimal() and len(row) < 19
        if not (chained and member and file and (is_row or scheme == "tar")):
            return Address(cell, fault=f"does not name a member of a shard ({_FORMS})")
        address = Address(file, "tar", member) if scheme == "tar" else Address(file, "parquet", column, int(row))
    if not address.is_remote:
        return address
    if address.file.partition("://")[0] not in REMOTE_PROTOCOLS:
        return Address(cell, fault=f"is an address of a kind that is not read here ({', '.join(REMOTE_PROTOCOLS)})")
    if not _is_allowed(address.file, remote):
        return Address(cell, fault=NOT_ALLOWED)
    return address


def _is_allowed(address: str, remote: Sequence[str]) -> bool:
    """Whether it begins as one that is allowed, and ends there or goes on below: "s3://a" does not allow "s3://ab"."""
    leads_up = ".." in unquote(address).replace("\\", "/").split("/")
    return not leads_up and any(
        address.startswith(prefix) and (prefix.endswith("/") or address[len(prefix) :][:1] in ("", "/"))
        for prefix in remote
    )
