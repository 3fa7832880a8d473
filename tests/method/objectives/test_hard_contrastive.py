"""The hard contrastive loss: against its formula; its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.batches import draw
from tests.reference import template_loops
from torch.nn.functional import normalize

from mscon.method.comparison import Comparison
from mscon.method.objectives.hard_contrastive import HardContrastive
from mscon.method.objectives.sincere import SINCERE

F64 = torch.float64


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("hardest", [0.01, 0.4, 1.0])
def test_it_is_its_formula(graded, hardest):
    batch = draw(11, 9, graded=graded, ids="shared", seed=4)
    losses = HardContrastive(0.3, hardest)(Comparison.of(batch.anchors, batch.candidates, batch.pairs))
    for h, (a, c, pairs) in enumerate(zip(batch.anchors, batch.others, batch.pairs, strict=True)):
        dense = pairs.dense()
        weight = torch.where(dense.known, dense.weight, 0.0).double().numpy()
        logits = (normalize(a, dim=1) @ normalize(c, dim=1).T / 0.3).numpy()
        hard = np.zeros_like(logits)
        for i in range(len(logits)):
            negatives = sorted(np.flatnonzero(dense.negative[i].numpy()), key=lambda j, i=i: -logits[i, j])
            hard[i, negatives[: math.ceil(hardest * len(negatives))]] = 1.0
        expected = template_loops(logits, weight, hard, itself=1.0)
        np.testing.assert_allclose(losses.per_anchor[h].numpy(), expected, rtol=1e-6, atol=1e-9)


def test_with_all_negatives_it_is_sincere():
    batch = draw(12, seed=1)
    comparison = Comparison.of(batch.anchors, None, batch.pairs)
    one, other = HardContrastive(0.2, 1.0)(comparison), SINCERE(0.2)(comparison)
    for name in ("per_anchor", "counted", "floor", "ceiling"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name))


def test_fewer_negatives_push_the_nearest_more_and_the_others_not_at_all():
    batch = draw(12, missing=False, seed=2)
    z = batch.anchors[1:2].clone().requires_grad_()
    comparison = Comparison.of(z, None, batch.pairs[1:2])
    (gradient,) = torch.autograd.grad(HardContrastive(0.2, 1e-6)(comparison).per_anchor[0, 0], z)
    pushed = (gradient[0].norm(dim=1) > 0).nonzero().squeeze(1).tolist()
    pairs = batch.pairs[1].dense()
    cosines = (z[0, 0] @ z[0].T).detach()
    nearest = int(cosines.masked_fill(~pairs.negative[0], -torch.inf).argmax())
    alike = ((pairs.weight[0] > 0) & pairs.known[0]).nonzero().squeeze(1).tolist()
    assert pushed == sorted([0, nearest, *alike])


@pytest.mark.parametrize("hardest", [0.0, 1.5])
def test_a_share_that_is_none_is_refused(hardest):
    with pytest.raises(ValueError, match="hardest"):
        HardContrastive(hardest=hardest)
