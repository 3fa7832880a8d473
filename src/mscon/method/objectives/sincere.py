"""SINCERE: each positive competes with what is less alike only, not with the other positives."""

from __future__ import annotations

from mscon.method.objectives.base import Block, Comparison, Losses
from mscon.method.objectives.supcon import supcon_losses
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

    def forward(self, comparison: Comparison) -> Losses:
        # Of classes, whatever is less alike is a negative, and a kernel computes that without writing pairs out.
        numbers = range(len(comparison.pairs))
        classes = [i for i in numbers if comparison.pairs[i].is_partition]
        others = [i for i in numbers if i not in classes]
        parts = []
        if classes:
            assert self.temperature is not None
            of_classes = comparison.of_similarities(classes) if others else comparison
            parts.append(supcon_losses(of_classes, self.temperature, denominator="negatives_and_itself"))
        if others:
            parts.append(super().forward(comparison.of_similarities(others) if classes else comparison))
        return Losses.joined(parts, [classes, others]) if len(parts) > 1 else parts[0]
