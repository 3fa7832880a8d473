"""Vectors: what a model makes of rows in one pass, how they are stored in fewer bits, and how any mix scores them.

Knows numpy, and no other library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped

from mscon.errors import RunError

FEATURES, MIX = "features", "mix"

Precision = Literal["float32", "float16", "int8", "binary"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8", "binary")
"""How vectors are stored. The names are those of `quantize_embeddings` in sentence-transformers."""

_LARGEST = 127
_TYPES = {"int8": np.int8, "binary": np.uint8}


def column_of(similarity: str) -> str:
    """The column of a file that holds the unit vectors of a similarity beside those of others."""
    return f"projection_{similarity}"


@dataclass(frozen=True, slots=True, eq=False)
class RowVectors:
    """The vectors of some rows in all spaces of a model.

    Attributes:
        features: as the encoder computes them; not of unit length.
        projections: of each similarity, in the order of the recipe: of unit length, or zeros where a row has no
            direction.
        similarities: their names.
        uncertainty: of each row, see `mscon.model.row_uncertainty`; None where it is not known.
    """

    features: Float[np.ndarray, "rows width"]
    projections: Float[np.ndarray, "similarities rows dim"]
    similarities: tuple[str, ...]
    uncertainty: Float[np.ndarray, " rows"] | None = None

    @property
    def mix(self) -> Float[np.ndarray, "rows mix"]:
        """The unit vectors of all similarities side by side; `query_vector` makes the query that goes with them."""
        return np.concatenate(list(self.projections), axis=1)

    @property
    def columns(self) -> dict[str, Float[np.ndarray, "rows _"]]:
        """Under the names that they have in a file: features, `projection_NAME` of each similarity, and mix."""
        each = {column_of(name): vectors for name, vectors in zip(self.similarities, self.projections, strict=True)}
        return {FEATURES: self.features, **each, MIX: self.mix}

    @classmethod
    def joined(cls, parts: Sequence[RowVectors]) -> RowVectors:
        """The rows of several batches, one after the other; at least one batch."""
        rated = [part.uncertainty for part in parts if part.uncertainty is not None]
        return cls(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.projections for part in parts], axis=1),
            parts[0].similarities,
            np.concatenate(rated) if rated else None,
        )


def query_vector(
    vectors: Mapping[str, Float[np.ndarray, " _"]], weights: Mapping[str, float | int]
) -> Float[np.ndarray, " mix"]:
    """A query whose inner product with the `mix` vector of a row is the row's score under a mix.

    With q_s and x_s the unit vectors of query and row in the space of similarity s, and w_s its weight,

        <(w_1 q_1, w_2 q_2, ...), (x_1, x_2, ...)> / sum_s w_s = sum_s w_s cos_s / sum_s w_s,

    the score of `mscon search`.

    Args:
        vectors: of the query, for every similarity of the model, in the order of the recipe. They need not have unit
            length; zeros stay zeros.
        weights: of similarities, finite and 0 or above; those left out have weight 0.

    Raises:
        ValueError: for a weight of a similarity that has no vector, one that is negative or not finite, or weights
            that are all 0.
    """
    if unknown := [name for name in weights if name not in vectors]:
        raise ValueError(f"there is no vector of {', '.join(map(repr, unknown))}; there are {', '.join(vectors)}.")
    shares = np.array([weights.get(name, 0.0) for name in vectors], dtype=np.float64)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.any()):
        raise ValueError(f"weights must be finite and 0 or above, and one of them above 0, got {dict(weights)}.")
    shares /= shares.max()  # huge weights must not add up to infinity
    shares /= shares.sum()
    each = [share * unit(vector) for share, vector in zip(shares, vectors.values(), strict=True)]
    return np.concatenate(each).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What quantisation needs to know of the numbers in each dimension of some vectors.

    Attributes:
        rows: how many vectors.
        low, high: the least and the largest number.
        total, squares: the sum of the numbers, and of their squares.
    """

    rows: int
    low: Float[np.ndarray, " width"]
    high: Float[np.ndarray, " width"]
    total: Float[np.ndarray, " width"]
    squares: Float[np.ndarray, " width"]

    @classmethod
    def of(cls, vectors: Float[np.ndarray, "rows width"]) -> Statistics:
        wide = vectors.astype(np.float64)
        low, high = wide.min(axis=0, initial=np.inf), wide.max(axis=0, initial=-np.inf)
        return cls(len(wide), low, high, wide.sum(axis=0), np.square(wide).sum(axis=0))

    def __add__(self, other: Statistics) -> Statistics:
        """Of the vectors of both."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Statistics(self.rows + other.rows, low, high, self.total + other.total, self.squares + other.squares)


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How vectors became small integers k: a number x of dimension d is near to offset_d + step_d k.

    - "int8": k from -127 to 127 are steps between the least and the largest number of each dimension.
    - "binary": k is 1 where x is above the mean of its dimension and else -1. Bits are packed eight to a uint8, the
      first number in the highest bit (`np.packbits`), and the last byte of a space is filled up with zeros.

    Attributes:
        precision: "int8" or "binary".
        widths: numbers of each space that stand side by side in a vector; one space but for `mix`.
        offsets, steps: of each dimension.
        is_unit: whether the vectors of each space have unit length. What is decoded is scaled to it, since most of the
            error lies in the length: near rows would not be told apart.

    Source: ranges of each dimension as in `quantize_embeddings` of sentence-transformers; signs about the mean with one
        scale as in Rastegari et al. 2016, "XNOR-Net", https://arxiv.org/abs/1603.05279, eq. 6.
    """

    precision: Literal["int8", "binary"]
    widths: tuple[int, ...]
    offsets: tuple[float, ...]
    steps: tuple[float, ...]
    is_unit: bool

    @classmethod
    def fit(
        cls, precision: Literal["int8", "binary"], widths: Sequence[int], statistics: Statistics, is_unit: bool
    ) -> Quantisation:
        """For vectors of which these are the statistics; see the attributes."""
        if not statistics.rows:
            offsets = steps = np.zeros(sum(widths))
        elif precision == "int8":
            offsets, steps = (statistics.high + statistics.low) / 2, (statistics.high - statistics.low) / 2 / _LARGEST
        else:
            offsets = statistics.total / statistics.rows
            variance = (statistics.squares / statistics.rows - offsets**2).clip(0)
            # Of a normal distribution with this variance, the mean of |x|.
            each = [math.sqrt(2 / math.pi * block.mean()) for block in np.split(variance, _ends(widths))]
            steps = np.repeat(each, widths)
        return cls(precision, tuple(widths), _rounded(offsets), _rounded(steps), is_unit)

    def to_plain(self) -> dict[str, Any]:
        """As plain values; `of_plain` is the inverse."""
        return asdict(self)

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Quantisation:
        """The inverse of `to_plain`, for values that come from a file.

        Raises:
            ValueError: if they do not fit one another.
        """
        widths, numbers = tuple(plain["widths"]), (tuple(plain["offsets"]), tuple(plain["steps"]))
        is_plain = all(type(width) is int and width > 0 for width in widths) and type(plain["is_unit"]) is bool
        if plain["precision"] not in _TYPES or not is_plain:
            raise ValueError(f"'{plain['precision']}' of widths {list(widths)} is no quantisation")
        if any(len(each) != sum(widths) or not np.isfinite(each).all() for each in numbers):
            raise ValueError(f"its offsets or steps are not {sum(widths)} finite numbers")
        return cls(plain["precision"], widths, *numbers, plain["is_unit"])

    def encode(self, vectors: Float[np.ndarray, "rows width"]) -> Shaped[np.ndarray, "rows stored"]:
        """Int8 as wide as the vectors, or packed bits as uint8."""
        offsets, steps = np.array(self.offsets), np.array(self.steps)
        if self.precision == "binary":
            blocks = np.split(vectors > offsets, _ends(self.widths), axis=1)
            return np.concatenate([np.packbits(block, axis=1) for block in blocks], axis=1)
        whole = np.rint((vectors - offsets) / np.where(steps > 0, steps, 1.0))
        return whole.clip(-_LARGEST, _LARGEST).astype(np.int8)

    def decode(self, stored: Shaped[np.ndarray, "rows stored"]) -> Float[np.ndarray, "rows width"]:
        """Vectors near to those that were encoded, as float32.

        Raises:
            ValueError: if the integers are not of this quantisation.
        """
        widths = [-(-width // 8) for width in self.widths] if self.precision == "binary" else self.widths
        if stored.ndim != 2 or stored.shape[1] != sum(widths) or stored.dtype != _TYPES[self.precision]:
            raise ValueError(f"{stored.dtype} of shape {list(stored.shape)} is no {self.precision} of {self.widths}")
        whole = stored.astype(np.float32)
        if self.precision == "binary":
            blocks = zip(np.split(stored, _ends(widths), axis=1), self.widths, strict=True)
            whole = np.concatenate([np.unpackbits(b, axis=1, count=width) * 2.0 - 1 for b, width in blocks], axis=1)
        vectors = np.array(self.offsets) + np.array(self.steps) * whole
        if self.is_unit:
            vectors = np.concatenate([unit(block) for block in np.split(vectors, _ends(self.widths), axis=1)], axis=1)
        return vectors.astype(np.float32)


def _rounded(numbers: Float[np.ndarray, " width"]) -> tuple[float, ...]:
    return tuple(float(f"{number:.7g}") for number in numbers)


def _ends(widths: Sequence[int]) -> list[int]:
    return np.cumsum(widths)[:-1].tolist()


def need_dimensions(name: str, width: int, truncate_dim: int) -> None:
    """Raise RunError unless projections of this width have so many first dimensions; `name` begins the message."""
    if not 1 <= truncate_dim <= width:
        raise RunError(
            f"{name}: its projections have {width} dimensions, so that {truncate_dim} of them cannot be kept."
        )


def truncated(
    name: str, projections: Float[np.ndarray, "... dim"], truncate_dim: int | None
) -> Float[np.ndarray, "... truncated"]:
    """The first numbers of projections, scaled to unit length; for None as they are. Complains as `need_dimensions`."""
    if truncate_dim is None:
        return projections
    need_dimensions(name, projections.shape[-1], truncate_dim)
    return unit(projections[..., :truncate_dim])


def unit(vectors: Float[np.ndarray, "*axes width"]) -> Float[np.ndarray, "*axes width"]:
    """Vectors scaled to unit length; zeros stay zeros."""
    lengths = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    return vectors / np.where(lengths > 0, lengths, 1.0)
