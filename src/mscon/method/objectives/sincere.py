"""SINCERE: each positive competes with what is less alike only, not with the other positives."""

from __future__ import annotations

from mscon.method.objectives.base import Block
from mscon.method.template import Logits, Template, Terms, known_weights, log_mask


class SINCERE(Template):
    r"""Supervised InfoNCE revisited: positives are left out of one another's denominators.

    With s cosine similarities divided by the temperature and w the weights of anchor i's known candidates,

        loss_i = sum_p w_p ( log( exp(s_p) + sum_{a: w_a < w_p} exp(s_a) ) - s_p ) / sum_p w_p.

    On classes that is the loss of the paper: each positive against all candidates of other classes. Its floor is nearly
    0 for any number of classes, where that of `supcon` is the log-number of positives; so weights that
    are made of losses do not count classes. With one positive per anchor it is NT-Xent, and without the term
    exp(s_p) the decoupled loss `dcl`. Weights between 0 and 1 go beyond the paper: a positive then also competes with
    those that are less alike than itself. Positives that nothing is less alike than are left out.

    Args:
        temperature: divides cosine similarities, > 0.

    Source: Feeney and Hughes 2023, "SINCERE", https://arxiv.org/abs/2309.14277, and
        https://github.com/tufts-ml/SupContrast, which counts anchors without a positive as zeros; here they are left
        out of the mean.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__(temperature)

    def terms(self, block: Block, logits: Logits) -> Terms:
        weights = known_weights(block, logits)
        return Terms(weights, log_mask(block.pairs.known, weights), itself=1.0, alikeness=weights)
