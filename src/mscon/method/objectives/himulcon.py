"""HiMulCon: a supervised contrastive loss for every level of a hierarchy, the finest counting most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.errors import need_one_of
from mscon.method.kernels import contrast
from mscon.method.kernels.counts import PairCounts, count_each
from mscon.method.objectives.base import Comparison, Losses, Objective, positive
from mscon.method.pairs import LazyPairs
from mscon.method.refusals import of_kind
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import same_class
from mscon.method.similarities.hierarchical import Hierarchical

Constraint = Literal["anchor", "none"]


class HiMulCon(Objective):
    r"""`supcon` on each level of every `hierarchical` similarity; plain `supcon` for classes and same rows.

    With L levels, l = 1 the finest, and SupCon_l(i) the loss whose positives share anchor i's class on level l,

        loss_i = 1/L sum_l 2^(1/l) max( SupCon_l(i), SupCon_m(i) for all m < l ).

    The maximum is the hierarchical constraint: what is alike more coarsely shall not cost less than what is alike
    more finely. On each level rows whose class there is unknown are left out of every sum.

    What differs: the authors' code takes the maximum over mean losses of whole batches, the paper over pairs of a
    level; here it is taken for each anchor, so that one anchor's loss depends neither on the others' nor on how
    processes share a batch. Their code also keeps, above the finest level, one row of each class of the level below;
    here all rows stay. Weights and the 1/L are those of the code, but a single level is plain
    SupCon, not twice that.

    Args:
        temperature: divides cosine similarities, > 0.
        constraint: "anchor", as above, or "none" for the sum without the maximum.

    Source: Zhang et al. 2022, "Use All The Labels", https://arxiv.org/abs/2204.13207 (HiMulConE; without the
        constraint HiMulCon), and https://github.com/salesforce/hierarchicalContrastiveLearning.
    """

    reads_codes = True

    def __init__(self, temperature: float = 0.1, constraint: Constraint = "anchor") -> None:
        super().__init__()
        self.temperature: float = positive("temperature", temperature)
        need_one_of("constraint", constraint, Constraint)
        self.constraint: Constraint = constraint

    def refusals(self, similarities: Sequence[Similarity]) -> list[str]:
        return [
            f"objective 'himulcon' needs levels or classes, but {of_kind(similarity)}. Use objective 'supcon' for it."
            for similarity in similarities
            if not (isinstance(similarity, Hierarchical) or similarity.is_partition)
        ]

    def forward(self, comparison: Comparison) -> Losses:
        anchors, candidates, pairs = comparison.anchors, comparison.candidates, comparison.pairs
        levels = [_levels(pair) for pair in pairs]
        owner = [i for i, of_pair in enumerate(levels) for _ in of_pair]
        flat = [level for of_pair in levels for level in of_pair]
        per_level = contrast(
            anchors if len(flat) == len(pairs) else anchors[owner],
            candidates if candidates is None or len(flat) == len(pairs) else candidates[owner],
            flat,
            temperature=self.temperature,
            cosine=True,
        )
        counts = count_each(flat)
        each = []
        for i in range(len(pairs)):
            numbers = [number for number, of_pair in enumerate(owner) if of_pair == i]
            each.append(self._of_levels(per_level[numbers], PairCounts(*(count[numbers] for count in counts))))
        coarsest = [owner.index(i) for i in range(len(pairs))]
        has_positive, labelled = counts.has_positive[coarsest], counts.known[coarsest] > 0
        share = has_positive.to(per_level.dtype) / has_positive.sum(dim=1, keepdim=True).clamp_min(1)
        loss, floor, ceiling = (torch.stack(parts) for parts in zip(*each, strict=True))
        return Losses(
            per_anchor=loss,
            counted=has_positive,
            has_positive=has_positive,
            labelled=labelled,
            floor=(floor * share).sum(dim=1),
            ceiling=(ceiling * share).sum(dim=1),
        )

    def _of_levels(
        self, losses: Float[Tensor, "levels anchors"], counts: PairCounts
    ) -> tuple[Float[Tensor, " anchors"], Float[Tensor, " anchors"], Float[Tensor, " anchors"]]:
        """Loss, floor and ceiling of each anchor from those of its levels, the coarsest first."""
        levels = len(losses)
        if levels == 1:
            return losses[0], counts.floor[0], counts.ceiling[0] * counts.has_positive[0]
        if self.constraint == "anchor":
            losses = losses.flip(0).cummax(dim=0).values.flip(0)
        penalty = losses.new_tensor([2 ** (1 / level) / levels for level in range(levels, 0, -1)])
        loss = (penalty[:, None] * losses * counts.has_positive).sum(dim=0)
        ceiling = (penalty[:, None] * counts.ceiling * counts.has_positive).sum(dim=0)
        return loss, _floor(penalty, counts), ceiling


def _floor(penalty: Float[Tensor, " levels"], counts: PairCounts) -> Float[Tensor, " anchors"]:
    """Least possible sum of the levels' losses.

    They pull one softmax q towards different ends: with c the penalties and n the numbers of positives, the sum is
    the cross-entropy -sum_p v_p log q_p with v_p = sum of c_l / n_l over the levels on which p is a
    positive, least at q = v / sum c. Where some candidates are known on some levels only, levels have softmaxes of
    their own, and what is given is the sum of their floors, which is lower.
    """
    n = counts.positives.to(penalty.dtype)
    there = n > 0
    each = (penalty[:, None] * counts.floor).sum(dim=0)
    value = (penalty[:, None] / n.clamp_min(1) * there).cumsum(dim=0)  # of candidates alike down to this level
    exactly = n - torch.cat([n[1:], torch.zeros_like(n[:1])])
    total = (penalty[:, None] * there).sum(dim=0)
    together = total * total.clamp_min(torch.finfo(n.dtype).tiny).log() - (exactly * torch.xlogy(value, value)).sum(0)
    return torch.where((counts.known == counts.known[:1]).all(dim=0), together, each)


def _levels(pair: LazyPairs) -> list[LazyPairs]:
    """A partition of the rows for each level, the coarsest first; of classes there is one."""
    if pair.is_partition:
        return [pair]
    return [
        replace(pair, compare=same_class, anchors=a, candidates=c, is_partition=True)
        for a, c in zip(_columns(pair.anchors), _columns(pair.candidates), strict=True)
    ]


def _columns(codes: Tensor) -> Sequence[Tensor]:
    return codes.T.contiguous().unbind(0)
