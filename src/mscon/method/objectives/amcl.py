"""AMCL: adaptive multi-head contrastive learning, a learned temperature for each pair in each space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mscon.method.kernels.precision import products
from mscon.method.objectives.base import AnchorLosses, Block, Comparison, Losses, Objective, block_losses, positive
from mscon.method.similarities.base import Similarity
from mscon.method.template import cosine_logits, known_weights


class AMCL(Objective):
    r"""Positives against the hardest negatives, each pair at a temperature that a small network learns.

    With s cosine similarities, phi a network of two layers that all similarities share, d the width of projections,

        tau_ij = lowest + (highest - lowest) / (1 + exp( phi(z_i) . phi(z_j) )),
        Omega(tau) = d / 2 log tau + 1 / tau,
        loss_i = mean_p ( -s_ip / tau_ip + beta Omega(tau_ip) ) + mean_n ( s_in / tau_in - beta Omega(tau_in) ),

    p the positives, n the `hardest` negatives (of weight 0): those of which s / tau is greatest. With several
    similarities each has its own space, as the heads of the paper; there all heads compare views, here each compares by
    its column. The loss is 0 if all embeddings coincide, and may be of any sign: weightings that take its logarithm do
    not suit it. For beta < 1 it falls as temperatures of near positives and far negatives do, until `lowest` stops
    them, so its scale is 1 / lowest.

    Two readings of the negatives are known. A table in the authors' repository takes the maximum, hardest = 1: with
    labels that collapsed in a trial, since positives that are further than the hardest negative pull to it. Their
    code of 2025 takes the mean over the 100 nearest, but the sum of Omega without the factor d / 2; here Omega is that
    of the table. phi is as in that code; an older one reads the temperature from [z_i; z_j]. Unconfirmed: the paper's
    own wording of both.

    Args:
        beta: weight of Omega, > 0; the authors' codes have 0.1, 0.01 and 0.0001.
        hardest: over how many negatives the mean is taken, at most all.
        lowest, highest: bounds of temperatures, 0 < lowest < highest. The authors' lowest is 0.00001, at which the loss
            is thousands of times those of other similarities.
        hidden: width of phi's hidden layer.

    Source: Wang et al. 2024, "Adaptive Multi-head Contrastive Learning" (ECCV), https://arxiv.org/abs/2310.05615, and
        https://github.com/LeiWangR/cl.
    """

    needs_negatives = True
    learns_width = True

    def __init__(
        self, beta: float = 0.1, hardest: int = 100, lowest: float = 0.05, highest: float = 2.0, hidden: int = 128
    ) -> None:
        super().__init__()
        self.beta, self.lowest, self.highest = positive("beta", beta), positive("lowest", lowest), float(highest)
        if not lowest < highest < math.inf:
            raise ValueError(f"highest must be finite and above lowest, {lowest:g}, got {highest:g}.")
        if min(hardest, hidden) < 1:
            raise ValueError(f"hardest and hidden must be at least 1, got {hardest} and {hidden}.")
        self.hardest, self.hidden = hardest, hidden
        self.phi = nn.Sequential()

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        super().prepare(similarities, dim)
        self.phi.extend([nn.Linear(dim, self.hidden), nn.ReLU(), nn.Linear(self.hidden, dim)])

    def forward(self, comparison: Comparison) -> Losses:
        return block_losses(self._losses_of, comparison, floor=self._floor(comparison.anchors.shape[2]))

    def _losses_of(self, block: Block) -> AnchorLosses:
        cosines = cosine_logits(block.anchors, block.candidates, 1.0)
        weights, negative = known_weights(block, cosines), block.pairs.negative
        total = weights.sum(dim=1, keepdim=True)
        share = weights / total.clamp_min(torch.finfo(weights.dtype).tiny)
        tau = self._temperatures(block)
        ratio, omega = cosines.values / tau, self.beta * self._omega(tau, block.anchors.shape[1])
        number = min(self.hardest, ratio.shape[1])
        hardest = ratio.detach().masked_fill(~negative, -torch.inf).topk(number, dim=1).indices
        is_negative = negative.gather(1, hardest)
        of_positives = (share * (omega - ratio)).sum(dim=1)
        of_each = torch.where(is_negative, (ratio - omega).gather(1, hardest), 0.0)
        of_negatives = of_each.sum(dim=1) / is_negative.sum(dim=1).clamp_min(1)
        counted = (total.squeeze(1) > 0) & negative.any(dim=1)
        return AnchorLosses(torch.where(counted, of_positives + of_negatives, 0.0), counted)

    def _temperatures(self, block: Block) -> Tensor:
        of_each = []
        for vectors in (block.anchors, block.candidates):
            unit = nn.functional.normalize(vectors, dim=1)
            of_each.append(self.phi(unit.to(next(self.phi.parameters()).dtype)).to(unit.dtype))
        score = products(*of_each)
        return self.lowest + (self.highest - self.lowest) * (-score).sigmoid()

    def _omega(self, tau: Tensor, dim: int) -> Tensor:
        return dim / 2 * tau.log() + 1 / tau

    def _floor(self, dim: int) -> float:
        """Least loss at the best of all temperatures: cosines of 1 with positives, and of -1 with negatives."""
        ends, beta = [self.lowest, self.highest], self.beta
        best = 2 * (beta - 1) / (beta * dim)  # where the derivative of the first is 0
        within = [best] if self.lowest < best < self.highest else []
        of_positive = min((beta - 1) / tau + beta * dim / 2 * math.log(tau) for tau in (*ends, *within))
        return of_positive + min(-(1 + beta) / tau - beta * dim / 2 * math.log(tau) for tau in ends)
