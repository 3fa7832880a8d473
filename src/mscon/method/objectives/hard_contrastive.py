"""Hard contrastive loss: positives compete with the nearest of the negatives alone."""

from __future__ import annotations

import torch

from mscon.method.objectives.base import Block, positive
from mscon.method.template import Logits, Template, Terms, known_weights, log_mask


class HardContrastive(Template):
    r"""Contrastive loss whose negatives are the hardest: a share of them, the nearest ones.

    With s cosine similarities divided by the temperature, p the positives of anchor i with weights w, and H(i) its
    ceil(hardest * n) nearest negatives out of n,

        loss_i = sum_p w_p ( log( exp(s_p) + sum_{h in H(i)} exp(s_h) ) - s_p ) / sum_p w_p.

    With hardest = 1 that is `sincere` on classes, and NT-Xent with one positive per anchor. A low temperature has a
    similar effect, since it gives nearly all of the gradient to the nearest negatives; this loss has it at any
    temperature. Negatives are candidates of weight 0. Which of them are the nearest carries no gradient.

    Args:
        temperature: divides cosine similarities, > 0.
        hardest: share of the negatives that compete, above 0 and at most 1.

    Source: Wang and Liu 2021, "Understanding the Behaviour of Contrastive Loss", section 3.3,
        https://arxiv.org/abs/2012.09740; from summaries of the paper, whose text was not read: unconfirmed. Its
        threshold is a quantile of the similarities to negatives; here it is their number, which is the same.
    """

    needs_negatives = True

    def __init__(self, temperature: float = 0.2, hardest: float = 0.1) -> None:
        super().__init__(temperature)
        self.hardest = positive("hardest", hardest)
        if hardest > 1:
            raise ValueError(f"hardest is a share and must be at most 1, got {hardest}.")

    def terms(self, block: Block, logits: Logits) -> Terms:
        negative = block.pairs.negative
        with torch.no_grad():
            order = logits.values.masked_fill(~negative, -torch.inf).argsort(dim=1, descending=True)
            number = (self.hardest * negative.sum(dim=1, keepdim=True)).ceil()
            hard = torch.zeros_like(negative).scatter(1, order, torch.ones_like(order).cumsum(dim=1) <= number)
        weights = known_weights(block, logits)
        return Terms(weights, log_mask(hard & negative, weights), itself=1.0)
