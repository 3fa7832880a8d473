"""Core-tuning: against slow loops with its mixtures; the faults of its code that it does not have; its limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from mscon import Categorical, Continuous, CoreTuning, MSConLoss, SupCon
from mscon.errors import RecipeError
from mscon.method.comparison import Comparison
from mscon.method.objectives import base, core_tuning
from mscon.method.objectives.core_tuning import focal
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class
from mscon.method.template import log_ratio

F64 = torch.float64
CLASSES = torch.tensor([0, 0, 1, 0, 1, 2, -1, 0])


def embedded() -> Tensor:
    # All cosines are above 0, where the code's hardest positive would be a row of another class.
    return torch.rand(1, len(CLASSES), 5, dtype=F64, generator=torch.Generator().manual_seed(0))


def pairs(classes: Tensor = CLASSES) -> list[LazyPairs]:
    ids = torch.arange(len(classes))
    return [LazyPairs(same_class, classes, classes, ids, ids, is_partition=True)]


def prepared(**settings: float) -> CoreTuning:
    torch.manual_seed(0)
    objective = CoreTuning(**settings)
    objective.prepare([Categorical("make", 3)], 5)
    return objective.double()


def entropy(objective: CoreTuning, vector: Tensor, label: int) -> float:
    return float(cross_entropy(objective.classifiers[0](vector)[None], torch.tensor([label])).detach())


def test_in_evaluation_it_is_its_formula_with_fixed_mixtures(monkeypatch):
    objective, z = prepared(temperature=0.3, eta=0.7).eval(), embedded()
    losses = objective(Comparison.of(z, None, pairs()))
    unit, labels = normalize(z[0], dim=1), CLASSES.tolist()
    for i, label in enumerate(labels):
        if label < 0:
            assert losses.per_anchor[0, i] == 0
            continue
        others = [a for a in range(len(labels)) if a != i and labels[a] >= 0]
        alike, unlike = ([a for a in others if (labels[a] == label) == same] for same in (True, False))
        far = min(alike, key=lambda a: float(unit[i] @ unit[a]), default=None)
        near = max(unlike, key=lambda a: float(unit[i] @ unit[a]))
        hard_negative = 0.8 * z[0, near] + 0.2 * z[0, i]
        entropies = [
            entropy(objective, z[0, i], label),
            0.8 * entropy(objective, hard_negative, labels[near]) + 0.2 * entropy(objective, hard_negative, label),
        ]
        cosines = {a: float(unit[i] @ unit[a]) for a in others}
        cosines["negative"] = float(unit[i] @ normalize(hard_negative, dim=0))
        positives = list(alike)
        if far is not None:
            hard_positive = 0.5 * z[0, far] + 0.5 * z[0, near]
            entropies.append(
                0.5 * entropy(objective, hard_positive, label) + 0.5 * entropy(objective, hard_positive, labels[near])
            )
            cosines["positive"] = float(unit[i] @ normalize(hard_positive, dim=0))
            positives.append("positive")
        total = sum(math.exp(c / 0.3) for c in cosines.values())
        shares = [math.exp(cosines[p] / 0.3) / total for p in positives]
        contrast = sum(-(1 - q) * math.log(q) for q in shares) / len(shares) if shares else 0.0
        expected = sum(entropies) / len(entropies) + 0.7 * contrast
        assert losses.per_anchor[0, i].item() == pytest.approx(expected)
        is_correct = int(objective.classifiers[0](z[0, i]).argmax()) == label
        assert bool(losses.correct[0, i]) == is_correct
    monkeypatch.setattr(base, "_AT_ONCE", 20)
    torch.testing.assert_close(objective(Comparison.of(z, None, pairs())).per_anchor, losses.per_anchor)
    alone = objective(Comparison.of(torch.ones_like(z), None, pairs()))
    assert (losses.per_anchor.sum() / losses.counted.sum() >= losses.floor).all()
    zeros = prepared(temperature=0.3, eta=0.7).eval()
    torch.nn.init.zeros_(zeros.classifiers[0].weight)
    alone = zeros(Comparison.of(torch.ones_like(z), None, pairs()))
    mean = alone.per_anchor.sum(1) / alone.counted.sum(1)
    torch.testing.assert_close(mean, alone.ceiling, rtol=1e-6, atol=1e-6)


def test_without_focus_and_mixtures_its_contrast_is_supcon(monkeypatch):
    monkeypatch.setattr(core_tuning, "focal", log_ratio)
    objective, z = prepared(temperature=0.3), embedded()
    one = Comparison.of(z, None, pairs())
    block_losses = []
    original = objective._mixtures

    def none(*arguments):
        return [mixture._replace(exists=torch.zeros_like(mixture.exists)) for mixture in original(*arguments)]

    monkeypatch.setattr(objective, "_mixtures", none)
    contrast = objective._contrast
    monkeypatch.setattr(objective, "_contrast", lambda *a: block_losses.append(contrast(*a)) or block_losses[-1])
    losses = objective(one)
    expected = SupCon(0.3)(one)
    torch.testing.assert_close(block_losses[0].loss, expected.per_anchor[0])
    plain = cross_entropy(objective.classifiers[0](z[0]), CLASSES, ignore_index=-1, reduction="none")
    torch.testing.assert_close(losses.per_anchor[0], plain + expected.per_anchor[0])


def test_mixtures_are_drawn_in_training_hard_negatives_of_negatives_with_a_large_share():
    objective, z = prepared(), embedded()
    comparison = Comparison.of(z, None, pairs())
    mixtures = []
    original = objective._mixtures
    objective._mixtures = lambda *a: mixtures.append(original(*a)) or mixtures[-1]  # type: ignore[method-assign,func-returns-value]
    torch.manual_seed(1)
    first = objective(comparison).per_anchor
    for _ in range(60):
        objective(comparison)
    shares = torch.stack([hard_negative.share for _, hard_negative in mixtures])
    assert shares.min() >= 0.8
    assert (shares == 0.8).double().mean().item() == pytest.approx(0.8, abs=0.08)  # of a uniform draw
    labelled = CLASSES >= 0
    partners = torch.stack([hard_negative.first for _, hard_negative in mixtures])[:, labelled]
    assert not (partners == CLASSES[labelled]).any()
    assert len(set(partners[:, 0].tolist())) == 2
    torch.manual_seed(1)
    torch.testing.assert_close(objective(comparison).per_anchor, first)


def test_a_positive_that_is_near_already_has_little_loss():
    near, log_sum = torch.tensor([0.0, -3.0], dtype=F64), torch.tensor([0.01, 0.01], dtype=F64)
    surprise = log_sum - near
    torch.testing.assert_close(focal(near, log_sum), (1 - (-surprise).exp()) * surprise)
    assert torch.autograd.gradcheck(focal, (near.requires_grad_(), log_sum.requires_grad_()))


def test_a_batch_of_one_class_or_one_row_has_no_mixtures_and_no_nan():
    objective = prepared()
    for classes in (torch.zeros(4, dtype=torch.int64), torch.tensor([0, -1, -1, -1])):
        z = embedded()[:, :4].requires_grad_()
        losses = objective(Comparison.of(z, None, pairs(classes)))
        (gradient,) = torch.autograd.grad(losses.per_anchor.sum(), z)
        assert losses.per_anchor.isfinite().all()
        assert gradient.isfinite().all()


def test_it_trains_and_refuses_what_has_no_classes():
    criterion = MSConLoss([Categorical("make", 3)], objective="core_tuning", dim=5)
    z = torch.randn(1, 8, 5, requires_grad=True)
    criterion(z, CLASSES[:, None]).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in (z, *criterion.parameters()))
    with pytest.raises(RecipeError, match="'core_tuning' needs classes, but similarity 'price' is of kind Continuous"):
        MSConLoss([Continuous("price", width=1.0)], objective="core_tuning", dim=5)
