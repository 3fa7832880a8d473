"""InfoNCE between two sets of vectors: what the cores for two inputs, and those that weigh or mask pairs, share."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mscon.method.cores.pair_logits import pair_logits
from mscon.method.template import Terms, log_mask, template_losses


def info_nce(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"],
    *,
    temperature: float | Tensor = 0.07,
    positives: Float[Tensor, "anchors candidates"] | None = None,
    competing: Bool[Tensor, "anchors candidates"] | None = None,
    log_weights: Float[Tensor, "anchors candidates"] | None = None,
) -> Float[Tensor, " anchors"]:
    r"""Cross-entropy between which candidates belong to an anchor and which are near it, in nats.

    With s cosine similarities divided by the temperature, p the shares of `positives` (divided by their sum) and w the
    weights of candidates in the denominator,

        loss_i = sum_j p_ij ( log sum_k w_ik exp(s_ik) - s_ij ).

    By default candidate i is the positive of anchor i and all candidates compete: the multiple negatives ranking loss,
    and one direction of CLIP's.

    Args:
        anchors, candidates: of any length, scaled to unit length here.
        temperature: divides cosines, > 0: a number, a tensor that may be learned, or one of shape [anchors, 1] or
            [anchors, candidates].
        positives: how much each candidate belongs to an anchor, 0 or more. None if row i belongs to row i.
        competing: which candidates stand in the denominator; None for all. A mask such as `outside_groups`.
        log_weights: the logarithm of w; None for 1. Weights such as `cluster_weights`.

    Returns:
        A loss per anchor; exactly 0, with a gradient of 0, for one without a positive or a competitor.

    Raises:
        ValueError: for a vector that is zero or not finite, a temperature that is not positive, shapes that do not fit,
            and without `positives` unless there are as many candidates as anchors.

    Source: van den Oord et al. 2018, https://arxiv.org/abs/1807.03748.
    """
    if positives is None and len(anchors) != len(candidates):
        raise ValueError(
            f"without positives row i belongs to row i, but there are {len(anchors)} anchors and {len(candidates)} "
            "candidates. Give positives=, [anchors, candidates]."
        )
    logits = pair_logits(anchors, candidates, temperature)
    like = logits.values
    for name, pairs in (("positives", positives), ("competing", competing), ("log_weights", log_weights)):
        if pairs is not None and pairs.shape != like.shape:
            raise ValueError(f"{name} must be [anchors, candidates], {list(like.shape)}, got {list(pairs.shape)}.")
    shares = torch.eye(len(anchors), device=like.device) if positives is None else positives
    weights = torch.zeros_like(like) if log_weights is None else log_weights.to(like.dtype)
    if competing is not None:
        weights = weights + log_mask(competing, like)
    return template_losses(logits, Terms(shares.to(like.dtype), weights)).loss
