"""L_spread: classes are drawn together, and within each class rows are pushed apart."""

from __future__ import annotations

from mscon.method.objectives.base import AnchorLosses, Block, positive
from mscon.method.template import (
    Logits,
    Template,
    Terms,
    against_negatives,
    template_losses,
)


class LSpread(Template):
    r"""Supervised contrastive loss plus class-conditional InfoNCE, so that a class does not collapse to a point.

    With s cosine similarities divided by the temperature, p the positives of anchor i with weights w, n its negatives,
    and v the other views of its own row,

        attract_i = sum_p w_p ( log( exp(s_p) + sum_n exp(s_n) ) - s_p ) / sum_p w_p,
        spread_i  = mean_v ( log sum_p w_p exp(s_p) - s_v ),
        loss_i    = (1 - spread) attract_i + spread spread_i.

    With spread = 0 it is `sincere` on classes. The second term is InfoNCE among the rows of the anchor's
    class: it keeps them apart, for tasks that need more than the class. It needs two or more views of each row;
    where an anchor has no other view it is 0. Weights between 0 and 1 go beyond the paper. With spread = 1 on a column
    of clusters (`mscon cluster`) it is the loss of a stage of multistage contrastive learning: InfoNCE whose negatives
    share the anchor's cluster.

    Args:
        temperature: divides cosine similarities, > 0; 0.5 in the authors' code.
        spread: weight of the second term, from 0 to 1; 0.5 in the authors' code.

    Source: Chen et al. 2022, "Perfectly Balanced: Improving Transfer and Robustness of Supervised Contrastive
        Learning", https://arxiv.org/abs/2204.07596, and https://github.com/HazyResearch/thanos-code, where a view is
        compared with other views only; here all views are candidates.
    """

    needs_negatives = True
    least_views = 2

    def __init__(self, temperature: float = 0.5, spread: float = 0.5) -> None:
        super().__init__(temperature)
        self.spread = 0.0 if spread == 0 else positive("spread", spread)
        if spread > 1:
            raise ValueError(f"spread must be at most 1, got {spread}.")

    def terms(self, block: Block, logits: Logits) -> Terms:
        return against_negatives(block, logits)

    def losses_of(self, block: Block) -> AnchorLosses:
        logits = self.logits(block)
        terms = self.terms(block, logits)
        is_own_row = block.anchor_origin.rows[:, None] == block.candidate_origin.rows[None, :]
        views = terms.positives * is_own_row
        attract = template_losses(logits, terms)
        apart = template_losses(logits, Terms(views, terms.positives.log()))
        loss, floor, ceiling = (
            (1 - self.spread) * getattr(attract, name) + self.spread * getattr(apart, name)
            for name in ("loss", "floor", "ceiling")
        )
        counted = (attract.counted & (self.spread < 1)) | (apart.counted & (self.spread > 0))
        return AnchorLosses(loss, counted, floor, ceiling)
