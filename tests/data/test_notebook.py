"""A Dataset and its batches, from a table, without any recipe: what somebody does in a notebook."""

from __future__ import annotations

import pytest
import torch

import mscon.run.recipe
from mscon.data.batches.dataset import Dataset, fit_similarities
from mscon.data.batches.sampler import sampler_of
from mscon.data.inputs.open import open_inputs
from mscon.data.table.rows import select_rows
from mscon.data.table.table import read_table
from mscon.run.recipe import Data, Sampler, similarity_part
from sample_images import pattern


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    lines = ["image,split,make,price"]
    for number in range(12):
        pattern(number).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'train' if number < 8 else 'test'},{'ab'[number % 2]},{number / 4}")
    (tmp_path / "shoes.csv").write_text("\n".join(lines))
    return read_table(tmp_path / "shoes.csv")


@pytest.fixture(autouse=True)
def no_recipe(monkeypatch):
    """Whoever makes a whole recipe to call a function fails."""

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a recipe was made")

    monkeypatch.setattr(mscon.run.recipe.Recipe, "__init__", refuse)


def test_a_dataset_and_its_batches_need_no_recipe(table):
    data = Data(image_size=8)
    parts = [similarity_part("make", "categorical"), similarity_part("price", "continuous", {"width": 1.0})]

    rows = select_rows(table, data, parts)
    dataset = Dataset.build(rows, fit_similarities(rows, parts), open_inputs(rows, table.folder, data, table.name))
    sampler = sampler_of(Sampler("balanced", columns=("make",)), rows, dataset.similarities, batch_size=4, seed=0)

    batches = [dataset.batch(indices) for indices in sampler.epoch(1).batches]
    assert sorted(torch.cat([batch.rows for batch in batches]).tolist()) == list(range(8))
    for batch in batches:
        assert batch.inputs.shape == (len(batch.rows), 3, 8, 8)
        assert batch.codes[0].tolist() == [row % 2 for row in batch.rows.tolist()]
        price = batch.codes[1].flatten()  # in widths, from their mean
        assert (price - price[0]).tolist() == [(row - batch.rows[0]).item() / 4 for row in batch.rows]
