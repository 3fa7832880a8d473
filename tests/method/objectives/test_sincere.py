"""SINCERE: against its formula, the authors' numbers, and what it is without further positives."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.batches import draw
from tests.reference import template_loops
from torch.nn.functional import cross_entropy, normalize

from mscon import MSConLoss
from mscon.method.comparison import Comparison
from mscon.method.objectives.sincere import SINCERE
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

F64 = torch.float64


def classes(codes: torch.Tensor) -> LazyPairs:
    ids = torch.arange(len(codes))
    return LazyPairs(same_class, codes, codes, ids, ids, is_partition=True)


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("candidates", [None, 9])
def test_it_is_its_formula(graded, candidates):
    batch = draw(11, candidates, graded=graded, ids="row", seed=4)
    losses = SINCERE(0.3)(Comparison.of(batch.anchors, batch.candidates, batch.pairs))
    for h, (a, c, pairs) in enumerate(zip(batch.anchors, batch.others, batch.pairs, strict=True)):
        dense = pairs.dense()
        weight = torch.where(dense.known, dense.weight, 0.0).double().numpy()
        logits = (normalize(a, dim=1) @ normalize(c, dim=1).T / 0.3).numpy()
        expected = template_loops(logits, weight, dense.known.double().numpy(), weight, itself=1.0)
        np.testing.assert_allclose(losses.per_anchor[h].numpy(), expected, rtol=1e-6, atol=1e-9)


def test_it_agrees_with_the_code_of_its_authors():
    # tufts-ml/SupContrast, revised_losses.py at f307724: each anchor here has a positive and a negative.
    z = normalize(torch.arange(24, dtype=F64).reshape(6, 4).cos(), dim=1)
    losses = SINCERE(0.07)(Comparison.of(z[None], None, [classes(torch.tensor([0, 0, 1, 1, 1, 0]))]))
    torch.testing.assert_close(losses.per_anchor.mean(), torch.tensor(18.333506890484863, dtype=F64))


def test_with_one_positive_it_is_nt_xent():
    z = torch.randn(8, 5, dtype=F64, generator=torch.Generator().manual_seed(1))
    losses = SINCERE(0.5)(Comparison.of(z[None], None, [classes(torch.arange(8) % 4)]))
    logits = (normalize(z, dim=1) @ normalize(z, dim=1).T / 0.5).fill_diagonal_(-torch.inf)
    expected = cross_entropy(logits, (torch.arange(8) + 4) % 8, reduction="none")
    torch.testing.assert_close(losses.per_anchor[0], expected)


@pytest.mark.parametrize("number", [2, 4, 26])
def test_its_floor_does_not_count_classes(number):
    codes = torch.arange(104) % number
    z = torch.eye(number, dtype=F64)[codes] - 1 / number  # a regular simplex: as far apart as classes can be
    losses = SINCERE(0.1)(Comparison.of(z[None], None, [classes(codes)]))
    floor, loss = losses.floor.item(), losses.per_anchor.mean().item()
    assert 0 <= floor <= loss < 5e-3
    others = 104 - 104 // number
    assert floor == pytest.approx(math.log1p(others * math.exp(-20)), rel=1e-5)
    assert losses.ceiling.item() == pytest.approx(math.log1p(others), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 0.01])
def test_many_rows_give_what_few_and_the_template_give(temperature):
    """700 rows of two columns in tiles, or by a running maximum, and of numbers by the template."""
    batch = draw(700, ids="row", seed=5, dtype=torch.float32)
    graded = draw(700, graded=True, ids="row", seed=5, dtype=torch.float32)
    pairs = [batch.pairs[0], graded.pairs[1], batch.pairs[2]]
    z = batch.anchors.requires_grad_()
    losses = SINCERE(temperature)(Comparison.of(z, None, pairs))
    written_out = SINCERE(temperature)(Comparison.of(z, None, [replace(p, is_partition=False) for p in pairs]))
    for name in ("per_anchor", "floor", "ceiling"):
        torch.testing.assert_close(getattr(losses, name), getattr(written_out, name), rtol=2e-4, atol=2e-4)
    ours, others = (torch.autograd.grad(each.per_anchor.mean(), z)[0] for each in (losses, written_out))
    torch.testing.assert_close(ours, others, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(losses.counted, written_out.counted)


def test_an_anchor_without_a_negative_has_nothing_to_learn_and_does_not_count():
    z = torch.randn(1, 4, 3, dtype=F64, requires_grad=True)
    losses = SINCERE()(Comparison.of(z, None, [classes(torch.zeros(4, dtype=torch.int64))]))
    losses.per_anchor.sum().backward()
    assert not losses.counted.any()
    assert (losses.per_anchor == 0).all()
    assert z.grad is not None
    assert (z.grad == 0).all()


def test_relative_weights_see_what_is_learned_whatever_the_number_of_classes():
    """Two columns of 2 and 20 classes, both learned, get equal weights; one at chance gets the least."""
    codes = torch.arange(80)
    labels = {"two": codes % 2, "twenty": codes % 20, "noise": torch.randperm(80) % 4}
    spaces = {name: torch.eye(80)[values] for name, values in labels.items()}
    spaces["noise"] = torch.randn(80, 80, generator=torch.Generator().manual_seed(0))
    criterion = MSConLoss(list(labels), objective="sincere", weighting="relative")
    for _ in range(100):
        criterion(spaces, labels)
    weights = {similarity.name: similarity.weight for similarity in criterion.summary()}
    assert weights["two"] == pytest.approx(weights["twenty"], rel=0.05)
    assert weights["noise"] < weights["two"] / 3
