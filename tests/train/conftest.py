"""Tiny tables of real image files, and recipes for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscon.data.table.table import Table, read_table
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe

RECIPE = """
[[similarity]]
column = "shape"
name = "categorical"
[[similarity]]
column = "shade"
name = "categorical"
[[similarity]]
column = "same_row"
name = "same_row"

[data]
image_size = 16
channels = 1

[views]
crop = [0.7, 1.0]
translate = 0.1

[encoder]
width = 8

[weighting]
name = "uncertainty"

[train]
epochs = 2
batch_size = 16
precision = "float32"
channels_last = "no"
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Decoded images go to a folder of the test's own, not to the user's cache."""
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def table_path(tmp_path_factory) -> Path:
    """64 images of bars, lying or standing, dark or light; every eighth has no shade."""
    folder = tmp_path_factory.mktemp("table")
    generator = np.random.default_rng(0)
    lines = ["image,split,shape,shade"]
    for number in range(64):
        lies, is_light = number % 2 == 0, number % 4 < 2
        picture = np.zeros((20, 20), dtype=np.uint8)
        at = int(generator.integers(4, 14))
        bar = (slice(at, at + 3), slice(None)) if lies else (slice(None), slice(at, at + 3))
        picture[bar] = 220 if is_light else 110
        Image.fromarray(picture + generator.integers(0, 20, (20, 20), dtype=np.uint8)).save(folder / f"{number}.png")
        split = "train" if number < 40 else "validation" if number < 52 else "test"
        shade = "" if number % 8 == 7 else "light" if is_light else "dark"
        lines.append(f"{number}.png,{split},{'lying' if lies else 'standing'},{shade}")
    path = folder / "bars.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def table(table_path) -> Table:
    return read_table(table_path)


@pytest.fixture
def recipe_with() -> Callable[..., Recipe]:
    """The recipe with some values set."""
    return lambda *overrides: recipes.parse(RECIPE, overrides)


@pytest.fixture
def recipe(recipe_with) -> Recipe:
    return recipe_with()
