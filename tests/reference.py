"""The losses by slow loops, straight from the equations. Never imported by the package."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


def supcon_loops(
    anchors: Float[np.ndarray, "anchors dim"],
    candidates: Float[np.ndarray, "candidates dim"],
    weight: Float[np.ndarray, "anchors candidates"],
    known: Bool[np.ndarray, "anchors candidates"],
    temperature: float,
    positives: str = "outside",
) -> Float[np.ndarray, " anchors"]:
    """Khosla et al. 2020, eq. 2 (L_out) or 3 (L_in) with weights, one anchor at a time. 0 without a positive."""
    losses = []
    for i, anchor in enumerate(np.asarray(anchors, dtype=np.float64)):
        others = [j for j in range(len(candidates)) if known[i][j]]
        total = math.fsum(float(weight[i][j]) for j in others)
        if total == 0:
            losses.append(0.0)
            continue
        logits = {j: float(np.dot(anchor, candidates[j])) / temperature for j in others}
        highest = max(logits.values())
        log_sum = highest + math.log(math.fsum(math.exp(s - highest) for s in logits.values()))
        log_probability = {j: s - log_sum for j, s in logits.items()}
        shares = {j: float(weight[i][j]) / total for j in others if weight[i][j] > 0}
        if positives == "outside":
            losses.append(-math.fsum(q * log_probability[j] for j, q in shares.items()))
        else:
            nearest = max(log_probability[j] for j in shares)
            losses.append(
                -nearest - math.log(math.fsum(q * math.exp(log_probability[j] - nearest) for j, q in shares.items()))
            )
    return np.array(losses)


def supcon_formula(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"],
    weight: Float[Tensor, "anchors candidates"],
    known: Bool[Tensor, "anchors candidates"],
    temperature: float | Float[Tensor, ""],
    positives: str = "outside",
) -> Float[Tensor, " anchors"]:
    """The same as torch operations on anchors that have a positive, for its gradient by autograd."""
    weight = torch.where(known, weight, 0.0).to(anchors.dtype)
    counted = (weight > 0).any(dim=1)
    logits = torch.where(known[counted], anchors[counted] @ candidates.T / temperature, -torch.inf)
    log_probability = logits - logits.logsumexp(dim=1, keepdim=True)
    share = weight[counted] / weight[counted].sum(dim=1, keepdim=True)
    if positives == "outside":
        some = -(share * torch.where(share > 0, log_probability, 0.0)).sum(dim=1)
    else:
        some = -torch.where(share > 0, log_probability + share.clamp_min(1e-300).log(), -torch.inf).logsumexp(dim=1)
    return anchors.new_zeros(len(anchors)).masked_scatter(counted, some)
