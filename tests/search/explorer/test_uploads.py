"""Bytes that a browser sends as an image."""

from __future__ import annotations

import contextlib
import io
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from packaging.version import Version
from PIL import Image

from mscon.data.inputs.decoding import decode_one
from mscon.errors import TableError
from mscon.search.explorer import uploads
from mscon.search.explorer.uploads import FORMATS, read_upload
from sample_images import huge, pattern


def encoded(image: Image.Image, kind: str, **how) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_that_is_named_is_read(kind):
    image = pattern(0, 32)
    pixels, look = read_upload(encoded(image, kind), 32, 3, 96)
    assert pixels.shape == look.shape == (3, 32, 32)
    if kind not in ("JPEG", "WEBP", "GIF"):  # these three change colours
        np.testing.assert_array_equal(pixels.transpose(1, 2, 0), np.asarray(image))


@pytest.mark.parametrize("kind", ["PPM", "EPS", "PDF", "ICO", "TGA", "SGI", "PCX", "JPEG2000"])
def test_no_other_format_is(kind):
    with pytest.raises(TableError, match="no picture of a kind that is read here"):
        read_upload(encoded(pattern(0, 32), kind), 16, 3, 96)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path):
    """A few bytes that claim to be larger than any memory; and as many pixels as are not quite taken."""
    for side in (60_000, 10_000, 7_072):
        with pytest.raises(TableError, match="more than 50,000,000 pixels"):
            read_upload(huge(tmp_path / "bomb.png", side).read_bytes(), 16, 3, 96)


def test_a_bomb_that_says_it_is_small_stays_small():
    """Nine million pixels behind a header that tells of 64: what is beyond those is not decoded."""
    data = bytearray(encoded(Image.new("L", (3_000, 3_000)), "PNG"))
    data[16:24] = (8).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert read_upload(bytes(data), 16, 1, 96)[1].shape == (1, 8, 8)


def test_too_many_bytes_are_refused(monkeypatch):
    monkeypatch.setattr(uploads, "MOST_BYTES", 100)
    with pytest.raises(TableError, match="MB"):
        read_upload(encoded(pattern(0, 32), "PNG"), 16, 3, 96)


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_cut_off_or_changed_anywhere_are_an_image_or_one_message(kind):
    data = encoded(pattern(0, 24), kind)
    generator = np.random.default_rng(0)
    for cut in generator.integers(0, len(data), 40).tolist():
        changed = bytearray(data)
        changed[cut] ^= 1 << int(generator.integers(8))
        for broken in (data[:cut], bytes(changed)):
            complaint = ""
            try:
                read_upload(broken, 16, 3, 96)
            except TableError as error:
                complaint = str(error)
            assert len(complaint) < 150


def test_an_upload_is_read_as_its_file_is(tmp_path):
    data = encoded(pattern(0, 1_600), "JPEG")
    (tmp_path / "x.jpg").write_bytes(data)
    pixels, shown = read_upload(data, 32, 3, 96)
    np.testing.assert_array_equal(pixels, decode_one(tmp_path / "x.jpg", 32, 3))
    np.testing.assert_array_equal(shown, decode_one(tmp_path / "x.jpg", 96, 3))


YCBCR_TIFF = pytest.param(
    "YCbCr",
    "TIFF",
    marks=pytest.mark.skipif(
        Version(PIL.__version__).major < 13, reason="Pillow < 13 cannot read those that it writes"
    ),
)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("CMYK", "JPEG"),
     ("CMYK", "TIFF"), YCBCR_TIFF, ("LAB", "TIFF"), ("F", "TIFF"), ("I", "TIFF")],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_pixels_or_one_message(mode, kind, channels):
    image = Image.new(mode, (24, 24)) if mode in ("LAB", "I;16") else pattern(0, 24).convert("L").convert(mode)
    pixels = None
    with contextlib.suppress(TableError):
        pixels, _ = read_upload(encoded(image, kind), 16, channels, 96)
    if mode not in ("LAB", "F", "I"):
        assert pixels is not None
    assert pixels is None or pixels.shape == (channels, 16, 16)


def test_it_lies_as_the_camera_says():
    image = Image.new("RGB", (24, 24))
    image.paste("white", (0, 0, 24, 12))  # above
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise shows it right
    pixels, _ = read_upload(encoded(image, "PNG", exif=exif), 24, 1, 96)
    assert pixels[0, :, 13:].min() == 255 and pixels[0, :, :11].max() == 0
