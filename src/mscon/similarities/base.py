"""Similarity: one answer to "alike in what?"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Shaped
from torch import Tensor

from mscon.pairs import Pairs

Cell = str | None
"""A cell of a table as it was written; None where it was empty. Missing is missing, never a class."""


@runtime_checkable
class Rule(Protocol):
    """What a training step needs of a similarity: how codes compare.

    Attributes:
        column: its name.
        is_partition: as of `Similarity`.
    """

    @property
    def column(self) -> str: ...

    @property
    def is_partition(self) -> bool: ...

    def compare(self, anchors: Shaped[Tensor, "anchors ..."], candidates: Shaped[Tensor, "candidates ..."]) -> Pairs:
        """How alike, and whether known, for all anchors against all candidates."""
        ...


class Similarity(ABC):
    """Reads the cells of one column into codes, and compares codes. Knows labels, no embeddings.

    Attributes:
        column: the column it reads, also its name in logs and reports.
        is_partition: True if rows are only ever "same class" or "not"; then codes are class ids
            (int64, -1 where missing) and `classes` names them.
    """

    is_partition: ClassVar[bool] = False
    column: str

    @classmethod
    @abstractmethod
    def fit(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], **settings: object) -> Similarity:
        """Learn what codes stand for from the cells of the training rows.

        Raises:
            TableError: if the column cannot be read as this kind, with the lines at fault.
        """

    @abstractmethod
    def encode(self, cells: Sequence[Cell]) -> Shaped[Tensor, "rows ..."]:
        """Cells to codes, a row each. Cells never seen by `fit` are missing."""

    @abstractmethod
    def compare(self, anchors: Shaped[Tensor, "anchors ..."], candidates: Shaped[Tensor, "candidates ..."]) -> Pairs:
        """How alike, and whether known, for all anchors against all candidates."""

    @abstractmethod
    def missing(self, codes: Shaped[Tensor, "rows ..."]) -> Bool[Tensor, " rows"]:
        """Rows about which this similarity says nothing."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """What `from_json` needs to rebuild it; plain JSON values."""

    @classmethod
    @abstractmethod
    def from_json(cls, state: dict[str, object]) -> Similarity:
        """The inverse of `to_json`."""
