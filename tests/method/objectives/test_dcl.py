"""DCL and DCLW: against their formulas; what is decoupled; weights over several blocks and processes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.batches import draw
from torch import Tensor
from torch.nn.functional import normalize

from mscon.method.comparison import Comparison
from mscon.method.objectives import base
from mscon.method.objectives.dcl import DCL
from mscon.method.objectives.supcon import SupCon
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

F64 = torch.float64


def two_views(rows: int, seed: int = 0) -> tuple[Tensor, list[LazyPairs]]:
    z = torch.randn(1, 2 * rows, 4, dtype=F64, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    codes, ids = torch.arange(rows).repeat(2), torch.arange(2 * rows)
    return z, [LazyPairs(same_class, codes, codes, ids, ids, is_partition=True)]


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_on_two_views_it_is_the_formula_of_the_paper(sigma):
    z, pairs = two_views(5)
    losses = DCL(0.2, sigma)(Comparison.of(z, None, pairs)).per_anchor[0]
    unit = normalize(z[0], dim=1).detach()
    near = (unit * unit.roll(5, 0)).sum(dim=1)
    omega = torch.ones(10, dtype=F64) if sigma is None else 2 - 10 * (near / sigma).softmax(0)
    for i in range(10):
        others = [j for j in range(10) if j % 5 != i % 5]  # both samples of the anchor's own row are left out
        expected = -omega[i] * near[i] / 0.2 + (unit[i] @ unit[others].T / 0.2).logsumexp(0)
        torch.testing.assert_close(losses[i], expected)


@pytest.mark.parametrize("graded", [False, True])
def test_without_sigma_it_is_a_decoupled_supcon(graded):
    batch = draw(10, 7, graded=graded, seed=6)
    comparison = Comparison.of(batch.anchors, batch.candidates, batch.pairs)
    one, other = DCL(0.3)(comparison), SupCon(0.3, denominator="negatives")(comparison)
    for name in ("per_anchor", "counted", "floor", "ceiling"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_what_a_positive_pulls_does_not_shrink_as_it_gets_near(sigma):
    """NT-Xent's gradient is scaled by 1 - q, which is nearly 0 once positives are near; here the coupling is gone."""
    z, pairs = two_views(4)
    unit = normalize(z.detach(), dim=2)
    unit[0, 4:] = normalize(unit[0, :4] + 1e-3 * unit[0, 4:], dim=1)
    unit.requires_grad_()
    DCL(0.1, sigma)(Comparison.of(unit, None, pairs)).per_anchor.sum().backward()
    coupled = unit.detach().clone().requires_grad_()
    SupCon(0.1)(Comparison.of(coupled, None, pairs)).per_anchor.sum().backward()
    assert unit.grad is not None
    assert coupled.grad is not None
    assert unit.grad.norm() > 1.5 * coupled.grad.norm()


def test_weights_are_of_the_whole_batch_whether_in_blocks_or_not(monkeypatch):
    results = []
    for at_once in (2**22, 40):
        monkeypatch.setattr(base, "_AT_ONCE", at_once)
        batch = draw(12, graded=True, seed=7)
        z = batch.anchors.requires_grad_()
        losses = DCL(0.2, 0.5)(Comparison.of(z, None, batch.pairs))
        losses.per_anchor.sum().backward()
        results.append((losses.per_anchor.detach(), z.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_weights_are_of_the_anchors_of_all_processes():
    """Two processes, one after the other: what each tells of its anchors is exchanged beforehand."""
    z, (pairs,) = two_views(6, seed=2)
    whole = DCL(0.2, 0.5)(Comparison.of(z, None, [pairs])).per_anchor
    parts = (slice(0, 5), slice(5, 12))
    sums: list[Tensor] = []
    for is_known in (False, True):
        for number, rows in enumerate(parts):

            def exchange(numbers: Tensor, is_known: bool = is_known) -> Tensor:
                if not is_known:
                    sums.append(numbers)
                return torch.cat(sums, dim=2) if is_known else numbers.new_zeros(2, 1, 12)

            part = replace(pairs, anchors=pairs.anchors[rows], anchor_ids=pairs.anchor_ids[rows], exchange=exchange)
            losses = DCL(0.2, 0.5)(Comparison.of(z[:, rows], z, [part])).per_anchor
            if is_known:
                torch.testing.assert_close(losses, whole[:, rows], msg=f"process {number}")


def test_the_mean_of_dclw_is_not_below_its_floor():
    for seed in range(8):
        z, pairs = two_views(5, seed)
        losses = DCL(0.1, 0.05 + 0.1 * seed)(Comparison.of(z, None, pairs))
        assert losses.per_anchor.mean() >= losses.floor
    z, pairs = two_views(5)
    losses = DCL(0.1, 0.5)(Comparison.of(torch.ones_like(z), None, pairs))
    torch.testing.assert_close(losses.per_anchor.mean(1), losses.ceiling.to(F64))


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_a_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma must be positive"):
        DCL(sigma=sigma)
