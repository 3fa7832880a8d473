"""Alike means: close levels of an order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.errors import RecipeError, first_few
from mscon.method.labels import Values, need_shape, ranks
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import Cell, Geometry, Similarity, TargetKind, check_cells, check_differ
from mscon.method.similarities.categorical import named
from mscon.method.similarities.continuous import check_numbers, number_of


@dataclass(frozen=True, init=False)
class Ordinal(Similarity):
    """Rows are as alike as their levels are close in an order: 1 - steps between them / (levels - 1).

    1 on the same level, 0 between the first and the last; with two levels that is `categorical`. Steps are equally
    long: where they are not, and the levels are numbers, take `continuous`. A code is the rank of the
    level from 0, -1 where missing.

    Attributes:
        levels: from the first to the last, two or more; or how many there are, then they are called "0", "1", .... By
            default `fit` takes the numbers that the training rows have, sorted.
    """

    column: str
    levels: tuple[str, ...]

    target_kind: ClassVar[TargetKind] = "rank"
    geometry: ClassVar[Geometry] = "line"
    suited_objective: ClassVar[str] = "rank_n_contrast"

    def __init__(self, column: str, levels: int | Sequence[str]) -> None:
        vars(self).update(column=column, levels=named(levels))
        if len(self.levels) < 2:
            raise ValueError(f"similarity '{self.column}': levels must be two or more, got {list(self.levels)}.")

    @property
    def target_names(self) -> tuple[str, ...]:
        return self.levels

    def target(self, cells: Sequence[Cell]) -> Float[np.ndarray, " rows"]:
        ranks = self.encode(cells).numpy().astype(np.float64)
        return np.where(ranks < 0, np.nan, ranks)

    @classmethod
    def check(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], **settings: Any) -> None:
        if not (levels := settings.get("levels") or ()):
            advice = 'Say the order of the levels in the recipe: levels = ["low", "middle", "high"].'
            check_numbers(column, cells, lines, f"{advice}\n  Without it the levels are numbers, sorted.")
            return
        advice = f"Levels in the recipe: {first_few(levels, 20)}. Add what is lacking, or empty the cells."
        check_cells(column, cells, lines, lambda cell: cell not in levels, ("not a level", "not levels"), advice)

    @classmethod
    def fit(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], *, levels: Sequence[str] = ()) -> Ordinal:
        if levels and (len(levels) < 2 or len(set(levels)) < len(levels)):
            raise RecipeError(f"similarity '{column}': levels must be two or more that differ, got {list(levels)}.")
        cls.check(column, cells, lines, levels=levels)
        names = sorted({cell for cell in cells if cell is not None}, reverse=True)
        distinct = {cell if levels else number_of(cell) for cell in names}  # "1" and "1.0" are one level
        check_differ(column, distinct, f"one level only, '{names[0] if names else None}'")
        if levels:
            return cls(column, tuple(levels))
        by_number = {number_of(cell): cell for cell in names}
        return cls(column, tuple(by_number[number] for number in sorted(by_number, key=lambda n: n or 0.0)))

    def encode(self, cells: Sequence[Cell]) -> Int[Tensor, " rows"]:
        named = {name: rank for rank, name in enumerate(self.levels)}
        numbered = {number_of(name): rank for rank, name in enumerate(self.levels)}
        by_number = None not in numbered and len(numbered) == len(self.levels)

        def rank(cell: Cell) -> int:
            if cell is None:
                return -1
            if cell in named or not by_number:
                return named.get(cell, -1)
            return numbered.get(number_of(cell), -1)

        return torch.tensor([rank(cell) for cell in cells], dtype=torch.int64)

    def encode_tensor(self, labels: Values) -> Int[Tensor, " rows"]:
        """From (rows,): ranks from 0 to the number of levels - 1; integers, -1 where missing, or whole floats, NaN."""
        what = f"labels '{self.column}'"
        codes = ranks(what, labels, len(self.levels) - 1)
        need_shape(what, codes, words="one rank a row")
        return codes

    def compare(self, anchors: Int[Tensor, " anchors"], candidates: Int[Tensor, " candidates"]) -> Pairs:
        known = (anchors >= 0)[:, None] & (candidates >= 0)[None, :]
        # Missing ranks are -1, one step below the first: kept within [0, 1], since weights must be that anywhere.
        dtype = torch.get_default_dtype()
        a, c = anchors.clamp_min(0).to(dtype)[:, None], candidates.clamp_min(0).to(dtype)[None, :]
        return Pairs((a - c).abs_().div_(1 - len(self.levels)).add_(1), known)

    def missing(self, codes: Int[Tensor, " rows"]) -> Bool[Tensor, " rows"]:
        return codes < 0

    @classmethod
    def from_json(cls, state: dict[str, object]) -> Ordinal:
        return cls(cast(str, state["column"]), tuple(cast(list[str], state["levels"])))
