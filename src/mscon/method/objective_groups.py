"""Objective groups: each similarity with an objective of its own, those with an equal one computed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mscon.method.comparison import Comparison, Losses, SampleOrigin
from mscon.method.objectives.base import Objective
from mscon.method.pairs import Exchange
from mscon.method.similarities.base import Similarity


@dataclass(frozen=True, slots=True, eq=False)
class ObjectiveGroup:
    """Similarities that one objective serves.

    Attributes:
        objective: of these similarities.
        similarities: their numbers.
        width: of their projections, whose further dimensions are 0; None where all projections have one width.
        views: numbers of the views that they compare; None for all.
    """

    objective: Objective
    similarities: tuple[int, ...]
    width: int | None = None
    views: tuple[int, ...] | None = None


class ObjectiveGroups(Objective):
    """One objective made of several, each of which sees its own similarities and views only.

    A sample whose view a similarity does not compare is neither an anchor nor a candidate of it.

    Args:
        groups: each similarity is in one of them.
    """

    def __init__(self, groups: Sequence[ObjectiveGroup]) -> None:
        super().__init__()
        self.groups = tuple(groups)
        self.objectives = nn.ModuleList(group.objective for group in groups)
        temperatures = {group.objective.temperature for group in groups}
        self.temperature: float | None = temperatures.pop() if len(temperatures) == 1 else None
        self.compares = any(group.objective.compares for group in groups)
        self.reads_codes = any(group.objective.reads_codes for group in groups)
        self.least_views = max(group.objective.least_views for group in groups)

    def refusals(self, similarities: Sequence[Similarity]) -> list[str]:
        return [
            message
            for group in self.groups
            for message in group.objective.refusals([similarities[i] for i in group.similarities])
        ]

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        super().prepare(similarities, dim)
        for group in self.groups:
            group.objective.prepare([similarities[i] for i in group.similarities], group.width or dim)

    def after_step(self) -> None:
        for group in self.groups:
            group.objective.after_step()

    def forward(self, comparison: Comparison) -> Losses:
        parts = [_losses(group, comparison) for group in self.groups]
        return Losses.joined(parts, [group.similarities for group in self.groups])


def objective_of_each(objectives: Sequence[Objective]) -> Objective:
    """One objective that gives each similarity what its own does: those that are equal serve theirs in one call.

    Args:
        objectives: one a similarity, in their order, not yet prepared. One object may serve several.
    """
    groups: list[tuple[Objective, list[int]]] = []
    for number, objective in enumerate(objectives):
        numbers = next((numbers for other, numbers in groups if _is_equal(objective, other)), None)
        if numbers is None:
            groups.append((objective, numbers := []))
        numbers.append(number)
    if len(groups) == 1:
        return groups[0][0]
    return ObjectiveGroups([ObjectiveGroup(objective, tuple(numbers)) for objective, numbers in groups])


def _is_equal(one: Objective, other: Objective) -> bool:
    """Whether two objectives compute the same: one object, or two of a class that learn nothing."""
    if type(one) is not type(other) or [*one.parameters(), *one.buffers(), *one.children()]:
        return one is other
    settings, others = (
        {name: vars(o)[name] for name in vars(o).keys() - vars(nn.Module()).keys()} for o in (one, other)
    )
    is_plain = all(isinstance(value, str | float | int | None) for value in (*settings.values(), *others.values()))
    return one is other or (is_plain and settings == others)


def groups_of(objective: Objective, similarities: int) -> tuple[ObjectiveGroup, ...]:
    """Which objective serves which similarities, also where one serves all."""
    if isinstance(objective, ObjectiveGroups):
        return objective.groups
    return (ObjectiveGroup(objective, tuple(range(similarities))),)


def _losses(group: ObjectiveGroup, comparison: Comparison) -> Losses:
    """Of the similarities of a group, for all anchors."""
    of_group, candidates = comparison.of_similarities(group.similarities), comparison.candidates
    if group.width is not None:
        of_group = replace(
            of_group,
            anchors=of_group.anchors[:, :, : group.width],
            candidates=None if of_group.candidates is None else of_group.candidates[:, :, : group.width],
        )
    if group.views is None:
        return group.objective(of_group)
    anchors = _of_views(comparison.anchor_origin, group.views)
    others = anchors if candidates is None else _of_views(comparison.candidate_origin, group.views)
    losses: Losses = group.objective(_selected(of_group, anchors, others))

    def for_all_anchors(values: Tensor) -> Tensor:
        return values.new_zeros(len(group.similarities), comparison.anchors.shape[1]).index_copy(1, anchors, values)

    return replace(
        losses,
        per_anchor=for_all_anchors(losses.per_anchor),
        counted=for_all_anchors(losses.counted),
        has_positive=for_all_anchors(losses.has_positive),
        labelled=for_all_anchors(losses.labelled),
        correct=None if losses.correct is None else for_all_anchors(losses.correct),
    )


def _of_views(origin: SampleOrigin, views: tuple[int, ...]) -> Int[Tensor, " some"]:
    return torch.isin(origin.views, torch.tensor(views, device=origin.views.device)).nonzero().squeeze(1)


def _selected(
    comparison: Comparison, anchors: Int[Tensor, " some_anchors"], candidates: Int[Tensor, " some_candidates"]
) -> Comparison:
    """Some of the anchors against some of the candidates."""
    exchange = comparison.pairs[0].exchange
    if exchange is not None:
        exchange = _within(exchange, anchors, candidates, comparison.anchors.shape[1])
    return Comparison(
        comparison.anchors[:, anchors],
        None if comparison.candidates is None else comparison.candidates[:, candidates],
        [replace(pairs.select(anchors, candidates), exchange=exchange) for pairs in comparison.pairs],
        comparison.anchor_origin.select(anchors),
        comparison.candidate_origin.select(candidates),
    )


def _within(
    exchange: Exchange,
    anchors: Int[Tensor, " some_anchors"],
    candidates: Int[Tensor, " some_candidates"],
    count: int,
) -> Exchange:
    """An exchange of numbers of all `count` anchors here, for some of them."""

    def exchanged(
        numbers: Float[Tensor, "numbers similarities some_anchors"],
    ) -> Float[Tensor, "numbers similarities some_candidates"]:
        of_all_anchors = numbers.new_zeros(*numbers.shape[:2], count).index_copy(2, anchors, numbers)
        return exchange(of_all_anchors).index_select(2, candidates)

    return exchanged
