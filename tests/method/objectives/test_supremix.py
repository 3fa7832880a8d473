"""SupReMix: against every mixture written out; its limits; what it refuses. And y-aware InfoNCE, which is `supcon`."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mscon import Continuous, MSConLoss, SupCon, SupReMix
from mscon.errors import RecipeError
from mscon.method.comparison import Comparison
from mscon.method.mixtures import mixed_cosines, mixing_share
from mscon.method.objectives import base, supremix
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

F64 = torch.float64
NUMBERS = torch.tensor([0.0, 0.0, 1.0, 2.5, 1.0, math.nan, -1.0, 1.5])


def embedded(rows: int = len(NUMBERS)) -> Tensor:
    return torch.randn(1, rows, 5, dtype=F64, generator=torch.Generator().manual_seed(0))


def pairs(codes: Tensor = NUMBERS) -> list[LazyPairs]:
    ids = torch.arange(len(codes))
    return [LazyPairs(Continuous("size", width=1.0).compare, codes, codes, ids, ids, is_partition=False)]


def loops(z: Tensor, y: list[float], temperature: float, window: float, share: float, weigh: bool) -> list[float]:
    u, rows = normalize(z, dim=1), [i for i, number in enumerate(y) if not math.isnan(number)]
    losses = []
    for i, number in enumerate(y):
        others = [a for a in rows if a != i]
        candidates = [(u[a], y[a], y[a] == number) for a in others]
        candidates += [
            (share * u[i] + (1 - share) * u[k], share * number + (1 - share) * y[k], False)
            for k in others
            if y[k] != number
        ]
        for j in others:
            for k in others:
                if number - window < y[j] < number < y[k] < number + window:
                    lam = (y[k] - number) / (y[k] - y[j])
                    candidates.append((lam * u[j] + (1 - lam) * u[k], number, True))
        scores = [float(u[i] @ normalize(v, dim=0)) / temperature for v, _, _ in candidates]
        weights = [1 + abs(of - number) if weigh else 1.0 for _, of, _ in candidates]
        alike = [s for s, (_, _, is_alike) in zip(scores, candidates, strict=True) if is_alike]
        if i not in rows or not alike:
            losses.append(0.0)
            continue
        log_sum = math.log(sum(w * math.exp(s) for w, s in zip(weights, scores, strict=True)))
        losses.append(sum(log_sum - s for s in alike) / len(alike))
    return losses


@pytest.mark.parametrize(("window", "weigh"), [(2.0, True), (1.2, False), (9.0, True)])
def test_it_is_its_formula_with_every_mixture_written_out(window, weigh):
    z = embedded()
    objective = SupReMix(0.4, window, distance_weights=weigh).eval()
    losses = objective(Comparison.of(z, None, pairs()))
    expected = torch.tensor([loops(z[0], NUMBERS.tolist(), 0.4, window, 0.2, weigh)], dtype=F64)
    torch.testing.assert_close(losses.per_anchor, expected, rtol=1e-6, atol=1e-6)
    assert losses.counted.tolist() == (expected != 0).tolist()
    assert (losses.per_anchor.sum(1) / losses.counted.sum(1) > losses.floor).all()
    coinciding = objective(Comparison.of(torch.ones_like(z), None, pairs()))
    torch.testing.assert_close(
        coinciding.per_anchor.sum(1) / coinciding.counted.sum(1), losses.ceiling.to(F64), rtol=1e-6, atol=1e-6
    )


def test_without_mixtures_and_weights_it_is_supcon_on_classes_of_equal_numbers():
    z, classes = embedded(), torch.tensor([0, 0, 1, 2, 1, -1, 3, 4])
    plain = SupReMix(0.4, hard_negatives=False, hard_positives=False, distance_weights=False)
    ids = torch.arange(len(classes))
    of_classes = [LazyPairs(same_class, classes, classes, ids, ids, is_partition=True)]
    expected = SupCon(0.4)(Comparison.of(z, None, of_classes))
    actual = plain(Comparison.of(z, None, pairs()))
    torch.testing.assert_close(actual.per_anchor, expected.per_anchor)
    assert expected.floor <= actual.floor  # which knows that cosines are bounded
    torch.testing.assert_close(actual.ceiling, expected.ceiling.to(F64), rtol=1e-6, atol=1e-6)
    near = SupReMix(0.4, tolerance=0.6, hard_negatives=False, hard_positives=False, distance_weights=False)
    alike = near(Comparison.of(z, None, pairs(torch.tensor([0.0, 0.5, 1.0, 5.0, 9.0, 9.2, math.nan, 20.0]))))
    assert alike.counted.tolist() == [[True, True, True, False, True, True, False, False]]


def test_the_share_of_hard_negatives_is_drawn_in_training_and_its_mean_in_evaluation(monkeypatch):
    objective, comparison = SupReMix(0.4), Comparison.of(embedded(), None, pairs())
    torch.manual_seed(0)
    one, other = objective(comparison).per_anchor, objective(comparison).per_anchor
    assert (one != other).any()
    torch.manual_seed(0)
    torch.testing.assert_close(objective(comparison).per_anchor, one)
    objective.eval()
    assert torch.equal(objective(comparison).per_anchor, objective(comparison).per_anchor)
    drawn = mixing_share(2.0, 8.0, torch.empty(4000, dtype=F64), at_random=True)
    assert drawn.mean().item() == pytest.approx(0.2, abs=0.01)
    assert drawn.var().item() == pytest.approx(2 * 8 / (10**2 * 11), rel=0.1)
    monkeypatch.setattr(base, "_AT_ONCE", 24)  # blocks draw others, and backward draws theirs again
    objective.train()
    torch.manual_seed(0)
    z = embedded().requires_grad_()
    loss = objective(Comparison.of(z, None, pairs())).per_anchor.sum()
    (gradient,) = torch.autograd.grad(loss, z)
    step = torch.randn_like(z)

    def moved(by: float) -> Tensor:
        torch.manual_seed(0)
        return objective(Comparison.of(z.detach() + by * step, None, pairs())).per_anchor.sum()

    slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
    assert slope.item() == pytest.approx((gradient * step).sum().item(), rel=1e-4)


def test_blocks_and_gradient(monkeypatch):
    z, objective = embedded().requires_grad_(), SupReMix(0.4).eval()
    whole = objective(Comparison.of(z, None, pairs())).per_anchor.detach()
    monkeypatch.setattr(supremix, "_AT_ONCE", 2)  # some of the mixtures of an anchor
    torch.testing.assert_close(objective(Comparison.of(z, None, pairs())).per_anchor, whole)
    assert torch.autograd.gradcheck(lambda v: objective(Comparison.of(v, None, pairs())).per_anchor, (z,))


def test_a_mixture_has_the_cosine_of_the_vector_that_it_is():
    v, a, b = normalize(embedded(3)[0], dim=1)
    for share in (0.0, 0.3, 1.0):
        mixture = normalize(share * a + (1 - share) * b, dim=0)
        cosine = mixed_cosines(torch.tensor(share, dtype=F64), v @ a, v @ b, a @ b)
        torch.testing.assert_close(cosine, v @ mixture)
    opposite = mixed_cosines(torch.tensor(0.5, dtype=F64), v @ a, v @ -a, a @ -a)
    assert opposite.abs() < 1e-6


def test_it_takes_numbers_only_and_says_what_would_do():
    with pytest.raises(RecipeError, match=r"'supremix' mixes numbers.*'make' is of kind Categorical.*'supcon'"):
        MSConLoss(["make"], objective="supremix")
    for settings, words in (({"window": 0.0}, "window must be positive"), ({"tolerance": -1.0}, "tolerance must be")):
        with pytest.raises(ValueError, match=words):
            SupReMix(**settings)
    criterion = MSConLoss(["make", Continuous("size", width=1.0)], objective={"size": "supremix"})
    z = {name: torch.randn(8, 5, requires_grad=True) for name in ("make", "size")}
    criterion(z, {"make": torch.tensor([0, 0, 1, 1, 2, 2, -1, 0]), "size": NUMBERS}).backward()
    assert all(v.grad is not None and v.grad.abs().max() > 0 for v in z.values())


def test_supcon_on_numbers_is_y_aware_infonce():
    """Dufumier et al. 2021, eq. 2: positives weighted by a Gaussian kernel, weights of an anchor adding up to 1."""
    z, sigma = embedded(), 0.8
    losses = SupCon(0.1)(Comparison.of(z, None, pairs(NUMBERS / sigma)))
    u, y = normalize(z[0], dim=1), NUMBERS.tolist()
    for i, number in enumerate(y):
        others = [] if math.isnan(number) else [a for a, of in enumerate(y) if a != i and not math.isnan(of)]
        kernel = [math.exp(-((y[a] - number) ** 2) / (2 * sigma**2)) for a in others]
        scores = [float(u[i] @ u[a]) / 0.1 for a in others]
        log_sum = math.log(sum(map(math.exp, scores))) if others else 0.0
        expected = sum(w / sum(kernel) * (log_sum - s) for w, s in zip(kernel, scores, strict=True))
        assert losses.per_anchor[0, i].item() == pytest.approx(expected, rel=1e-5)
