"""The template: against its formula, pair by pair; its bounds; and the losses that it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.batches import draw
from tests.reference import template_loops
from torch import Tensor
from torch.nn.functional import normalize

from mscon.method.comparison import Comparison
from mscon.method.kernels import contrast
from mscon.method.kernels.counts import count
from mscon.method.kernels.precision import products
from mscon.method.objectives import base
from mscon.method.objectives.base import Block
from mscon.method.template import (
    Logits,
    Template,
    Terms,
    cosine_logits,
    distance_logits,
    greatest_losses,
    known_weights,
    log_mask,
    template_losses,
    with_constant_positive,
)

F64 = torch.float64
seeds = st.integers(0, 10_000)
choices = st.fixed_dictionaries(
    {
        "itself": st.sampled_from([0.0, 1.0, 0.7]),
        "ties": st.booleans(),
        "logarithm": st.sampled_from(["outside", "inside"]),
    }
)


def drawn(seed: int, *, ordered: bool, itself: float, ties: bool, anchors: int = 4) -> tuple[Logits, Terms]:
    """Any logits and terms: with candidates that neither attract nor compete, that do both, and anchors without any."""
    g = torch.Generator().manual_seed(seed)
    size = (anchors, int(torch.randint(1, 8, (), generator=g)))
    a, c = (torch.randn(n, 3, generator=g, dtype=F64) for n in size)
    positives, weights = (
        torch.rand(size, generator=g, dtype=F64) * (torch.rand(size, generator=g) < 0.6) for _ in range(2)
    )
    alikeness = torch.randint(3, size, generator=g).to(F64) if ordered else None
    return cosine_logits(a, c, 0.5), Terms(positives, weights.log(), itself, alikeness, ties)


@given(seeds, st.booleans(), choices)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_it_is_its_formula_whatever_a_loss_chooses(seed, ordered, choice):
    logarithm = choice["logarithm"]
    logits, terms = drawn(seed, ordered=ordered, itself=choice["itself"], ties=choice["ties"])
    losses = template_losses(logits, terms, logarithm=logarithm)
    expected = template_loops(
        logits.values.numpy(),
        terms.positives.numpy(),
        terms.log_weights.exp().numpy(),
        None if terms.alikeness is None else terms.alikeness.numpy(),
        itself=terms.itself,
        ties=terms.ties,
        logarithm=logarithm,
    )
    np.testing.assert_allclose(losses.loss.numpy(), expected, rtol=1e-9, atol=1e-9)
    assert (losses.loss[~losses.counted] == 0).all()


@given(seeds, st.booleans(), choices)
@settings(deadline=None, derandomize=True, max_examples=40)
def test_no_logits_get_below_the_floor_and_the_ceiling_is_the_loss_of_the_highest(seed, ordered, choice):
    logarithm = choice["logarithm"]
    logits, terms = drawn(seed, ordered=ordered, itself=choice["itself"], ties=choice["ties"], anchors=2)
    g = torch.Generator().manual_seed(seed)
    least = torch.full((2,), math.inf, dtype=F64)
    for sharpness in (0.5, 3.0, 50.0):  # the least loss is often in a corner
        for _ in range(12):
            values = 2 * torch.tanh(sharpness * torch.randn(logits.values.shape, generator=g, dtype=F64))
            losses = template_losses(logits._replace(values=values), terms, logarithm=logarithm)
            least = torch.minimum(least, losses.loss)
    assert losses.floor is not None
    assert losses.ceiling is not None
    assert (losses.floor <= least + 1e-12).all()
    coinciding = template_losses(
        logits._replace(values=torch.full_like(logits.values, 2.0)), terms, logarithm=logarithm
    )
    torch.testing.assert_close(losses.ceiling, coinciding.loss)


def test_the_floor_is_reached_where_positives_only_meet_others():
    positives = torch.tensor([[1.0, 0.5, 0, 0]], dtype=F64)
    terms = Terms(positives, log_mask(positives == 0, positives), itself=1.0)
    best = torch.where(positives > 0, 2.0, -2.0)
    losses = template_losses(Logits(best, best.amin(), best.amax()), terms)
    torch.testing.assert_close(losses.loss, losses.floor)
    torch.testing.assert_close(losses.loss, torch.tensor([math.log(1 + 2 * math.exp(-4))], dtype=F64))
    worst = torch.where(positives > 0, -2.0, 2.0)
    losses = template_losses(Logits(worst, worst.amin(), worst.amax()), terms)
    torch.testing.assert_close(losses.loss, greatest_losses(Logits(worst, worst.amin(), worst.amax()), terms))


def test_its_gradient_is_that_of_finite_differences():
    for seed in range(6):
        ordered, itself, logarithm = seed % 2 == 0, float(seed % 3 > 0), "inside" if seed > 3 else "outside"
        logits, terms = drawn(seed, ordered=ordered, itself=itself, ties=seed % 4 == 0)

        def loss(values: Tensor, logits: Logits = logits, terms: Terms = terms, logarithm: Any = logarithm) -> Tensor:
            return template_losses(logits._replace(values=values), terms, logarithm=logarithm).loss

        assert torch.autograd.gradcheck(loss, (logits.values.requires_grad_(),))


class AnyChoice(Template):
    """The template with choices of a test."""

    def __init__(self, competing: str, itself: float = 0.0, temperature: float | Tensor = 0.2) -> None:
        super().__init__(0.2)
        self.competing, self.itself, self.divisor = competing, itself, temperature

    def logits(self, block: Block) -> Logits:
        return cosine_logits(block.anchors, block.candidates, self.divisor)

    def terms(self, block: Block, logits: Logits) -> Terms:
        mask = block.pairs.known if self.competing == "all" else block.pairs.negative
        return Terms(known_weights(block, logits), log_mask(mask, logits.values), self.itself)


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_supcon_and_the_decoupled_loss_are_choices_of_it(graded, denominator):
    batch = draw(12, graded=graded, seed=2)
    losses = AnyChoice(denominator)(Comparison.of(batch.anchors, batch.candidates, batch.pairs))
    expected = contrast(batch.anchors, None, batch.pairs, temperature=0.2, denominator=denominator)
    torch.testing.assert_close(losses.per_anchor, expected)
    if denominator == "all":
        counts = [count(pairs) for pairs in batch.pairs]
        floor, ceiling = (
            torch.stack([getattr(c, name)[c.has_positive].mean() for c in counts]).to(F64)
            for name in ("floor", "ceiling")
        )
        torch.testing.assert_close(losses.ceiling, ceiling)
        # The entropy of the positives; and a little more where there is one, since cosines of negatives end at -1.
        assert (losses.floor >= floor - 1e-9).all()
        torch.testing.assert_close(losses.floor, floor, rtol=0, atol=1e-3)


def test_positives_may_stand_inside_the_logarithm():
    batch = draw(10, graded=True, seed=5)
    for z, pairs in zip(batch.anchors, batch.pairs, strict=True):
        dense = pairs.dense()
        weight = torch.where(dense.known, dense.weight, 0.0)
        terms = Terms(weight, log_mask(dense.known, weight))
        actual = template_losses(cosine_logits(z, z, 0.2), terms, logarithm="inside").loss
        expected = contrast(z[None], None, [pairs], temperature=0.2, positives="inside")[0]
        torch.testing.assert_close(actual, expected)


def test_a_temperature_may_be_one_for_each_anchor_or_pair_and_is_learned():
    batch = draw(8, missing=False, seed=1)
    comparison = Comparison.of(batch.anchors[:1], None, batch.pairs[:1])
    one = AnyChoice("negatives", 1.0)(comparison).per_anchor
    temperature = torch.full((8, 8), 0.2, dtype=F64, requires_grad=True)
    losses = AnyChoice("negatives", 1.0, temperature)(comparison)
    torch.testing.assert_close(losses.per_anchor, one)
    losses.per_anchor.sum().backward()
    assert temperature.grad is not None
    assert temperature.grad.abs().max() > 0
    colder = torch.full((8, 1), 0.2, dtype=F64)
    colder[3] = 0.1
    each = AnyChoice("negatives", 1.0, colder)(comparison).per_anchor[0]
    torch.testing.assert_close(each[:3], one[0, :3])
    alone = AnyChoice("negatives", 1.0, 0.1)(comparison).per_anchor[0]
    torch.testing.assert_close(each[3], alone[3])
    assert (each[3] - one[0, 3]).abs() > 1e-3


def test_a_constant_positive_is_the_contrastive_term_of_cmim():
    z = normalize(torch.randn(5, 4, dtype=F64, generator=torch.Generator().manual_seed(0)), dim=1)
    others = ~torch.eye(5, dtype=torch.bool)
    mean = log_mask(others, z) - math.log(4)
    terms = Terms(torch.zeros(5, 5, dtype=F64), mean, itself=1.0)
    losses = template_losses(*with_constant_positive(cosine_logits(z, z, 0.5), terms))
    e = (z @ z.T / 0.5).exp()
    expected = -math.log(1) + torch.log((math.exp(2) + (e * others).sum(1) / 4) / math.exp(2))
    torch.testing.assert_close(losses.loss, expected)
    torch.testing.assert_close(losses.ceiling, torch.full((5,), math.log(2), dtype=F64))
    assert losses.counted.all()


def test_blocks_change_neither_value_nor_gradient_nor_bounds(monkeypatch):
    results = []
    for at_once in (2**22, 30):
        monkeypatch.setattr(base, "_AT_ONCE", at_once)
        batch = draw(11, 9, graded=True, ids="shared", seed=3)
        a, c = batch.anchors.requires_grad_(), batch.candidates.requires_grad_()
        losses = AnyChoice("negatives", 1.0)(Comparison.of(a, c, batch.pairs))
        (losses.per_anchor * torch.arange(1.0, 12)).sum().backward()
        results.append((losses.per_anchor.detach(), losses.floor, losses.ceiling, a.grad, c.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_no_product_is_rounded_in_either_direction_whatever_the_process_allows_elsewhere():
    batch = draw(512, dim=64, spread=0.02, missing=False, dtype=torch.float32)  # fewer are not rounded everywhere
    gradients = []
    before = torch.get_float32_matmul_precision()
    for precision in ("highest", "medium"):  # on a CPU with the units for it bfloat16, on a GPU TF32
        z = batch.anchors[:1].clone().requires_grad_()
        losses = AnyChoice("negatives", 1.0)(Comparison.of(z, None, batch.pairs[:1])).per_anchor.sum()
        torch.set_float32_matmul_precision(precision)
        try:
            losses.backward()
        finally:
            torch.set_float32_matmul_precision(before)
        gradients.append(z.grad)
    assert torch.equal(*gradients)


def test_products_have_their_gradient():
    left, right = (torch.randn(n, 4, dtype=F64, requires_grad=True) for n in (3, 5))
    torch.testing.assert_close(products(left, right), left @ right.T)
    assert torch.autograd.gradcheck(products, (left, right))
    assert torch.autograd.gradgradcheck(products, (left, right))


def test_a_vector_without_direction_is_complained_of():
    batch = draw(4, missing=False)
    with pytest.raises(ValueError, match="1 of 12 anchors are zero, the first is row 2 of similarity 1"):
        AnyChoice("all")(
            Comparison.of(
                batch.anchors.index_put((torch.tensor(1), torch.tensor(2)), torch.zeros(6, dtype=F64)),
                None,
                batch.pairs,
            )
        )


def test_distances_have_no_lowest_logit():
    z = torch.randn(4, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    logits = distance_logits(z, z, 2.0)
    torch.testing.assert_close(logits.values, -torch.cdist(z, z) / 2)
    assert logits.highest == 0
    assert logits.lowest == -math.inf
