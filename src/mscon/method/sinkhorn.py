"""Sinkhorn: assignments of samples to prototypes that use all prototypes equally."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def sinkhorn(logits: Float[Tensor, "rows columns"], iterations: int) -> Float[Tensor, "rows columns"]:
    """exp(logits), scaled by turns so that all columns have one sum, and that each row adds up to 1.

    Times one over the number of rows it is the plan of optimal transport with an entropy term, between rows and columns
    of equal weights, as far as the iterations get. Computed with logarithms, so no logit is too large.

    Args:
        logits: similarities divided by the weight of the entropy.
        iterations: of both, columns first; 1 or more.

    Source: Cuturi 2013, "Sinkhorn Distances", https://arxiv.org/abs/1306.0895; as SwAV uses it, Caron et al. 2020,
        https://arxiv.org/abs/2006.09882.
    """
    for _ in range(iterations):
        logits = logits - logits.logsumexp(dim=0, keepdim=True)
        logits = logits - logits.logsumexp(dim=1, keepdim=True)
    return logits.exp()
