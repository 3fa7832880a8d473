"""SimLAP: against slow loops of its formula; its gates; whom it draws as partners; what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from mscon import SINCERE, Categorical, Continuous, MSConLoss, SimLAP
from mscon.errors import RecipeError
from mscon.method.comparison import Comparison
from mscon.method.objectives import base
from mscon.method.objectives.simlap import Gate
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

F64 = torch.float64
CLASSES = torch.tensor([0, 0, 1, 3, 1, 3, -1, 4])


def embedded() -> torch.Tensor:
    return torch.randn(1, len(CLASSES), 5, dtype=F64, generator=torch.Generator().manual_seed(0))


def pairs() -> list[LazyPairs]:
    ids = torch.arange(len(CLASSES))
    return [LazyPairs(same_class, CLASSES, CLASSES, ids, ids, is_partition=True)]


def prepared(partners: str = "arbitrary") -> SimLAP:
    torch.manual_seed(0)
    objective = SimLAP(0.3, partners, embedding=6, hidden=7)  # type: ignore[arg-type]
    objective.prepare([Categorical("make", 5)], 5)
    return objective.double()


@pytest.mark.parametrize(
    ("partners", "expected_partner"),
    [("identical", {}), ("arbitrary", {}), ("distinct", {0: 1, 1: 3, 3: 4, 4: 0})],
)
def test_in_evaluation_it_is_its_formula_with_fixed_partners(partners, expected_partner, monkeypatch):
    objective, z = prepared(partners).eval(), embedded()
    losses = objective(Comparison.of(z, None, pairs()))
    labels = CLASSES.tolist()
    for i, label in enumerate(labels):
        partner = expected_partner.get(label, label)
        others = [a for a in range(len(labels)) if a != i and labels[a] >= 0]
        positives = [a for a in others if labels[a] == partner]
        negatives = [a for a in others if labels[a] not in (label, partner)]
        if label < 0 or not positives:
            assert losses.per_anchor[0, i] == 0
            assert not losses.counted[0, i]
            continue
        gate = objective.gates[0](torch.tensor([label]), torch.tensor([partner]))[0].detach()
        gated = normalize(gate * normalize(z[0], dim=1), dim=1)
        s = [float(gated[i] @ gated[a]) / 0.3 for a in range(len(labels))]
        against = sum(math.exp(s[a]) for a in negatives)
        expected = sum(math.log(math.exp(s[p]) + against) - s[p] for p in positives) / len(positives)
        assert losses.per_anchor[0, i].item() == pytest.approx(expected)
    monkeypatch.setattr(base, "_AT_ONCE", 20)
    torch.testing.assert_close(objective(Comparison.of(z, None, pairs())).per_anchor, losses.per_anchor)


def test_with_a_gate_that_lets_all_through_and_identical_partners_it_is_sincere():
    objective = prepared("identical")
    torch.nn.init.zeros_(objective.gates[0].network[-1].weight)
    torch.nn.init.zeros_(objective.gates[0].network[-1].bias)
    comparison = Comparison.of(embedded(), None, pairs())
    one, other = objective(comparison), SINCERE(0.3)(comparison)
    for field in ("per_anchor", "counted", "floor", "ceiling"):
        torch.testing.assert_close(getattr(one, field), getattr(other, field))


def test_in_training_partners_are_drawn_as_often_as_candidates_have_their_class():
    objective = prepared("arbitrary")
    blocks = []
    objective._losses_of = lambda block: (
        blocks.append(block)
        or base.AnchorLosses(  # type: ignore[method-assign,func-returns-value]
            block.anchors[:, 0], block.anchors[:, 0] > 0
        )
    )
    objective(Comparison.of(embedded(), None, pairs()))
    drawn = torch.stack([objective._partners(blocks[0]) for _ in range(2000)])
    assert sorted(set(drawn[:, 0].tolist())) == [0, 1, 3, 4]
    share = (drawn[:, 0] == 1).double().mean().item()
    assert share == pytest.approx(2 / 6, abs=0.04)  # two of the six labelled candidates of the first row
    objective.partners = "distinct"
    drawn = torch.stack([objective._partners(blocks[0]) for _ in range(200)])
    assert not (drawn[:, :6] == CLASSES[:6]).any()
    assert (drawn[:, 6] == -1).all()
    objective.partners = "identical"
    assert torch.equal(objective._partners(blocks[0]), CLASSES)


def test_a_gate_does_not_depend_on_the_order_of_its_classes_nor_on_the_batch():
    gate = Gate(4, 6, 7, 5)
    one, other = torch.tensor([0, 1, 2]), torch.tensor([3, 1, 0])
    torch.testing.assert_close(gate(one, other), gate(other, one))
    torch.testing.assert_close(gate(one, other)[:1], gate(one[:1], other[:1]))
    assert ((gate(one, other) > 0) & (gate(one, other) < 1)).all()


def test_it_learns_its_gates_and_refuses_what_has_no_classes_or_too_few():
    criterion = MSConLoss([Categorical("make", 4)], objective="simlap", dim=5, embedding=6, hidden=7)
    z = torch.randn(1, 12, 5, requires_grad=True)
    criterion(z, torch.arange(12)[:, None] % 4).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in (z, *criterion.parameters()))
    with pytest.raises(RecipeError, match="'simlap' needs classes, but similarity 'price' is of kind Continuous"):
        MSConLoss([Continuous("price", width=1.0)], objective="simlap", dim=5)
    with pytest.raises(RecipeError, match="needs to know how many classes similarity 'make' has"):
        MSConLoss(["make"], objective="simlap", dim=5)
    with pytest.raises(RecipeError, match=r"needs a third class.*'make' has 2\. Set partners = \"arbitrary\""):
        MSConLoss([Categorical("make", 2)], objective="simlap", dim=5, partners="distinct")


@pytest.mark.usefixtures("as_users_run_it")
def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(ValueError, match="partners must be 'arbitrary' or 'identical' or 'distinct', got 'some'"):
        SimLAP(partners="some")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="embedding and hidden must be at least 1, got 0 and 1024"):
        SimLAP(embedding=0)
