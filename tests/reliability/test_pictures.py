"""Random pictures of every mode and format: the lines of docs/deployment.md give the very pixels of mscon."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscon.data.inputs.decoding import Refused, decode_one, from_picture, quiet_pillow

DOCUMENT = Path(__file__).parents[2] / "docs" / "deployment.md"

# Modes that Pillow writes in each format.
MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"),
    "PPM": ("1", "L", "RGB"),
}


def picture(generator: np.random.Generator, mode: str) -> Image.Image:
    """Smooth with noise on it, from 1 to 400 pixels a side."""
    width, height = (int(side) for side in np.exp(generator.uniform(0, np.log(400), 2)).round())
    small = generator.integers(0, 256, (*generator.integers(1, 12, 2), 4), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(generator.integers(0, 65_536, (height, width), dtype=np.uint16))
    return image if mode == "RGBA" else image.convert("RGB").quantize(32) if mode == "P" else image.convert(mode)


def encoded(generator: np.random.Generator, image: Image.Image, form: str) -> bytes:
    settings: dict[str, Any] = {}
    if form in ("JPEG", "WEBP", "PNG", "TIFF") and image.mode not in ("1", "P"):
        settings["exif"] = Image.Exif()
        settings["exif"][0x0112] = int(generator.integers(1, 9))
    if image.mode == "P" and form in ("PNG", "GIF") and generator.random() < 0.5:
        settings["transparency"] = int(generator.integers(32))
    if form == "JPEG":
        settings["quality"] = int(generator.integers(20, 96))
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def documented() -> Any:
    """The function `pixels` of the document."""
    (block,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8").partition("without mscon")[2], re.DOTALL)
    lines: dict[str, Any] = {}
    exec(block, lines)
    return lines["pixels"]


def test_the_lines_of_the_document_give_the_same_pixels_for_every_picture(full, counts):
    pixels, tried = documented(), set[str]()
    generator = np.random.default_rng(0)
    forms = [(form, mode) for form, modes in MODES.items() for mode in modes]
    with quiet_pillow():
        for number in range(10_000 if full else 2 * len(forms)):
            form, mode = forms[number % len(forms)]
            content = encoded(generator, picture(generator, mode), form)
            size, channels = int(generator.choice([8, 16, 33, 64])), int(generator.choice([1, 3]))
            ours = decode_one(content, size, channels)
            by_hand = pixels(io.BytesIO(content), size, "RGB" if channels == 3 else "L")
            np.testing.assert_array_equal(ours, by_hand, err_msg=f"picture {number}: {form}, {mode}")
            with Image.open(io.BytesIO(content)) as opened:
                np.testing.assert_array_equal(from_picture(opened, size, channels), ours, err_msg=f"{form}, {mode}")
            tried.add(form)
            counts["pictures compared"] += 1
    assert tried == set(MODES)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
def test_a_file_that_is_cut_off_is_refused_or_whole(share):
    """Never a picture with a part that is grey."""
    generator = np.random.default_rng(1)
    for form, modes in MODES.items():
        image = picture(generator, modes[-1]).resize((64, 64), Image.Resampling.NEAREST)
        content = encoded(generator, image, form)
        whole = decode_one(content, 16, 3)
        try:
            cut = decode_one(content[: int(len(content) * share)], 16, 3)
        except Refused:
            continue
        np.testing.assert_array_equal(cut, whole, err_msg=form)
