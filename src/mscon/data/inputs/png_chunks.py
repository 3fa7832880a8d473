"""Chunks of PNG files: those that an image can do without. No torch here."""

from __future__ import annotations

import io
import struct

File = io.BufferedReader | io.BytesIO

_PNG = b"\x89PNG\r\n\x1a\n"


def without_side_chunks(file: File) -> io.BytesIO | None:
    """A PNG with only what its pixels and its orientation need; None for other files.

    Source: https://www.w3.org/TR/png-3/#5Chunk-layout; a capital letter begins the name of a chunk that is needed.
    """
    file.seek(0)
    if file.read(len(_PNG)) != _PNG:
        return None
    bare = io.BytesIO(_PNG)
    bare.seek(0, io.SEEK_END)
    while len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        if name[:1].isupper() or name in (b"tRNS", b"eXIf"):
            bare.write(start + file.read(length + 4))
        else:
            file.seek(length + 4, io.SEEK_CUR)
    bare.seek(0)
    return bare
