"""SupReMix: a contrastive loss of numbers, with mixtures of projections as harder positives and negatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from mscon.method.competition import NEVER
from mscon.method.mixtures import mixed_cosines, mixing_share
from mscon.method.objectives.base import AnchorLosses, Block, positive
from mscon.method.refusals import of_kind
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.continuous import Continuous
from mscon.method.template import Logits, Template, Terms, cosine_logits

# Logits that are written out at once: of each anchor one a candidate, and one a pair of candidates.
_AT_ONCE = 2**22


class SupReMix(Template):
    r"""`supcon` on numbers: alike are equal numbers, and mixtures of near numbers whose mixed number is the anchor's.

    With y numbers in widths of the similarity, u vectors of unit length, [.] scaling to unit length and s cosine
    similarities with anchor i divided by the temperature, three kinds of candidates compete:

        real:           u_a, positive if y_a = y_i;
        hard negatives: [lam u_i + (1 - lam) u_k] for each k with y_k != y_i, lam drawn from Beta(alpha, beta);
        hard positives: [lam u_j + (1 - lam) u_k] for all y_j < y_i < y_k within `window`, lam (y_k - y_j) = y_k - y_i.

        loss_i = mean over positives p of log sum_c w_c exp(s_c) - s_p,    w_c = 1 + |y_c - y_i|,

    with the mixed number as y_c of a mixture. Without mixtures and with w = 1 it is `supcon` on classes of equal
    numbers. In evaluation mode lam is the mean of its distribution, so nothing is drawn. For real-valued numbers that
    hardly repeat set `tolerance`, or rely on views of a row and on hard positives.

    What differs from the authors' code: mixtures pass a gradient and are scaled to unit length; the window and w count
    in widths, not in the unit of the column. Unconfirmed: the formulas are those of the code, the full text of the
    paper could not be read. Time grows with anchors * (candidates + pairs of candidates within the window).

    Args:
        temperature: divides cosine similarities, > 0; 0.3 is the code's.
        window: hard positives are mixed of numbers nearer to the anchor's than this, > 0, in widths.
        tolerance: numbers no further apart than this count as equal, 0 or more, in widths.
        hard_negatives, hard_positives: whether there are such mixtures.
        distance_weights: whether w is as above; else it is 1.
        alpha, beta: of the share lam of the anchor in a hard negative, > 0.

    Source: Wu et al. 2023, "Mixup Your Own Pairs" (SupReMix), https://arxiv.org/abs/2309.16633, and its code,
        https://github.com/yilei-wu/SupReMix.
    """

    reads_codes = True

    def __init__(
        self,
        temperature: float = 0.3,
        window: float = 2.0,
        tolerance: float = 0.0,
        hard_negatives: bool = True,
        hard_positives: bool = True,
        distance_weights: bool = True,
        alpha: float = 2.0,
        beta: float = 8.0,
    ) -> None:
        super().__init__(temperature)
        self.window = positive("window", window)
        self.tolerance = 0.0 if tolerance == 0 else positive("tolerance", tolerance)
        self.alpha, self.beta = positive("alpha", alpha), positive("beta", beta)
        self.hard_negatives, self.hard_positives = hard_negatives, hard_positives
        self.distance_weights = distance_weights

    def refusals(self, similarities: Sequence[Similarity]) -> list[str]:
        return [
            f"objective 'supremix' mixes numbers, but {of_kind(similarity)}. Use objective 'supcon' for it, or "
            "'rank_n_contrast' for ordered levels."
            for similarity in similarities
            if not isinstance(similarity, Continuous)
        ]

    def anchors_at_once(self, candidates: int, dim: int) -> int:
        # Of a window that holds all candidates, half of them on each side.
        pairs = candidates**2 // 4 if self.hard_positives else 0
        return _AT_ONCE // (candidates * (dim if pairs else 1) + pairs)

    def terms(self, block: Block, logits: Logits) -> Terms:
        """Of the real candidates alone."""
        apart = _apart(block)
        alike = block.pairs.known & (apart.abs() <= self.tolerance)
        return Terms(alike.to(logits.values.dtype), self._log_weights(apart, logits.values, block.pairs.known))

    def losses_of(self, block: Block) -> AnchorLosses:
        """As the template says, with bounds of its own: those of the template would take longest of all."""
        assert self.temperature is not None
        cosines = cosine_logits(block.anchors, block.candidates, 1.0)
        terms = self.terms(block, cosines)
        parts = [_part(cosines.values / self.temperature, terms.positives > 0, terms.log_weights)]
        if self.hard_negatives:
            share = mixing_share(self.alpha, self.beta, cosines.values, at_random=self.training)
            mixtures = mixed_cosines(share, torch.ones_like(share), cosines.values, cosines.values)
            unlike = block.pairs.known & (terms.positives == 0)
            log_weights = self._log_weights((1 - share) * _apart(block), share, unlike)
            parts.append(_part(mixtures / self.temperature, torch.zeros_like(unlike), log_weights))
        if self.hard_positives:
            mixtures, exists = self._between(block, cosines.values)
            parts.append(_part(mixtures / self.temperature, exists, torch.where(exists, 0.0, -torch.inf).to(mixtures)))
        log_sum, pull, positives, weight = (torch.stack(of_parts) for of_parts in zip(*parts, strict=True))
        number, competing = positives.sum(dim=0), weight.sum(dim=0).clamp_min(1)
        loss = log_sum.logsumexp(dim=0) - pull.sum(dim=0) / number.clamp_min(1)
        # Either a positive is near and all else far, or positives share the denominator; their weight there is 1.
        alone = torch.log1p((competing - 1) * math.exp(-2 / self.temperature))
        bounds = (torch.maximum(alone, number.clamp_min(1).log()), competing.log())
        loss, floor, ceiling = (torch.where(number > 0, values, 0.0) for values in (loss, *bounds))
        return AnchorLosses(loss, number > 0, floor, ceiling)

    def _log_weights(self, apart: Tensor, like: Tensor, competing: Bool[Tensor, "*any"]) -> Tensor:
        weights = torch.log1p(apart.abs()) if self.distance_weights else torch.zeros_like(apart)
        return torch.where(competing, weights.to(like.dtype), -torch.inf)

    def _between(
        self, block: Block, cosines: Float[Tensor, "anchors candidates"]
    ) -> tuple[Float[Tensor, "anchors mixtures"], Bool[Tensor, "anchors mixtures"]]:
        """Cosines of each anchor with its hard positives, and which of these there are."""
        apart = _apart(block)
        near = block.pairs.known & (apart.abs() < self.window)
        sides = []
        for of_side in (near & (apart < -self.tolerance), near & (apart > self.tolerance)):
            most = int(of_side.sum(dim=1).max()) if len(of_side) else 0
            order = of_side.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
            sides.append((order, of_side.gather(1, order), apart.gather(1, order)))
        (below, has_below, of_below), (above, has_above, of_above) = sides
        unit = torch.nn.functional.normalize(block.candidates, dim=1)
        exists = has_below[:, :, None] & has_above[:, None, :]
        distance = (of_above[:, None, :] - of_below[:, :, None]).masked_fill(~exists, 1.0)
        share = (of_above[:, None, :] / distance).to(cosines.dtype).masked_fill(~exists, 0.5)
        each = mixed_cosines(
            share,
            cosines.gather(1, below)[:, :, None],
            cosines.gather(1, above)[:, None, :],
            unit[below] @ unit[above].transpose(1, 2),
        )
        return each.flatten(1), exists.flatten(1)


def _apart(block: Block) -> Float[Tensor, "anchors candidates"]:
    """By how much the number of a candidate is above that of an anchor, in widths; 0 where either is missing."""
    return (block.candidate_codes[None, :] - block.anchor_codes[:, None]).nan_to_num(0.0)


class _Part(NamedTuple):
    """What candidates of one sort add to the loss of each anchor.

    Attributes:
        log_sum: of their exponentials, weighted; far below any logit where there are none.
        pull: sum of the logits of positives.
        positives: how many these are.
        weight: sum of the weights.
    """

    log_sum: Float[Tensor, " anchors"]
    pull: Float[Tensor, " anchors"]
    positives: Float[Tensor, " anchors"]
    weight: Float[Tensor, " anchors"]


def _part(
    logits: Float[Tensor, "anchors candidates"],
    positives: Bool[Tensor, "anchors candidates"],
    log_weights: Float[Tensor, "anchors candidates"],
) -> _Part:
    return _Part(
        pad(logits + log_weights.clamp_min(NEVER), (0, 1), value=NEVER).logsumexp(dim=1),
        torch.where(positives, logits, 0.0).sum(dim=1),
        positives.sum(dim=1).to(logits.dtype),
        log_weights.exp().sum(dim=1),
    )
