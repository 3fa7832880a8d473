"""Objective groups: each similarity with an objective of its own, those with an equal one computed together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mscon.method.objectives.base import Comparison, Losses, Objective
from mscon.method.pairs import Exchange
from mscon.method.similarities.base import Similarity


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Similarities that one objective serves.

    Attributes:
        objective: theirs.
        similarities: their numbers.
        width: of their projections, whose further dimensions are 0.
        views: numbers of the views that they compare; None for all.
    """

    objective: Objective
    similarities: tuple[int, ...]
    width: int
    views: tuple[int, ...] | None = None


class ObjectiveGroups(Objective):
    """One objective made of several, each of which sees its own similarities and views only.

    A sample whose view a similarity does not compare is neither an anchor nor a candidate of it.

    Args:
        groups: each similarity is in one of them.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        super().__init__()
        self.groups = tuple(groups)
        self.objectives = nn.ModuleList(group.objective for group in groups)
        temperatures = {group.objective.temperature for group in groups}
        self.temperature: float | None = temperatures.pop() if len(temperatures) == 1 else None
        self.compares = any(group.objective.compares for group in groups)
        self.reads_codes = any(group.objective.reads_codes for group in groups)

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        del dim  # each group knows its own
        for group in self.groups:
            group.objective.prepare([similarities[i] for i in group.similarities], group.width)

    def after_step(self) -> None:
        for group in self.groups:
            group.objective.after_step()

    def forward(self, comparison: Comparison) -> Losses:
        each = [_losses(group, comparison) for group in self.groups]
        order = [i for group in self.groups for i in group.similarities]
        place = [order.index(i) for i in range(len(order))]

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(losses, name) for losses in each])[place]

        correct = None
        if any(losses.correct is not None for losses in each):
            numbers = [torch.full_like(ls.per_anchor, math.nan) if ls.correct is None else ls.correct for ls in each]
            correct = torch.cat([one.to(torch.get_default_dtype()) for one in numbers])[place]
        return Losses(
            per_anchor=joined("per_anchor"),
            counted=joined("counted"),
            has_positive=joined("has_positive"),
            labelled=joined("labelled"),
            floor=joined("floor"),
            ceiling=joined("ceiling"),
            correct=correct,
        )


def _losses(group: Group, comparison: Comparison) -> Losses:
    """Of the similarities of a group, for all anchors."""
    which, candidates = list(group.similarities), comparison.candidates
    own = replace(
        comparison,
        anchors=comparison.anchors[which, :, : group.width],
        candidates=None if candidates is None else candidates[which, :, : group.width],
        pairs=[comparison.pairs[i] for i in which],
    )
    if group.views is None:
        return group.objective(own)
    anchors = _of_views(comparison.anchor_views, group.views)
    others = anchors if candidates is None else _of_views(comparison.candidate_views, group.views)
    losses: Losses = group.objective(_chosen(own, anchors, others))

    def whole(values: Tensor) -> Tensor:
        return values.new_zeros(len(which), len(comparison.anchor_views)).index_copy(1, anchors, values)

    return replace(
        losses,
        per_anchor=whole(losses.per_anchor),
        counted=whole(losses.counted),
        has_positive=whole(losses.has_positive),
        labelled=whole(losses.labelled),
        correct=None if losses.correct is None else whole(losses.correct),
    )


def _of_views(numbers: Int[Tensor, " samples"], views: tuple[int, ...]) -> Int[Tensor, " some"]:
    return torch.isin(numbers, torch.tensor(views, device=numbers.device)).nonzero().squeeze(1)


def _chosen(comparison: Comparison, anchors: Int[Tensor, " own"], candidates: Int[Tensor, " others"]) -> Comparison:
    """Some of the anchors against some of the candidates."""
    exchange, count = comparison.pairs[0].exchange, len(comparison.anchor_rows)
    if exchange is not None:
        exchange = _within(exchange, anchors, candidates, count)
    return Comparison(
        comparison.anchors[:, anchors],
        None if comparison.candidates is None else comparison.candidates[:, candidates],
        [replace(pairs.chosen(anchors, candidates), exchange=exchange) for pairs in comparison.pairs],
        comparison.anchor_rows[anchors],
        comparison.candidate_rows[candidates],
        comparison.anchor_views[anchors],
        comparison.candidate_views[candidates],
    )


def _within(
    exchange: Exchange, anchors: Int[Tensor, " own"], candidates: Int[Tensor, " others"], count: int
) -> Exchange:
    """An exchange of numbers of all `count` anchors here, for some of them."""

    def exchanged(
        numbers: Float[Tensor, "numbers similarities own"],
    ) -> Float[Tensor, "numbers similarities others"]:
        everyone = numbers.new_zeros(*numbers.shape[:2], count).index_copy(2, anchors, numbers)
        return exchange(everyone).index_select(2, candidates)

    return exchanged
