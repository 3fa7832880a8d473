"""The footer of a Parquet file: the names of its columns, which tell of repeated ones where polars keeps one silently.

Of two columns of one name polars 1.20 reads the last, without a word; 2.1 refuses, naming one of them.

Source: https://github.com/apache/parquet-format, FileMetaData and SchemaElement of parquet.thrift, in Thrift's compact
protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

import io
import os
from io import BufferedIOBase
from typing import Any

_MAGIC = b"PAR1"

# Types of the compact protocol.
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)

# Numbers of fields.
_SCHEMA, _NAME, _CHILDREN = 2, 4, 5


def column_names(file: BufferedIOBase) -> list[str]:
    """Names of the columns, in order, with those that are repeated; empty for anything but a Parquet file.

    Args:
        file: open anywhere; is left somewhere.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        end = file.read(8)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != _MAGIC or not 0 < length <= size - 8:
            return []
        file.seek(size - 8 - length)
        footer = io.BytesIO(file.read(length))
        elements = _struct(footer, until=_SCHEMA)[_SCHEMA]
        names, at = [], 1  # the first is the root
        for _ in range(elements[0].get(_CHILDREN, 0)):
            names.append(elements[at][_NAME].decode("utf-8"))
            at = _behind(elements, at)
    except (EOFError, LookupError, TypeError, AttributeError, ValueError, RecursionError):
        return []
    return names


def _behind(elements: list[dict[int, Any]], at: int) -> int:
    """The place behind a column and all that is nested in it: they stand in the order of a walk down the tree."""
    waiting = 1
    while waiting:
        waiting += elements[at].get(_CHILDREN, 0) - 1
        at += 1
    return at


def _struct(source: BufferedIOBase, until: int = -1) -> dict[int, Any]:
    """The fields of a struct by number, up to the one that is asked for."""
    found: dict[int, Any] = {}
    number = 0
    while (head := _byte(source)) != _STOP:
        number = number + (head >> 4) if head >> 4 else _signed(source)
        kind = head & 15
        found[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else _value(source, kind)
        if number == until:
            break
    return found


def _value(source: BufferedIOBase, kind: int) -> Any:
    if kind in (_TRUE, _FALSE, _BYTE):
        return _byte(source)
    if kind in (_I16, _I32, _I64):
        return _signed(source)
    if kind == _DOUBLE:
        return _bytes(source, 8)
    if kind == _BINARY:
        return _bytes(source, _unsigned(source))
    if kind in (_LIST, _SET):
        head = _byte(source)
        count = head >> 4 if head >> 4 < 15 else _unsigned(source)
        return [_value(source, head & 15) for _ in range(count)]
    if kind == _STRUCT:
        return _struct(source)
    raise ValueError(f"no type {kind} stands before the names of columns.")


def _signed(source: BufferedIOBase) -> int:
    value = _unsigned(source)
    return (value >> 1) ^ -(value & 1)


def _unsigned(source: BufferedIOBase) -> int:
    value = shift = 0
    while (byte := _byte(source)) & 128:
        value |= (byte & 127) << shift
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits.")
    return value | byte << shift


def _byte(source: BufferedIOBase) -> int:
    return _bytes(source, 1)[0]


def _bytes(source: BufferedIOBase, count: int) -> bytes:
    found = source.read(count)
    if len(found) < count:
        raise EOFError
    return found
