"""Mixtures: vectors between two others, for losses that make harder pairs of those that there are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def mixing_share(alpha: float, beta: float, like: Float[Tensor, "*any"], *, at_random: bool) -> Float[Tensor, "*any"]:
    """Share of the first vector in each mixture, from Beta(alpha, beta): drawn, or its mean.

    Args:
        alpha, beta: of the distribution, > 0.
        like: shape, type and place of the shares.
        at_random: draw from torch's global generator. Else all are alpha / (alpha + beta).
    """
    if not at_random:
        return torch.full_like(like, alpha / (alpha + beta)).detach()
    return torch.distributions.Beta(like.new_tensor(alpha), like.new_tensor(beta)).sample(like.shape)


def mixed_cosines(
    share: Float[Tensor, "*#any"],
    of_first: Float[Tensor, "*#any"],
    of_second: Float[Tensor, "*#any"],
    between: Float[Tensor, "*#any"],
) -> Float[Tensor, " ..."]:
    """Cosine of a vector v with share * a + (1 - share) * b, for a and b of unit length; no mixture is written out.

    Args:
        share: of a, from 0 to 1.
        of_first, of_second: cosines of v with a and with b.
        between: cosines of a with b.
    """
    rest = 1 - share
    squared = share.square() + rest.square() + 2 * share * rest * between
    # Halves of opposite vectors have no direction.
    return (share * of_first + rest * of_second) * squared.clamp_min(torch.finfo(squared.dtype).eps).rsqrt()
