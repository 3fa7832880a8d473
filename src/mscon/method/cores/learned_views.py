"""MCLRec: views that small networks make of projections, and the margins that keep them from being useless."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

from mscon.method.kernels.precision import products

Vectors = Float[Tensor, "rows dim"]


def learned_view_loss(
    first: Vectors,
    second: Vectors,
    augmenters: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
    *,
    temperature: float = 1.0,
    margins: float = 0.1,
) -> Float[Tensor, " samples"]:
    """NT-Xent between two views and what learned augmenters make of them.

    With a and b the augmenters it is the sum of NT-Xent by dot products of the pairs (first, b(second)),
    (second, a(first)) and (a(first), b(second)), and `margins` times that of `margin_penalty`. The authors take steps
    in turn: one of the encoder, one of the augmenters alone by this loss, one of the encoder.

    Args:
        first, second: projections of two views of each row; their length counts.
        augmenters: networks from projections to projections; the authors have small perceptrons of three layers.
        temperature: divides dot products, > 0.
        margins: weight of the penalty.

    Returns:
        Of each of the 2 * rows samples of a pair; its mean is the loss.

    Source: Qin et al. 2023, "Meta-optimized Contrastive Learning for Sequential Recommendation",
        https://arxiv.org/abs/2304.07763, and https://github.com/QinHsiu/MCLRec. Their recommendation loss is not here.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}.")
    views = first, second, augmenters[0](first), augmenters[1](second)
    total = torch.zeros((), dtype=first.dtype, device=first.device)
    for one, other in ((0, 3), (1, 2), (2, 3)):
        logits, partner = _logits(views[one], views[other], temperature)
        total = total + cross_entropy(logits, partner, reduction="none") + margins * margin_penalty(logits, partner)
    return total


def _logits(one: Vectors, other: Vectors, temperature: float) -> tuple[Tensor, Tensor]:
    """Dot products of all samples, -inf of each with itself; and the number of the other view of each."""
    samples = torch.cat([one, other])
    samples = samples.to(torch.promote_types(samples.dtype, torch.float32))
    numbers = torch.arange(len(samples), device=samples.device)
    logits = products(samples, samples) / temperature
    return logits.masked_fill(numbers[:, None] == numbers, -torch.inf), numbers.roll(len(one))


def margin_penalty(
    logits: Float[Tensor, "samples samples"], partner: Int[Tensor, " samples"]
) -> Float[Tensor, " samples"]:
    """How far the positive of each sample lies above its nearest negative, and its negatives below the nearest of both.

    With p the logit of the positive, n those of the negatives, and m = max n:
    max(p - m, 0) + mean_n (max(p, m) - n). It is small where negatives are as near as the positive, so minimising it
    keeps augmenters from views that are easily told apart.

    Args:
        logits: dot products divided by the temperature; -inf on the diagonal.
        partner: number of the positive of each sample.
    """
    positive = logits.gather(1, partner[:, None])
    is_negative = logits.isfinite().scatter(1, partner[:, None], False)
    nearest = torch.where(is_negative, logits, -torch.inf).amax(dim=1, keepdim=True)
    nearest = torch.where(is_negative.any(dim=1, keepdim=True), nearest, positive)
    below = torch.where(is_negative, torch.maximum(positive, nearest) - logits, 0.0).sum(dim=1)
    return relu(positive - nearest).squeeze(1) + below / is_negative.sum(dim=1).clamp_min(1)
