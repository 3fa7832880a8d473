"""Comparisons of recipes whose encoder of images is frozen: where they start, and how long they will take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscon.comparison import assembler
from mscon.comparison.estimate import estimate
from mscon.comparison.plan import plan
from mscon.comparison.preparation import Prepared, prepare
from mscon.data.inputs.stored_views import StoredViews
from mscon.data.table.table import Table, read_table
from mscon.run import recipe as recipes
from mscon.train.fit import fit

RECIPE = """
similarity = [{ column = "shape" }, { name = "same_row" }]
data = { image_size = 16, channels = 1 }
encoder = { width = 8 }
train = { epochs = 1, batch_size = 16 }
probe = { draws = 100 }
"""


@pytest.fixture
def table(tmp_path, monkeypatch) -> Table:
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    generator, lines = np.random.default_rng(0), ["image,split,shape"]
    for number in range(80):
        Image.fromarray(generator.integers(0, 255, (16, 16), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'train' if number < 50 else 'test'},{'ab'[number % 2]}")
    (tmp_path / "bars.csv").write_text("\n".join(lines))
    return read_table(tmp_path / "bars.csv")


def prepared(table: Table, tmp_path: Path, *overrides: str) -> Prepared:
    if not (tmp_path / "start").exists():
        fit(recipes.parse(RECIPE), table, tmp_path / "start", progress=False)
    frozen = ("encoder.frozen=true", f"encoder.start_from={tmp_path / 'start'}", "encoder.stored_views=2")
    return prepare(recipes.parse(RECIPE, [*frozen, *overrides]), table)


def test_behind_an_adapter_the_start_is_what_the_frozen_encoder_gives(table, tmp_path):
    ready = prepared(table, tmp_path, "encoder.adapter={units=6, layers=1}")
    starts = [method.recipe for method in ready.methods if method.name == "start"]
    assert [start.keep.width for start in starts] == [0, 6]  # the second as wide as the adapter
    run = fit(starts[0], table, tmp_path / "run", progress=False)
    encoder = run.read_checkpoint("last")[0]
    assert not [name for name in encoder if ".adapter." in name]


def test_the_adapter_of_another_run_belongs_to_the_start(table, tmp_path):
    units = "encoder.adapter={units=6, layers=1}"
    ours = prepared(table, tmp_path, units).recipe
    run = fit(ours, table, tmp_path / "adapted", progress=False)
    ready = prepared(table, tmp_path, units, f"encoder.start_from={run.root}")
    starts = [method.recipe for method in ready.methods if method.name == "start"]
    assert [(start.encoder.adapter, start.keep.width) for start in starts] == [(ours.encoder.adapter, 0)]


def test_steps_are_timed_on_stored_features_and_encoding_by_itself(table, tmp_path, monkeypatch):
    timed = []
    monkeypatch.setattr(assembler, "seconds_a_step", lambda training: timed.append(training) or 0.5)
    ready = prepared(table, tmp_path)
    assert isinstance(timed[0].dataset.inputs, StoredViews)
    assert ready.times.images > 0 and ready.times.views > 0
    ready = replace(ready, times=replace(ready.times, images=100.0, views=70.0))
    runs = plan(ready.methods, ready.labels, ready.probe, (), 2, tmp_path / "runs").runs
    sentence = estimate(ready, runs, runs, 1)
    assert "about 4 minutes of encoding images once, then" in sentence and "500 ms each" in sentence
    fit(ready.recipe, table, tmp_path / "run", progress=False)
    times = prepared(table, tmp_path).times
    assert (times.images, times.views) == (0, 0)
