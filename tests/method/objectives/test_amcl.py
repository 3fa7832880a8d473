"""AMCL: against slow loops of its formula; its bounds; the temperatures that it learns."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from tests.batches import draw
from torch import Tensor
from torch.nn.functional import normalize

from mscon import AMCL, Categorical, Continuous, MSConLoss
from mscon.errors import RecipeError
from mscon.method.comparison import Comparison
from mscon.method.objectives import base

F64 = torch.float64


def prepared(dim: int = 6, seed: int = 0, **settings: float) -> AMCL:
    torch.manual_seed(seed)
    objective = AMCL(**settings)  # type: ignore[arg-type]
    objective.prepare([Categorical("make"), Categorical("type")], dim)
    return objective.double()


def omega(tau: float, dim: int) -> float:
    return dim / 2 * math.log(tau) + 1 / tau


@pytest.mark.parametrize("hardest", [1, 3, 100])
def test_it_is_its_formula_with_one_negative_that_of_the_table(hardest):
    objective = prepared(beta=0.3, hardest=hardest)
    batch = draw(10, seed=2)
    losses = objective(Comparison.of(batch.anchors, None, batch.pairs))
    for space, pairs, row, counted in zip(batch.anchors, batch.pairs, losses.per_anchor, losses.counted, strict=True):
        unit, written = normalize(space, dim=1), pairs.dense()
        phi = objective.phi(unit).detach()
        for i in range(10):
            tau = [0.05 + 1.95 / (1 + math.exp(float(phi[i] @ phi[j]))) for j in range(10)]
            s = [float(unit[i] @ unit[j]) for j in range(10)]
            alike = [j for j in range(10) if written.known[i, j] and written.weight[i, j] > 0]
            unlike = [j for j in range(10) if written.known[i, j] and written.weight[i, j] == 0]
            assert bool(counted[i]) == bool(alike and unlike)
            if not (alike and unlike):
                assert row[i] == 0
                continue
            hard = sorted(unlike, key=lambda j: s[j] / tau[j])[-hardest:]
            expected = sum(-s[p] / tau[p] + 0.3 * omega(tau[p], 6) for p in alike) / len(alike)
            expected += sum(s[n] / tau[n] - 0.3 * omega(tau[n], 6) for n in hard) / len(hard)
            assert row[i].item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("settings", [{"beta": 0.1}, {"beta": 3.0, "lowest": 1e-5}, {"beta": 1.0, "highest": 0.5}])
def test_no_cosines_and_temperatures_get_below_the_floor(settings):
    objective = AMCL(**settings)
    floor, dim, beta = objective._floor(6), 6, objective.beta
    steps = torch.linspace(math.log(objective.lowest), math.log(objective.highest), 60, dtype=F64).exp().tolist()
    losses = [-1 / a + beta * omega(a, dim) - 1 / b - beta * omega(b, dim) for a, b in itertools.product(steps, steps)]
    assert floor <= min(losses) + 1e-9 * abs(floor)
    assert min(losses) == pytest.approx(floor, rel=0.02)


def test_embeddings_that_coincide_have_loss_0_and_blocks_are_the_same(monkeypatch):
    objective, batch = prepared(), draw(10, seed=2)
    alike = objective(Comparison.of(torch.ones_like(batch.anchors), None, batch.pairs))
    torch.testing.assert_close(alike.per_anchor, torch.zeros_like(alike.per_anchor))
    torch.testing.assert_close(alike.ceiling, torch.zeros_like(alike.ceiling))
    whole = objective(Comparison.of(batch.anchors, None, batch.pairs)).per_anchor

    def gradients(losses: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(losses.sum(), [*objective.parameters()]))

    expected = gradients(whole)
    monkeypatch.setattr(base, "_AT_ONCE", 30)
    blocks = objective(Comparison.of(batch.anchors, None, batch.pairs)).per_anchor
    torch.testing.assert_close(blocks, whole)
    torch.testing.assert_close(gradients(blocks), expected)


def test_temperatures_learn_and_refusals_say_what_would_do():
    criterion = MSConLoss(["make", "type"], objective="amcl", dim=5)
    before = [p.detach().clone() for p in criterion.parameters()]
    optimiser = torch.optim.SGD(criterion.parameters(), lr=0.1)
    z = torch.randn(2, 8, 5)
    criterion(z, torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 0, 1, 0, 1]]).T).backward()
    optimiser.step()
    assert any((p != old).any() for p, old in zip(criterion.parameters(), before, strict=True))
    assert not prepared()(Comparison.of(torch.zeros(1, 0, 6, dtype=F64), None, [draw(0).pairs[0]])).counted.any()
    with pytest.raises(ValueError, match="AMCL learns weights of its own: give dim="):
        MSConLoss(["make"], objective="amcl")
    with pytest.raises(RecipeError, match=r"'amcl' compares with rows that are not alike in anything.*'sincere'"):
        MSConLoss([Continuous("price", width=1.0)], objective="amcl", dim=5)
    with pytest.raises(ValueError, match="highest must be finite and above lowest"):
        AMCL(lowest=3.0)
    with pytest.raises(ValueError, match="hardest and hidden must be at least 1, got 0 and 128"):
        AMCL(hardest=0)
