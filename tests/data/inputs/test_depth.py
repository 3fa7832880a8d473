"""Pictures of more than eight bits a pixel: as photo tools show them, as [data] white says, or refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscon.data.inputs.decoding import from_picture, value_range
from mscon.data.inputs.image_files import decode_some
from mscon.errors import TableError
from sample_images import pattern

# Black, a quarter, a half and white of 16 bits, in rows of four.
LEVELS = np.array([0, 16_384, 32_768, 65_535])
SHOWN = [0, 64, 128, 255]


def pixels_of(path: Path, white: float = 0.0, channels: int = 1) -> list[int]:
    pixels, faults = decode_some([path], 4, channels, white)
    if faults:
        raise ValueError(faults[0])
    return pixels[0, 0, 0].tolist()


def levels(most: float, dtype: type) -> np.ndarray:
    return np.tile(LEVELS * (most / 65_535), (4, 1)).astype(dtype)


def tiff(path: Path, rows: np.ndarray | bytes, bits: int, sample_format: int = 1, photometric: int = 1) -> Path:
    """An uncompressed TIFF of 4 x 4 pixels, written by hand: Pillow writes few depths."""
    data = rows if isinstance(rows, bytes) else rows.tobytes()
    tags = [(256, 4, 4), (257, 4, 4), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, 4), (279, 4, len(data)), (339, 3, sample_format)]
    entries = b"".join(
        struct.pack("<HHIHxx" if kind == 3 else "<HHII", tag, kind, 1, value) for tag, kind, value in tags
    )
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


@pytest.mark.parametrize("name", ["x.png", "x.tiff", "x.jp2", "x.pgm"])
def test_sixteen_bits_keep_their_upper_eight_in_every_format(tmp_path, name):
    path = tmp_path / name
    if name == "x.pgm":
        path.write_bytes(b"P5 4 4 65535\n" + levels(65_535, np.dtype(">u2")).tobytes())
    else:
        Image.fromarray(levels(65_535, np.uint16)).save(path, **({"irreversible": False} if name == "x.jp2" else {}))
    assert pixels_of(path) == SHOWN
    assert pixels_of(path, channels=3) == SHOWN


def test_the_header_of_a_pgm_says_what_white_is(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5 4 4 4095\n" + levels(4_095, np.dtype(">u2")).tobytes())
    assert pixels_of(tmp_path / "x.pgm") == pytest.approx(SHOWN, abs=1)


def test_a_tiff_of_twelve_bits_is_white_at_4095(tmp_path):
    rows = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in levels(4_095, np.int64).reshape(-1, 2).tolist()
    )
    assert pixels_of(tiff(tmp_path / "x.tiff", rows, 12)) == pytest.approx(SHOWN, abs=1)


def test_twelve_bits_in_files_of_sixteen_are_seen_with_white_set(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(levels(4_095, np.uint16)).save(path)
    assert max(pixels_of(path)) == 15
    assert pixels_of(path, white=4_095.0) == pytest.approx(SHOWN, abs=1)
    assert pixels_of(path, white=1_000.0) == pytest.approx([0, 255, 255, 255], abs=1)  # what is above is white
    assert value_range(path) == (0, 4_095)
    pattern(0).save(path)
    assert value_range(path) is None


@pytest.mark.parametrize("white", [0.0, 4_095.0])
def test_a_tiff_in_which_zero_is_white_is_turned_over(tmp_path, white):
    most = white or 65_535
    path = tiff(tmp_path / "x.tiff", levels(most, np.dtype("<u2")), 16, photometric=0)
    assert pixels_of(path, white=white) == pytest.approx([255, 191, 127, 0], abs=1)


@pytest.mark.parametrize(
    ("dtype", "sample_format", "words", "white"),
    [("<f4", 3, "floating-point numbers as pixels", 1.0), ("<i4", 2, "32 bits as pixels", 70_000.0),
     ("<u4", 1, "32 bits as pixels", 2.0**20), ("<i2", 2, "32 bits as pixels", 1_000.0)],
)  # fmt: skip
def test_what_has_no_agreed_white_is_refused_until_it_is_set(tmp_path, dtype, sample_format, words, white):
    bits = 8 * np.dtype(dtype).itemsize
    path = tiff(tmp_path / "x.tiff", levels(white, np.dtype(dtype)), bits, sample_format)
    with pytest.raises(ValueError, match=f"{words}, for which there is no agreed white; set \\[data\\] white"):
        pixels_of(path)
    assert pixels_of(path, white=white) == pytest.approx(SHOWN, abs=1)


def test_what_is_below_zero_is_black_and_nan_is_refused(tmp_path):
    values = levels(1, np.dtype("<f4"))
    values[:, 1] = -3
    assert pixels_of(tiff(tmp_path / "x.tiff", values, 32, 3), white=1.0) == pytest.approx([0, 0, 128, 255], abs=1)
    values[3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        pixels_of(tiff(tmp_path / "x.tiff", values, 32, 3), white=1.0)


def test_colour_of_sixteen_bits_is_read_by_its_upper_eight_and_refused_with_another_white(tmp_path):
    header = b"P6 4 4 65535\n"
    (tmp_path / "x.ppm").write_bytes(header + levels(65_535, np.dtype(">u2")).repeat(3, axis=1).tobytes())
    assert pixels_of(tmp_path / "x.ppm", channels=3) == pytest.approx(SHOWN, abs=1)
    deep = bytes.fromhex("89504e470d0a1a0a")  # Pillow writes no PNG of 16 bits in colour
    raw = b"".join(b"\0" + row.repeat(3).astype(">u2").tobytes() for row in levels(65_535, np.int64))
    for name, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ):
        deep += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    (tmp_path / "x.png").write_bytes(deep)
    assert pixels_of(tmp_path / "x.png", channels=3) == SHOWN
    with pytest.raises(
        ValueError, match=r"several channels of 16 bits, of which the upper 8 are read, so \[data\] white"
    ):
        pixels_of(tmp_path / "x.png", white=4_095.0, channels=3)


def test_a_picture_in_memory_is_read_as_its_file(tmp_path):
    twelve = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in levels(4_095, np.int64).reshape(-1, 2).tolist()
    )
    turned = tiff(tmp_path / "turned.tiff", levels(65_535, np.dtype("<u2")), 16, photometric=0)
    for path in (tiff(tmp_path / "x.tiff", twelve, 12), turned):
        with Image.open(path) as image:
            assert from_picture(image, 4, 1)[0, 0].tolist() == pixels_of(path)
        assert from_picture(path.read_bytes(), 4, 1)[0, 0].tolist() == pixels_of(path)
    with pytest.raises(TableError, match="the picture has 32 bits as pixels"):
        from_picture(Image.fromarray(np.zeros((4, 4), np.int32)), 4, 1)
