"""AMCL: adaptive multi-head contrastive learning, a learned temperature for each pair in each space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mscon.method.objectives.base import AnchorLosses, Block, Comparison, Losses, Objective, block_losses, positive
from mscon.method.similarities.base import Similarity
from mscon.method.template import cosine_logits, known_weights, need_negatives


class AMCL(Objective):
    r"""Positives against the hardest negative, each pair at a temperature that a small network learns.

    With s cosine similarities, phi a network of two layers that all similarities share, d the width of projections,

        tau_ij = lowest + (highest - lowest) / (1 + exp( phi(z_i) . phi(z_j) )),
        Omega(tau) = d / 2 log tau + 1 / tau,
        loss_i = mean_p ( -s_ip / tau_ip + beta Omega(tau_ip) ) + s_in / tau_in - beta Omega(tau_in),

    n the negative (weight 0) of which s / tau is greatest. With several similarities each has its own space, as the
    heads of the paper; there all heads compare views, here each compares by its column. The loss is 0 if all
    embeddings coincide, and may be of any sign: weightings that take its logarithm do not suit it. For beta < 1 it
    falls without end as temperatures of near positives and far negatives do, until `lowest` stops them. The
    paper's `lowest` allows gradients 100,000 times those of tau = 1: raise it, to 0.05 say, if training breaks down.

    Unconfirmed: the terms of the negative are those of a table in the authors' repository; their code of 2025 takes
    the mean over the 100 nearest negatives and the sum of their Omega, without the d / 2. phi is as in that code; an
    older one reads the temperature from [z_i; z_j].

    Args:
        beta: weight of Omega, > 0; the authors' codes have 0.1, 0.01 and 0.0001.
        lowest, highest: bounds of temperatures, 0 < lowest < highest.
        hidden: width of phi's hidden layer.

    Source: Wang et al. 2024, "Adaptive Multi-head Contrastive Learning" (ECCV), https://arxiv.org/abs/2310.05615, and
        https://github.com/LeiWangR/cl.
    """

    learns_width = True

    def __init__(self, beta: float = 0.1, lowest: float = 1e-5, highest: float = 2.0, hidden: int = 128) -> None:
        super().__init__()
        self.beta, self.lowest, self.highest = positive("beta", beta), positive("lowest", lowest), float(highest)
        if not lowest < highest < math.inf:
            raise ValueError(f"highest must be finite and above lowest, {lowest:g}, got {highest:g}.")
        if hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {hidden}.")
        self.hidden = hidden
        self.phi = nn.Sequential()

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        need_negatives("amcl", similarities)
        self.phi.extend([nn.Linear(dim, self.hidden), nn.ReLU(), nn.Linear(self.hidden, dim)])

    def forward(self, comparison: Comparison) -> Losses:
        return block_losses(self._losses_of, comparison, floor=self._floor(comparison.anchors.shape[2]))

    def _losses_of(self, block: Block) -> AnchorLosses:
        cosines = cosine_logits(block.anchors, block.candidates, 1.0)
        weights, negative = known_weights(block, cosines), block.pairs.negative
        if not len(block.candidates):  # a process may have no rows
            return AnchorLosses(cosines.values.sum(dim=1), negative.any(dim=1))
        total = weights.sum(dim=1, keepdim=True)
        share = weights / total.clamp_min(torch.finfo(weights.dtype).tiny)
        tau = self._temperatures(block)
        ratio, omega = cosines.values / tau, self.beta * self._omega(tau, block.anchors.shape[1])
        hardest = ratio.masked_fill(~negative, -torch.inf).argmax(dim=1, keepdim=True)
        of_positives = (share * (omega - ratio)).sum(dim=1)
        of_negative = (ratio - omega).gather(1, hardest).squeeze(1)
        counted = (total.squeeze(1) > 0) & negative.any(dim=1)
        return AnchorLosses(torch.where(counted, of_positives + of_negative, 0.0), counted)

    def _temperatures(self, block: Block) -> Tensor:
        of_each = []
        for vectors in (block.anchors, block.candidates):
            unit = nn.functional.normalize(vectors, dim=1)
            of_each.append(self.phi(unit.to(next(self.phi.parameters()).dtype)).to(unit.dtype))
        score = of_each[0] @ of_each[1].T
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
