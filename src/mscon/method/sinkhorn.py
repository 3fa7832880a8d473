"""Balanced assignments: every row to classes, so that all classes get the same."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def sinkhorn(
    scores: Float[Tensor, "rows classes"], epsilon: float = 0.05, iterations: int = 3
) -> Float[Tensor, "rows classes"]:
    """Shares of classes for each row, by optimal transport with entropy, without a gradient.

    exp(scores / epsilon) is divided in turn by the sums of classes and of rows. In logarithms, as exponentials of 20
    and more times a score would not be finite in half precision.

    Args:
        scores: such as cosines of rows and prototypes.
        epsilon: > 0; the lower, the nearer shares are to 0 and 1.
        iterations: how often; after few of them classes are only nearly balanced, as in the paper.

    Returns:
        Each row adds up to 1; with enough iterations each class to rows / classes.

    Source: Cuturi 2013, https://arxiv.org/abs/1306.0895, as SwAV, Caron et al. 2020, uses it,
        https://arxiv.org/abs/2006.09882.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, got {epsilon}.")
    logs = scores.to(torch.promote_types(scores.dtype, torch.float32)) / epsilon
    for _iteration in range(iterations):
        logs = logs - logs.logsumexp(dim=0, keepdim=True)
        logs = logs - logs.logsumexp(dim=1, keepdim=True)
    return logs.softmax(dim=1)
