"""The paper's weights: each similarity's uncertainty, learned by gradient descent."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from mscon.errors import need_one_of
from mscon.method.weightings.base import BatchLosses, Weighted, Weighting

Reduction = Literal["mean", "sum"]


class Uncertainty(Weighting):
    r"""Learned weights: sum_c exp(-s_c) L_c + s_c with s_c = log sigma_c^2, eq. 7 of MSCon.

    At rest sigma_c^2 = L_c, so the weight is 1 / L_c and what is minimised is the product of the
    losses. The total may be negative; that is no fault. Since SupCon cannot fall below
    log |P(i)|, the weight mostly tells how many classes a column has: see `Relative` and `Exact` for
    some that do not. An absent similarity adds nothing and its s_c gets no gradient.

    Args:
        similarities: how many there are.
        normalise: scale the weights of present similarities to sum to their number. Without it
            weights rest at 0.2 to 0.35, so the network learns three to five times slower than
            with equal weights. The gradient of s_c is the paper's either way.
        reduction: what L_c is of the anchors' losses: their "mean", or their "sum" as eq. 7 is printed. At rest
            sigma_c^2 is the number of anchors times larger under "sum" and the weight on the mean loss the
            same, but from sigma = 1 the way there is bad: with 128 anchors the first weights are 128 times too
            large, and one step of plain gradient descent throws sigma far past its rest. Begin near it
            (`initial_log_variance` = log of anchors times loss, about 6) or learn s_c with AdamW.
        initial_log_variance: s_c before the first step. 0 makes the first step that of equal weights.

    Source: MSCon eq. 7, https://arxiv.org/abs/2307.02712, with the mean over anchors for its sum by default,
        which only rescales sigma at rest but wrecks the way there (docs/decisions/0003, 0008).
    """

    def __init__(
        self,
        similarities: int,
        normalise: bool = False,
        reduction: Reduction = "mean",
        initial_log_variance: float = 0.0,
    ) -> None:
        super().__init__()
        if not abs(initial_log_variance) <= 20:
            raise ValueError(f"initial_log_variance must be from -20 to 20, got {initial_log_variance}.")
        need_one_of("reduction", reduction, Reduction)
        self.log_variance = nn.Parameter(torch.full((similarities,), float(initial_log_variance)))
        self.normalise = normalise
        self.reduction = reduction

    def forward(self, batch: BatchLosses) -> Weighted:
        present = batch.present
        summed = batch.anchors if self.reduction == "sum" else torch.ones_like(batch.anchors)
        weights = ((-self.log_variance).exp() * summed).where(present, 0.0)
        known = batch.loss.where(present, 0.0)
        penalty = self.log_variance.where(present, 0.0).sum()
        if not self.normalise:
            return Weighted((weights * known).sum() + penalty, weights.detach())
        scaled = weights.detach() * present.sum() / weights.detach().sum().clamp_min(1e-12)
        # The value is that of eq. 7; the network's gradient is rescaled, the log-variances' is not.
        network = (scaled * (known - known.detach())).sum()
        return Weighted((weights * known.detach()).sum() + penalty + network, scaled)
