"""Objective: projections and Pairs -> one loss per anchor. Knows geometry, not what labels meant."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mscon.errors import RecipeError
from mscon.method.comparison import Comparison as Comparison
from mscon.method.comparison import Losses as Losses
from mscon.method.comparison import SampleOrigin
from mscon.method.kernels.precision import no_rounding
from mscon.method.pairs import LazyPairs, Pairs
from mscon.method.refusals import unmet
from mscon.method.similarities.base import Similarity

AverageOver = Literal["anchors_with_a_positive", "all_anchors"]

# Pairs that a formula writes out at once; above that, backward computes a block of anchors again.
_AT_ONCE = 2**20


class Objective(nn.Module, ABC):
    """One loss per anchor and similarity. Subclasses are final.

    What an objective draws at random it draws from torch's global generator, and nothing in evaluation mode.

    Attributes:
        temperature: divides cosine similarities in a softmax; None for objectives that have no such number.
        compares: False for those that compare no rows.
        reads_codes: True for those that look into codes, and so cannot be handed those of drawn triplets.
        numbers_classes: True for those that read codes as numbers of classes, from 0 to one less than there are.
        learns_width: True for those that learn something of the width of the projections.
        least_views: how many views of a row it needs in a batch.
        has_constant_targets: True for those that take targets computed of projections as constants in the gradient.
        needs_negatives: True for those that compare with rows that are not alike in anything.
        needs_classes: True for those that learn something for each class.
    """

    temperature: float | None = None
    compares: bool = True
    reads_codes: bool = False
    numbers_classes: bool = False
    learns_width: bool = False
    least_views: int = 1
    has_constant_targets: bool = False
    needs_negatives: bool = False
    needs_classes: bool = False

    def refusals(self, similarities: Sequence[Similarity]) -> list[str]:
        """Why it cannot serve these similarities, and what to do: a message for each. `mscon check` prints them."""
        return unmet(type(self), similarities, negatives=self.needs_negatives, classes=self.needs_classes)

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        """Called once before training; raises RecipeError with all `refusals`.

        Objectives that learn something of their own extend it, and create that for projections of width `dim`.
        """
        del dim
        if messages := self.refusals(similarities):
            raise RecipeError(*messages)

    @abstractmethod
    def forward(self, comparison: Comparison) -> Losses:
        """Losses of the anchors of a step."""

    def after_step(self) -> None:
        """Called after each step of the optimiser, without a graph: to scale prototypes to unit length, say."""


def positive(name: str, value: object) -> float:
    """A setting that is a number above 0.

    Raises:
        ValueError: for anything else, a tensor among them.
    """
    if isinstance(value, Tensor):
        raise ValueError(f"{name} must be a plain number, got a tensor; it cannot be learned.")
    if not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, got {value!r}.")
    if not 0 < float(value) < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}.")
    return float(value)


class AnchorLosses(NamedTuple):
    """What the formula of a loss says of some anchors.

    Attributes:
        loss: exactly 0 where not counted, with a gradient of 0.
        counted: anchors that have something to be compared by.
        floor, ceiling: least possible loss of each, and that of embeddings that all coincide; None where
            `pair_losses` is given them as numbers.
        correct: share of the comparisons of each that are answered rightly, 0 where not counted; None for losses that
            put nothing in order.
    """

    loss: Float[Tensor, "*similarities anchors"]
    counted: Bool[Tensor, "*similarities anchors"]
    floor: Float[Tensor, "*similarities anchors"] | None = None
    ceiling: Float[Tensor, "*similarities anchors"] | None = None
    correct: Float[Tensor, "*similarities anchors"] | None = None


Formula = Callable[[Float[Tensor, "anchors dim"], Float[Tensor, "candidates dim"], Pairs], AnchorLosses]
"""Some anchors, all candidates and their pairs written out -> losses."""

AnchorsAtOnce = Callable[[int, int], int]
"""Of (candidates, dim), for how many anchors pairs are written out at once."""


def anchors_at_once(candidates: int, _dim: int) -> int:
    """By default: so many that their pairs are some million."""
    return _AT_ONCE // candidates


@dataclass(frozen=True, slots=True)
class Block:
    """Some anchors of one similarity and all of their candidates, for losses that need more than pairs.

    Attributes:
        similarity: its number in the comparison.
        anchors, candidates: projections, float32 or wider.
        pairs: how alike they are; self-pairs are unknown.
        anchor_codes, candidate_codes: what the similarity makes of their cells.
        anchor_origin, candidate_origin: row, view and input of each.
    """

    similarity: int
    anchors: Float[Tensor, "anchors dim"]
    candidates: Float[Tensor, "candidates dim"]
    pairs: Pairs
    anchor_codes: Shaped[Tensor, "anchors ..."]
    candidate_codes: Shaped[Tensor, "candidates ..."]
    anchor_origin: SampleOrigin
    candidate_origin: SampleOrigin


def pair_losses(
    formula: Formula,
    comparison: Comparison,
    *,
    anchors_at_once: AnchorsAtOnce = anchors_at_once,
    floor: float = 0.0,
    ceiling: float = 0.0,
) -> Losses:
    """A loss from its formula alone, for every similarity: all that a new objective needs to call.

    Args:
        formula: see `by_blocks`.
        comparison: what the objective is given.
        anchors_at_once: see `by_blocks`.
        floor, ceiling: of the mean loss, where the formula says none of each anchor.
    """

    def of_block(block: Block) -> AnchorLosses:
        return formula(block.anchors, block.candidates, block.pairs)

    return block_losses(of_block, comparison, anchors_at_once=anchors_at_once, floor=floor, ceiling=ceiling)


def block_losses(
    formula: Callable[[Block], AnchorLosses],
    comparison: Comparison,
    *,
    anchors_at_once: AnchorsAtOnce = anchors_at_once,
    floor: float = 0.0,
    ceiling: float = 0.0,
) -> Losses:
    """`pair_losses` for a formula that also needs codes, origins or the number of the similarity.

    Args:
        formula: what it says of the anchors of a block. Backward may call it again.
        comparison, anchors_at_once, floor, ceiling: see `pair_losses`.
    """
    return averaged(*anchor_losses(formula, comparison, anchors_at_once=anchors_at_once), floor=floor, ceiling=ceiling)


def anchor_losses(
    formula: Callable[[Block], AnchorLosses],
    comparison: Comparison,
    *,
    anchors_at_once: AnchorsAtOnce = anchors_at_once,
) -> tuple[AnchorLosses, Bool[Tensor, "similarities anchors"], Bool[Tensor, "similarities anchors"]]:
    """What a formula says of every anchor of every similarity; who has a positive; about whom anything is known.

    For losses that join anchors, and then call `averaged`.

    Args:
        formula, comparison, anchors_at_once: see `block_losses`.
    """

    def of_similarity(i: int) -> tuple[AnchorLosses, Tensor, Tensor]:
        lazy, origin = comparison.pairs[i], comparison.anchor_origin

        def of_rows(anchors: Tensor, candidates: Tensor, pairs: Pairs, rows: slice) -> AnchorLosses:
            codes, rows_origin = lazy.anchors[rows], SampleOrigin(*(numbers[rows] for numbers in origin))
            others = comparison.candidate_origin
            return formula(Block(i, anchors, candidates, pairs, codes, lazy.candidates, rows_origin, others))

        others = None if comparison.candidates is None else comparison.candidates[i]
        return _by_rows(of_rows, comparison.anchors[i], others, lazy, anchors_at_once)

    losses, has_positive, labelled = zip(*map(of_similarity, range(len(comparison.pairs))), strict=True)
    stacked: list[Any] = [None if values[0] is None else torch.stack(values) for values in zip(*losses, strict=True)]
    return AnchorLosses(*stacked), torch.stack(has_positive), torch.stack(labelled)


def averaged(
    losses: AnchorLosses,
    has_positive: Bool[Tensor, "similarities anchors"],
    labelled: Bool[Tensor, "similarities anchors"],
    *,
    floor: float = 0.0,
    ceiling: float = 0.0,
) -> Losses:
    """Losses of a step from those of each anchor; see `anchor_losses`."""
    per_anchor, counted, floors, ceilings, correct = losses
    share = counted.to(per_anchor.dtype) / counted.sum(dim=1, keepdim=True).clamp_min(1)

    def mean(values: Tensor | None, otherwise: float) -> Float[Tensor, " similarities"]:
        if values is None:
            return otherwise * counted.any(dim=1).to(share.dtype)
        return (values * share).sum(dim=1)

    return Losses(
        per_anchor=per_anchor,
        counted=counted,
        has_positive=has_positive,
        labelled=labelled,
        floor=mean(floors, floor),
        ceiling=mean(ceilings, ceiling),
        correct=correct,
    )


def by_blocks(
    formula: Formula,
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"] | None,
    pairs: Pairs | LazyPairs,
    anchors_at_once: AnchorsAtOnce = anchors_at_once,
) -> tuple[AnchorLosses, Bool[Tensor, " anchors"], Bool[Tensor, " anchors"]]:
    """What a formula says of every anchor by looking at all its pairs, in memory for some anchors at a time.

    Where there is more than one block, backward computes each again instead of keeping it. Numbers are float32 or
    wider whatever autocast says: a distance in bfloat16 has two digits.

    Args:
        formula: is given the anchors of a block, all candidates, and the pairs of the block.
        anchors_at_once: of (candidates, dim), anchors of a block.

    Returns:
        The losses; which anchors have a positive; and about which anything is known.
    """
    return _by_rows(lambda a, c, block, _rows: formula(a, c, block), anchors, candidates, pairs, anchors_at_once)


def _by_rows(
    formula: Callable[[Tensor, Tensor, Pairs, slice], AnchorLosses],
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"] | None,
    pairs: Pairs | LazyPairs,
    anchors_at_once: AnchorsAtOnce,
) -> tuple[AnchorLosses, Bool[Tensor, " anchors"], Bool[Tensor, " anchors"]]:
    """`by_blocks` of a formula that is also given which anchors it sees."""
    wide = torch.promote_types(anchors.dtype, torch.float32)
    with no_rounding(anchors):
        a = anchors.to(wide)
        c = a if candidates is None else candidates.to(wide)
        size = max(1, anchors_at_once(max(len(c), 1), a.shape[1]))

        # Pairs are computed inside: a checkpoint would store those of every block.
        def of_block(some: Tensor, compared: Tensor, start: int) -> tuple[AnchorLosses, Tensor, Tensor]:
            rows = slice(start, start + size)
            block = pairs.block(rows, slice(None))
            return formula(some, compared, block, rows), block.has_positive, block.known.any(dim=1)

        if size >= len(a):
            return of_block(a, c, 0)
        blocks = [
            checkpoint(of_block, a[start : start + size], c, start, use_reentrant=False)
            for start in range(0, len(a), size)
        ]
    losses, has_positive, labelled = zip(*blocks, strict=True)
    joined: list[Any] = [None if parts[0] is None else torch.cat(parts) for parts in zip(*losses, strict=True)]
    return AnchorLosses(*joined), torch.cat(has_positive), torch.cat(labelled)
