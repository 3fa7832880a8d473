"""Alike means: the same class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.method.labels import Values, integers, need_shape
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import Cell, Geometry, Similarity, TargetKind, check_differ


def same_class(anchors: Int[Tensor, " anchors"], candidates: Int[Tensor, " candidates"]) -> Pairs:
    """Weight 1 within a class, 0 across; a pair is known where both have a label (>= 0)."""
    weight = (anchors[:, None] == candidates[None, :]).to(torch.get_default_dtype())
    known = (anchors >= 0)[:, None] & (candidates >= 0)[None, :]
    return Pairs(weight, known)


def named(names: int | Sequence[str]) -> tuple[str, ...]:
    """Names as a tuple; of a number so many: "0", "1", ....

    Raises:
        ValueError: for a text, whose letters would become names.
    """
    if isinstance(names, str):
        raise ValueError(f"names must be a list of texts, or how many there are, got {names!r}.")
    return tuple(str(i) for i in range(names)) if isinstance(names, int) else tuple(names)


@dataclass(frozen=True, init=False)
class Categorical(Similarity):
    """Rows with the same label are alike, all others are different (the positives of SupCon).

    A code is the number of a class, -1 where missing.

    Attributes:
        classes: their names in the order of their numbers; or how many there are, then they are called "0", "1", ....
            By default any number is a class, for a training loop whose labels are numbers.
    """

    column: str
    classes: tuple[str, ...]

    is_partition: ClassVar[bool] = True
    target_kind: ClassVar[TargetKind] = "class"
    geometry: ClassVar[Geometry] = "class"

    def __init__(self, column: str, classes: int | Sequence[str] = ()) -> None:
        vars(self).update(column=column, classes=named(classes))

    @property
    def target_names(self) -> tuple[str, ...]:
        return self.classes

    def target(self, cells: Sequence[Cell]) -> Int[np.ndarray, " rows"]:
        return self.encode(cells).numpy()

    def agreement(self, cells: Sequence[Cell], others: Sequence[Cell]) -> Float[np.ndarray, " pairs"]:
        """As of every similarity; but a class that no training row has counts too, and is compared by its name."""
        classes = sorted({cell for cell in (*cells, *others) if cell is not None})
        return super(Categorical, replace(self, classes=tuple(classes))).agreement(cells, others)

    @classmethod
    def fit(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], **settings: object) -> Categorical:
        classes = tuple(sorted({cell for cell in cells if cell is not None}))
        check_differ(column, classes, f"one value only, '{classes[0] if classes else None}'")
        return cls(column, classes)

    def encode(self, cells: Sequence[Cell]) -> Int[Tensor, " rows"]:
        index = {name: i for i, name in enumerate(self.classes)}
        return torch.tensor([-1 if cell is None else index.get(cell, -1) for cell in cells], dtype=torch.int64)

    def encode_tensor(self, labels: Values) -> Int[Tensor, " rows"]:
        """From (rows,): numbers of classes, integers of any type up to 2^63 - 1, -1 where missing; or truth values."""
        what = f"labels '{self.column}'"
        codes = integers(what, labels, most=len(self.classes) - 1 if self.classes else None)
        need_shape(what, codes, words="one value a row")
        return codes

    def compare(self, anchors: Int[Tensor, " anchors"], candidates: Int[Tensor, " candidates"]) -> Pairs:
        return same_class(anchors, candidates)

    def missing(self, codes: Int[Tensor, " rows"]) -> Bool[Tensor, " rows"]:
        return codes < 0

    @classmethod
    def from_json(cls, state: dict[str, object]) -> Categorical:
        return cls(cast(str, state["column"]), tuple(cast(list[str], state["classes"])))
