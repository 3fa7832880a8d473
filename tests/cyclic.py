"""A kind of one's own, "tests.cyclic:Cyclic", as a user would write it: places on a circle, such as hours of a day."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mscon.errors import RecipeError, TableError
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import Cell, Similarity, TargetKind
from mscon.method.similarities.continuous import check_numbers, number_of


@dataclass(frozen=True)
class Cyclic(Similarity):
    """Rows are as alike as their places on a circle are near: (1 + cos(2 pi (y - y') / period)) / 2."""

    column: str
    period: float

    target_kind: ClassVar[TargetKind] = "number"

    def target(self, cells: Sequence[Cell]) -> Float[np.ndarray, " rows"]:
        values = [None if cell is None else number_of(cell) for cell in cells]
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)

    @classmethod
    def check(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], **settings: Any) -> None:
        check_numbers(column, cells, lines, "Write places on the circle as numbers, in the unit of its period.")

    @classmethod
    def fit(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], *, period: float = 24.0) -> Cyclic:
        if not 0 < period < math.inf:
            raise RecipeError(f"similarity '{column}': period must be positive, got {period}.")
        cls.check(column, cells, lines)
        if len({number_of(cell) for cell in cells if cell is not None}) < 2:
            raise TableError(f"column '{column}' has fewer than two values in all training rows.")
        return cls(column, period)

    def encode(self, cells: Sequence[Cell]) -> Float[Tensor, " rows"]:
        return torch.from_numpy(np.mod(self.target(cells), self.period).astype(np.float32))

    def compare(self, anchors: Float[Tensor, " anchors"], candidates: Float[Tensor, " candidates"]) -> Pairs:
        known = ~(anchors.isnan()[:, None] | candidates.isnan()[None, :])
        apart = anchors.nan_to_num()[:, None] - candidates.nan_to_num()[None, :]
        weight = apart.mul_(2 * math.pi / self.period).cos_().add_(1).div_(2)
        return Pairs(weight.to(torch.get_default_dtype()), known)

    def missing(self, codes: Float[Tensor, " rows"]) -> Bool[Tensor, " rows"]:
        return codes.isnan()

    def to_json(self) -> dict[str, object]:
        return {"column": self.column, "period": self.period}

    @classmethod
    def from_json(cls, state: dict[str, object]) -> Cyclic:
        return cls(cast(str, state["column"]), cast(float, state["period"]))
