"""Weights of candidates in a denominator, and how likely a pair was to be drawn (DebCSE)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Weights = Float[Tensor, "anchors candidates"]
Mask = Bool[Tensor, "anchors candidates"]


def with_mean_one(weights: Weights, competing: Mask | None = None) -> Weights:
    """The logarithm of weights whose mean over the competing candidates of each anchor is 1.

    Otherwise a loss whose weights are learned falls by making all of them small.

    Args:
        weights: 0 or more.
        competing: candidates that count; None for all. Others get -inf, as do weights of 0.
    """
    counted = weights if competing is None else torch.where(competing, weights, 0.0)
    number = weights.shape[1] if competing is None else competing.sum(dim=1, keepdim=True).clamp_min(1)
    mean = (counted.sum(dim=1, keepdim=True) / number).clamp_min(torch.finfo(weights.dtype).tiny)
    return torch.where(counted > 0, counted, 1.0).log().masked_fill(counted <= 0, -torch.inf) - mean.log()


def inverse_propensity(propensity: Weights, *, largest: float = 10.0) -> Weights:
    """Weights of pairs against the bias of how they were drawn: min(1 / propensity, largest) for `with_mean_one`.

    Args:
        propensity: how likely a pair was to be drawn, above 0 and at most 1; such as by the surface and the meaning of
            two sentences.
        largest: weights are clipped there, at least 1.

    Source: DebCSE, Miao et al. 2023, https://arxiv.org/abs/2309.07396. Unconfirmed: no code, and the formula is
        reconstructed from the abstract. Its sampler, which is most of the method, is not here.
    """
    if not largest >= 1:
        raise ValueError(f"largest must be at least 1, got {largest}.")
    outside = ~((propensity > 0) & (propensity <= 1))
    if outside.any():
        first = propensity[outside][0].item()
        raise ValueError(
            f"propensity must be above 0 and at most 1; {int(outside.sum())} are not, the first is {first}."
        )
    return (1 / propensity).clamp_max(largest)
