"""Core-tuning: cross-entropy with a focal contrastive loss, both on rows and on mixtures that are hard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from mscon.method.mixtures import mixing_share
from mscon.method.objectives.base import AnchorLosses, Block, Comparison, Losses, Objective, block_losses, positive
from mscon.method.refusals import class_counts
from mscon.method.similarities.base import Similarity
from mscon.method.template import Logits, Terms, cosine_logits, template_losses


class CoreTuning(Objective):
    r"""Fine-tuning with contrast: a classifier of rows and mixtures, and a focal SupCon with hard pairs.

    Each anchor i has two mixtures of projections z, and of classes alike:

        hard positive: lam z_p + (1 - lam) z_n, p its least similar positive, n its most similar negative;
        hard negative: (1 - lam) z_i + lam z_k, k a negative drawn at random, lam at least 0.8,

    lam drawn from Beta(alpha, alpha). With CE the cross-entropy of a linear classifier on projections, whose targets
    are mixed alike, and q_p the softmax over cosine similarities / temperature with all known candidates and the two
    mixtures,

        loss_i = mean of CE over z_i and its mixtures - eta mean_p (1 - q_p) log q_p,

    p its positives, the hard positive among them. With eta = 0 and no mixture it is `cross_entropy`; without the
    factor 1 - q_p the second part is `supcon`. In evaluation mode lam is 1/2 and 0.8, and k the most similar
    negative. Use it with heads `identity` to have the classifier on the features that are kept.

    What differs from the authors' code: the mean is over positives, not over all columns; the hardest positive is
    one, where the code's minimum over masked similarities is mostly a row that is none; classes of mixtures are not
    encoded as decimal numbers; k is a negative, not any row; an anchor meets its own mixtures, not those of others; and
    the contrast is on the same vectors as the classifier, where the authors' has two further layers.

    Args:
        temperature: divides cosine similarities, > 0.
        eta: weight of the contrastive part, 0 or more; the authors' default is 10, their CIFAR-10 command has 0.1.
        alpha: of lam, > 0.

    Source: Zhang et al. 2021, "Unleashing the Power of Contrastive Self-Supervised Visual Models via
        Contrast-Regularized Fine-Tuning" (NeurIPS), https://arxiv.org/abs/2102.06605, and
        https://github.com/Vanint/Core-tuning.
    """

    needs_classes = True
    reads_codes = True
    numbers_classes = True
    learns_width = True

    def __init__(self, temperature: float = 0.07, eta: float = 1.0, alpha: float = 1.0) -> None:
        super().__init__()
        self.temperature: float = positive("temperature", temperature)
        self.eta = 0.0 if eta == 0 else positive("eta", eta)
        self.alpha = positive("alpha", alpha)
        self.classifiers = nn.ModuleList()

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        super().prepare(similarities, dim)
        self.classifiers.extend(nn.Linear(dim, count, bias=False) for count in class_counts(similarities))

    def forward(self, comparison: Comparison) -> Losses:
        return block_losses(self._losses_of, comparison)

    def _losses_of(self, block: Block) -> AnchorLosses:
        classifier = self.classifiers[block.similarity]
        assert isinstance(classifier, nn.Linear)
        cosines = cosine_logits(block.anchors, block.candidates, 1.0)
        positives, negatives = block.pairs.known & (block.pairs.weight > 0), block.pairs.negative
        mixtures = self._mixtures(block, cosines.values, positives, negatives)
        counted = block.pairs.known.any(dim=1)
        classes = block.anchor_codes.long().clamp_min(0)
        scores = classifier(block.anchors.to(classifier.weight.dtype)).to(block.anchors.dtype)
        terms, number = cross_entropy(scores, classes, reduction="none"), torch.ones_like(scores[:, 0])
        for mixture in mixtures:
            mixed = classifier(mixture.vectors.to(classifier.weight.dtype)).to(block.anchors.dtype)
            of_first, of_second = (cross_entropy(mixed, c, reduction="none") for c in (mixture.first, mixture.second))
            term = mixture.share * of_first + (1 - mixture.share) * of_second
            terms, number = terms + torch.where(mixture.exists, term, 0.0), number + mixture.exists
        contrast = self._contrast(block, cosines, positives, mixtures)
        assert contrast.floor is not None
        assert contrast.ceiling is not None
        correct = ((scores.argmax(dim=1) == classes) & counted).to(scores.dtype)
        return AnchorLosses(
            torch.where(counted, terms / number + self.eta * contrast.loss, 0.0),
            counted,
            self.eta * contrast.floor,
            torch.where(counted, math.log(classifier.out_features) + self.eta * contrast.ceiling, 0.0),
            correct.detach(),
        )

    def _contrast(
        self, block: Block, cosines: Logits, positives: Bool[Tensor, "anchors candidates"], mixtures: Sequence[Mixture]
    ) -> AnchorLosses:
        with_mixtures = [cosine_similarity(block.anchors, mixture.vectors)[:, None] for mixture in mixtures]
        exists = torch.stack([mixture.exists for mixture in mixtures], dim=1)
        competing = torch.cat([block.pairs.known, exists], dim=1)
        alike = torch.cat([positives, exists[:, :1], torch.zeros_like(exists[:, 1:])], dim=1).to(cosines.values.dtype)
        highest = cosines.highest / self.temperature
        logits = Logits(torch.cat([cosines.values, *with_mixtures], dim=1) / self.temperature, -highest, highest)
        return template_losses(logits, Terms(alike, torch.where(competing, 0.0, -torch.inf).to(alike)), pair_loss=focal)

    def _mixtures(
        self,
        block: Block,
        cosines: Float[Tensor, "anchors candidates"],
        positives: Bool[Tensor, "anchors candidates"],
        negatives: Bool[Tensor, "anchors candidates"],
    ) -> tuple[Mixture, Mixture]:
        """The hard positive of each anchor, and its hard negative."""
        share = mixing_share(self.alpha, self.alpha, cosines.new_empty(len(cosines)), at_random=self.training)
        of_negative = mixing_share(self.alpha, self.alpha, torch.empty_like(share), at_random=self.training)
        vectors, classes = block.candidates, block.candidate_codes.long().clamp_min(0)
        has_negative = negatives.any(dim=1)
        if not cosines.numel():
            of_anchors = block.anchor_codes.long()
            alone = Mixture(block.anchors, of_anchors, of_anchors, share, has_negative)
            return alone, alone
        far = cosines.masked_fill(~positives, torch.inf).argmin(dim=1)
        near = other = cosines.masked_fill(~negatives, -torch.inf).argmax(dim=1)
        if self.training:
            other = torch.multinomial(torch.where(has_negative[:, None], negatives.float(), 1.0), 1).squeeze(1)
        least = of_negative.clamp_min(_LEAST_SHARE)
        return (
            Mixture(
                share[:, None] * vectors[far] + (1 - share)[:, None] * vectors[near],
                classes[far],
                classes[near],
                share,
                positives.any(dim=1) & has_negative,
            ),
            Mixture(
                least[:, None] * vectors[other] + (1 - least)[:, None] * block.anchors,
                classes[other],
                block.anchor_codes.long().clamp_min(0),
                least,
                has_negative,
            ),
        )


# Of another row in a hard negative, so that it is no positive.
_LEAST_SHARE = 0.8


class Mixture(NamedTuple):
    """A mixture an anchor.

    Attributes:
        vectors: what is mixed, share * first + (1 - share) * second.
        first, second: classes of the two.
        share: of the first.
        exists: False for anchors that lack what is to be mixed.
    """

    vectors: Float[Tensor, "anchors dim"]
    first: Int[Tensor, " anchors"]
    second: Int[Tensor, " anchors"]
    share: Float[Tensor, " anchors"]
    exists: Bool[Tensor, " anchors"]


def focal(near: Tensor, log_sum: Tensor) -> Tensor:
    """-(1 - q) log q of a positive whose share in its denominator is q: little where it is near already."""
    surprise = (log_sum - near).clamp_min(0)  # below 0 only where there is no positive, and then far below
    return -torch.expm1(-surprise) * surprise
