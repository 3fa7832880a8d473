"""Weightings: what each is at rest. What all keep to is in tests/contracts."""

from __future__ import annotations

import pytest
import torch

from mscon.weightings.base import relative_excess
from mscon.weightings.fixed import Fixed
from mscon.weightings.relative import Relative
from mscon.weightings.uncertainty import Uncertainty

FLOORS, CEILINGS = torch.tensor([4.14, 1.37]), torch.tensor([4.84, 4.84])
BOTH = torch.tensor([True, True])


def test_uncertainty_comes_to_rest_where_variance_is_the_loss():
    weighting = Uncertainty(2)
    losses = torch.tensor([4.0, 0.5])
    optimiser = torch.optim.SGD(weighting.parameters(), lr=0.1)
    for _ in range(2_000):
        optimiser.zero_grad()
        weighting(losses, FLOORS, CEILINGS, BOTH).total.backward()
        optimiser.step()
    torch.testing.assert_close(weighting.log_variance.exp(), losses, rtol=1e-3, atol=0)


def test_uncertainty_is_equation_seven():
    weighting = Uncertainty(2)
    with torch.no_grad():
        weighting.log_variance.copy_(torch.tensor([0.3, -0.7]))
    losses = torch.tensor([2.0, 1.0])
    sigma = (weighting.log_variance / 2).exp()
    expected = (losses / sigma**2 + 2 * sigma.log()).sum()
    torch.testing.assert_close(weighting(losses, FLOORS, CEILINGS, BOTH).total, expected)


def test_normalised_weights_sum_to_the_number_of_similarities_and_leave_the_variances_alone():
    plain, scaled = Uncertainty(2), Uncertainty(2, normalise=True)
    gradients = []
    for weighting in (plain, scaled):
        with torch.no_grad():
            weighting.log_variance.copy_(torch.tensor([1.3, 0.7]))
        losses = torch.tensor([2.0, 1.0], requires_grad=True)
        weighted = weighting(losses, FLOORS, CEILINGS, BOTH)
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
        weights = weighting(FLOORS, FLOORS, CEILINGS, BOTH).weights
    torch.testing.assert_close(weights, torch.ones(2))


def test_relative_turns_noise_down_to_its_cap_and_not_below():
    weighting = Relative(2, softening=0.1)
    losses = torch.stack([FLOORS[0], CEILINGS[1]])
    for _ in range(400):
        weights = weighting(losses, FLOORS, CEILINGS, BOTH).weights
    torch.testing.assert_close(weights[0] / weights[1], torch.tensor(11.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(weights.sum(), torch.tensor(2.0))


def test_relative_stands_still_in_evaluation():
    weighting = Relative(2).eval()
    weighting(FLOORS, FLOORS, CEILINGS, BOTH)
    assert weighting.mean_excess.tolist() == [1.0, 1.0]


def test_relative_excess_is_zero_when_learnt_one_at_chance_and_zero_where_there_is_nothing_to_learn():
    floors, ceilings = torch.tensor([1.0, 1.0, 2.0]), torch.tensor([3.0, 3.0, 2.0])
    assert relative_excess(torch.tensor([1.0, 3.0, 5.0]), floors, ceilings).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_fixed_refuses_weights_that_cannot_be_meant(weights):
    with pytest.raises(ValueError, match="weights must"):
        Fixed(2, weights)


@pytest.mark.parametrize("settings", [{"softening": 0.0}, {"softening": float("nan")}, {"decay": 1.0}, {"decay": -0.1}])
def test_relative_refuses_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="must be"):
        Relative(2, **settings)
