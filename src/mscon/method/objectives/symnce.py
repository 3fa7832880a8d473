"""SymNCE: InfoNCE less its reverse, in which positives and negatives change places; for noisy labels."""

from __future__ import annotations

from mscon.method.objectives.base import AnchorLosses, Block, positive
from mscon.method.template import (
    Logits,
    Template,
    Terms,
    against_negatives,
    greatest_losses,
    template_losses,
)


class SymNCE(Template):
    r"""Symmetric InfoNCE: what wrong labels add to InfoNCE is taken off again by its reverse.

    With s cosine similarities divided by the temperature, p the positives of anchor i and n its negatives,

        loss_i = mean_p ( log( exp(s_p) + sum_n exp(s_n) ) - s_p )
                 - reverse * mean_n ( log( exp(s_n) + sum_p exp(s_p) ) - s_n ).

    If positives and negatives change places, the loss with reverse = 1 changes its sign. So a label that says nothing
    adds nothing on average, which is what robustness against label noise asks for. With reverse = 0 it is the loss of
    `sincere` on classes. Weights between 0 and 1 weigh positives in the mean and in the sum; negatives
    are candidates of weight 0. The loss may be of any sign, so weightings that take its logarithm do not suit it.

    Args:
        temperature: divides cosine similarities, > 0.
        reverse: weight of the reverse term, 0 or more.

    Source: Cui et al. 2025, "An Inclusive Theoretical Framework of Robust Supervised Contrastive Loss against Label
        Noise", https://arxiv.org/abs/2501.01130. Unconfirmed: that the loss is InfoNCE plus a reverse InfoNCE is in its
        abstract and summaries; the full text could not be read, and the reverse term above is derived from the
        condition that the loss of a pair and that of the exchanged pair add up to a constant.
    """

    needs_negatives = True

    def __init__(self, temperature: float = 0.1, reverse: float = 1.0) -> None:
        super().__init__(temperature)
        self.reverse = 0.0 if reverse == 0 else positive("reverse", reverse)

    def terms(self, block: Block, logits: Logits) -> Terms:
        return against_negatives(block, logits)

    def losses_of(self, block: Block) -> AnchorLosses:
        logits = self.logits(block)
        terms = self.terms(block, logits)
        exchanged = Terms(block.pairs.negative.to(logits.values.dtype), terms.positives.log(), itself=1.0)
        ahead, back = template_losses(logits, terms), template_losses(logits, exchanged)
        assert ahead.floor is not None
        assert ahead.ceiling is not None
        assert back.ceiling is not None
        return AnchorLosses(
            ahead.loss - self.reverse * back.loss,
            ahead.counted,
            ahead.floor - self.reverse * greatest_losses(logits, exchanged),
            ahead.ceiling - self.reverse * back.ceiling,
        )
