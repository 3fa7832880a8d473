"""CLIP-rocket: CLIP's loss on several views of both inputs, and losses without negatives beside it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mscon.method.cores.clip import Vectors, clip
from mscon.method.cores.info_nce import info_nce
from mscon.method.cores.pair_logits import pair_logits
from mscon.method.sinkhorn import sinkhorn

Views = Float[Tensor, "views rows dim"]


def cl2l(
    first: Vectors,
    second: Vectors,
    first_views: Views,
    second_views: Views,
    *,
    temperature: float | Tensor = 0.07,
    view_temperature: float | Tensor = 0.07,
    smoothing: float = 0.1,
) -> Float[Tensor, " rows"]:
    """CLIP's loss of the whole inputs, and V times its mean over all pairs of their V views, divided by 1 + V.

    Args:
        first, second: projections of the inputs, little augmented.
        first_views, second_views: of V strongly augmented views of each, by projectors of their own.
        temperature, view_temperature: of whole inputs and of views, each a number or a tensor that is learned.
        smoothing: of the targets of views.

    Source: Fini et al. 2023, "Improved baselines for vision-language pre-training", https://arxiv.org/abs/2305.08675,
        and https://github.com/facebookresearch/clip-rocket. As all losses of this module.
    """
    views = len(first_views)
    whole = clip(first, second, temperature=temperature)
    pairs = [clip(a, b, temperature=view_temperature, smoothing=smoothing) for a in first_views for b in second_views]
    return (whole + views * torch.stack(pairs).mean(dim=0)) / (1 + views) if pairs else whole


def siamlip(
    first_predictions: Vectors, second_predictions: Vectors, first_targets: Vectors, second_targets: Vectors
) -> Float[Tensor, " rows"]:
    """2 - 2 * cosine of what is predicted of one input and the projection of the other, the mean of both ways.

    Args:
        first_predictions, second_predictions: of a predictor behind the projections of each input.
        first_targets, second_targets: projections, without a gradient here: of the same encoders (SiamLIP), or of
            moving averages of them (BYOLIP).
    """
    there = cosine_similarity(first_predictions, second_targets.detach(), dim=1)
    back = cosine_similarity(second_predictions, first_targets.detach(), dim=1)
    return 2 - there - back


def swalip(
    first_views: Views,
    second_views: Views,
    *,
    temperature: float | Tensor = 0.07,
    epsilon: float = 0.05,
    iterations: int = 3,
) -> Float[Tensor, " rows"]:
    """Cross-entropy of two views with balanced assignments of the two other ones, as SwAV; inputs are the prototypes.

    For each pair of views the targets are the `sinkhorn` of the cosines of the other view of the first input and the
    other view of the second. The authors add a fifth of it to `cl2l`.

    Args:
        first_views, second_views: projections of two views of each input.
        temperature: divides cosines, > 0.
        epsilon, iterations: of the assignments.

    Raises:
        ValueError: unless there are two views of each.
    """
    if not len(first_views) == len(second_views) == 2:
        raise ValueError(f"swalip is of two views of each input, got {len(first_views)} and {len(second_views)}.")
    losses = []
    for i in (0, 1):
        for j in (0, 1):
            cosines = pair_logits(first_views[1 - i], second_views[1 - j]).values
            ways = ((first_views[i], second_views[j], cosines), (second_views[j], first_views[i], cosines.T))
            losses += [
                info_nce(a, b, temperature=temperature, positives=sinkhorn(scores, epsilon, iterations))
                for a, b, scores in ways
            ]
    return torch.stack(losses).mean(dim=0)
