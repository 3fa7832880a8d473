"""Chooses how a contrastive loss is computed; the numbers are the same whichever path runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.pairs import LazyPairs, Pairs


def contrast(
    anchors: Float[Tensor, "similarities anchors dim"],
    candidates: Float[Tensor, "similarities candidates dim"] | None,
    pairs: Sequence[Pairs | LazyPairs],
    *,
    temperature: float,
    positives: Literal["outside", "inside"] = "outside",
) -> Float[Tensor, "similarities anchors"]:
    """Loss of each anchor in nats, for vectors that are already of unit length.

    Args:
        anchors: unit vectors, float32 or wider, a space per similarity.
        candidates: unit vectors; None for the anchors themselves, which lets a path use symmetry.
        pairs: one per similarity.
        temperature: divides inner products, > 0.
        positives: outside or inside the logarithm (L_out, L_in).

    Returns:
        Exactly 0, and no gradient, for anchors without a positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}.")
    others = anchors if candidates is None else candidates
    with torch.autocast(anchors.device.type, enabled=False):
        return torch.stack(
            [_dense(a, c, p if isinstance(p, Pairs) else p.dense(), temperature, positives) for a, c, p in zip(anchors, others, pairs, strict=True)]
        )


def _dense(a: Tensor, c: Tensor, pairs: Pairs, temperature: float, positives: str) -> Tensor:
    logits = (a @ c.T / temperature).masked_fill(~pairs.known, -torch.inf)
    counted = pairs.has_positive[:, None]
    # A row of -inf would be NaN inside backward: masked out in the end, but enough to trip detect_anomaly.
    log_probs = torch.where(counted, logits, 0.0).log_softmax(dim=1)
    weight = (pairs.weight * pairs.known).to(a.dtype)
    total = weight.sum(dim=1, keepdim=True).clamp_min(torch.finfo(a.dtype).tiny)
    if positives == "outside":
        return -(weight / total * log_probs.masked_fill(~pairs.known, 0.0)).sum(dim=1)
    inside = torch.where(counted & (weight > 0), log_probs + (weight / total).clamp_min(torch.finfo(a.dtype).tiny).log(), -torch.inf)
    return -torch.where(counted[:, 0], torch.where(counted, inside, 0.0).logsumexp(dim=1), 0.0)
