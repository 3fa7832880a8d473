"""SupReMix: a contrastive loss of numbers, with mixtures of projections as harder positives and negatives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from mscon.method.competition import NEVER
from mscon.method.kernels.lengths import lengths_of
from mscon.method.kernels.precision import no_rounding, products
from mscon.method.mixtures import mixed_cosines, mixing_share
from mscon.method.objectives.base import (
    AnchorLosses,
    Block,
    Comparison,
    Losses,
    Objective,
    anchor_losses,
    averaged,
    positive,
)
from mscon.method.refusals import of_kind
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.continuous import Continuous
from mscon.method.template import cosine_logits, log_sum

# Mixtures that are written out at once: so many stay in the caches of a core.
_AT_ONCE = 2**18


class SupReMix(Objective):
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
        super().__init__()
        self.temperature: float = positive("temperature", temperature)
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

    def forward(self, comparison: Comparison) -> Losses:
        assert self.temperature is not None
        for vectors, name in ((comparison.anchors, "anchors"), (comparison.candidates, "candidates")):
            if vectors is not None:
                lengths_of(vectors, name)  # complains of what has no direction
        (log_sums, _, pull, weight, number), has_positive, labelled = anchor_losses(self._sums, comparison)
        assert pull is not None
        assert weight is not None
        assert number is not None
        if self.hard_positives:
            with no_rounding(comparison.anchors):
                between = [self._between(comparison, i) for i in range(len(comparison.pairs))]
            more, more_pull, mixtures = (torch.stack(sums) for sums in zip(*between, strict=True))
            log_sums, pull = torch.logaddexp(log_sums, more), pull + more_pull
            number, weight = number + mixtures, weight + mixtures
        counted, competing = number > 0, weight.clamp_min(1)
        loss = log_sums - pull / number.clamp_min(1)
        # Either a positive is near and all else far, or positives share the denominator; their weight there is 1.
        alone = torch.log1p((competing - 1) * math.exp(-2 / self.temperature))
        bounds = (torch.maximum(alone, number.clamp_min(1).log()), competing.log())
        loss, floor, ceiling = (torch.where(counted, values, 0.0) for values in (loss, *bounds))
        return averaged(AnchorLosses(loss, counted, floor, ceiling), has_positive, labelled)

    def _sums(self, block: Block) -> AnchorLosses:
        """Over real candidates and hard negatives. As "loss" the log of the weighted sum of exponentials, as "floor"
        the sum of the logits of positives, as "ceiling" the sum of weights, as "correct" how many positives."""
        assert self.temperature is not None
        cosines = cosine_logits(block.anchors, block.candidates, 1.0).values
        apart = (block.candidate_codes[None, :] - block.anchor_codes[:, None]).nan_to_num(0.0)
        alike = block.pairs.known & (apart.abs() <= self.tolerance)
        logits, log_weights = [cosines / self.temperature], [self._log_weights(apart, cosines, block.pairs.known)]
        if self.hard_negatives:
            share = mixing_share(self.alpha, self.beta, cosines, at_random=self.training)
            logits.append(mixed_cosines(share, torch.ones_like(share), cosines, cosines) / self.temperature)
            log_weights.append(self._log_weights((1 - share) * apart, cosines, block.pairs.known & ~alike))
        number = alike.sum(dim=1).to(cosines.dtype)
        return AnchorLosses(
            log_sum(torch.cat(logits, dim=1), torch.cat(log_weights, dim=1)),
            number > 0,
            torch.where(alike, logits[0], 0.0).sum(dim=1),
            torch.cat(log_weights, dim=1).exp().sum(dim=1),
            number,
        )

    def _log_weights(self, apart: Tensor, like: Tensor, competing: Bool[Tensor, "*any"]) -> Tensor:
        weights = torch.log1p(apart.abs()) if self.distance_weights else torch.zeros_like(apart)
        return torch.where(competing, weights.to(like.dtype), -torch.inf)

    def _between(self, comparison: Comparison, similarity: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of each anchor the log of the sum of exponentials of its hard positives, the sum of logits, their number.

        Anchors of one number have the same mixtures, and candidates that are sorted stand together.
        """
        codes, others = comparison.pairs[similarity].anchors, comparison.pairs[similarity].candidates
        anchors = comparison.anchors[similarity]
        candidates = anchors if comparison.candidates is None else comparison.candidates[similarity]
        dtype = torch.promote_types(anchors.dtype, torch.float32)
        sorted_codes, order = others[~others.isnan()].sort()
        a, c = (normalize(vectors.to(dtype), dim=1) for vectors in (anchors, candidates))
        c = c[(~others.isnan()).nonzero().squeeze(1)[order]]
        log_sums, pulls, counts = (a.new_full((len(a),), value) for value in (NEVER, 0.0, 0.0))
        after, before = (
            sorted_codes.new_tensor(ends) for ends in ((-self.window, self.tolerance), (-self.tolerance, self.window))
        )
        rows, sums = [], []
        distinct = codes[~codes.isnan()].unique()
        # Those with most mixtures first: what they leave free has room for all others.
        for code in distinct[(distinct - distinct.nanmedian()).abs().argsort()]:
            apart = sorted_codes - code
            first, above = torch.searchsorted(apart, after, right=True).tolist()
            below, last = torch.searchsorted(apart, before).tolist()
            if first == below or above == last:
                continue
            for some in (codes == code).nonzero().squeeze(1).split(max(1, _AT_ONCE // (last - above))):
                size, right = max(1, _AT_ONCE // (len(some) * (last - above))), slice(above, last)
                lefts = [slice(start, min(start + size, below)) for start in range(first, below, size)]
                # Vectors are selected inside: what is selected outside keeps its gradient until all are done.
                parts = [
                    checkpoint(
                        self._mixtures, a, c, some, left, right, apart, use_reentrant=False, preserve_rng_state=False
                    )
                    for left in lefts
                ]
                of_parts, pull_parts = (torch.stack(values) for values in zip(*parts, strict=True))
                rows.append(some)
                sums.append(torch.stack([of_parts.logsumexp(dim=0), pull_parts.sum(dim=0)]))
                counts[some] = float((below - first) * (last - above))
        if rows:
            of_rows = torch.cat(sums, dim=1)
            log_sums = log_sums.index_copy(0, torch.cat(rows), of_rows[0])
            pulls = pulls.index_copy(0, torch.cat(rows), of_rows[1])
        return log_sums, pulls, counts

    def _mixtures(
        self,
        anchors: Float[Tensor, "anchors dim"],
        candidates: Float[Tensor, "candidates dim"],
        some: Int[Tensor, " some"],
        left: slice,
        right: slice,
        apart: Float[Tensor, " candidates"],
    ) -> tuple[Float[Tensor, " some"], Float[Tensor, " some"]]:
        """log of the sum of exponentials, and sum, of the logits of mixtures of a number below and one above."""
        assert self.temperature is not None
        of_some, below, above = anchors[some], candidates[left], candidates[right]
        share = (apart[right] / (apart[right] - apart[left, None])).to(anchors.dtype)
        near_below, near_above = (products(of_some, side) / self.temperature for side in (below, above))
        logits = mixed_cosines(share, near_below[:, :, None], near_above[:, None, :], products(below, above)).flatten(1)
        return logits.logsumexp(dim=1), logits.sum(dim=1)
