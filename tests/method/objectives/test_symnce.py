"""SymNCE: against its formula; positives and negatives exchanged; its bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.batches import draw
from tests.reference import template_loops
from torch.nn.functional import normalize

from mscon.method.comparison import Comparison
from mscon.method.objectives.sincere import SINCERE
from mscon.method.objectives.symnce import SymNCE
from mscon.method.pairs import LazyPairs, Pairs
from mscon.method.similarities.categorical import same_class

F64 = torch.float64


def different(anchors: torch.Tensor, candidates: torch.Tensor) -> Pairs:
    """Alike where classes differ."""
    pairs = same_class(anchors, candidates)
    return Pairs(1 - pairs.weight, pairs.known)


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("reverse", [0.3, 1.0])
def test_it_is_its_formula(graded, reverse):
    batch = draw(11, 9, graded=graded, ids="shared", seed=4)
    losses = SymNCE(0.3, reverse)(Comparison.of(batch.anchors, batch.candidates, batch.pairs))
    for h, (a, c, pairs) in enumerate(zip(batch.anchors, batch.others, batch.pairs, strict=True)):
        dense = pairs.dense()
        weight = torch.where(dense.known, dense.weight, 0.0).double().numpy()
        negative = dense.negative.double().numpy()
        logits = (normalize(a, dim=1) @ normalize(c, dim=1).T / 0.3).numpy()
        ahead = template_loops(logits, weight, negative, itself=1.0)
        back = template_loops(logits, negative, weight, itself=1.0)
        expected = (ahead - reverse * back) * ((weight > 0).any(1) & (negative > 0).any(1))
        np.testing.assert_allclose(losses.per_anchor[h].numpy(), expected, rtol=1e-6, atol=1e-9)


def test_exchanged_labels_change_its_sign():
    """So a label that says nothing adds nothing on average."""
    batch = draw(12, missing=False, seed=1)
    codes, ids = batch.pairs[1].anchors, torch.arange(12)
    ours, exchanged = (
        SymNCE()(Comparison.of(batch.anchors[1:2], None, [LazyPairs(compare, codes, codes, ids, ids, False)]))
        for compare in (same_class, different)
    )
    assert ours.per_anchor.abs().max() > 0.1
    torch.testing.assert_close(exchanged.per_anchor, -ours.per_anchor)


def test_without_the_reverse_it_is_sincere():
    batch = draw(12, seed=1)
    comparison = Comparison.of(batch.anchors, None, batch.pairs)
    one, other = SymNCE(0.2, 0.0)(comparison), SINCERE(0.2)(comparison)
    for name in ("per_anchor", "floor", "ceiling"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name))


def test_its_bounds():
    codes, ids = torch.arange(9) % 2, torch.arange(9)
    pairs = [LazyPairs(same_class, codes, codes, ids, ids, is_partition=True)]
    best = torch.where(codes == 0, 1.0, -1.0).to(F64)[None, :, None]
    losses = SymNCE(0.1)(Comparison.of(best, None, pairs))
    torch.testing.assert_close(losses.per_anchor.mean(1), losses.floor.to(F64))
    losses = SymNCE(0.1)(Comparison.of(torch.ones_like(best), None, pairs))
    torch.testing.assert_close(losses.per_anchor.mean(1), losses.ceiling.to(F64))


def test_a_reverse_must_not_be_negative():
    with pytest.raises(ValueError, match="reverse must be positive"):
        SymNCE(reverse=-1.0)
