"""The header of an Arrow stream: the names of its columns, which tell of repeated ones before polars breaks on them.

Polars keeps columns by name. Where a stream has two of one name it does not complain but panics, and does not say of
which; of a stream without rows it silently takes one. So names are read here first.

Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format, and the tables Message, Schema and
Field of format/Message.fbs and format/Schema.fbs there, in FlatBuffers.
"""

from __future__ import annotations

import struct
from io import BufferedIOBase

# Since Arrow 0.15 this stands before the length of a message.
_CONTINUES = -1

# Places of fields in their tables.
_MESSAGE_HEADER, _SCHEMA_FIELDS, _FIELD_NAME = 2, 1, 0


def column_names(stream: BufferedIOBase) -> list[str]:
    """Names of the columns, in order, with those that are repeated; empty for anything but an Arrow stream.

    Args:
        stream: at its beginning; is left somewhere behind it.
    """
    try:
        (length,) = struct.unpack("<i", stream.read(4))
        if length == _CONTINUES:
            (length,) = struct.unpack("<i", stream.read(4))
        if length <= 0:
            return []
        message = stream.read(length)
        schema = _child(message, _root(message), _MESSAGE_HEADER)
        fields = _child(message, schema, _SCHEMA_FIELDS)
        (count,) = struct.unpack_from("<I", message, fields)
        if 4 * count > len(message):
            return []
        places = [fields + 4 * (number + 1) for number in range(count)]
        return [_text(message, _child(message, _follow(message, place), _FIELD_NAME)) for place in places]
    except (struct.error, UnicodeDecodeError):
        return []


def _root(message: bytes) -> int:
    return _follow(message, 0)


def _follow(message: bytes, place: int) -> int:
    """Where the offset that stands here leads to."""
    return place + int(struct.unpack_from("<I", message, place)[0])


def _child(message: bytes, table: int, field: int) -> int:
    """Where a field of a table lies that is stored by offset; beyond the end if it is not there."""
    described = table - int(struct.unpack_from("<i", message, table)[0])
    size = int(struct.unpack_from("<H", message, described)[0]) if described >= 0 else 0
    if size < 4 + 2 * (field + 1):
        return len(message)
    offset = int(struct.unpack_from("<H", message, described + 4 + 2 * field)[0])
    return _follow(message, table + offset) if offset else len(message)


def _text(message: bytes, place: int) -> str:
    length = int(struct.unpack_from("<I", message, place)[0])
    return struct.unpack_from(f"{min(length, len(message))}s", message, place + 4)[0].decode("utf-8")
