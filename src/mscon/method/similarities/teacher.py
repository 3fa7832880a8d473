"""Alike means: near in another embedding, the teacher."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16
from torch import Tensor

from mscon.errors import RecipeError
from mscon.method.kernels.precision import no_rounding
from mscon.method.labels import Values, need_shape, numbers
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import Cell, Similarity, check_cells
from mscon.method.similarities.continuous import number_of

LEAST_TEMPERATURE = 0.02
"""Below it the weights of rows that are unlike all others would vanish in single precision."""

# Codes are multiples of 1 / 2048. Such numbers fit float16 and TF32, and single precision adds their products without
# any rounding: a pair then does not depend on what else is compared, and a row has cosine 1 with itself.
_STEPS = 2_048
_LEAST_SQUARED_LENGTH = _STEPS**-2

NO_ZEROS = "A vector of zeros has no direction. Leave it out where it is missing."


def vector_of(cell: str) -> list[float] | None:
    """The numbers in a cell: "[0.5, -1]", "0.5 -1"; None if something else stands there."""
    values = [number_of(part) for part in re.split(r"[\s,]+", cell.strip().strip("[]").strip())]
    return None if None in values else cast(list[float], values)


def vectors_of(cells: Sequence[Cell]) -> Float[np.ndarray, "rows numbers"]:
    """The vectors in cells that `Teacher.check` accepts; a row of NaN where missing."""
    vectors = [None if cell is None else vector_of(cell) for cell in cells]
    missing = [np.nan] * max((len(vector) for vector in vectors if vector is not None), default=1)
    return np.array([missing if vector is None else vector for vector in vectors]).reshape(len(cells), len(missing))


@dataclass(frozen=True)
class Teacher(Similarity):
    """Rows are as alike as their vectors in another embedding (the teacher): exp((cosine - 1) / target_temperature).

    With the objective `supcon` an anchor's targets are the softmax of cosine / target_temperature over the candidates,
    and the loss is the cross-entropy between these targets and the softmax of its projections' similarities; its floor
    is the entropy of the targets. No label is needed, and other views of the row are candidates with a cosine of 1.

    A code is a vector of unit length, in steps of 1/2048 (an error of about 0.0002 in a cosine), NaN where missing. In
    a table the mean of the training rows is taken off first; in your own training loop do that yourself:
    `labels = {"clip": clip - clip.mean(dim=0)}`. Otherwise all cosines are large and the targets differ little.

    Attributes:
        target_temperature: divides cosines; from 0.02. The smaller it is, the fewer rows count as alike.

    Raises:
        ValueError: if it is smaller, or no number.

    Source: X-CLR, Sobal et al. 2024, https://arxiv.org/abs/2407.18134: there the similarities are mostly those of
        captions. Temperatures of targets and of projections are apart, as there.
    """

    column: str = "teacher"
    target_temperature: float | int = 0.1

    reads_vectors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        is_number = isinstance(self.target_temperature, Real)
        if not (is_number and LEAST_TEMPERATURE <= self.target_temperature < float("inf")):
            raise ValueError(
                f"similarity '{self.column}': target_temperature must be a number of at least {LEAST_TEMPERATURE}, got "
                f"{self.target_temperature!r}."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        return ()

    @property
    def half_counts(self) -> bool:
        """False: how alike two rows are counts only beside how alike the others are."""
        return False

    @classmethod
    def check(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], **settings: Any) -> None:
        advice = 'Write a vector as "[0.5, -1.25]". A row without one has an empty cell: missing.'
        what = ("not a list of numbers", "not lists of numbers")
        check_cells(column, cells, lines, lambda cell: vector_of(cell) is None, what, advice)
        check_cells(column, cells, lines, lambda cell: not any(vector_of(cell) or ()), ("zero", "zero"), NO_ZEROS)
        lengths = [len(vector_of(cell) or ()) for cell in cells if cell is not None]
        usual = max(sorted(set(lengths)), key=lengths.count, default=0)
        what = (f"not of {usual} numbers, as most are",) * 2
        advice = "All vectors must have one length."
        check_cells(column, cells, lines, lambda cell: len(vector_of(cell) or ()) != usual, what, advice)

    @classmethod
    def fit(
        cls,
        column: str,
        cells: Sequence[Cell],
        lines: Sequence[int],
        *,
        of: str = "",
        target_temperature: float = 0.1,
    ) -> Teacher:
        """Nothing is learned from cells: the vectors of a table come as they are (`mscon.data.inputs.teachers`).

        Args:
            of: where a table's vectors are: a column of lists of numbers, a .npy or .safetensors file beside the table
                with a vector for each row, or "start" for the features that training starts from; "" for the column
                that the similarity is named after.
        """
        del of
        cls.check(column, cells, lines)
        try:
            return cls(column, target_temperature)
        except ValueError as error:
            raise RecipeError(str(error)) from None

    def encode(self, cells: Sequence[Cell]) -> Float16[Tensor, "rows numbers"]:
        return self.encode_tensor(vectors_of(cells))

    def encode_tensor(self, labels: Values) -> Float16[Tensor, "rows numbers"]:
        """From (rows, numbers): a vector a row, of any length but zero; a row of NaN is missing."""
        what = f"labels '{self.column}'"
        values = numbers(what, labels).detach()
        need_shape(what, values, None, words="a vector a row")
        missing = values.isnan()
        largest = values.abs().amax(dim=1, keepdim=True)
        for rows, fault in (
            (missing.any(dim=1) & ~missing.all(dim=1), "NaN in a part of a vector only; make it NaN as a whole"),
            (largest[:, 0] == 0, "only zeros, which have no direction; make the vector NaN if it is missing"),
        ):
            if rows.any():
                raise ValueError(f"{what} must be vectors, got in row {int(rows.nonzero()[0])} {fault}.")
        scaled = values / largest  # squares of huge numbers must not overflow
        unit = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
        return unit.mul_(_STEPS).round_().div_(_STEPS).to(torch.float16)

    def compare(
        self, anchors: Float16[Tensor, "anchors numbers"], candidates: Float16[Tensor, "candidates numbers"]
    ) -> Pairs:
        known = ~(self.missing(anchors)[:, None] | self.missing(candidates)[None, :])
        with no_rounding(anchors):
            a, c = (codes.float().nan_to_num_(0.0) for codes in (anchors, candidates))
            squared_lengths = a.square().sum(dim=1)[:, None] * c.square().sum(dim=1)[None, :]
            # Rounded, unit vectors have a length of nearly 1. The root of an exact square is exact.
            cosine = (a @ c.T).div_(squared_lengths.sqrt_().clamp_min_(_LEAST_SQUARED_LENGTH)).clamp_(max=1.0)
        return Pairs(cosine.sub_(1).div_(self.target_temperature).exp_().to(torch.get_default_dtype()), known)

    def missing(self, codes: Float16[Tensor, "rows numbers"]) -> Bool[Tensor, " rows"]:
        return codes[:, 0].isnan()

    @classmethod
    def from_json(cls, state: dict[str, object]) -> Teacher:
        return cls(cast(str, state["column"]), cast(float, state["target_temperature"]))
