"""Moves: a query that moves along one column, in the space of its similarity, and stays as it is in all others.

With q_c the query in that space and t a unit vector, it becomes unit((1 - amount) q_c + amount t). Of a label t is the
mean direction of the rows that have it, of a number that of the rows near it, by the weights that its similarity gives
them in training. Of "higher" it is the direction in which the column rises: the sum of all rows, each times the rank of
its value less the mean rank; of "lower" the opposite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from mscon.data.table.label_columns import LabelColumn, LabelColumns
from mscon.errors import RunError, shortened
from mscon.method.agreement import DIFFERENT
from mscon.method.similarities.continuous import number_of
from mscon.search.filters import Condition, parse
from mscon.search.mix import Mix
from mscon.search.spaces import Spaces, unit

HIGHER: Final = "higher"
LOWER: Final = "lower"

Towards = Mapping[str, Any] | Sequence[Any] | str | None


@dataclass(frozen=True, eq=False)
class Move:
    """A move along one column.

    Attributes:
        condition: the column, and what to move towards.
        space: number of its similarity.
        direction: of unit length, in that space.
        amount: how far, above 0; at 1 nothing of the query is left in that space.
        is_relative: whether it is towards higher or lower values, and not towards a value.
    """

    condition: Condition
    space: int
    direction: Float[np.ndarray, " dim"]
    amount: float
    is_relative: bool

    @property
    def wording(self) -> str:
        """What it is, in words."""
        return f"towards {self.condition}" + ("" if self.amount == 1 else f" (amount {self.amount:g})")


@dataclass(frozen=True)
class Moves:
    """Reads moves as a user writes them.

    Args:
        labels: of the rows of a run.
        spaces: their vectors.
    """

    labels: LabelColumns
    spaces: Spaces

    def listed(self, towards: Towards) -> list[tuple[Any, ...]]:
        """Pairs of a move, as text or a column with its target, and its amount, which is None where none is named."""
        if towards is None:
            return []
        if isinstance(towards, Mapping):
            pairs = {
                name: value if isinstance(value, tuple) and len(value) == 2 else (value, None)
                for name, value in towards.items()
            }
            return [((name, target), amount) for name, (target, amount) in pairs.items()]
        if not isinstance(towards, str | Sequence):
            raise ValueError(f"towards must be text, a list or a dictionary, got {shortened(towards)}.")
        texts = [towards] if isinstance(towards, str) else list(towards)
        return [text if isinstance(text, tuple) else (text, None) for text in texts]

    def read(self, pair: tuple[Any, ...]) -> Move:
        """One move.

        Args:
            pair: as `listed` gives it.

        Raises:
            RunError: for a column that is not there or has no similarity, a value that no row has, and an amount that
                is not above 0 and at most 1.
        """
        if len(pair) != 2 or not isinstance(pair[0], str | tuple):
            raise RunError(
                f"a move is colour=dark, or with its amount a pair, ('colour=dark', 0.5), got {shortened(pair)}."
            )
        text, amount = pair
        condition = parse(text, self.labels) if isinstance(text, str) else Condition(str(text[0]), "=", str(text[1]))
        column = self.labels[condition.column]
        if column.space is None:
            spaces = self.labels.trained
            trained = ", ".join(f"'{name}'" for name in sorted(spaces, key=spaces.__getitem__)) or "none"
            raise RunError(
                f"towards '{condition}': column '{column.name}' has no similarity, so there is no space to move in.\n"
                f"  Columns with one: {trained}."
            )
        is_relative = (
            condition.sign == "=" and condition.value in (HIGHER, LOWER) and condition.value not in column.values
        )
        rows, weights = self._rising(condition, column) if is_relative else self._near(condition, column)
        # Half the way keeps a query near where it is, while a label replaces the one that the query has.
        amount = _amount((0.5 if is_relative else 1.0) if amount is None else amount, condition)
        return self.move(condition, column.space, rows, weights, amount, is_relative)

    def move(
        self,
        condition: Condition,
        space: int,
        rows: Int[np.ndarray, " rows"],
        weights: Float[np.ndarray, " rows"],
        amount: float,
        is_relative: bool = False,
    ) -> Move:
        """The move towards the weighted mean of some rows.

        Raises:
            RunError: if it has no direction.
        """
        direction = self.spaces.mean(rows, weights)[space]
        if np.linalg.norm(direction) < 1e-9:
            raise RunError(f"towards '{condition}': these rows have no common direction in the space of this column.")
        return Move(condition, space, unit(direction), amount, is_relative)

    def check(self, moves: Sequence[Move], mix: Mix) -> None:
        """Complain of moves that would change nothing, or of which one would undo the other.

        Raises:
            RunError: for two of them in one space, and for one in a space that has no weight in the mix.
        """
        complaints = [
            f"towards '{move.condition}': '{mix.names[move.space]}' has weight 0 in the mix, so this changes nothing."
            for move in moves
            if not mix.weights[move.space]
        ]
        if len({move.space for move in moves}) < len(moves):
            named = " and ".join(f"'{move.condition}'" for move in moves)
            complaints.append(f"towards {named}: one similarity can move towards one thing only.")
        if complaints:
            raise RunError("\n".join(complaints))

    def _near(
        self, condition: Condition, column: LabelColumn
    ) -> tuple[Int[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """Rows that fulfil the condition, or are near its number, and how much each counts."""
        value = condition.value
        if condition.sign == "=" and column.is_ordered and not column.levels and number_of(value) is not None:
            cells = column.read()
            near = np.nan_to_num(column.agreement([value] * len(cells), cells))
            if near.max() < DIFFERENT:
                raise RunError(f"towards '{condition}': {column.no_value(value)}")
            rows = np.flatnonzero(near)
            return rows, near[rows]
        rows = np.flatnonzero(condition.rows(column))
        if not len(rows):
            raise RunError(f"towards '{condition}': no row fulfils this.")
        return rows, np.ones(len(rows))

    def _rising(
        self, condition: Condition, column: LabelColumn
    ) -> tuple[Int[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """Rows with a place in the order of the column, and how much each counts for the direction that it rises in."""
        if not column.is_ordered or column.geometry != "line":
            raise RunError(
                f"towards '{condition}': the values of column '{column.name}' have no order, so none is "
                f"{condition.value} than another. Name a label."
            )
        places = pl.Series(
            [None if cell is None else column.places.get(cell) for cell in column.cells], dtype=pl.Float64
        )
        rows = places.is_not_null().arg_true().to_numpy().astype(np.int64)
        ranks = places.drop_nulls().rank().to_numpy()
        if not len(rows) or ranks.min() == ranks.max():
            raise RunError(f"towards '{condition}': column '{column.name}' has one value in all rows, or none.")
        weights = (ranks - ranks.mean()) / len(rows)
        return rows, weights if condition.value == HIGHER else -weights


def _amount(value: Any, condition: Condition) -> float:
    try:
        amount = float(value)
    except (TypeError, ValueError, OverflowError):
        amount = math.nan
    if not 0 < amount <= 1:
        raise RunError(
            f"towards '{condition}': the amount must be a number above 0 and at most 1, got {shortened(value)}."
        )
    return amount
