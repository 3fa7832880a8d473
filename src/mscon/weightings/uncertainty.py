"""The paper's weights: each similarity's uncertainty, learned by gradient descent."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mscon.weightings.base import Weighted, Weighting


class Uncertainty(Weighting):
    r"""sum_c exp(-s_c) L_c + s_c with s_c = log sigma_c^2 learned: eq. 7 of MSCon.

    At rest sigma_c^2 = L_c, so the weight is 1 / L_c and what is minimised is the product of the
    losses. The total may be negative; that is no fault. Since SupCon cannot fall below
    log |P(i)|, the weight mostly tells how many classes a column has: see `Relative` for one that
    does not. An absent similarity adds nothing and its s_c gets no gradient.

    Args:
        similarities: how many there are.
        normalise: scale the weights of present similarities to sum to their number. Without it
            weights rest at 0.2 to 0.35, so the network learns three to five times slower than
            with equal weights. The gradient of s_c is the paper's either way.

    Source: MSCon eq. 7, https://arxiv.org/abs/2307.02712, with the mean over anchors for its sum,
        which only rescales sigma at rest but wrecks the way there (docs/decisions/0003).
    """

    def __init__(self, similarities: int, normalise: bool = False) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(similarities))
        self.normalise = normalise

    def forward(
        self,
        losses: Float[Tensor, " similarities"],
        floors: Float[Tensor, " similarities"],
        ceilings: Float[Tensor, " similarities"],
        present: Bool[Tensor, " similarities"],
    ) -> Weighted:
        del floors, ceilings
        precision = (-self.log_variance).exp().where(present, 0.0)
        known = losses.where(present, 0.0)
        penalty = self.log_variance.where(present, 0.0).sum()
        if not self.normalise:
            return Weighted((precision * known).sum() + penalty, precision.detach())
        weights = precision.detach() * present.sum() / precision.detach().sum().clamp_min(1e-12)
        # The value is that of eq. 7; the network's gradient is rescaled, the log-variances' is not.
        network = (weights * (known - known.detach())).sum()
        return Weighted((precision * known.detach()).sum() + penalty + network, weights)
