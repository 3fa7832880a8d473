"""Balanced assignments against loops of divisions, and their ends."""

from __future__ import annotations

import math

import pytest
import torch

from mscon.method.sinkhorn import sinkhorn


def test_it_is_that_of_the_loops():
    scores = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shares = [[math.exp(scores[i, k].item() / 0.5) for k in range(3)] for i in range(4)]
    for _iteration in range(3):
        for k in range(3):
            total = math.fsum(row[k] for row in shares)
            for row in shares:
                row[k] /= total
        shares = [[value / math.fsum(row) for value in row] for row in shares]
    torch.testing.assert_close(sinkhorn(scores, 0.5, 3), torch.tensor(shares, dtype=torch.float64))


def test_classes_are_balanced_in_the_end_and_rows_always():
    scores = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    shares = sinkhorn(scores, 0.3, 200)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(12))
    torch.testing.assert_close(shares.sum(dim=0), torch.full((4,), 3.0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(sinkhorn(scores, 0.3, 0), (scores / 0.3).softmax(dim=1))


def test_it_is_finite_where_exponentials_would_not_be_and_has_no_gradient():
    scores = (100 * torch.eye(3)).half().requires_grad_()
    shares = sinkhorn(scores, 0.05)
    assert not shares.requires_grad
    torch.testing.assert_close(shares, torch.eye(3))
    with pytest.raises(ValueError, match=r"epsilon must be positive, got 0\."):
        sinkhorn(scores, 0.0)
