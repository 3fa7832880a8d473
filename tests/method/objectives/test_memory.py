"""No objective keeps a number for every pair: memory grows with the samples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mscon.errors import MSConError
from mscon.method import catalogue
from mscon.method.comparison import Comparison, SampleOrigin
from mscon.method.kernels import dispatch
from mscon.method.objectives import base
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import Categorical

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "objectives.py"
SAMPLES = 400


@pytest.mark.parametrize("name", catalogue.names("objective"))
def test_what_backward_needs_of_many_samples_is_no_number_a_pair(name, monkeypatch):
    """Batches count as large here from 400 samples on: 160,000 pairs, of which 20 anchors are written out at once."""
    monkeypatch.setattr(base, "_AT_ONCE", 20 * SAMPLES)
    monkeypatch.setattr(dispatch, "_MOST_DENSE_PAIRS", {"cpu": 0})
    kind, ids = Categorical("a", 4), torch.arange(SAMPLES)
    objective = catalogue.build("objective", name, {})
    try:
        objective.prepare([kind], 8)
    except MSConError as error:
        pytest.skip(f"not for classes: {error}")
    codes = (torch.arange(SAMPLES // 2) % 4).repeat(2)
    z = torch.randn(1, SAMPLES, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    pairs = [LazyPairs(kind.compare, codes, codes, ids, ids, is_partition=True)]
    origin = SampleOrigin.of_views(torch.arange(SAMPLES // 2), [0, 0])
    largest = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    if name == "triplet_margin":
        monkeypatch.setattr(base, "_AT_ONCE", 2**22)  # it counts triplets instead: one anchor at a time is the least
        monkeypatch.setattr(f"mscon.method.objectives.{name}._AT_ONCE", 20 * SAMPLES**2)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = objective(Comparison(z, None, pairs, origin, origin)).per_anchor.sum()
    assert largest <= 20 * SAMPLES
    loss.backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.skipif(os.environ.get("MSCON_RELIABILITY") != "full", reason="a process of seconds for each objective")
@pytest.mark.parametrize("name", [name for name in catalogue.names("objective") if name != "triplet_margin"])
def test_4096_samples_of_three_columns_fit_into_little_memory(name):
    command = [sys.executable, str(BENCHMARK), "--child", name, "4096", "32"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if "RecipeError" in ended.stderr:
        pytest.skip(f"not for classes: {ended.stderr.splitlines()[-1]}")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert (
        json.loads(ended.stdout) < 1_500
    )  # megabytes; all pairs of the three columns are 201, and a graph has 20 such
