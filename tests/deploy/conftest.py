"""A run on a dozen pictures of several sizes, with weights that nobody trained but whose norms have seen data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from mscon.model.model import CHECKPOINT_PREFIX, build_model
from mscon.run import recipe as recipes
from mscon.run.run import Run

RECIPE = """
title = "Bars"
[[similarity]]
column = "kind"
name = "categorical"
[[similarity]]
column = "colour"
name = "categorical"
[data]
image_size = 16
channels = 1
[encoder]
width = 4
[heads]
output_dim = 6
"""

MakeRun = Callable[..., Run]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 12 pictures, landscape and portrait, with a table beside them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        shape = (20, 17 + number, 3) if number % 2 else (16, 16, 3)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "new.csv").write_text("image,other\n" + "".join(f"{n}.png,x{n}\n" for n in range(12)))
    return folder


@pytest.fixture
def make_run(tmp_path: Path, pictures: Path) -> MakeRun:
    """A run of these pictures by the recipe with some values set."""

    def make(*overrides: str, name: str = "run", seed: int = 0) -> Run:
        settings = recipes.parse(RECIPE, overrides)
        run = Run.create(tmp_path / name)
        run.write_recipe(settings)
        classes = ["boots", "sandals"]
        run.write_similarities(
            [{"name": "categorical", "state": {"column": c, "classes": classes}} for c in ("kind", "colour")]
        )
        names = [f"{n}.png" for n in range(12)]
        run.write_facts(
            {
                "versions": {"mscon": "0.1.0", "torch": torch.__version__},
                "images_root": str(pictures),
                "table": {"name": "new.csv", "path": str(pictures / "new.csv"), "rows": {"train": 9, "test": 3}},
                "parameters": {"encoder": 1000, "heads": 200},
            }
        )
        kinds = ["boots", None, "sandals"] * 4
        run.write_rows(
            pl.DataFrame(
                {"line": range(2, 14), "split": ["train"] * 9 + ["test"] * 3, "image": names, "kind": kinds}
            ).with_columns(colour=pl.col("kind"))
        )
        torch.manual_seed(seed)
        model = build_model(settings, settings.similarities)
        shape = (settings.data.channels, settings.data.image_size, settings.data.image_size)
        model.train()(torch.rand(32, *shape))  # evaluation mode and training mode differ from now on
        for checkpoint in ("last", "best"):
            state = {CHECKPOINT_PREFIX + k: v for k, v in model.state_dict().items()}
            run.write_checkpoint(checkpoint, state, {"epoch": 1})
            model.train()(torch.rand(32, *shape) ** 2)
        return run

    return make


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    return make_run()
