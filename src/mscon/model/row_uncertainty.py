"""Row uncertainty: how far the embedding of a row can be trusted, as a rank among validation rows.

Two things make a row uncertain. Its labels may be ambiguous: the training rows around it in the space of a column have
different labels. Or it may be new: no training row has features like its own. How rare either is among validation rows
makes one number, which is ranked among these rows again, so that 0.95 says: more uncertain than 95 % of them.

Knows no run, no table and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mscon.model.class_posterior import ClassReference, Membership

# Training rows that rows are compared with, and validation rows that they are ranked among; of more, so many are drawn.
MOST_ROWS, MOST_VALIDATION_ROWS = 10_000, 5_000

# Cosines of one block of rows: 4 million are 16 MB in float32, and there are a few such arrays.
_BLOCK = 4_000_000

_WHOLE = ("features", "ambiguity", "novelty", "total")
_OF_COLUMN = ("projections", "members", "sizes", "ranked")


@dataclass(frozen=True, eq=False)
class RowUncertainty:
    """All that it takes to say how uncertain rows are; `fit` makes it.

    Attributes:
        features: of training rows, of unit length, as float16.
        columns: these training rows by class, for every column that has classes.
        ambiguity, novelty, total: of validation rows, each ascending; `ambiguity` is empty without columns.
    """

    features: Float[np.ndarray, "rows width"]
    columns: tuple[ClassReference, ...]
    ambiguity: Float[np.ndarray, " _validation"]
    novelty: Float[np.ndarray, " _validation"]
    total: Float[np.ndarray, " _validation"]

    @classmethod
    def fit(
        cls,
        features: Float[np.ndarray, "rows width"],
        projections: Float[np.ndarray, "spaces rows dim"],
        columns: Mapping[str, tuple[int, Membership]],
        train: Int[np.ndarray, " train"],
        validation: Int[np.ndarray, " validation"],
        *,
        seed: int = 0,
    ) -> tuple[RowUncertainty, Int[np.ndarray, " reference"]]:
        """From the vectors and classes of the rows of a run.

        Args:
            features: of all rows.
            projections: of all rows in all spaces, of unit length.
            columns: for each column the number of its space, and the classes of all rows. Those that cannot be judged
                are left out, see `ClassReference.fit`.
            train: numbers of the rows to compare with; of more than `MOST_ROWS` so many are drawn.
            validation: numbers of rows that the model was not fitted on; at most `MOST_VALIDATION_ROWS` count.
            seed: of what is drawn.

        Returns:
            The row uncertainty, and the training rows that it compares with, ascending.

        Raises:
            ValueError: if there are fewer than 2 training rows, or no validation row.
        """
        if len(train) < 2 or not len(validation):
            raise ValueError(
                f"it takes 2 training rows and a validation row; there are {len(train)}, {len(validation)}"
            )
        reference, held_out = drawn(train, MOST_ROWS, seed), drawn(validation, MOST_VALIDATION_ROWS, seed)
        fitted = [
            ClassReference.fit(name, space, membership, projections[space], reference, held_out)
            for name, (space, membership) in columns.items()
        ]
        by_class = tuple(one for one in fitted if one is not None)
        empty = np.zeros(0, dtype=np.float32)
        draft = cls(unit_length(features[reference]).astype(np.float16), by_class, empty, empty, empty)
        novelty, ambiguities = draft.parts(features[held_out], projections[:, held_out])
        ranked = replace(
            draft,
            columns=tuple(replace(one, ranked=np.sort(a)) for one, a in zip(by_class, ambiguities, strict=True)),
            ambiguity=np.sort(ambiguities.mean(axis=0)) if by_class else empty,
            novelty=np.sort(novelty),
        )
        return replace(ranked, total=np.sort(ranked._combined(novelty, ambiguities))), reference

    def of(
        self,
        features: Float[np.ndarray, "queries width"],
        projections: Float[np.ndarray, "spaces queries dim"],
        *,
        row: Int[np.ndarray, " queries"] | None = None,
    ) -> Float[np.ndarray, " queries"]:
        """The uncertainty of rows as a whole, in [0, 1].

        Args:
            features: as the model computes them.
            projections: of unit length, in all spaces of the model.
            row: which row of the attribute `features` each is: it is not compared with itself; -1 for none. None if
                none is one.
        """
        return rank_among(self.total, self._combined(*self.parts(features, projections, row=row)))

    def of_column(self, column: str, projections: Float[np.ndarray, "queries dim"]) -> Float[np.ndarray, " queries"]:
        """The ambiguity of rows in one column, as a rank among validation rows, in [0, 1].

        Args:
            column: name of its similarity.
            projections: of unit length, in its space.

        Raises:
            KeyError: if there is no such column here.
        """
        reference = {one.column: one for one in self.columns}[column]
        blocks = [reference.ambiguity(projections[part]) for part in self._blocks(len(projections))]
        return rank_among(reference.ranked, np.concatenate(blocks)) if blocks else np.zeros(0, dtype=np.float32)

    def fits(self, width: int, dim: int) -> bool:
        """Whether it is of features and projections of these widths."""
        return self.features.shape[1] == width and all(one.projections.shape[1] == dim for one in self.columns)

    def parts(
        self,
        features: Float[np.ndarray, "queries width"],
        projections: Float[np.ndarray, "spaces queries dim"],
        *,
        row: Int[np.ndarray, " queries"] | None = None,
    ) -> tuple[Float[np.ndarray, " queries"], Float[np.ndarray, "columns queries"]]:
        """What makes rows uncertain: 1 - the cosine to the nearest training row, and the ambiguity in each column.

        Source: the nearest training row as a sign of new kinds, Sun et al. 2022, https://arxiv.org/abs/2204.06507,
            here with k = 1.
        """
        novelty = np.zeros(len(features), dtype=np.float32)
        ambiguities = np.zeros((len(self.columns), len(features)), dtype=np.float32)
        for part in self._blocks(len(features)):
            query = None if row is None else row[part]
            vectors = unit_length(features[part])
            cosines = vectors.astype(np.float32) @ self._unit_features.T
            if query is not None:
                known = np.flatnonzero(query >= 0)
                cosines[known, query[known]] = -np.inf
            # In float64, since 1 - the cosine of near rows is smaller than the rounding of a product in float32.
            nearest = unit_length(self.features[cosines.argmax(axis=1)])
            novelty[part] = 1 - (vectors * nearest).sum(axis=1)
            for number, column in enumerate(self.columns):
                ambiguities[number, part] = column.ambiguity(np.asarray(projections[column.space][part]), query)
        return novelty, ambiguities

    @cached_property
    def _unit_features(self) -> Float[np.ndarray, "rows width"]:
        return unit_length(self.features).astype(np.float32)  # rounded to float16, they have not quite unit length

    def _combined(
        self, novelty: Float[np.ndarray, " queries"], ambiguities: Float[np.ndarray, "columns queries"]
    ) -> Float[np.ndarray, " queries"]:
        """Minus the logarithm of how rare such a novelty is among validation rows, plus that of such an ambiguity.

        So one of the two is enough, where it is very high. Source: Fisher 1925, "Statistical Methods for Research
        Workers", section 21.1, for combining tests.
        """
        ranks = [rank_among(self.novelty, novelty)]
        if len(ambiguities):
            ranks.append(rank_among(self.ambiguity, ambiguities.mean(axis=0)))
        # Half a row, so that what is above all validation rows is rare and not impossible.
        return -np.log(1 - np.stack(ranks) + 0.5 / len(self.novelty)).sum(axis=0)

    def _blocks(self, queries: int) -> Iterator[slice]:
        size = max(1, _BLOCK // max(len(self.features), *(len(column.members) for column in self.columns), 1))
        return (slice(start, start + size) for start in range(0, queries, size))

    def to_arrays(self) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """Arrays by name, and plain values of each column; `of_arrays` is the inverse."""
        arrays = {name: getattr(self, name) for name in _WHOLE}
        for number, column in enumerate(self.columns):
            arrays |= {f"{number}/{name}": getattr(column, name) for name in _OF_COLUMN}
        return arrays, [{"column": c.column, "space": c.space, "temperature": c.temperature} for c in self.columns]

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], columns: Sequence[Mapping[str, Any]]) -> RowUncertainty:
        """The inverse of `to_arrays`, for arrays and values that come from a file.

        Raises:
            ValueError: if an array is missing, or does not fit the others.
        """
        whole = {name: _array(arrays, name, 2 if name == "features" else 1) for name in _WHOLE}
        rows, validation = len(whole["features"]), len(whole["total"])
        by_class = []
        for number, about in enumerate(columns):
            one = ClassReference(
                column=about["column"],
                space=about["space"],
                temperature=about["temperature"],
                **{n: _array(arrays, f"{number}/{n}", 2 if n == "projections" else 1) for n in _OF_COLUMN},
            )
            fits = len(one.projections) == rows and len(one.ranked) == validation and len(one.sizes) > 1
            if not (fits and (one.sizes > 0).all() and one.sizes.sum(dtype=np.int64) == len(one.members)):
                raise ValueError(f"the arrays of column '{one.column}' do not fit together")
            if not (one.members.min() >= 0 and one.members.max() < rows):
                raise ValueError(f"the arrays of column '{one.column}' name rows that are not there")
            by_class.append(one)
        if rows < 2 or not (len(whole["novelty"]) == validation > 0):
            raise ValueError("its arrays do not fit together")
        if len(whole["ambiguity"]) != (validation if by_class else 0):
            raise ValueError("its arrays do not fit together")
        return cls(**whole, columns=tuple(by_class))


def rank_among(ascending: Float[np.ndarray, " some"], values: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """The share of `ascending` that lies below each value, equal ones counted half: in [0, 1], as float32."""
    below, at_most = (np.searchsorted(ascending, values, side) for side in ("left", "right"))
    return ((below + at_most) / (2 * len(ascending))).astype(np.float32)


def unit_length(vectors: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows width"]:
    """Each row divided by its norm, in float64; a row of zeros stays zeros."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Float[np.ndarray, "rows width"] = wide / np.where(norms > 0, norms, 1.0)
    return unit


def drawn(rows: Int[np.ndarray, " rows"], most: int, seed: int = 0) -> Int[np.ndarray, " some"]:
    """All rows, or so many of them, drawn without replacement; ascending."""
    return np.sort(rows if len(rows) <= most else np.random.default_rng(seed).choice(rows, most, replace=False))


def _array(arrays: Mapping[str, np.ndarray], name: str, dimensions: int) -> np.ndarray:
    kind = np.integer if name.endswith(("members", "sizes")) else np.floating
    if (
        name not in arrays
        or arrays[name].ndim != dimensions
        or not np.issubdtype(arrays[name].dtype, kind)
        or not np.isfinite(arrays[name]).all()
    ):
        raise ValueError(f"its array '{name}' is missing, of another form, or not finite")
    return arrays[name]
