r"""Supervised contrastive loss; with one positive per anchor it is NT-Xent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from mscon.errors import need_one_of
from mscon.method.class_balance import ClassBalance
from mscon.method.kernels import contrast
from mscon.method.kernels.counts import PairCounts, count_each
from mscon.method.kernels.path import Competitors, Denominator, Positives
from mscon.method.objectives.base import AnchorLosses, AverageOver, Comparison, Losses, Objective, averaged, positive
from mscon.method.pairs import LazyPairs, Pairs
from mscon.method.refusals import of_kind
from mscon.method.similarities.base import Similarity

Balance = Literal["classes"]
"""What counts alike in the denominator, where that is not every candidate."""


def supcon(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"] | None,
    pairs: Pairs | LazyPairs,
    *,
    temperature: float = 0.1,
    positives: Positives = "outside",
    denominator: Denominator = "all",
) -> Float[Tensor, " anchors"]:
    r"""Supervised contrastive loss of each anchor, in nats.

    With w the weights of anchor i's known candidates and s their cosine similarities divided by
    the temperature,

        loss_i = - sum_j (w_j / sum_k w_k) * (s_j - log sum_k exp(s_k)),

    the cross-entropy between "who is alike" and "who is near". With weights of 0 and 1 this is
    L_out of Khosla et al.; with one positive per anchor it is NT-Xent. It equals log(number of
    known candidates) when all embeddings coincide, so a loss that stays there tells of a collapsed
    encoder; it cannot fall below log(number of positives).

    Args:
        anchors: embeddings that carry the loss; scaled to unit length here, so their norm is
            irrelevant.
        candidates: embeddings compared against; None for the anchors themselves.
        pairs: who is a positive of whom, and which pairs to leave out (self-pairs among them).
        temperature: divides the cosine similarities; dimensionless, > 0. Smaller values attend to
            the nearest candidates only.
        positives: "outside" the logarithm is L_out, the SupCon of everyone's tables; "inside" is
            L_in = log(sum_k w_k) - log sum_j w_j exp(s_j) + log sum_k exp(s_k).
        denominator: what positives compete with, the k of exp(s_k): "all" known candidates; or the "negatives" alone,
            those of weight 0, which is the decoupled loss. It equals log(number of negatives) when all
            embeddings coincide, has no floor but that of cosines, 2 / temperature below, and anchors without a negative
            get exactly 0 too.

    Returns:
        One loss per anchor. Anchors without a positive get exactly 0 and pass no gradient; average
        over `pairs.has_positive`, not over all rows.

    Raises:
        ValueError: if the temperature is not positive, or an embedding is zero or not finite.

    Source: Khosla et al. 2020, "Supervised Contrastive Learning", eq. 2 and 3,
        https://arxiv.org/abs/2004.11362. Their code also multiplies by temperature /
        base_temperature; here that factor is 1. Decoupled: Yeh et al. 2022, eq. 6, https://arxiv.org/abs/2110.06848.
    """
    return contrast(
        anchors[None],
        None if candidates is None else candidates[None],
        [pairs],
        temperature=temperature,
        positives=positives,
        denominator=denominator,
        cosine=True,
    )[0]


class SupCon(Objective):
    """Supervised contrastive loss (SupCon), of all similarities at once.

    Args:
        temperature: divides cosine similarities, > 0; the paper's tau.
        average_over: "anchors_with_a_positive", or "all_anchors" as the authors' code does, which
            counts lonely anchors as zeros and so weights similarities by their share of them.
        positives: "outside" (L_out) or "inside" (L_in) the logarithm.
        denominator: what positives compete with: "all" candidates, or "negatives" alone, the decoupled loss. That needs
            rows that are not alike in anything, of which kinds such as `continuous` have few.
        balance: "classes" counts each candidate as 1 / number of candidates of its class in the denominator, so that
            frequent classes do not push rare ones away: the class-averaging of Zhu et al. 2022, "Balanced Contrastive
            Learning for Long-Tailed Visual Recognition", https://arxiv.org/abs/2207.09052, without the
            prototypes of that paper. None counts each as 1.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        average_over: AverageOver = "anchors_with_a_positive",
        positives: Positives = "outside",
        denominator: Denominator = "all",
        balance: Balance | None = None,
    ) -> None:
        super().__init__()
        self.temperature: float = positive("temperature", temperature)
        need_one_of("average_over", average_over, AverageOver)
        need_one_of("positives", positives, Positives)
        need_one_of("denominator", denominator, Denominator)
        if balance is not None:
            need_one_of("balance", balance, Balance)
        self.average_over: AverageOver = average_over
        self.positives: Positives = positives
        self.denominator: Denominator = denominator
        self.balance: Balance | None = balance
        self.reads_codes = balance is not None

    def refusals(self, similarities: Sequence[Similarity]) -> list[str]:
        return [
            f"objective 'supcon' with balance = \"classes\" counts the rows of classes, but {of_kind(similarity)}. "
            "Leave balance out for it."
            for similarity in similarities
            if self.balance and not similarity.is_partition
        ]

    def forward(self, comparison: Comparison) -> Losses:
        return supcon_losses(
            comparison,
            self.temperature,
            self.positives,
            self.denominator,
            average_over=self.average_over,
            balance=self.balance,
        )


def supcon_losses(
    comparison: Comparison,
    temperature: float,
    positives: Positives = "outside",
    denominator: Competitors = "all",
    *,
    average_over: AverageOver = "anchors_with_a_positive",
    balance: Balance | None = None,
) -> Losses:
    """What `SupCon` with these settings says of a step; or SINCERE, with denominator "negatives_and_itself"."""
    balances = None if balance is None else [ClassBalance.of(pairs) for pairs in comparison.pairs]
    pairs = comparison.pairs if balances is None else [of_similarity.pairs for of_similarity in balances]
    per_anchor = contrast(
        comparison.anchors,
        comparison.candidates,
        pairs,
        temperature=temperature,
        positives=positives,
        denominator=denominator,
        cosine=True,
    )
    return contrastive_losses(per_anchor, pairs, average_over, denominator, 2 / temperature, balances)


def contrastive_losses(
    per_anchor: Float[Tensor, "similarities anchors"],
    pairs: Sequence[LazyPairs],
    average_over: AverageOver,
    denominator: Competitors = "all",
    spread: float = math.inf,
    balances: Sequence[ClassBalance] | None = None,
) -> Losses:
    """Per-anchor losses with everything that only depends on labels.

    Args:
        per_anchor: of `mscon.method.kernels.contrast`.
        pairs: what they were computed from.
        average_over: which anchors count.
        denominator: as of `contrast`.
        spread: the greatest difference of two logits.
        balances: of each similarity, where the pairs are theirs.
    """
    counts = count_each(pairs)
    if balances is not None:
        each = [b.counts(PairCounts(*of_b)) for b, *of_b in zip(balances, *counts, strict=True)]
        counts = PairCounts(*map(torch.stack, zip(*each, strict=True)))
    has_positive, labelled = counts.has_positive, counts.known > 0
    compared, floor, ceiling = has_positive, counts.floor, counts.ceiling
    if denominator != "all":
        compared = has_positive & (counts.negatives > 0)
        ceiling = counts.negatives.clamp_min(1).to(per_anchor.dtype).log()
        floor = torch.where(compared, ceiling - spread, 0.0)
        if denominator == "negatives_and_itself":
            floor, ceiling = softplus(floor) * compared, softplus(ceiling)
    if balances is not None:
        per_anchor = per_anchor + torch.stack([b.log_weights for b in balances]).to(per_anchor.dtype) * compared
    counted = compared if average_over == "anchors_with_a_positive" else labelled
    losses = AnchorLosses(per_anchor, counted, floor, ceiling if counted is compared else ceiling * compared)
    return averaged(losses, has_positive, labelled)
