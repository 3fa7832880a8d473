"""Training with balanced batches: the same trainer, other batches, and nothing left over silently."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mscon.errors import RecipeError
from mscon.train.fit import fit, resume

BALANCED = ("sampler.name=balanced", "train.batch_size=8", 'sampler.columns=["shape", "shade"]')


def test_every_row_is_trained_on_and_finds_another_that_is_alike(recipe_with, table, tmp_path):
    shares = {}
    for name in ("balanced", "shuffled"):
        recipe = recipe_with(f"sampler.name={name}", "train.batch_size=4", "views.count=1", "train.epochs=1")
        run = fit(replace(recipe, similarities=recipe.similarities[:2]), table, tmp_path / name, progress=False)
        shares[name] = [r["positive_share"]["shape"] for r in run.read_log() if r["kind"] == "step"]
        counts = [(r["epoch"], r["left_over"]) for r in run.read_log() if r["kind"] == "sampler"]
        assert counts == ([(1, 0)] if name == "balanced" else [])
    assert shares["balanced"] == pytest.approx([1.0] * 2)
    assert min(shares["shuffled"]) < 1


def test_a_run_that_was_stopped_goes_on_with_the_batches_that_it_would_have_had(recipe_with, table, tmp_path):
    constant = (*BALANCED, "train.schedule=constant")
    whole = fit(recipe_with(*constant), table, tmp_path / "whole", progress=False)
    first = fit(recipe_with(*constant, "train.epochs=1"), table, tmp_path / "first", progress=False)
    first.write_recipe(whole.read_recipe())
    resumed = resume(first, progress=False)
    assert resumed.read_log() == whole.read_log()
    assert [record["step"] for record in whole.read_log() if record["kind"] == "sampler"] == [1, 8]


def test_balanced_triplets_are_refused(recipe_with, table, tmp_path):
    recipe = recipe_with("sampler.name=balanced", "triplets.count=20", "objective.name=triplet_margin", "views.count=1")
    recipe = replace(recipe, similarities=recipe.similarities[:2])
    with pytest.raises(RecipeError, match="hold a near row each"):
        fit(recipe, table, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
