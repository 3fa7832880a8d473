"""Cross-entropy: an objective whose candidates are learned prototypes, one a class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mscon.method.kernels.precision import no_rounding
from mscon.method.objectives.base import Comparison, Losses, Objective
from mscon.method.refusals import class_counts
from mscon.method.similarities.base import Similarity


class CrossEntropy(Objective):
    """A linear classifier per similarity, trained with the encoder: the paper's XEnt baselines.

    With several similarities it is the multi-task network. Use it with heads `identity`, so that
    the classifier sits on the features that are kept.
    """

    needs_classes = True
    compares = False
    reads_codes = True
    numbers_classes = True
    learns_width = True

    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.ModuleList()

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        super().prepare(similarities, dim)
        self.prototypes.extend(nn.Linear(dim, count) for count in class_counts(similarities))

    def forward(self, comparison: Comparison) -> Losses:
        per_anchor, labelled, ceiling, correct = [], [], [], []
        for features, pair, classifier in zip(comparison.anchors, comparison.pairs, self.prototypes, strict=True):
            assert isinstance(classifier, nn.Linear)
            has_label = pair.anchors >= 0
            # Float32 whatever autocast says: see `mscon.method.objectives.supcon`.
            with no_rounding(features):
                logits = classifier(features.to(classifier.weight.dtype))
                per_anchor.append(cross_entropy(logits, pair.anchors.long(), ignore_index=-1, reduction="none"))
            labelled.append(has_label)
            correct.append((logits.argmax(dim=1) == pair.anchors) & has_label)
            ceiling.append(logits.new_tensor(classifier.out_features).log())
        mask = torch.stack(labelled)
        return Losses(
            per_anchor=torch.stack(per_anchor),
            counted=mask,
            has_positive=mask,
            labelled=mask,
            floor=per_anchor[0].new_zeros(len(per_anchor)),
            ceiling=torch.stack(ceiling),
            correct=torch.stack(correct),
        )
