"""The contract of projection heads."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mscon.model.heads.base import Heads
from mscon.testing.cases import equal, holds, seeded


def check_heads(heads: Callable[[int, int], Heads]) -> None:
    """Check that heads keep to what training, embedding and search rely on.

    Checked are: the shape of projections, and `output_dim`; that each similarity teaches the features; that when
    evaluated the projection of a row depends on no other row; that the state is saved and loaded; that `penalty` is one
    finite number, and `shown` has a row for each similarity.

    Args:
        heads: (similarities, input_dim) -> new heads; the class itself, or `functools.partial(Class, setting=...)`. The
            checks are made with three similarities and features of 8 dimensions.

    Raises:
        AssertionError: for the first that does not hold, in words.
    """
    module, features = heads(3, 8), torch.randn(10, 8, generator=seeded(), requires_grad=True)
    projections = module(features)
    shape = (3, 10, module.output_dim)
    holds(
        projections.shape == shape,
        f"Projections must be [similarities, samples, output_dim] = {shape}, got {tuple(projections.shape)}.",
    )
    holds(projections.isfinite().all(), "Projections are not finite.")
    for i, space in enumerate(projections):
        direction = torch.randn(space.shape, generator=seeded(i))
        (gradient,) = torch.autograd.grad((space * direction).sum(), features, retain_graph=True)
        is_taught = gradient.isfinite().all() and bool(gradient.any())
        holds(is_taught, f"Features get no finite gradient from similarity {i}, so it would teach nothing.")
    penalty = module.penalty(features)
    holds(penalty.shape == () and penalty.isfinite(), "`penalty` must be one finite number.")
    shown = module.shown
    holds(shown is None or len(shown) == 3, "`shown` must be None or have a row for each similarity.")

    module.eval()
    whole = module(features)
    equal(module(features[4:5]), whole[:, 4:5], "When evaluated, a row's projection depends on other rows.", atol=1e-5)
    again = heads(3, 8)
    again.load_state_dict(module.state_dict())
    equal(again.eval()(features), whole, "After load_state_dict projections differ: is something kept elsewhere?")
