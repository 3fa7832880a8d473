"""Masks: which dimensions of a shared embedding each similarity sees, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mscon.evaluate.report.gather import Method

# Of a bar, and of the picture that all bars of a similarity make.
_WIDTH, _HEIGHT = 8.0, 48.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One dimension of one similarity: place and size in the picture, and whether no other similarity sees it more."""

    x: float
    y: float
    height: float
    is_largest: bool


@dataclass(frozen=True, slots=True)
class Mask:
    """What one similarity sees.

    Attributes:
        column: the similarity.
        bars: a dimension each, in the order of all masks of the method.
        nonzero: dimensions whose mask is above 0.
        most: dimensions that it sees more than every other similarity does, or no less.
        largest_share: share of its mask's sum that lies on those; None for a mask of zeros.
    """

    column: str
    bars: tuple[Bar, ...]
    nonzero: int
    most: int
    largest_share: float | None


@dataclass(frozen=True, slots=True)
class MethodMasks:
    """All masks of the first seed of one method, drawn on one scale."""

    method: str
    seed: int
    dimensions: int
    largest: float
    width: float
    height: float
    masks: tuple[Mask, ...]


def masks(methods: Sequence[Method]) -> tuple[MethodMasks, ...]:
    """Of each method whose heads are masks; of others nothing."""
    drawn = []
    for method in methods:
        member = method.members[0]
        values = member.run.read_masks()
        if values:
            drawn.append(_drawn(method, member.seed, np.asarray(values, dtype=np.float64)))
    return tuple(drawn)


def order(values: Float[np.ndarray, "similarities dim"]) -> Int[np.ndarray, " dim"]:
    """Dimensions by the similarity that sees them most, its strongest first; those that nobody sees come last."""
    owner = np.where(values.max(axis=0) > 0, values.argmax(axis=0), len(values))
    return np.lexsort((-values.max(axis=0), owner))


def _drawn(method: Method, seed: int, values: Float[np.ndarray, "similarities dim"]) -> MethodMasks:
    values = values[:, order(values)]
    largest = float(values.max()) or 1.0
    most = values.max(axis=0)
    rows = []
    for column, mask in zip(method.columns, values, strict=True):
        is_largest = (mask == most) & (mask > 0)
        heights = np.round(_HEIGHT * mask / largest, 1)
        rows.append(
            Mask(
                column=column,
                bars=tuple(
                    Bar(round(_WIDTH * i, 1), round(_HEIGHT - float(h), 1), float(h), bool(o))
                    for i, (h, o) in enumerate(zip(heights, is_largest, strict=True))
                ),
                nonzero=int((mask > 0).sum()),
                most=int(is_largest.sum()),
                largest_share=float(mask[is_largest].sum() / mask.sum()) if mask.sum() > 0 else None,
            )
        )
    return MethodMasks(method.title, seed, values.shape[1], largest, _WIDTH * values.shape[1], _HEIGHT, tuple(rows))
