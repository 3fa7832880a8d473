"""Vectors: what a model makes of rows in one pass, and the inner product that scores them under any mix.

Knows numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FEATURES, MIX = "features", "mix"


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
    norms = [float(np.linalg.norm(vector)) or 1.0 for vector in vectors.values()]
    each = [share * (v / norm) for share, v, norm in zip(shares, vectors.values(), norms, strict=True)]
    return np.concatenate(each).astype(np.float32)
