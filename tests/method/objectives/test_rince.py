"""RINCE: against its formula, and the losses at both ends of q."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.batches import draw
from tests.reference import template_loops
from torch.nn.functional import normalize

from mscon.method.comparison import Comparison, Losses
from mscon.method.objectives.rince import RINCE
from mscon.method.objectives.sincere import SINCERE
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

F64 = torch.float64


def losses_of(objective: torch.nn.Module, seed: int = 0, **settings: bool) -> Losses:
    batch = draw(10, seed=seed, **settings)
    losses: Losses = objective(Comparison.of(batch.anchors, None, batch.pairs))
    return losses


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize(("q", "lam"), [(0.1, 0.01), (0.5, 1.0), (1.0, 0.5)])
def test_it_is_its_formula(graded, q, lam):
    batch = draw(11, 9, graded=graded, ids="shared", seed=4)
    losses = RINCE(0.3, q, lam)(Comparison.of(batch.anchors, batch.candidates, batch.pairs))

    def of_pair(near: float, denominator: float) -> float:
        return -(math.exp(near) ** q) / q + (lam * denominator) ** q / q

    for h, (a, c, pairs) in enumerate(zip(batch.anchors, batch.others, batch.pairs, strict=True)):
        dense = pairs.dense()
        weight = torch.where(dense.known, dense.weight, 0.0).double().numpy()
        logits = (normalize(a, dim=1) @ normalize(c, dim=1).T / 0.3).numpy()
        expected = template_loops(logits, weight, dense.negative.double().numpy(), itself=1.0, of_pair=of_pair)
        np.testing.assert_allclose(losses.per_anchor[h].numpy(), expected, rtol=1e-6, atol=1e-9)


def test_as_q_vanishes_it_is_info_nce_and_the_log_of_lambda():
    for lam in (0.01, 0.3):
        robust, plain = losses_of(RINCE(0.2, 1e-7, lam)), losses_of(SINCERE(0.2))
        expected = plain.per_anchor + math.log(lam) * plain.counted
        torch.testing.assert_close(robust.per_anchor, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(robust.floor, plain.floor + math.log(lam), rtol=1e-4, atol=1e-4)


def test_at_q_1_pairs_and_their_opposite_add_up_to_a_constant():
    """With lambda 1/2, one positive and one negative: exchanged, the loss changes its sign. So labels that say nothing
    add nothing, which is the symmetry that makes it robust."""
    z = torch.randn(1, 3, 4, dtype=F64, generator=torch.Generator().manual_seed(0))
    ids, losses = torch.arange(3), []
    for labels in ([0, 0, 1], [0, 1, 0]):
        codes = torch.tensor(labels)
        pairs = [LazyPairs(same_class, codes, codes, ids, ids, is_partition=True)]
        losses.append(RINCE(0.5, 1.0, 0.5)(Comparison.of(z, None, pairs)).per_anchor[0, 0])
    assert losses[0].abs() > 1e-3
    torch.testing.assert_close(losses[0], -losses[1])


def test_the_larger_q_the_less_do_far_positives_pull():
    shares = []
    for q in (1e-6, 0.1, 0.5):
        positives = torch.tensor([0.9, -0.5], dtype=F64, requires_grad=True)  # one near, one far, as a wrong label is
        near, denominator = positives / 0.2, torch.logaddexp(positives / 0.2, torch.tensor(3.0, dtype=F64))
        RINCE(0.2, q, 0.01)._of_pair(near, denominator).sum().backward()
        assert positives.grad is not None
        shares.append((positives.grad[1] / positives.grad.sum()).item())
    assert shares[0] > shares[1] > shares[2]


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_its_bounds(temperature):
    codes, ids = torch.arange(8) % 2, torch.arange(8)
    pairs = [LazyPairs(same_class, codes, codes, ids, ids, is_partition=True)]
    best = torch.where(codes == 0, 1.0, -1.0).to(F64)[None, :, None]
    losses = RINCE(temperature)(Comparison.of(best, None, pairs))
    torch.testing.assert_close(losses.per_anchor.mean(1), losses.floor.to(F64))
    losses = RINCE(temperature)(Comparison.of(torch.ones_like(best), None, pairs))
    torch.testing.assert_close(losses.per_anchor.mean(1), losses.ceiling.to(F64))
    assert losses.ceiling > losses.floor


def test_settings_that_cannot_be_meant():
    for settings, words in [
        ({"q": 0.0}, "q must be positive"),
        ({"q": 1.5}, "q must be at most 1, got 1.5"),
        ({"lam": 2.0}, "lam must be at most 1, got 2.0"),
        ({"q": 1.0, "temperature": 0.01}, "q / temperature must be at most 40, got 100"),
    ]:
        with pytest.raises(ValueError, match=words):
            RINCE(**settings)
