"""Class posterior: how likely each class of a column is by the training rows around a row, eq. 5 of the paper.

Knows no run, no table and no file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

TEMPERATURES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)

# Validation rows that a temperature is chosen by; more would hardly change it.
_JUDGED = 1_000

# Pairs of a row and the number of a class that it has; a row may have several.
Membership = Int[np.ndarray, "members 2"]


@dataclass(frozen=True, eq=False)
class ClassReference:
    """Training rows of one label column, class by class.

    Attributes:
        column: name of the similarity.
        space: number of its projections.
        projections: of the training rows, of unit length, as float16.
        members: the rows of the first class, then those of the second, and so on; a row may have several classes.
        sizes: how many rows each class has, at least 1.
        temperature: divides cosines.
        ranked: ambiguity of validation rows, ascending.
    """

    column: str
    space: int
    projections: Float[np.ndarray, "rows dim"]
    members: Int[np.ndarray, " members"]
    sizes: Int[np.ndarray, " classes"]
    temperature: float
    ranked: Float[np.ndarray, " validation"]

    @classmethod
    def fit(
        cls,
        column: str,
        space: int,
        membership: Membership,
        projections: Float[np.ndarray, "rows dim"],
        train: Int[np.ndarray, " train"],
        validation: Int[np.ndarray, " validation"],
    ) -> ClassReference | None:
        """With the temperature of `TEMPERATURES` under which the classes of validation rows are the most likely.

        Args:
            column, space: see the attributes.
            membership: classes of all rows.
            projections: of all rows.
            train, validation: numbers of rows, ascending.

        Returns:
            None where fewer than two classes have a training row, or no validation row has one of these classes.
            `ranked` is empty.
        """
        rows, classes = membership[:, 0], membership[:, 1]
        is_trained = np.isin(rows, train)
        present, sizes = np.unique(classes[is_trained], return_counts=True)
        is_judged = np.isin(rows, validation[:: -(-len(validation) // _JUDGED)]) & np.isin(classes, present)
        if len(present) < 2 or not is_judged.any():
            return None
        order = np.argsort(classes[is_trained], kind="stable")
        members = np.searchsorted(train, rows[is_trained][order]).astype(np.int32)
        reference = cls(
            column,
            space,
            np.asarray(projections[train]).astype(np.float16),
            members,
            sizes.astype(np.int32),
            1.0,
            np.zeros(0, dtype=np.float32),
        )
        judged, query = np.unique(rows[is_judged], return_inverse=True)
        label = np.searchsorted(present, classes[is_judged])
        queries = np.asarray(projections[judged])

        def loss(temperature: float) -> float:
            posterior = replace(reference, temperature=temperature).posterior(queries)
            return float(-np.log(posterior[query, label].clip(1e-12)).mean())

        return replace(reference, temperature=min(TEMPERATURES, key=loss))

    def posterior(
        self, projections: Float[np.ndarray, "queries dim"], row: Int[np.ndarray, " queries"] | None = None
    ) -> Float[np.ndarray, "queries classes"]:
        """See `class_posterior`."""
        return class_posterior(projections @ self._members.T, self.members, self.sizes, self.temperature, row)

    @cached_property
    def _members(self) -> Float[np.ndarray, "members dim"]:
        # Once for all batches, and in their order: to gather cosines takes longer than to multiply.
        return self.projections[self.members].astype(np.float32)

    def ambiguity(
        self, projections: Float[np.ndarray, "queries dim"], row: Int[np.ndarray, " queries"] | None = None
    ) -> Float[np.ndarray, " queries"]:
        """Entropy of the posterior as a share of that of equally likely classes, in [0, 1]."""
        posterior = self.posterior(projections, row)
        logs = np.log(posterior, out=np.zeros_like(posterior), where=posterior > 0)
        share: Float[np.ndarray, " queries"] = -(posterior * logs).sum(axis=1) / np.log(len(self.sizes))
        return share.clip(0.0, 1.0).astype(np.float32)


def class_posterior(
    cosines: Float[np.ndarray, "queries members"],
    members: Int[np.ndarray, " members"],
    sizes: Int[np.ndarray, " classes"],
    temperature: float,
    row: Int[np.ndarray, " queries"] | None = None,
) -> Float[np.ndarray, "queries classes"]:
    r"""Probabilities of classes by a kernel classifier in which all classes count alike,

        p(y | v) proportional to (1 / |P_y|) sum_{p in P_y} exp(v . v_p / temperature),

    with P_y the training rows of class y. A row that has several labels is in several P_y.

    Args:
        cosines: of unit vectors to those of `members`; overwritten.
        members, sizes: see `ClassReference`.
        temperature: above 0, dimensionless.
        row: which training row each query is: it is left out of every P_y, since its own label would be the nearest;
            -1 for none. None if none is one.

    Returns:
        Probabilities, which add up to 1. Equal ones where no other row has a class.

    Source: MSCon, Mu et al. 2023, https://arxiv.org/abs/2307.02712, eq. 5, with one temperature for tau sigma^2.
    """
    starts = np.cumsum(sizes) - sizes
    counts = np.tile(sizes, (len(cosines), 1)).astype(np.float32)
    if row is not None:
        query, place = _places(members, row)
        cosines[query, place] = -np.inf
        np.subtract.at(counts, (query, np.searchsorted(starts, place, side="right") - 1), 1)
    highest = cosines.max(axis=1, keepdims=True)
    cosines -= np.where(np.isfinite(highest), highest, 0)
    cosines /= np.float32(temperature)
    density = np.add.reduceat(np.exp(cosines, out=cosines), starts, axis=1) / np.maximum(counts, 1)
    sums = density.sum(axis=1, keepdims=True)
    return np.divide(density, sums, out=np.full_like(density, 1 / len(sizes)), where=sums > 0)


def _places(
    members: Int[np.ndarray, " members"], row: Int[np.ndarray, " queries"]
) -> tuple[Int[np.ndarray, " matches"], Int[np.ndarray, " matches"]]:
    """Which query is which member, as pairs of their places."""
    order = np.argsort(members, kind="stable")
    first, after = (np.searchsorted(members[order], row, side) for side in ("left", "right"))
    count = after - first
    query = np.repeat(np.arange(len(row)), count)
    offset = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
    return query, order[first[query] + offset]
