"""MV-DHEL: all views of a row attract one another at once; each is pushed away from other rows within its view."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.method.joint_views import JointViews, log_sum_of_rows, sum_of_rows
from mscon.method.objectives.base import Block


class MVDHEL(JointViews):
    r"""Multi-view decoupled hyperspherical energy loss: alignment of all views, uniformity within each view.

    With s cosine similarities divided by the temperature, l the samples of row i, P(l) the positives of a sample, with
    weights w, and N(l) the samples of the same view that are not alike in anything,

        loss_i = sum_l log sum_{n in N(l)} exp(s_ln) - log( sum_l sum_{p in P(l)} w_p exp(s_lp) / 2 ).

    Under `same_row` that is the loss of the paper; the 2 counts each pair of views once, as the authors' code does. For
    labels the positives are all samples of the same class, beyond the paper; with one view a row it is then a
    decoupled loss with the positives inside the logarithm. The first term grows with the number of views, the second
    does not. The loss may be of any sign, so weightings that take its logarithm do not suit it.

    Args:
        temperature: divides cosine similarities, > 0. The authors use 0.5 on CIFAR and 0.1 on ImageNet.

    Source: Koromilas et al. 2025, https://arxiv.org/abs/2507.06979, and
        https://github.com/pakoromilas/Multi-View-CL, whose code multiplies sums over all views before it takes the
        logarithm; here logarithms are added, so that no temperature makes it overflow.
    """

    needs_negatives = True

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__(temperature)

    def competitors(self, block: Block) -> Bool[Tensor, "anchors candidates"]:
        is_same_view = block.anchor_origin.views[:, None] == block.candidate_origin.views[None, :]
        return block.pairs.negative & is_same_view

    def row_losses(
        self,
        near: Float[Tensor, "similarities anchors"],
        against: Float[Tensor, "similarities anchors"],
        competes: Bool[Tensor, "similarities anchors"],
        row: Int[Tensor, " anchors"],
    ) -> Float[Tensor, "similarities anchors"]:
        energy = sum_of_rows(torch.where(competes, against, 0.0), row)
        return energy + math.log(2) - log_sum_of_rows(near, row)
