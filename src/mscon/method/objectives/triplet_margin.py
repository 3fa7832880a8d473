"""Triplet margin loss: what is more alike shall be nearer, by a margin."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.objectives.base import (
    AnchorLosses,
    Comparison,
    Formula,
    Losses,
    Objective,
    by_blocks,
    pair_losses,
    positive,
)
from mscon.method.pairs import LazyPairs, Pairs

# Comparisons (and coordinates) written out at once; above that, backward computes a block of anchors again.
_AT_ONCE = 2**23


def triplet_margin(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"] | None,
    pairs: Pairs | LazyPairs,
    *,
    margin: float = 0.2,
) -> Float[Tensor, " anchors"]:
    r"""Mean hinge of each anchor over all its comparisons, in the unit of the embeddings.

    With d Euclidean distances and w the weights of anchor i's known candidates,

        loss_i = sum_{j,k: w_j > w_k} (w_j - w_k) max(0, d_ij - d_ik + margin) / sum_{j,k: w_j > w_k} (w_j - w_k).

    With weights of 0 and 1 that is the plain mean over all positives j and negatives k ("batch all"); of one
    positive and one negative, the margin ranking loss of a triplet. It equals the margin when all
    embeddings coincide, is 0 at best, and has no upper end.

    Time and memory grow with anchors * known candidates^2; above a few million comparisons the gradient computes
    them again, block by block.

    Args:
        anchors: embeddings that carry the loss, not scaled to unit length.
        candidates: embeddings compared against; None for the anchors themselves.
        pairs: who is more alike, and which pairs to leave out (self-pairs among them).
        margin: by how much the more alike candidate shall be nearer, > 0.

    Returns:
        One loss per anchor. Anchors without a comparison get exactly 0 and pass no gradient.

    Raises:
        ValueError: if the margin is not positive.

    Source: Veit et al. 2017, https://arxiv.org/abs/1603.07810, eq. 3: one comparison per anchor, margin 0.2.
    """
    losses, *_ = by_blocks(_formula(positive("margin", margin)), anchors, candidates, pairs, _anchors_at_once)
    return losses.loss


def _anchors_at_once(candidates: int, dim: int) -> int:
    return _AT_ONCE // (candidates * max(candidates, dim))


def _formula(margin: float) -> Formula:
    def formula(
        anchors: Float[Tensor, "anchors dim"], candidates: Float[Tensor, "candidates dim"], pairs: Pairs
    ) -> AnchorLosses:
        # Known candidates first, and no more of them than any anchor has: in a batch of triplets two, not all.
        known = pairs.known
        most = int(known.sum(dim=1).max()) if len(known) else 0
        order = known.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
        known, weight = known.gather(1, order), pairs.weight.gather(1, order).to(anchors.dtype)
        squared = (anchors[:, None] - candidates[order]).square().sum(dim=2)
        # The root's slope at 0 is infinite; embeddings that coincide get none. Neither do unknown ones.
        apart = (squared > 0) & known
        distance = torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)
        more = (weight[:, :, None] - weight[:, None, :]).clamp_min(0) * (known[:, :, None] & known[:, None, :])
        total = more.sum(dim=(1, 2))
        share = more / total.clamp_min(torch.finfo(more.dtype).tiny)[:, None, None]
        further = distance[:, :, None] - distance[:, None, :]  # how much further the more alike one is
        loss = (share * (further + margin).clamp_min(0)).sum(dim=(1, 2))
        correct = (share * (further < 0)).sum(dim=(1, 2)).detach()
        return AnchorLosses(loss, total > 0, correct=correct)

    return formula


class TripletMargin(Objective):
    """Triplet loss with a margin: on drawn triplets ([triplets] in a recipe), or on all triplets of a batch.

    The floor is 0, the ceiling the margin: the loss of embeddings that all coincide. Its accuracy is the share of
    comparisons in which the more alike candidate is nearer.

    Args:
        margin: by how much the more alike candidate shall be nearer, > 0, in the unit of the embeddings.
    """

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = positive("margin", margin)

    def forward(self, comparison: Comparison) -> Losses:
        return pair_losses(_formula(self.margin), comparison, anchors_at_once=_anchors_at_once, ceiling=self.margin)
