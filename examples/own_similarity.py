"""A similarity kind of your own: one class, no registration. Here: years are alike if they share a decade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mscon import Cell, MSConLoss, Pairs, Similarity
from mscon.testing import check_similarity


@dataclass(frozen=True)
class Decade(Similarity):
    """Weight 1 for the same decade, 0.5 for neighbouring ones, 0 beyond."""

    column: str

    @classmethod
    def fit(cls, column: str, cells: Sequence[Cell], lines: Sequence[int]) -> Decade:
        return cls(column)

    def encode(self, cells: Sequence[Cell]) -> Tensor:
        return torch.tensor([float("nan") if cell is None else int(cell) // 10 for cell in cells])

    def encode_tensor(self, labels: Tensor) -> Tensor:
        """From (rows,): years as floats, NaN where missing."""
        return labels.div(10, rounding_mode="floor")

    def compare(self, anchors: Tensor, candidates: Tensor) -> Pairs:
        apart = (anchors[:, None] - candidates[None, :]).abs()
        return Pairs((1 - apart / 2).clamp_min(0).nan_to_num(), ~apart.isnan())

    def missing(self, codes: Tensor) -> Tensor:
        return codes.isnan()

    def to_json(self) -> dict[str, object]:
        return {"column": self.column}

    @classmethod
    def from_json(cls, state: dict[str, object]) -> Decade:
        return cls(str(state["column"]))


check_similarity(Decade, ["1964", "1968", "1971", "2003"])  # says in a sentence what does not hold

# In a recipe it is `name = "examples.own_similarity:Decade"`. In a loop of your own:
years = torch.tensor([1964.0, 1968.0, 1971.0, float("nan"), 2003.0])
embeddings = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
print(MSConLoss([Decade("year")], weighting="equal")({"year": embeddings}, {"year": years}))
