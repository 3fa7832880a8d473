"""Rank-N-Contrast: candidates in the order of how alike they are, each against all that are no more alike."""

from __future__ import annotations

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
from mscon.method.template import Terms, distance_logits, log_mask, template_losses


def rank_n_contrast(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"] | None,
    pairs: Pairs | LazyPairs,
    *,
    temperature: float = 2.0,
) -> Float[Tensor, " anchors"]:
    r"""Mean over the candidates of each anchor of how surprising it is that none further off is nearer, in nats.

    With s_ij = -|z_i - z_j| / temperature and w the weights of anchor i's known candidates,

        loss_i = - mean_{j: w_ij > 0} ( s_ij - log sum_{k: w_ik <= w_ij} exp(s_ik) ).

    Only the order of weights counts. Under `continuous`, whose weights fall with the difference of values, w_ik <= w_ij
    is |y_i - y_k| >= |y_i - y_j|: the loss of the paper. Candidates of equal weight stand in one another's sum, so
    ties share. Two things to know of weights in place of differences: those of weight 0 (under `continuous`, beyond
    some 14 widths; under `ordinal`, at the other end) are candidates but never positives; and values closer
    than a few ten-thousandths of a width are as good as equal. Where weights are 0 and 1 it is SupCon with distances.

    It equals the mean log-number of candidates that are no more alike when all embeddings coincide, and cannot fall
    below the mean log-number of those equally alike. Time grows with anchors * candidates, memory with the
    candidates: above some million pairs the gradient computes a block of anchors again.

    Args:
        anchors: embeddings that carry the loss, not scaled to unit length.
        candidates: embeddings compared against; None for the anchors themselves.
        pairs: who is how much alike, and which pairs to leave out (self-pairs among them).
        temperature: divides the distances, > 0, in the unit of the embeddings.

    Returns:
        One loss per anchor. Anchors without a positive get exactly 0 and pass no gradient.

    Raises:
        ValueError: if the temperature is not positive.

    Source: Zha et al. 2023, "Rank-N-Contrast", eq. 1 and 2, https://arxiv.org/abs/2210.01189; temperature 2 and plain
        distances of features as in https://github.com/kaiwenzha/Rank-N-Contrast.
    """
    return by_blocks(_formula(positive("temperature", temperature)), anchors, candidates, pairs)[0].loss


def _formula(temperature: float) -> Formula:
    def formula(
        anchors: Float[Tensor, "anchors dim"], candidates: Float[Tensor, "candidates dim"], pairs: Pairs
    ) -> AnchorLosses:
        logits = distance_logits(anchors, candidates, temperature)
        positives = (pairs.known & (pairs.weight > 0)).to(anchors.dtype)
        terms = Terms(positives, log_mask(pairs.known, positives), alikeness=pairs.weight, ties=True)
        return template_losses(logits, terms)

    return formula


class RankNContrast(Objective):
    """Orders the candidates of each anchor by how alike they are. For numbers and ordered levels.

    Use it with heads that do not scale to unit length; here none do.

    Args:
        temperature: divides Euclidean distances of projections, > 0.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        # Not `temperature`, which weightings read as what divides cosines.
        self.of_distances = positive("temperature", temperature)

    def forward(self, comparison: Comparison) -> Losses:
        return pair_losses(_formula(self.of_distances), comparison)
