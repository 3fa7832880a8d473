"""Alike means: sharing labels, of cells that hold several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from mscon.errors import RecipeError, TableError, first_few
from mscon.method.labels import Values, need_shape, tensor_of, zeros_and_ones
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import Cell, Geometry, MalformedCells, Similarity, TargetKind
from mscon.method.similarities.categorical import named

Alike = Literal["jaccard", "any", "all"]


def labels_of(cell: str, separator: str) -> frozenset[str]:
    """The labels in a cell: "buckle; zip" has two. A separator too many, or a label twice, says nothing more."""
    return frozenset(part for label in cell.split(separator) if (part := label.strip()))


def shared_label(has: Bool[np.ndarray, "rows labels"], at_least: int) -> Int[np.ndarray, " rows"]:
    """One label of each row, the rarest that `at_least` rows have chosen: so rows of a class share a label.

    Labels choose in turn, the rarest first, among the rows that none has chosen yet. Rows that none chooses are -1.
    """
    classes = np.full(len(has), -1, dtype=np.int64)
    for label in np.argsort(has.sum(axis=0), kind="stable"):
        free = has[:, label] & (classes < 0)
        if free.sum() >= at_least:
            classes[free] = label
    return classes


@dataclass(frozen=True, init=False)
class MultiLabel(Similarity):
    """Rows are as alike as their sets of labels, written "buckle;zip".

    A code is a row of 0 and 1, one a label, all 0 where missing. Labels never seen by `fit` are left out of a cell.

    Attributes:
        labels: their names: `fit` takes all labels of the training rows, in alphabetical order; or how many there are,
            then they are called "0", "1", .... By default, as many as a training loop's tensors have columns.
        separator: stands between the labels of a cell.
        alike: "jaccard", labels shared over labels that either has; "any", 1 if they share one; "all", 1 if
            they have the same.

    Source: the weights of "jaccard" are those of MultiSupCon, https://github.com/WolodjaZ/MultiSupContrast, which
        cuts them off below 0.3; here nothing is cut off.
    """

    column: str
    labels: tuple[str, ...]
    separator: str
    alike: Alike

    target_kind: ClassVar[TargetKind] = "labels"
    geometry: ClassVar[Geometry] = "set"

    def __init__(
        self, column: str, labels: int | Sequence[str] = (), separator: str = ";", alike: Alike = "jaccard"
    ) -> None:
        if alike not in get_args(Alike):
            raise ValueError(f"similarity '{column}': alike must be one of {get_args(Alike)}, got {alike!r}.")
        vars(self).update(column=column, labels=named(labels), separator=separator, alike=alike)

    @property
    def target_names(self) -> tuple[str, ...]:
        return self.labels

    def target(self, cells: Sequence[Cell]) -> Float[np.ndarray, "rows labels"]:
        codes = self.encode(cells)
        return torch.where(self.missing(codes)[:, None], torch.nan, codes.double()).numpy()

    def batch_classes(self, cells: Sequence[Cell], at_least: int) -> Int[np.ndarray, " rows"]:
        """One label of each row, see `shared_label`."""
        return shared_label(self.encode(cells).numpy() > 0, at_least)

    def parts(self, cell: str) -> tuple[str, ...]:
        return tuple(sorted(labels_of(cell, self.separator)))

    @classmethod
    def check(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], **settings: Any) -> None:
        separator = settings.get("separator", ";")
        there = [(line, cell) for line, cell in zip(lines, cells, strict=True) if cell is not None]
        if empty := [(line, cell) for line, cell in there if not labels_of(cell, separator)]:
            advice = "A row without a label has an empty cell: missing, neither alike nor different."
            raise MalformedCells(column, empty, len(there), "without a label", advice)

    @classmethod
    def fit(
        cls,
        column: str,
        cells: Sequence[Cell],
        lines: Sequence[int],
        *,
        separator: str = ";",
        alike: Alike = "jaccard",
    ) -> MultiLabel:
        if not separator.strip():
            raise RecipeError(f"similarity '{column}': separator must be text such as \";\", got {separator!r}.")
        if alike not in get_args(Alike):
            raise RecipeError(f"similarity '{column}': alike must be one of {get_args(Alike)}, got {alike!r}.")
        cls.check(column, cells, lines, separator=separator)
        sets = {labels_of(cell, separator) for cell in cells if cell is not None}
        if not sets:
            raise TableError(f"column '{column}' has no value in any training row. Leave it out of the recipe.")
        if len(sets) == 1:
            listed = first_few(sorted(next(iter(sets))))
            raise TableError(
                f"column '{column}' has the same labels, {listed}, in all training rows, so nothing can be told "
                "apart by it. Leave it out of the recipe."
            )
        return cls(column, tuple(sorted(frozenset[str]().union(*sets))), separator, alike)

    def encode(self, cells: Sequence[Cell]) -> UInt8[Tensor, "rows labels"]:
        index = {name: i for i, name in enumerate(self.labels)}
        codes = np.zeros((len(cells), len(self.labels)), dtype=np.uint8)
        for row, cell in enumerate(cells):
            for label in labels_of(cell or "", self.separator):
                if label in index:
                    codes[row, index[label]] = 1
        return torch.from_numpy(codes)

    def encode_tensor(self, labels: Values) -> UInt8[Tensor, "rows labels"]:
        """From (rows, labels): 1 for each label that a row has, else 0; numbers or truth values. A row of zeros, or
        of NaN, is missing."""
        what = f"labels '{self.column}'"
        given = tensor_of(what, labels, "0 and 1")
        need_shape(what, given, len(self.labels) or None, words="a 1 for each label that a row has")
        return zeros_and_ones(what, given).to(torch.uint8)

    def compare(
        self, anchors: UInt8[Tensor, "anchors labels"], candidates: UInt8[Tensor, "candidates labels"]
    ) -> Pairs:
        # Counts as float32, also under autocast: bfloat16 cannot count to 257. The factors are exact in any format.
        with torch.autocast(anchors.device.type, enabled=False):
            a, c = anchors.float(), candidates.float()
            shared = a @ c.T
            own, other = a.sum(dim=1)[:, None], c.sum(dim=1)[None, :]
        known = (own > 0) & (other > 0)
        if self.alike == "any":
            weight = shared > 0
        elif self.alike == "all":
            weight = (shared == own) & (shared == other)
        else:
            weight = shared.div_((own + other).sub_(shared).clamp_min_(1))
        return Pairs(weight.to(torch.get_default_dtype()), known)

    def missing(self, codes: UInt8[Tensor, "rows labels"]) -> Bool[Tensor, " rows"]:
        return ~codes.bool().any(dim=1)

    def to_json(self) -> dict[str, object]:
        return {
            "column": self.column,
            "labels": list(self.labels),
            "separator": self.separator,
            "alike": self.alike,
        }

    @classmethod
    def from_json(cls, state: dict[str, object]) -> MultiLabel:
        labels = tuple(cast(list[str], state["labels"]))
        return cls(cast(str, state["column"]), labels, cast(str, state["separator"]), cast(Alike, state["alike"]))
