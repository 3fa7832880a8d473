"""One way from an image to its features, in whatever form it comes, and as docs/deployment.md tells it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mscon
from exports import needs_onnx
from mscon.deploy.onnx import export_onnx
from mscon.errors import TableError
from sample_images import pattern

DOCUMENT = Path(__file__).parents[2] / "docs" / "deployment.md"


def photo(seed: int, size: tuple[int, int]) -> Image.Image:
    """Smooth, of odd sides, so that shortcuts of decoders and rounded boxes show."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    turned = Image.Exif()
    turned[0x0112] = 6
    photo(0, (1_031, 790)).save(tmp_path / "large.jpg", quality=80)
    photo(1, (131, 90)).save(tmp_path / "turned.jpg", exif=turned)
    photo(2, (45, 70)).convert("CMYK").save(tmp_path / "ink.jpg")
    clear = photo(3, (61, 40)).convert("RGBA")
    clear.putalpha(Image.fromarray(np.linspace(0, 255, 2_440).reshape(40, 61).astype(np.uint8)))
    clear.save(tmp_path / "clear.png")
    photo(4, (40, 61)).quantize(16).save(tmp_path / "palette.gif")
    Image.fromarray((np.asarray(photo(5, (80, 80)).convert("L")).astype(np.uint16) << 8) + 77).save(
        tmp_path / "deep.png"
    )
    pattern(6, 16).save(tmp_path / "exact.png")
    return sorted(tmp_path.glob("*.*"))


def test_an_image_has_the_same_features_in_every_form(run, files):
    model = mscon.load(run.root)
    of_paths = model.embed(files)
    np.testing.assert_array_equal(model.embed([path.read_bytes() for path in files]), of_paths)
    pictures = [Image.open(io.BytesIO(path.read_bytes())) for path in files]
    np.testing.assert_array_equal(model.embed(pictures), of_paths)
    np.testing.assert_allclose(model.embed(files[0].read_bytes()), of_paths[:1], rtol=1e-4)
    plain = [number for number, path in enumerate(files) if path.stem in ("large", "ink", "exact")]
    arrays = [np.asarray(pictures[number].convert("RGB")) for number in plain]
    np.testing.assert_allclose(model.embed(arrays), of_paths[plain], rtol=1e-4, atol=1e-7)
    tensors = [torch.from_numpy(array.transpose(2, 0, 1).copy()) for array in arrays]
    np.testing.assert_array_equal(model.embed(tensors), model.embed(arrays))
    assert len(np.unique(of_paths.round(4), axis=0)) == len(files)


def test_bytes_that_are_no_image_are_told(run):
    with pytest.raises(TableError, match="the picture is a web page"):
        mscon.load(run.root).embed(b"<html>")


@needs_onnx
def test_the_lines_of_the_document_give_the_features_of_mscon(run, files, tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8").partition("without mscon")[2], re.DOTALL)
    lines: dict[str, Any] = {}
    exec(block, lines)
    assert "import mscon" not in block
    model = export_onnx(run, tmp_path / "model.onnx").path
    by_hand, expected = lines["features"](str(model), files), mscon.load(run.root).embed(files)
    assert np.abs(by_hand - expected).max() <= 1e-4 * np.abs(expected).max()
