"""Several processes compute in float64 what one computes: losses, gradients, weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import float64
from float64 import CLASSES, result_of, write_table
from process import start_together, wait_for

IS_FULL = os.environ.get("MSCON_RELIABILITY") == "full"
KIND = 'similarity=[{column="kind", name="categorical"}, {column="rare", name="categorical"}]'
# Name -> settings of the recipe.
CASES: dict[str, Sequence[str]] = {
    "equal": (CLASSES, "weighting.name=equal"),
    "uncertainty": (CLASSES, "weighting.name=uncertainty"),
    "relative": (CLASSES, "weighting.name=relative"),
    "exact, on training rows": (CLASSES, 'weighting={name="exact", fit_on="training"}'),
    "exact, on validation rows": (CLASSES, 'weighting={name="exact"}'),
    "held_out": (CLASSES, "weighting.name=held_out"),
    "excess_mtl": (CLASSES, 'weighting={name="excess_mtl", warm_up=1, step_size=1.0}'),
    "torchjd": (CLASSES, "weighting.name=torchjd"),
    "memory": (CLASSES, "candidates.memory_size=40", "candidates.warm_up=1"),
    "cached": (CLASSES, "train.mini_batch_size=2", "weighting.name=uncertainty"),
    "balanced": (CLASSES, "sampler.name=balanced", "sampler.at_least=2", "sampler.short=keep"),
    "low temperature": (CLASSES, "objective.temperature=0.005"),
    "negatives in the denominator": (CLASSES, 'objective={name="supcon", denominator="negatives"}'),
    "positives inside": (CLASSES, 'objective={name="supcon", positives="inside"}'),
    "rank_n_contrast": ("objective.name=rank_n_contrast", 'similarity=[{column="size", name="continuous"}]'),
    "continuous": ('similarity=[{column="size", name="continuous"}, {column="rare", name="categorical"}]',),
    "himulcon": ("objective.name=himulcon", 'similarity=[{column="path", name="hierarchical"}]'),
    "cross_entropy": ("objective.name=cross_entropy", KIND),
    "triplet_margin": ("objective.name=triplet_margin", KIND),
    "tau": ("objective.name=tau", KIND),
    "subspaces": ('objective={name="subspaces", learners=2}', KIND),
    "sepclr": (
        'objective={name="sepclr", background="a"}',
        'similarity=[{name="same_row"}, {column="kind", name="categorical"}]',
        "views.corrupt=0.3",
    ),
    "amcl": ("objective.name=amcl", KIND),
    "triplets": ("objective.name=triplet_margin", "triplets.count=40", KIND),
    "adamw, moving average": (CLASSES, "train.optimiser=adamw", "keep.average=0.9"),
    "an objective of its own": (
        'similarity=[{column="kind", name="categorical", objective="triplet_margin"}, {column="rare", '
        'name="categorical"}, {name="same_row"}]',
    ),
}
SHARE = ("uncertainty", "torchjd", "excess_mtl", "memory", "cached", "rank_n_contrast")


@pytest.mark.parametrize("case", CASES if IS_FULL else SHARE)
def test_processes_equal_one_process_in_float64(case, tmp_path: Path, counts, monkeypatch):
    """On the same batches, with missing labels, and with a column that some processes have no label of in a step."""
    write_table(tmp_path)
    monkeypatch.setenv("CASE", case)
    worlds = (1, 2, 3) if IS_FULL else (1, 2)
    started = {world: start_together(float64.train, (tmp_path, CASES[case]), tmp_path, world) for world in worlds}
    for world, processes in started.items():
        ends = wait_for(processes)
        assert [end.status for end in ends] == [0] * world, "\n".join(map(str, ends))
    alone = result_of(tmp_path, case, 1, 0)
    assert alone.gradients.abs().max() > 1e-3
    for world in worlds[1:]:
        results = [result_of(tmp_path, case, world, rank) for rank in range(world)]
        if "rare" in "".join(CASES[case]) and "triplets" not in case:
            assert sum(result.absent for result in results) > 0
            counts["steps in which a process had no label of a column"] += sum(result.absent for result in results)
        for result in results:
            for name in ("losses", "gradients", "weights"):
                one, other = getattr(alone, name), getattr(result, name)
                where = f"{name}, of {world} processes"
                torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-9, msg=lambda m, w=where: f"{w}: {m}")
            counts["numbers equal to those of one process"] += alone.gradients.numel() + alone.weights.numel()
