"""Images that are nearly black, nearly white or flat are told, and what to set for those of more than 8 bits."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mscon.cli import main
from mscon.data.check.pixel_ranges import pixel_ranges
from mscon.data.inputs.images import ImageStore, open_store
from mscon.run.recipe import Data

DATA = Data(image_size=8, channels=1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))


def rows(count: int) -> pl.DataFrame:
    return pl.DataFrame({"line": range(2, 2 + count), "image": [f"{n}.png" for n in range(count)]})


def store(*ranges: tuple[int, int]) -> ImageStore:
    images = np.empty((len(ranges), 1, 8, 8), np.uint8)
    for image, (low, high) in zip(images, ranges, strict=True):
        image[:] = np.linspace(low, high, 64).reshape(8, 8).astype(np.uint8)
    return ImageStore(images)


def test_images_of_a_small_range_are_told_by_line(tmp_path):
    ranges = pixel_ranges(
        rows(6), store((0, 255), (0, 15), (240, 255), (100, 115), (0, 16), (100, 116)), tmp_path, DATA
    )
    assert (ranges.black, ranges.white, ranges.flat, ranges.deep) == ((3,), (4,), (5,), None)
    assert ranges.to_text("line") == [
        "1 image of 6 is nearly black (no pixel above 15 of 255): line 3.",
        "1 image of 6 is nearly white (no pixel below 240 of 255): line 4.",
        "1 image of 6 is of one tone (pixels differ by less than 16 of 255): line 5.",
    ]
    assert pixel_ranges(rows(1), store((0, 255)), tmp_path, DATA).to_text("row") == []


def test_of_images_with_more_than_eight_bits_the_values_and_a_white_are_told(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(300):
        values = generator.integers(180, 434, (8, 8), dtype=np.uint16) if number else np.full((8, 8), 7, np.uint8)
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    table = rows(300)
    ranges = pixel_ranges(table, open_store(table, tmp_path, DATA, "t.csv"), tmp_path, DATA)
    assert len(ranges.black) == 300
    text = "\n".join(ranges.to_text("line"))
    assert "300 images of 300 are nearly black" in text and "lines 2, 3, 4, 5, 6 and 295 more" in text
    assert (
        "has values from 18" in text and "Set [data] white to the value that is white, such as 4095 for 12 bits" in text
    )
    seen = Data(image_size=8, channels=1, white=511.0)
    again = pixel_ranges(table, open_store(table, tmp_path, seen, "t.csv"), tmp_path, seen)
    assert again.black == (2,) and again.deep is None


def test_check_tells_it(tmp_path, capsys):
    lines = ["image,split,kind"]
    for number in range(12):
        Image.fromarray(np.full((8, 8), 300 + number, np.uint16)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{['train', 'test'][number % 2]},{'ab'[number // 2 % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    (tmp_path / "r.toml").write_text('[[similarity]]\ncolumn = "kind"\nname = "categorical"\n[data]\nimage_size = 8')
    assert main(["check", str(tmp_path / "r.toml"), "--table", str(tmp_path / "t.csv")]) == 0
    assert "12 images of 12 are nearly black" in capsys.readouterr().out
