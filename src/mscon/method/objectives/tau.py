"""TaU: temperature as uncertainty, a temperature for each anchor, read from the length of its projection."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.objectives.base import Block
from mscon.method.template import Logits, Template, Terms, cosine_logits, known_weights, log_mask


class TaU(Template):
    r"""A contrastive loss in which the length of a projection says how sharply its row is compared.

    With |z_i| the length of anchor i's projection and cos its cosine similarities,

        s_ia = cos_ia * sigmoid(t_i) / temperature,    t_i = log |z_i|,
        loss_i = sum_p w_p (log sum_a exp(s_ia) - s_ip) / sum_p w_p,

    where p are the positives and a the known candidates of other rows: views of the anchor's own row attract, but are
    not among what they compete with. 1 / sigmoid(t_i) = 1 + 1 / |z_i| is the uncertainty of a row, see `uncertainty`.
    With all lengths equal to r and `own_row` it is `supcon` at temperature * (1 + r) / r; under `same_row` with long
    vectors it is `dcl`. There the loss may be of any sign, so weightings that take its logarithm do not suit it.

    What differs: the paper's network has t as one more output beside the projection. Here t is the length, which a
    projection has and cosines do not use: any heads give it, and spaces stay what search and report compare. Labels
    other than `same_row` go beyond the paper.

    Args:
        temperature: divides cosine similarities, > 0; the authors' code has 0.07.
        own_row: views of the anchor's own row compete as well, as in SimCLR.

    Source: Zhang et al. 2021, "Temperature as Uncertainty in Contrastive Learning", https://arxiv.org/abs/2110.04403,
        and https://github.com/mhw32/temperature-as-uncertainty-public.
    """

    def __init__(self, temperature: float = 0.1, own_row: bool = False) -> None:
        super().__init__(temperature)
        self.own_row = own_row

    def logits(self, block: Block) -> Logits:
        assert self.temperature is not None
        cosines = cosine_logits(block.anchors, block.candidates, self.temperature)
        length = torch.linalg.vector_norm(block.anchors, dim=1, keepdim=True)
        return cosines._replace(values=cosines.values * length / (1 + length))

    def terms(self, block: Block, logits: Logits) -> Terms:
        competing = block.pairs.known
        if not self.own_row:
            competing = competing & (block.anchor_origin.rows[:, None] != block.candidate_origin.rows[None, :])
        return Terms(known_weights(block, logits), log_mask(competing, logits.values))

    @staticmethod
    def uncertainty(projections: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows"]:
        """How uncertain rows are that were trained by this loss: 1 / sigmoid(t), from 1 on; of unscaled projections."""
        return 1 + 1 / torch.linalg.vector_norm(projections, dim=-1)
