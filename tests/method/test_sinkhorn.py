"""Sinkhorn: rows and columns of equal weights, and the plan that scaling by turns must reach."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mscon.method.sinkhorn import sinkhorn

F64 = torch.float64


def drawn(rows: int = 12, columns: int = 4) -> torch.Tensor:
    return torch.randn(rows, columns, dtype=F64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("iterations", [1, 3])
def test_it_is_scaling_by_turns(iterations):
    plan = np.exp(drawn().numpy() / 0.3)
    for _ in range(iterations):
        plan = plan / plan.sum(axis=0, keepdims=True)
        plan = plan / plan.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(sinkhorn(drawn() / 0.3, iterations).numpy(), plan)


def test_in_the_end_all_columns_are_used_equally():
    plan = sinkhorn(drawn() / 0.2 + torch.tensor([0.0, 3.0, 9.0, -3.0]), 300)
    torch.testing.assert_close(plan.sum(dim=1), torch.ones(12, dtype=F64))
    torch.testing.assert_close(plan.sum(dim=0), torch.full((4,), 3.0, dtype=F64))


def test_no_logit_is_too_large():
    assert sinkhorn(drawn().float() / 1e-4, 3).isfinite().all()
