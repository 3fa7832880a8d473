"""Balanced batches of several processes: those of one, also where a batch has fewer rows than there are processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.train.test_processes import NO_NORMS, train, weights

from mscon.data.batches.dataset import fit_similarities
from mscon.data.batches.sampler import sampler_of
from mscon.data.table.table import Table
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train.fit import fit

BALANCED = ["sampler.name=balanced", "sampler.at_least=3", "train.epochs=2", "weighting.name=relative"]
# Rows without a shade are alone in batches of one row.
SHADE = 'sampler.columns=["shade"]'


def both(recipe: Recipe, table: Table, folder: Path) -> tuple[Run, Run]:
    """The same recipe by one process and by two; the same rows are left over."""
    alone = fit(recipe, table, folder / "alone", progress=False)
    assert alone is not None
    outcome = train(recipe, table, folder / "together")
    assert outcome.status == 0, outcome
    together = Run.open(folder / "together")
    assert together.read_facts()["machine"]["processes"] == 2
    return alone, together


def left_over(run: Run) -> list[int]:
    return [record["left_over"] for record in run.read_log() if record["kind"] == "sampler"]


def assert_same(one: Run, other: Run, tolerance: float = 2e-4) -> None:
    ours, theirs = weights(one), weights(other)
    for name, value in ours.items():
        torch.testing.assert_close(
            theirs[name], value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert [r["kind"] for r in one.read_log()] == [r["kind"] for r in other.read_log()]
    for record, same in zip(one.read_log(), other.read_log(), strict=True):
        for key in ("loss", "floor", "ceiling", "positive_share"):
            assert same.get(key) == pytest.approx(record.get(key), abs=10 * tolerance)


def smallest_batch(run: Run) -> int:
    similarities = fit_similarities(run.read_rows(), run.read_recipe().similarities)
    sampler = sampler_of(
        run.read_recipe().sampler,
        run.read_rows(),
        similarities,
        batch_size=run.read_recipe().train.batch_size,
        seed=run.read_recipe().train.seed,
    )
    return min(batch.numel() for number in (1, 2) for batch in sampler.epoch(number).batches if batch.numel())


def test_two_processes_train_on_the_balanced_batches_that_one_does(
    recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path
):
    """Rows without a shade are alone in batches of one row, of which the second process has none."""
    alone, together = both(recipe_with(*NO_NORMS, *BALANCED, SHADE, "train.batch_size=5"), table, tmp_path)
    assert smallest_batch(alone) == 1
    assert left_over(together) == left_over(alone) == [0, 0]
    assert_same(alone, together)


def test_batch_norms_of_a_process_without_rows_stay_finite(
    recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path
):
    """They see the parts of a batch, so weights differ from those of one process."""
    alone, together = both(recipe_with(*BALANCED, SHADE, "train.batch_size=5", "train.epochs=1"), table, tmp_path)
    assert smallest_batch(alone) == 1
    assert all(weight.isfinite().all() for weight in weights(together).values())
