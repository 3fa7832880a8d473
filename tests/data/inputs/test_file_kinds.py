"""Files that are no images, and images that other programs open: what is said of them, or what is read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mscon.data.inputs.image_files import decode_some
from sample_images import pattern

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (LFS, "is a pointer of Git LFS, not the image; `git lfs pull` fetches the images"),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><html>404", "is a web page (HTML)"),
        (b"<html lang='de'>", "is a web page (HTML)"),
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "is a HEIC photo; save it as JPEG or PNG"),
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "is an SVG drawing"),
        (b"%PDF-1.7", "is a PDF document"),
        (b"8BPS\0\1", "is a Photoshop file"),
        (b"\0" * 128 + b"DICM", "is a DICOM file"),
        (b"\x93NUMPY\1\0", "is a NumPy array"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(64), "is a raw photo of a camera"),
        (b"nothing known", "is not an image of a kind that is read here (JPEG"),
    ],
)
def test_what_is_no_image_is_told_by_what_it_is(tmp_path, content, words):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    assert decode_some([path], 16, 3)[1][0].startswith(words)


def test_a_folder_is_no_image(tmp_path):
    assert decode_some([tmp_path], 16, 3)[1] == {0: "cannot be read (it is no file)"}


@pytest.mark.parametrize("tags", [{254: 1}, {50_706: b"\1\4\0\0"}], ids=["a preview comes first", "DNG"])
def test_of_a_raw_photo_the_preview_is_not_taken_for_the_photo(tmp_path, tags):
    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
        directory.tagtype[tag] = 4 if tag == 254 else 1
    path = tmp_path / "x.tiff"
    pattern(0).save(path, tiffinfo=directory)
    assert decode_some([path], 16, 3)[1][0].startswith("is a raw photo of a camera, of which only the preview")


def large_text(path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("x", "A" * 2_000_000, zip=True)
    pattern(3).save(path, pnginfo=info)


def large_profile(path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pattern(3).save(path, icc_profile=profile + b"\0" * 2_000_000)


def wrong_checksum(path: Path) -> None:
    file, info = io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("a", "hello")
    pattern(3).save(file, "PNG", pnginfo=info)
    content = bytearray(file.getvalue())
    content[content.find(b"hello") + 5] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("write", [large_text, large_profile, wrong_checksum])
def test_a_png_is_read_whatever_its_texts_and_profiles_are(tmp_path, write):
    path = tmp_path / "x.png"
    write(path)
    pixels, faults = decode_some([path], 16, 3)
    assert not faults
    assert np.array_equal(pixels[0], np.asarray(pattern(3)).transpose(2, 0, 1))


def test_a_png_whose_pixels_are_damaged_is_refused(tmp_path):
    path = tmp_path / "x.png"
    wrong_checksum(path)
    content = bytearray(path.read_bytes())
    content[content.find(b"IDAT") + 8] ^= 255
    path.write_bytes(content)
    assert decode_some([path], 16, 3)[1]


def test_transparency_and_orientation_outlive_a_damaged_text(tmp_path):
    path, exif = tmp_path / "x.png", Image.Exif()
    exif[0x0112] = 6
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "hello")
    picture = Image.new("P", (16, 16), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.paste(0, (0, 0, 16, 8))
    for damaged in (False, True):
        picture.save(path, pnginfo=info, transparency=1, exif=exif)
        content = bytearray(path.read_bytes())
        content[content.find(b"hello") + 5] ^= 255 * damaged
        path.write_bytes(content)
        pixels, faults = decode_some([path], 16, 1)
        assert not faults
        assert pixels[0, 0, 0, 0] == 255  # clear to the left, once it is turned
        assert pixels[0, 0, 0, 15] == 0
