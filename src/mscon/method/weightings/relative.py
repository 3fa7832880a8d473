"""Weights from how much of each similarity is still to learn, whatever its number of classes."""

from __future__ import annotations

import torch
from torch import Tensor

from mscon.method.weightings.base import BatchLosses, Weighted, Weighting, relative_excess


class Relative(Weighting):
    r"""Larger weights for similarities that are learnt further: w_c = 1 / (mean u_c + softening), scaled to mean 1.

    u_c is the relative excess: 0 learnt, 1 chance. A column of pure noise stays near 1 and gets
    the least weight; the softening keeps an easy column from taking everything. An absent
    similarity adds nothing and its running mean stands still.

    Args:
        similarities: how many there are.
        softening: added to u before it is inverted, > 0; the largest ratio of two weights is about
            (1 + softening) / softening, 11 by default.
        decay: of the exponential mean of u over steps, in [0, 1).

    Source: docs/decisions/0004; the floor follows Graf et al. 2021 and the identity in
        `mscon.method.kernels.counts.count`.
    """

    mean_excess: Tensor

    def __init__(self, similarities: int, softening: float = 0.1, decay: float = 0.95) -> None:
        super().__init__()
        if not softening > 0:
            raise ValueError(f"softening must be positive, got {softening}.")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}.")
        self.softening, self.decay = softening, decay
        self.register_buffer("mean_excess", torch.ones(similarities))

    def forward(self, batch: BatchLosses) -> Weighted:
        excess = (
            relative_excess(batch.loss.detach(), batch.floor, batch.ceiling).clamp(0.0, 1.0).to(self.mean_excess.dtype)
        )
        if self.training:
            moved = self.decay * self.mean_excess + (1 - self.decay) * excess
            self.mean_excess.copy_(moved.where(batch.present, self.mean_excess))
        inverse = 1 / (self.mean_excess + self.softening)
        return Weighted.sum(inverse * inverse.numel() / inverse.sum(), batch)
