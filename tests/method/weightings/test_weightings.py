"""Weightings: what each is at rest. What all keep to is in tests/contracts."""

from __future__ import annotations

import math

import pytest
import torch

from mscon.method.weightings.base import BatchLosses, LabelledProjections, ScaledWeighting, relative_excess
from mscon.method.weightings.equal import Equal
from mscon.method.weightings.exact import Exact
from mscon.method.weightings.relative import Relative
from mscon.method.weightings.uncertainty import Uncertainty

FLOORS, CEILINGS = torch.tensor([4.14, 1.37]), torch.tensor([4.84, 4.84])
BOTH = torch.tensor([6.0, 4.0])


def test_uncertainty_comes_to_rest_where_variance_is_the_loss():
    weighting = Uncertainty(2)
    losses = torch.tensor([4.0, 0.5])
    optimiser = torch.optim.SGD(weighting.parameters(), lr=0.1)
    for _ in range(2_000):
        optimiser.zero_grad()
        weighting(BatchLosses(losses, FLOORS, CEILINGS, BOTH)).total.backward()
        optimiser.step()
    torch.testing.assert_close(weighting.log_variance.exp(), losses, rtol=1e-3, atol=0)


def test_uncertainty_is_equation_seven():
    weighting = Uncertainty(2)
    with torch.no_grad():
        weighting.log_variance.copy_(torch.tensor([0.3, -0.7]))
    losses = torch.tensor([2.0, 1.0])
    sigma = (weighting.log_variance / 2).exp()
    expected = (losses / sigma**2 + 2 * sigma.log()).sum()
    torch.testing.assert_close(weighting(BatchLosses(losses, FLOORS, CEILINGS, BOTH)).total, expected)


def test_normalised_weights_sum_to_the_number_of_similarities_and_leave_the_variances_alone():
    plain, scaled = Uncertainty(2), Uncertainty(2, normalise=True)
    gradients = []
    for weighting in (plain, scaled):
        with torch.no_grad():
            weighting.log_variance.copy_(torch.tensor([1.3, 0.7]))
        losses = torch.tensor([2.0, 1.0], requires_grad=True)
        weighted = weighting(BatchLosses(losses, FLOORS, CEILINGS, BOTH))
        weighted.total.backward()
        gradients.append((weighted.total, weighting.log_variance.grad, losses.grad, weighted.weights))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    torch.testing.assert_close(gradients[0][1], gradients[1][1])
    torch.testing.assert_close(gradients[1][2].sum(), torch.tensor(2.0))
    torch.testing.assert_close(gradients[1][2], gradients[1][3])
    torch.testing.assert_close(gradients[1][2] / gradients[1][2].sum(), gradients[0][2] / gradients[0][2].sum())


def test_relative_gives_two_learnt_columns_the_same_weight_whatever_their_classes():
    weighting = Relative(2)
    for _ in range(200):
        weights = weighting(BatchLosses(FLOORS, FLOORS, CEILINGS, BOTH)).weights
    torch.testing.assert_close(weights, torch.ones(2))


def test_relative_turns_noise_down_to_its_cap_and_not_below():
    weighting = Relative(2, softening=0.1)
    losses = torch.stack([FLOORS[0], CEILINGS[1]])
    for _ in range(400):
        weights = weighting(BatchLosses(losses, FLOORS, CEILINGS, BOTH)).weights
    torch.testing.assert_close(weights[0] / weights[1], torch.tensor(11.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(weights.sum(), torch.tensor(2.0))


def test_relative_stands_still_in_evaluation():
    weighting = Relative(2).eval()
    weighting(BatchLosses(FLOORS, FLOORS, CEILINGS, BOTH))
    assert weighting.mean_excess.tolist() == [1.0, 1.0]


def test_relative_excess_is_zero_when_learnt_one_at_chance_and_zero_where_there_is_nothing_to_learn():
    floors, ceilings = torch.tensor([1.0, 1.0, 2.0]), torch.tensor([3.0, 3.0, 2.0])
    assert relative_excess(torch.tensor([1.0, 3.0, 5.0]), floors, ceilings).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("settings", [{"softening": 0.0}, {"softening": float("nan")}, {"decay": 1.0}, {"decay": -0.1}])
def test_relative_refuses_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="must be"):
        Relative(2, **settings)


def test_uncertainty_by_the_sum_is_equation_seven_as_it_is_printed():
    weighting = Uncertainty(2, reduction="sum", initial_log_variance=0.6)
    losses, anchors = torch.tensor([2.0, 1.0], requires_grad=True), torch.tensor([128.0, 40.0])
    sigma = torch.full((2,), math.exp(0.3))
    weighted = weighting(BatchLosses(losses, FLOORS, CEILINGS, anchors))
    torch.testing.assert_close(weighted.total, (anchors * losses / sigma**2 + 2 * sigma.log()).sum())
    weighted.total.backward()
    torch.testing.assert_close(losses.grad, weighted.weights)
    torch.testing.assert_close(weighting.log_variance.grad, 1 - anchors * losses.detach() / sigma**2)


@pytest.mark.parametrize("normalise", [False, True])
def test_by_the_sum_sigma_rests_at_the_sum_and_the_network_is_moved_as_by_the_mean(normalise):
    """Closed form: at rest sigma^2 = n L or L, and the weight on the mean loss 1 / L either way."""
    losses, anchors = torch.tensor([4.0, 0.5]), torch.tensor([128.0, 40.0])
    by_sum, by_mean = (Uncertainty(2, normalise, reduction) for reduction in ("sum", "mean"))
    results = []
    for weighting, rest in ((by_sum, anchors * losses), (by_mean, losses)):
        with torch.no_grad():
            weighting.log_variance.copy_(rest.log())
        weighted = weighting(BatchLosses(losses, FLOORS, CEILINGS, anchors))
        weighted.total.backward()
        torch.testing.assert_close(weighting.log_variance.grad, torch.zeros(2), atol=1e-5, rtol=0)
        results.append(weighted.weights)
    torch.testing.assert_close(results[0], results[1])


def test_by_the_sum_one_step_of_gradient_descent_throws_sigma_far_and_by_the_mean_it_does_not():
    after = {}
    for reduction in ("sum", "mean"):
        weighting = Uncertainty(2, reduction=reduction)
        optimiser = torch.optim.SGD(weighting.parameters(), lr=0.05)
        batch = BatchLosses(torch.tensor([4.0, 4.0]), FLOORS, CEILINGS, torch.tensor([128.0, 128.0]))
        weighting(batch).total.backward()
        optimiser.step()
        after[reduction] = weighting.log_variance[0].item()
    assert after["sum"] == pytest.approx(0.05 * 511)
    assert after["mean"] == pytest.approx(0.05 * 3)


@pytest.mark.parametrize("value", [float("nan"), 21.0, -21.0])
def test_uncertainty_refuses_a_start_that_cannot_be_meant(value):
    with pytest.raises(ValueError, match="initial_log_variance must be"):
        Uncertainty(2, initial_log_variance=value)


@pytest.mark.parametrize("make", [Equal, Relative, Uncertainty, lambda n: Uncertainty(n, normalise=True), Exact])
def test_importance_multiplies_the_weights_and_leaves_what_is_learned_alone(make):
    plain, scaled = make(2), ScaledWeighting(make(2), [1.0, 2.5])
    gradients, weights, learned = [], [], []
    for weighting in (plain, scaled):
        losses = torch.tensor([4.5, 3.0], requires_grad=True)
        weighted = weighting(BatchLosses(losses, FLOORS, CEILINGS, BOTH))
        weighted.total.backward()
        gradients.append(losses.grad)
        weights.append(weighted.weights)
        learned.append([*weighting.buffers(), *(p.grad for p in weighting.parameters())])
    torch.testing.assert_close(gradients[1], gradients[0] * torch.tensor([1.0, 2.5]))
    torch.testing.assert_close(weights[1], gradients[1])
    for ours, theirs in zip(learned[0], [v for v in learned[1] if v is not scaled.importance], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_importance_in_a_plain_sum_is_a_weight_of_ones_own():
    losses = torch.tensor([4.5, 3.0])
    scaled = ScaledWeighting(Equal(2), [1.0, 2.0])(BatchLosses(losses, FLOORS, CEILINGS, BOTH))
    torch.testing.assert_close(scaled.total, torch.tensor(1.0 * 4.5 + 2.0 * 3.0))


def test_a_similarity_of_no_importance_moves_the_network_no_more_and_an_absent_one_breaks_nothing():
    losses = torch.tensor([4.5, 3.0], requires_grad=True)
    ScaledWeighting(Uncertainty(2), [1.0, 0.0])(BatchLosses(losses, FLOORS, CEILINGS, BOTH)).total.backward()
    assert losses.grad.tolist() == [1.0, 0.0]
    absent = torch.tensor([4.5, float("nan")])
    batch = BatchLosses(absent, FLOORS, CEILINGS, torch.tensor([6.0, 0.0]))
    assert ScaledWeighting(Equal(2), [2.0, 3.0])(batch).total == 9


def test_a_scaled_weighting_is_fitted_on_what_the_other_one_is():
    exact = Exact(1)
    scaled = ScaledWeighting(exact, [2.0])
    assert scaled.fit_on == "validation"
    z = torch.eye(4).repeat(2, 1)[None]
    scaled.fit_to(LabelledProjections(z, torch.tensor([[0, 0, 1, 1] * 2]), torch.arange(4).repeat(2)), [0.1])
    assert exact.judged.all()
    assert ScaledWeighting(Equal(1), [2.0]).fit_on == "nothing"


@pytest.mark.parametrize(
    "importance", [[-1.0, 1.0], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0], [1e308, 1.0]]
)
def test_importance_that_cannot_be_meant_is_refused(importance):
    with pytest.raises(ValueError, match="importance must"):
        ScaledWeighting(Equal(2), importance)
