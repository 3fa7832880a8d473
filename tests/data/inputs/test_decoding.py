"""Decoding: pixels as promised, whatever the file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscon.data.inputs.image_files import decode_some
from sample_images import huge, pattern


def saved(folder: Path, image: Image.Image, name: str = "x.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def decode(path: Path, size: int, channels: int) -> np.ndarray:
    pixels, faults = decode_some([path], size, channels)
    if faults:
        raise ValueError(faults[0])
    return pixels[0]


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path):
    path = saved(tmp_path, pattern(0))
    assert np.array_equal(decode(path, 16, 3), np.asarray(pattern(0)).transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(20, 60), (60, 20)])
def test_it_is_the_short_side_resized_and_the_centre_cropped(tmp_path, shape):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    whole = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)
    left, top = (whole.width - 10) // 2, (whole.height - 10) // 2
    expected = np.asarray(whole.crop((left, top, left + 10, top + 10))).transpose(2, 0, 1)
    assert np.array_equal(decode(saved(tmp_path, picture), 10, 3), expected)


def test_a_small_image_is_enlarged(tmp_path):
    assert (decode(saved(tmp_path, Image.new("RGB", (1, 3), (9, 8, 7))), 16, 3)[0] == 9).all()


def test_a_very_long_strip_takes_no_gigantic_memory(tmp_path):
    assert decode(saved(tmp_path, Image.new("L", (60_000, 1), 77)), 512, 1).shape == (1, 512, 512)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (16, 16), "black")
    image.paste((255, 255, 255), (0, 0, 16, 8))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: white to the right
    pixels = decode(saved(tmp_path, image, exif=exif), 16, 1)[0]
    assert pixels[:, 8:].min() == 255
    assert pixels[:, :8].max() == 0


def test_transparency_is_laid_on_white(tmp_path):
    clear = Image.new("RGBA", (16, 16), (200, 0, 0, 0))
    assert (decode(saved(tmp_path, clear), 16, 3) == 255).all()
    half = Image.new("LA", (16, 16), (0, 51))
    assert (decode(saved(tmp_path, half), 16, 1) == 204).all()
    keyed = Image.new("RGB", (16, 16), (1, 2, 3))
    assert (decode(saved(tmp_path, keyed, transparency=(1, 2, 3)), 16, 3) == 255).all()


def test_palettes_become_colours(tmp_path):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert decode(saved(tmp_path, image), 16, 3)[:, 0, 0].tolist() == [10, 20, 30]
    assert (decode(saved(tmp_path, image, transparency=1), 16, 3) == 255).all()
    assert (decode(saved(tmp_path, image, transparency=b"\xff\x00"), 16, 3) == 255).all()


def test_cmyk_becomes_rgb(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "x.tiff")
    assert decode(path, 16, 3)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["x.png", "x.tiff"])
def test_sixteen_bits_are_cut_to_eight_and_not_clipped(tmp_path, name):
    deep = np.full((16, 16), 128 * 257, dtype=np.uint16)
    deep[0] = 65_535
    pixels = decode(saved(tmp_path, Image.fromarray(deep), name), 16, 1)[0]
    assert pixels[0, 0] == 255
    assert pixels[1, 0] == 128


def test_one_bit_is_black_and_white(tmp_path):
    assert (decode(saved(tmp_path, Image.new("1", (16, 16), 1)), 16, 3) == 255).all()


def test_a_large_jpeg_is_decoded_as_other_programs_decode_it(tmp_path):
    """Not at a fraction of its size, which is faster and differs from the same picture in memory."""
    path = saved(tmp_path, pattern(0, 300), "x.jpg", quality=80)
    with Image.open(path) as image:
        lossless = saved(tmp_path, image.convert("RGB"), "x.png")
    assert np.array_equal(decode(path, 32, 3), decode(lossless, 32, 3))


def test_a_moving_image_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    path = saved(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
    assert decode(path, 16, 3)[:, 0, 0].tolist() == [255, 0, 0]


def test_a_file_is_told_by_its_content_and_not_by_its_name(tmp_path):
    path = saved(tmp_path, pattern(0))
    path.rename(tmp_path / "x.jpg")
    assert decode(tmp_path / "x.jpg", 16, 3).shape == (3, 16, 16)


@pytest.mark.parametrize("side", [9_500, 60_000])
def test_images_that_would_fill_the_memory_are_refused(tmp_path, side):
    with pytest.raises(ValueError, match="has more than 89,478,485 pixels"):
        decode(huge(tmp_path / "bomb.png", side), 16, 3)


def test_postscript_is_never_given_to_another_program(tmp_path):
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match="is a PostScript file"):
        decode(tmp_path / "x.png", 16, 3)


def test_warnings_of_the_decoder_do_not_reach_the_user(tmp_path):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    path = saved(tmp_path, image, transparency=b"\x80\x80")
    with warnings.catch_warnings(record=True) as shown_warnings:
        warnings.simplefilter("always")
        decode(path, 16, 3)
    assert not shown_warnings
