"""Images of strangers: every format that Pillow writes, damaged, with heads that say what is not so, and bombs."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image

from mscon.data.inputs.decoding import Refused, side_and_mode
from mscon.data.inputs.image_files import decode_some
from mscon.errors import MSConError, TableError
from mscon.search.explorer.uploads import read_upload
from reliability.fuzz.hostile import edited, edits
from reliability.fuzz.surface import Surface

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F", "LAB", "HSV", "PA", "RGBX")

# All that Pillow writes without another program; most of these are not read here, and must be refused by name.
_FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "MPO", "ICO", "TGA", "PCX", "SGI", "DDS",
    "DIB", "IM", "MSP", "SPIDER", "XBM", "ICNS", "PDF", "EPS", "PALM", "QOI",
)  # fmt: skip


def _saved(drawn: tuple[str, str, tuple[int, int], int]) -> bytes:
    kind, mode, size, orientation = drawn
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    try:
        image = Image.effect_noise(size, 80).convert(mode)
        with warnings.catch_warnings(action="ignore"):  # some formats are deprecated
            image.save(file, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
    except (OSError, ValueError, KeyError, AttributeError, SystemError):  # no such mode in this format
        return b""
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: int) -> bytes:
    """A PNG of zeros that says how large it is, and holds some rows of it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    packer = zlib.compressobj()
    line = bytes(1 + (width * channels * depth + 7) // 8) if rows else b""
    content = b"".join(packer.compress(line) for _ in range(rows)) + packer.flush()
    head = struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + chunk(b"IDAT", content) + chunk(b"IEND", b"")


_SIDES = (0, 1, 16, 1_000, 9_400, 65_535, 2**31 - 1)
_bombs = st.builds(
    png,
    st.sampled_from(_SIDES),
    st.sampled_from(_SIDES),
    st.sampled_from((1, 2, 4, 8, 16)),
    st.sampled_from((0, 2, 3, 4, 6)),
    st.sampled_from((0, 1)),
)

_HEADS = (
    b"P5 9000 9000 255\n", b"P5 1 1 65535\n", b"P6 -1 4 255\n", b"P4 99999999999999 1\n", b"P2 " + b"1 " * 50,
    b"GIF89a\xff\xff\xff\xff\xf7\0\0", b"BM" + b"\xff" * 60, b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 60,
    b"MM\0*\0\0\0\x08\0\0\0\0\0\x08", b"II*\0\x08\0\0\0\0\0\x08\0\0\0", b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 40,
    b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"\xff\xd8" + b"\xff\xe1\xff\xff" * 200,
    b"\0\0\0\x0cjP  \r\n\x87\n" + b"\xff" * 80,
    b"\xff\x4f\xff\x51" + b"\xff" * 80, b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n(x) (w) file\n", b"%PDF-1.4\n", b"",
    b"version https://git-lfs.github.com/spec/v1\n", b"<!doctype html>", b"MZ\x90\0", b"\x7fELF", b"PK\x03\x04",
)  # fmt: skip


class Images(Surface):
    tries, share = 400, 20

    def cases(self) -> SearchStrategy[bytes]:
        sizes = st.sampled_from(((1, 1), (7, 3), (16, 16), (300, 1), (40, 40)))
        saved = st.tuples(st.sampled_from(_FORMATS), st.sampled_from(_MODES), sizes, st.integers(0, 9)).map(_saved)
        kinds = st.integers(0, 39).flatmap(lambda n: _bombs if not n else st.sampled_from(_HEADS) if n < 8 else saved)
        return st.tuples(kinds, edits).map(lambda drawn: edited(*drawn))

    def attempt(self, scene: Any, case: bytes, folder: Path) -> None:
        path = folder / "x.png"
        path.write_bytes(case)
        for channels in (1, 3):
            pixels, faults = decode_some([path], 16, channels)
            assert pixels.shape == (1, channels, 16, 16)
            assert all(text and "\n" not in text and len(text) < 300 for text in faults.values())
        with contextlib.suppress(Refused):
            side_and_mode(path)
        with contextlib.suppress(MSConError):
            read_upload(case, 16, 3, 24)
        if faults:
            raise TableError(faults[0])
