"""What every weighting of the catalogue keeps to."""

from __future__ import annotations

import pytest
import torch

from mscon.method import catalogue
from mscon.method.weightings.base import Weighting

NEEDED = {"fixed": {"weights": [1.0, 2.0]}}  # settings without a default
FLOORS, CEILINGS = torch.tensor([4.14, 1.37]), torch.tensor([4.84, 4.84])
FIRST = torch.tensor([6.0, 0.0])


@pytest.fixture(params=catalogue.names("weighting"))
def weighting(request) -> Weighting:
    return catalogue.build("weighting", request.param, NEEDED.get(request.param, {}), similarities=2)


@pytest.mark.parametrize("value", [9.9, float("nan"), float("inf")])
def test_an_absent_similarity_moves_nothing(weighting, value):
    losses = torch.tensor([4.5, value], requires_grad=True)
    before = {k: v.clone() for k, v in weighting.state_dict().items()}
    weighted = weighting(losses, FLOORS, CEILINGS, FIRST)
    weighted.total.backward()
    assert weighted.total.isfinite()
    assert weighted.weights[1] == 0
    assert losses.grad[1] == 0
    assert losses.grad[0] > 0
    for parameter in weighting.parameters():
        assert parameter.grad[1] == 0
        assert parameter.grad.isfinite().all()
    for key, now in weighting.state_dict().items():
        assert torch.equal(now[1], before[key][1])


def test_the_weights_reported_are_those_that_act(weighting):
    losses = torch.tensor([4.5, 3.0], requires_grad=True)
    weighted = weighting(losses, FLOORS, CEILINGS, torch.tensor([6.0, 4.0]))
    weighted.total.backward()
    torch.testing.assert_close(losses.grad, weighted.weights)


def test_nothing_present_is_zero_and_moves_nothing(weighting):
    losses = torch.tensor([4.5, 3.0], requires_grad=True)
    weighted = weighting(losses, FLOORS, CEILINGS, torch.tensor([0.0, 0.0]))
    assert weighted.total == 0
    weighted.total.backward()
    assert (losses.grad == 0).all()


def test_its_state_is_saved_and_loaded(weighting):
    for _ in range(3):
        weighting(torch.tensor([4.5, 3.0]), FLOORS, CEILINGS, torch.tensor([6.0, 4.0]))
    state = weighting.state_dict()
    fresh = type(weighting)(2, **NEEDED.get(type(weighting).__name__.lower(), {}))
    fresh.load_state_dict(state)
    losses = torch.tensor([4.2, 2.0])
    both = torch.tensor([6.0, 4.0])
    torch.testing.assert_close(
        fresh(losses, FLOORS, CEILINGS, both).total, weighting(losses, FLOORS, CEILINGS, both).total
    )
