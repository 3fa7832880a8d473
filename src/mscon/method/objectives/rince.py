"""RINCE: a contrastive loss that wrong positives pull less, for noisy labels."""

from __future__ import annotations

import math

from torch import Tensor

from mscon.method.objectives.base import AnchorLosses, Block, positive
from mscon.method.template import Logits, Template, Terms, against_negatives, template_losses

# Largest q / temperature: the exponential of twice that is within float32.
_LARGEST_EXPONENT = 40.0


class RINCE(Template):
    r"""Robust InfoNCE: between InfoNCE (q near 0) and a loss that is symmetric under label noise (q = 1).

    With s cosine similarities divided by the temperature, p the positives of anchor i and n its negatives,

        loss_i = mean_p ( -exp(q s_p) / q + ( lam ( exp(s_p) + sum_n exp(s_n) ) )^q / q ).

    For q -> 0 it is the loss of `sincere` on classes plus log(lam); the larger q is, the less do positives pull that
    are far away, as wrongly labelled ones are. The paper has one positive per anchor; here the mean over
    several is weighted by how alike they are, and they do not compete with one another. Negatives are candidates of
    weight 0. The loss may be of any sign and its scale grows as exp(q / temperature), so weightings that take its
    logarithm do not suit it, and its learning rate is its own.

    Args:
        temperature: divides cosine similarities, > 0.
        q: between 0 (excluded) and 1.
        lam: weight of the denominator, between 0 (excluded) and 1.

    Source: Chuang et al. 2022, "Robust Contrastive Learning against Noisy Views", eq. 5,
        https://arxiv.org/abs/2201.04309, and https://github.com/chingyaoc/RINCE; q 0.1 and lam 0.01 are theirs.
    """

    needs_negatives = True

    def __init__(self, temperature: float = 0.1, q: float = 0.1, lam: float = 0.01) -> None:
        super().__init__(temperature)
        self.q, self.lam = positive("q", q), positive("lam", lam)
        for name, value in (("q", q), ("lam", lam)):
            if value > 1:
                raise ValueError(f"{name} must be at most 1, got {value}.")
        if q / temperature > _LARGEST_EXPONENT:
            raise ValueError(
                f"q / temperature must be at most {_LARGEST_EXPONENT:g}, got {q / temperature:g}: the loss grows "
                "as its exponential and would no longer be finite."
            )

    def terms(self, block: Block, logits: Logits) -> Terms:
        return against_negatives(block, logits)

    def losses_of(self, block: Block) -> AnchorLosses:
        logits = self.logits(block)
        return template_losses(logits, self.terms(block, logits), pair_loss=self._of_pair)

    def _of_pair(self, near: Tensor, log_sum: Tensor) -> Tensor:
        # By differences from 1, which keeps digits where q is near 0.
        return ((self.q * (log_sum + math.log(self.lam))).expm1() - (self.q * near).expm1()) / self.q
