"""The contract of a weighting."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mscon.method.weightings.base import BatchLosses, FeatureGradients, Weighting
from mscon.testing.cases import equal, holds


def check_weighting(weighting: Callable[[int], Weighting]) -> None:
    """Check that a weighting keeps to what training relies on.

    Checked are: that a similarity which a batch says nothing about adds nothing and moves nothing, whatever its loss
    is; that the weights reported are those that act; that its state is saved and loaded.

    Args:
        weighting: number of similarities -> a new one; the class itself, or `functools.partial(Class, setting=...)`.
            The checks are made with two.

    Raises:
        AssertionError: for the first that does not hold, in words.
    """
    for value in (9.9, math.nan, math.inf):
        _absent(weighting(2), value)
    both, none = torch.tensor([6.0, 4.0]), torch.zeros(2)
    losses = torch.tensor([4.5, 3.0], requires_grad=True)
    weighted = weighting(2)(_batch(losses, both))
    (gradient,) = torch.autograd.grad(weighted.total, losses)
    equal(gradient, weighted.weights, "The `weights` reported are not the gradient of the total to the losses.")
    holds(not weighted.weights.requires_grad, "The `weights` reported must be detached.")

    weighted = weighting(2)(_batch(losses, none))
    holds(weighted.total == 0, f"The total of a batch that says nothing must be 0, got {weighted.total.item()}.")
    (gradient,) = torch.autograd.grad(weighted.total, losses)
    holds((gradient == 0).all(), "A batch that says nothing must give no gradient.")

    learned, fresh = weighting(2), weighting(2)
    for _ in range(3):
        learned(_batch(torch.tensor([4.5, 3.0]), both))
    fresh.load_state_dict(learned.state_dict())
    totals = [w(_batch(torch.tensor([4.2, 2.0]), both)).total for w in (fresh, learned)]
    equal(
        totals[0],
        totals[1],
        "After load_state_dict it weighs otherwise: all that it learns must be in parameters and buffers.",
    )


def _batch(losses: Tensor, anchors: Tensor) -> BatchLosses:
    # The gradients of an absent similarity are 0.
    jacobian = torch.tensor([[0.5, -0.25, 0.125], [-0.5, 1.0, 0.25]]) * (anchors > 0)[:, None]
    gradients = FeatureGradients(jacobian @ jacobian.T, jacobian)
    return BatchLosses(losses, torch.tensor([4.14, 1.37]), torch.tensor([4.84, 4.84]), anchors, gradients)


def _absent(weighting: Weighting, value: float) -> None:
    what = f"a similarity that is absent, with loss {value},"
    losses = torch.tensor([4.5, value], requires_grad=True)
    weighting(_batch(torch.tensor([4.5, 3.0]), torch.tensor([6.0, 4.0])))  # what it learns has its shape from here on
    before = {name: state.clone() for name, state in weighting.state_dict().items()}
    weighted = weighting(_batch(losses, torch.tensor([6.0, 0.0])))
    holds(weighted.total.isfinite(), f"With {what} the total is {weighted.total.item()}.")
    holds(weighted.weights[1] == 0, f"The weight of {what} must be 0, got {weighted.weights[1].item()}.")
    parameters = [p for p in weighting.parameters() if p.requires_grad]
    gradient, *moved = torch.autograd.grad(weighted.total, [losses, *parameters], allow_unused=True)
    holds(gradient[1] == 0, f"The loss of {what} must get no gradient.")
    holds(gradient[0] > 0, "The loss of a similarity that is present must count.")
    for change in (m for m in moved if m is not None):
        holds(change.isfinite().all(), f"With {what} a parameter has a gradient that is not finite.")
        holds((change[1:2] == 0).all() if change.dim() else True, f"With {what} its parameter must not move.")
    for name, state in weighting.state_dict().items():
        is_same = not state.dim() or torch.equal(state[1:2], before[name][1:2])  # one number a similarity, or none
        holds(is_same, f"With {what} its '{name}' must not move.")
