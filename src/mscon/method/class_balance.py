"""Class balance: in a denominator every class counts alike, however many rows of the batch it has."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.kernels.counts import PairCounts
from mscon.method.pairs import LazyPairs, renumbered


@dataclass(frozen=True, slots=True)
class ClassBalance:
    """Of one similarity: candidates that count as 1 / number of candidates of their class.

    Attributes:
        pairs: with the bias that a kernel adds to logits: the log-weight of the candidate plus that of the anchor, so
            that logits stay symmetric. The loss of an anchor is then `log_weights` less than it should be.
        log_weights: of the class of each anchor.
        classes: how many the candidates have.
        labelled: how many candidates have a label.
    """

    pairs: LazyPairs
    log_weights: Float[Tensor, " anchors"]
    classes: int
    labelled: int

    @classmethod
    def of(cls, pairs: LazyPairs) -> ClassBalance:
        """Count the candidates of each class. `pairs` are of classes, with a code each, below 0 where missing."""
        anchors, candidates, classes = renumbered(pairs.anchors, pairs.candidates)
        count = torch.bincount(candidates[candidates >= 0], minlength=max(classes, 1))
        of_class = -count.clamp_min(1).to(torch.get_default_dtype()).log()
        log_weights, of_candidates = (of_class[codes.clamp_min(0)] for codes in (anchors, candidates))
        if pairs.anchors is pairs.candidates:
            of_candidates = log_weights
        greatest = of_class.max()  # what lies far below 0 all over would leave nothing of any exponential
        bias = log_weights - greatest, of_candidates - greatest
        return cls(replace(pairs, bias=bias), log_weights, int((count > 0).sum()), int(count.sum()))

    def counts(self, counts: PairCounts) -> PairCounts:
        """The same counts, of which each candidate is its weight."""
        weight = self.log_weights.exp()
        # Besides self-pairs, whose class is the anchor's, every candidate with a label is known.
        known = torch.where(counts.known > 0, self.classes - (self.labelled - counts.known) * weight, 0.0)
        positives, negatives = counts.positives * weight, (counts.negatives > 0) * (self.classes - 1.0)
        floor = torch.where(positives > 0, positives.log(), 0.0)
        return PairCounts(positives, known, negatives, floor, torch.where(known > 0, known.log(), 0.0))
