"""MV-InfoNCE: all views of a row in one ratio, for two or more views."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.method.joint_views import JointViews, log_sum_of_rows
from mscon.method.objectives.base import Block


class MVInfoNCE(JointViews):
    r"""Multi-view InfoNCE: one ratio for all views of a row, in place of a mean over pairs of views.

    With s cosine similarities divided by the temperature, l the samples of row i, P(l) the positives of a
    sample, with weights w, and A(l) all other samples,

        loss_i = -log( sum_l sum_{p in P(l)} w_p exp(s_lp) / sum_l sum_{a in A(l)} exp(s_la) ).

    Under `same_row` that is the loss of the paper: each view of a row attracts each other one. With two views it is at
    least NT-Xent, which has the geometric mean of the two denominators where this has the arithmetic one. For labels
    the positives are all samples of the same class, beyond the paper; with one view a row it is then
    `supcon` with positives "inside", up to a constant. Its floor is nearly 0. `supcon` under `same_row` is the mean
    over pairs of views instead.

    Args:
        temperature: divides cosine similarities, > 0. The authors use 0.5 on CIFAR and 0.1 on ImageNet.
        same_view: whether samples of other rows compete in the same view too, as in the authors' code. False as in the
            formula of their README: a view then competes with other views only, and each row needs two or more.

    Source: Koromilas et al. 2025, https://arxiv.org/abs/2507.06979, and
        https://github.com/pakoromilas/Multi-View-CL, which also has baselines (PWE: the mean over pairs of views; AVG:
        a view against the mean of the others) that are not included here.
    """

    def __init__(self, temperature: float = 0.1, same_view: bool = True) -> None:
        super().__init__(temperature)
        self.same_view = same_view

    def competitors(self, block: Block) -> Bool[Tensor, "anchors candidates"]:
        if self.same_view:
            return block.pairs.known
        is_other_view = block.anchor_origin.views[:, None] != block.candidate_origin.views[None, :]
        return block.pairs.known & (is_other_view | (block.pairs.weight > 0))

    def row_losses(
        self,
        near: Float[Tensor, "similarities anchors"],
        against: Float[Tensor, "similarities anchors"],
        competes: Bool[Tensor, "similarities anchors"],
        row: Int[Tensor, " anchors"],
    ) -> Float[Tensor, "similarities anchors"]:
        del competes
        return log_sum_of_rows(against, row) - log_sum_of_rows(near, row)
