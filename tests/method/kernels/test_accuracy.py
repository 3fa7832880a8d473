"""Gradients in float32 are as good as those of the formula written out in float32, where that is hardest too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from batches import LARGE_NAMINGS, Batch, draw, renamed
from mscon.method.kernels import contrast
from mscon.method.kernels.path import Competitors
from reference import supcon_formula


def gradient_by_contrast(batch: Batch, temperature: float, denominator: Competitors = "all") -> Tensor:
    anchors = batch.anchors.clone().requires_grad_()
    losses = contrast(anchors, None, batch.pairs, temperature=temperature, denominator=denominator)
    return _tangential(torch.autograd.grad(losses.mean(), anchors)[0], anchors)


def gradient_by_formula(
    batch: Batch, temperature: float, dtype: torch.dtype, denominator: Competitors = "all"
) -> Tensor:
    anchors = batch.anchors.to(dtype).requires_grad_()
    pairs = [p.dense() for p in batch.pairs]
    losses = torch.stack(
        [
            supcon_formula(a, a, p.weight, p.known, temperature, "outside", denominator)
            for a, p in zip(anchors, pairs, strict=True)
        ]
    )
    return _tangential(torch.autograd.grad(losses.mean(), anchors)[0], anchors)


def _tangential(gradient: Tensor, anchors: Tensor) -> Tensor:
    """What is left once vectors are normalised: the part across them."""
    gradient, anchors = gradient.double(), anchors.detach().double()
    return gradient - (gradient * anchors).sum(dim=2, keepdim=True) * anchors


@pytest.mark.parametrize("rows", [256, 600])
@pytest.mark.parametrize("spread", [None, 0.3, 0.1, 0.02, 0.01])
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_the_gradient_is_within_twice_the_error_of_plain_float32(rows, spread, temperature):
    batch = draw(rows, spread=spread, dim=64, missing=False, dtype=torch.float32)
    exact = gradient_by_formula(batch, temperature, torch.float64)
    plain = (gradient_by_formula(batch, temperature, torch.float32) - exact).norm()
    ours = (gradient_by_contrast(batch, temperature) - exact).norm()
    assert ours <= 2 * plain


@pytest.mark.parametrize("rows", [256, 600])
@pytest.mark.parametrize("spread", [None, 0.1, 0.01])
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_so_is_that_of_sincere_and_its_losses_near_0_keep_their_digits(rows, spread, temperature):
    batch = draw(rows, spread=spread, dim=64, missing=False, dtype=torch.float32)
    denominator = "negatives_and_itself"
    exact = gradient_by_formula(batch, temperature, torch.float64, denominator)
    plain = (gradient_by_formula(batch, temperature, torch.float32, denominator) - exact).norm()
    ours = (gradient_by_contrast(batch, temperature, denominator) - exact).norm()
    assert ours <= 2 * plain
    losses, wide = (
        contrast(batch.anchors.to(d), None, batch.pairs, temperature=temperature, denominator=denominator)
        for d in (torch.float32, torch.float64)
    )
    torch.testing.assert_close(losses.double(), wide, rtol=2e-6 * max(1, 10 / temperature), atol=1e-30)


@pytest.mark.parametrize("rows", [256, 600])
@pytest.mark.parametrize("spread", [None, 0.02])
def test_a_temperature_of_a_thousandth_is_finite(rows, spread):
    batch = draw(rows, spread=spread, dim=64, dtype=torch.float32)
    anchors = batch.anchors.clone().requires_grad_()
    losses = contrast(anchors, None, batch.pairs, temperature=0.001)
    losses.mean().backward()
    assert losses.isfinite().all()
    assert anchors.grad.isfinite().all()


@pytest.mark.parametrize("rows", [256, 600])  # written out, and in tiles
@pytest.mark.parametrize("naming", LARGE_NAMINGS)
def test_large_labels_and_ids_cost_no_digit(rows, naming):
    batch = draw(rows, spread=0.1, dim=64, dtype=torch.float32)
    exact = gradient_by_formula(batch, 0.1, torch.float64)
    ours = (gradient_by_contrast(renamed(batch, naming), 0.1) - exact).norm()
    plain = (gradient_by_formula(batch, 0.1, torch.float32) - exact).norm()
    assert ours <= 2 * plain
