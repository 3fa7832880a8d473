"""Example: something to be like, or unlike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from numpy import ndarray

from mscon.search.filters import Condition


@dataclass(frozen=True, eq=False)
class Example:
    """Something to be like, or unlike.

    Attributes:
        wording: what it is, in words.
        encode: computes its vectors, once they are needed.
        row: of the run, if it is one.
        carries: the labels that it stands for, if it is the mean of rows.
        weight: how much it counts beside other examples, above 0.
        notes: sentences on what a user may not expect of it.
    """

    wording: str
    encode: Callable[[], Float[ndarray, "spaces dim"]]
    row: int | None = None
    carries: tuple[Condition, ...] = ()
    weight: float = 1.0
    notes: tuple[str, ...] = ()

    @cached_property
    def vectors(self) -> Float[ndarray, "spaces dim"]:
        """In each space of unit length, or zeros."""
        return self.encode()

    @property
    def name(self) -> str:
        """The same for a row however it was written; else its wording."""
        return self.wording if self.row is None else f"row {self.row}"

    @property
    def weighted(self) -> str:
        """Its wording, with the weight if that is not 1."""
        return self.wording if self.weight == 1 else f"{self.wording} (weight {self.weight:g})"
