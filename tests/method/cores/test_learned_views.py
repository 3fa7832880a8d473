"""MCLRec's loss of learned views against loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mscon.method.cores.learned_views import learned_view_loss, margin_penalty

F64 = torch.float64


def drawn(rows: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 3, generator=generator, dtype=F64), torch.randn(rows, 3, generator=generator, dtype=F64)


def augmenters() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Linear(3, 3, dtype=F64), nn.Linear(3, 3, dtype=F64)


def by_loops(one: Tensor, other: Tensor, temperature: float, margins: float) -> list[float]:
    samples = torch.cat([one, other]).tolist()
    losses = []
    for i, anchor in enumerate(samples):
        partner = (i + len(one)) % len(samples)
        products = {
            j: math.fsum(a * b for a, b in zip(anchor, sample, strict=True)) / temperature
            for j, sample in enumerate(samples)
            if j != i
        }
        positive, negatives = products[partner], [p for j, p in products.items() if j != partner]
        loss = math.log(math.fsum(map(math.exp, products.values()))) - positive
        if negatives:
            low, high = min(positive, max(negatives)), max(positive, max(negatives))
            penalty = positive - low + math.fsum(high - n for n in negatives) / len(negatives)
            loss += margins * penalty
        losses.append(loss)
    return losses


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_it_is_that_of_the_loops(rows, temperature):
    (first, second), (a, b) = drawn(rows), augmenters()
    loss = learned_view_loss(first, second, (a, b), temperature=temperature, margins=0.1)
    pairs = (first, b(second)), (second, a(first)), (a(first), b(second))
    expected = [by_loops(one, other, temperature, 0.1) for one, other in pairs]
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=F64).sum(dim=0))


def test_the_gradient_reaches_views_and_augmenters():
    (first, second), (a, b) = drawn(3), augmenters()
    inputs = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(lambda one, other: learned_view_loss(one, other, (a, b)), inputs)
    learned_view_loss(first, second, (a, b)).mean().backward()
    assert all((parameter.grad != 0).any() for net in (a, b) for parameter in net.parameters())


def test_without_margins_it_is_nt_xent():
    first, second = drawn(4)
    loss = learned_view_loss(first, second, (lambda z: z, lambda z: z), margins=0.0)
    expected = [by_loops(*pair, 1.0, 0.0) for pair in ((first, second), (second, first), (first, second))]
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=F64).sum(dim=0))


def test_there_is_no_penalty_where_all_are_equally_near():
    products = torch.ones(4, 4, dtype=F64).fill_diagonal_(-torch.inf)
    assert margin_penalty(products, torch.tensor([2, 3, 0, 1])).tolist() == [0.0] * 4


def test_a_temperature_must_be_positive():
    with pytest.raises(ValueError, match=r"temperature must be positive, got 0\."):
        learned_view_loss(*drawn(), augmenters(), temperature=0.0)


def test_half_precision_and_autocast_round_no_product():
    first, second = (vectors.bfloat16() for vectors in drawn(6))
    exact = learned_view_loss(first.double(), second.double(), (lambda z: z, lambda z: z)).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = learned_view_loss(first, second, (lambda z: z, lambda z: z))
    torch.testing.assert_close(loss, exact)
