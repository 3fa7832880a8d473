"""Alike means: two views of one row. SimCLR's notion; it needs no label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mscon.method.labels import Values, integers, need_shape
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import Cell, Geometry, Similarity
from mscon.method.similarities.categorical import same_class


@dataclass(frozen=True)
class SameRow(Similarity):
    """Views of a row are alike, all other rows are different. It reads no cells; its column is only a name."""

    column: str = "same_row"

    is_partition: ClassVar[bool] = True
    geometry: ClassVar[Geometry] = "same_row"

    @property
    def columns(self) -> tuple[str, ...]:
        return ()

    @classmethod
    def fit(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], **settings: object) -> SameRow:
        return cls(column)

    def encode(self, cells: Sequence[Cell]) -> Int[Tensor, " rows"]:
        """A code of its own for each row: its position."""
        return torch.arange(len(cells))

    def encode_tensor(self, labels: Values) -> Int[Tensor, " rows"]:
        """From (rows,): what row of the data set each is, as integers."""
        codes = integers("rows", labels, truth_values=False)
        need_shape("rows", codes, words="one number a row")
        return codes

    def compare(self, anchors: Int[Tensor, " anchors"], candidates: Int[Tensor, " candidates"]) -> Pairs:
        return same_class(anchors, candidates)

    def missing(self, codes: Int[Tensor, " rows"]) -> Bool[Tensor, " rows"]:
        return codes < 0

    @classmethod
    def from_json(cls, state: dict[str, object]) -> SameRow:
        return cls(cast(str, state["column"]))
