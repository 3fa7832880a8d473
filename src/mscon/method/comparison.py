"""Comparison: what an objective gets, the anchors of a step and what they are compared with; and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.method.pairs import LazyPairs


class SampleOrigin(NamedTuple):
    """Where each sample of a batch comes from.

    Attributes:
        rows: number of the table's row, the same in every process.
        views: number of the view among those of its row, from 0.
        inputs: which input of its row was encoded, from 0; all 0 where rows have one input. With an image and a text
            a row, say, images are 0 and texts 1.
    """

    rows: Int[Tensor, " samples"]
    views: Int[Tensor, " samples"]
    inputs: Int[Tensor, " samples"]

    @classmethod
    def of_views(cls, rows: Int[Tensor, " rows"], inputs: Sequence[int]) -> SampleOrigin:
        """Of a batch that has the first view of every row, then the second, and so on.

        Args:
            rows: number of each row.
            inputs: of each view the input that it is a view of.
        """
        numbers = torch.tensor([range(len(inputs)), inputs], device=rows.device).repeat_interleave(len(rows), dim=1)
        return cls(rows.repeat(len(inputs)), *numbers)

    def select(self, samples: Int[Tensor, " some"]) -> SampleOrigin:
        """The origin of some of the samples."""
        return SampleOrigin(*(numbers[samples] for numbers in self))

    def followed_by(self, other: SampleOrigin) -> SampleOrigin:
        """The origin of these samples and then those."""
        return SampleOrigin(*(torch.cat(both) for both in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What an objective sees of one step.

    Attributes:
        anchors: projections that carry the loss, a space per similarity; they need not be of unit length.
        candidates: what anchors are compared with; None for the anchors themselves.
        pairs: for each similarity, who is alike, and which pairs to leave out.
        anchor_origin, candidate_origin: row, view and input of each of them.
    """

    anchors: Float[Tensor, "similarities anchors dim"]
    candidates: Float[Tensor, "similarities candidates dim"] | None
    pairs: Sequence[LazyPairs]
    anchor_origin: SampleOrigin
    candidate_origin: SampleOrigin

    @classmethod
    def of(
        cls,
        anchors: Float[Tensor, "similarities anchors dim"],
        candidates: Float[Tensor, "similarities candidates dim"] | None,
        pairs: Sequence[LazyPairs],
    ) -> Comparison:
        """Of samples of which only pairs are known: each is a row, numbered by the ids of the pairs."""
        origins = (
            SampleOrigin(ids, torch.zeros_like(ids), torch.zeros_like(ids))
            for ids in (pairs[0].anchor_ids, pairs[0].candidate_ids)
        )
        return cls(anchors, candidates, pairs, *origins)

    def of_similarities(self, numbers: Sequence[int]) -> Comparison:
        """The same of some of the similarities."""
        some = list(numbers)
        return replace(
            self,
            anchors=self.anchors[some],
            candidates=None if self.candidates is None else self.candidates[some],
            pairs=[self.pairs[i] for i in some],
        )


@dataclass(frozen=True, slots=True)
class Losses:
    """What an objective says of one batch, similarity by similarity.

    Attributes:
        per_anchor: nats; exactly 0 for anchors that do not count, or have nothing to be compared with.
        counted: the anchors that an average is taken over. By default those with a positive.
        has_positive: anchors with at least one known positive; they are labelled.
        labelled: anchors about which the similarity says anything at all.
        floor: least mean loss possible for these labels, nats.
        ceiling: mean loss of embeddings that all coincide, nats.
        correct: for objectives that classify or put candidates in order, the share of correct answers of each counted
            anchor; 0 where not counted. NaN for similarities whose objective does neither.
    """

    per_anchor: Float[Tensor, "similarities anchors"]
    counted: Bool[Tensor, "similarities anchors"]
    has_positive: Bool[Tensor, "similarities anchors"]
    labelled: Bool[Tensor, "similarities anchors"]
    floor: Float[Tensor, " similarities"]
    ceiling: Float[Tensor, " similarities"]
    correct: Bool[Tensor, "similarities anchors"] | Float[Tensor, "similarities anchors"] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Losses], similarities: Sequence[Sequence[int]]) -> Losses:
        """Those of all similarities, in their order, from those of some.

        Args:
            parts: of different similarities, for the same anchors.
            similarities: for each part the numbers of its similarities.
        """
        order = [i for numbers in similarities for i in numbers]
        place = [order.index(i) for i in range(len(order))]

        def together(name: str) -> Tensor:
            return torch.cat([getattr(losses, name) for losses in parts])[place]

        correct = None
        if any(losses.correct is not None for losses in parts):
            numbers = [torch.full_like(ls.per_anchor, math.nan) if ls.correct is None else ls.correct for ls in parts]
            correct = torch.cat([one.to(torch.get_default_dtype()) for one in numbers])[place]
        return cls(
            per_anchor=together("per_anchor"),
            counted=together("counted"),
            has_positive=together("has_positive"),
            labelled=together("labelled"),
            floor=together("floor"),
            ceiling=together("ceiling"),
            correct=correct,
        )

    @property
    def present(self) -> Bool[Tensor, " similarities"]:
        """Similarities with an anchor to average over in this batch."""
        return self.counted.any(dim=1)
