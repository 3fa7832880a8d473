"""Alike means: close values of a number."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mscon.errors import RecipeError, TableError
from mscon.method.labels import Values, need_shape, numbers
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import Cell, Geometry, Similarity, TargetKind, check_cells, check_differ

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

# Quartiles of a normal distribution lie 1.34 standard deviations apart.
_NORMAL_IQR = 1.34

# Codes beyond so many widths are cut off; anything there is unlike all else.
_FURTHEST = 1e18


def number_of(cell: str) -> float | None:
    """The number that a cell writes ("4.5", "-3", "1e3"); None for anything else, also for "nan", "inf" and "4,5"."""
    if not _NUMBER.fullmatch(cell.strip()):
        return None
    value = float(cell)
    return value if math.isfinite(value) else None


def check_numbers(column: str, cells: Sequence[Cell], lines: Sequence[int], advice: str) -> None:
    """Raise TableError for all cells that are no numbers."""
    check_cells(column, cells, lines, lambda cell: number_of(cell) is None, ("not a number", "not numbers"), advice)


def default_width(values: Float[np.ndarray, " values"]) -> float:
    """A width for these values, in their unit: Silverman's rule of thumb for a Gaussian kernel.

    0.9 min(standard deviation, interquartile range / 1.34) n^(-1/5): about 0.23 standard deviations of 1,000 values,
    0.14 of 10,000. A few outliers move it little. Where half of the values or more are equal, so that the
    range between the quartiles is 0, it is the standard deviation alone.

    Args:
        values: at least two that differ.

    Source: Silverman 1986, "Density Estimation for Statistics and Data Analysis", eq. 3.31.
    """
    # By the largest first: squares of huge values must not overflow.
    scale = float(np.abs(values - values.mean()).max())
    scaled = (values - values.mean()) / scale
    quartiles = np.percentile(scaled, [25, 75])
    spread = float(quartiles[1] - quartiles[0]) / _NORMAL_IQR
    deviation = float(scaled.std())
    return scale * 0.9 * (min(deviation, spread) if spread > 0 else deviation) * len(values) ** -0.2


@dataclass(frozen=True)
class Continuous(Similarity):
    """Rows are as alike as their numbers are close: exp(-((y - y') / width)^2 / 2).

    One width apart the weight is 0.61, two 0.14, three 0.01; beyond some 14 widths it is 0 in single precision.
    A code is the value counted in widths from the median of the training rows, NaN where missing, so that single
    precision is enough also for large numbers with small differences.

    Attributes:
        width: within which values are alike, in the unit of the column; see `default_width` for the default.
        centre: what codes are counted from, in the unit of the column: `fit` takes the median of the training rows.
            By hand it matters only for numbers that are large beside their differences, such as years or prices.

    Source: y-aware InfoNCE, Dufumier et al. 2021, https://arxiv.org/abs/2106.08808, with objective `supcon`.
    """

    column: str
    width: float | int
    centre: float | int = 0.0

    target_kind: ClassVar[TargetKind] = "number"
    geometry: ClassVar[Geometry] = "line"
    suited_objective: ClassVar[str] = "rank_n_contrast"

    def __post_init__(self) -> None:
        are_numbers = isinstance(self.width, Real) and isinstance(self.centre, Real)
        if not (are_numbers and 0 < self.width < math.inf and math.isfinite(self.centre)):
            raise ValueError(
                f"similarity '{self.column}': width must be a positive number, in the unit of the column, and centre "
                f"finite, got width {self.width!r} and centre {self.centre!r}."
            )

    @property
    def alike_within(self) -> float:
        return self.width

    def target(self, cells: Sequence[Cell]) -> Float[np.ndarray, " rows"]:
        values = [None if cell is None else number_of(cell) for cell in cells]
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)

    @classmethod
    def check(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], **settings: Any) -> None:
        del settings
        check_numbers(
            column,
            cells,
            lines,
            "Write numbers as 4.5, without a unit and with a point; leave the cell empty where the value is missing.\n"
            '  If the values are names, take name = "categorical".',
        )

    @classmethod
    def fit(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], *, width: float | None = None) -> Continuous:
        if width is not None and not 0 < width < math.inf:
            raise RecipeError(f"similarity '{column}': width must be positive, in the unit of the column, got {width}.")
        cls.check(column, cells, lines)
        values = np.array([value for cell in cells if cell is not None and (value := number_of(cell)) is not None])
        check_differ(column, np.unique(values).tolist(), f"one value only, {values[0] if len(values) else 0:g}")
        with np.errstate(over="ignore", invalid="ignore"):
            fitted_width, centre = default_width(values) if width is None else width, float(np.median(values))
        if not (0 < fitted_width < math.inf and math.isfinite(centre)):
            raise TableError(
                f"column '{column}' has numbers from {values.min():g} to {values.max():g} in its training rows, more "
                "than can be reckoned with. Empty the cells of those that stand for something else."
            )
        return cls(column, fitted_width, centre)

    def encode(self, cells: Sequence[Cell]) -> Float[Tensor, " rows"]:
        with np.errstate(over="ignore"):  # infinities too are cut off: one minus another would be no number
            widths = (self.target(cells) - self.centre) / self.width
        return torch.from_numpy(np.clip(widths, -_FURTHEST, _FURTHEST).astype(np.float32))

    def encode_tensor(self, labels: Values) -> Float[Tensor, " rows"]:
        """From (rows,): values in the unit of the column, of any type of number, NaN where missing."""
        what = f"labels '{self.column}'"
        values = numbers(what, labels)
        need_shape(what, values, words="one number a row")
        return values.sub(self.centre).div_(self.width).clamp_(-_FURTHEST, _FURTHEST).to(torch.float32)

    def compare(self, anchors: Float[Tensor, " anchors"], candidates: Float[Tensor, " candidates"]) -> Pairs:
        known = ~(anchors.isnan()[:, None] | candidates.isnan()[None, :])
        # NaN times 0 is NaN, so none may be left where nothing is known.
        apart = anchors.nan_to_num()[:, None] - candidates.nan_to_num()[None, :]
        return Pairs(apart.square_().mul_(-0.5).exp_().to(torch.get_default_dtype()), known)

    def missing(self, codes: Float[Tensor, " rows"]) -> Bool[Tensor, " rows"]:
        return codes.isnan()

    @classmethod
    def from_json(cls, state: dict[str, object]) -> Continuous:
        return cls(cast(str, state["column"]), cast(float, state["width"]), cast(float, state["centre"]))
