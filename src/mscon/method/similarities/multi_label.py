"""Alike means: sharing labels, of cells that hold several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from mscon.errors import RecipeError, first_few
from mscon.method.labels import Values, need_shape, tensor_of, zeros_and_ones
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import Cell, Geometry, Similarity, TargetKind, check_cells, check_differ
from mscon.method.similarities.categorical import named

LabelOverlap = Literal["jaccard", "any", "all"]

_LIST = re.compile(r"""\[\s*((['"]).*\2)?\s*\]""", re.DOTALL)


def is_list(cell: str) -> bool:
    """Whether a cell is a list of texts as Python writes it: "['a', 'b']" or "[]"."""
    return _LIST.fullmatch(cell.strip()) is not None


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
    """Rows are as alike as their sets of labels overlap. A cell holds a set, such as "buckle;zip".

    A code is a row of 0 and 1, one a label, all 0 where missing. Labels that no training row has are ignored.

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
    alike: LabelOverlap

    target_kind: ClassVar[TargetKind] = "labels"
    geometry: ClassVar[Geometry] = "set"

    def __init__(
        self, column: str, labels: int | Sequence[str] = (), separator: str = ";", alike: LabelOverlap = "jaccard"
    ) -> None:
        if alike not in get_args(LabelOverlap):
            raise ValueError(f"similarity '{column}': alike must be one of {get_args(LabelOverlap)}, got {alike!r}.")
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
        if not separator:
            raise RecipeError(f"similarity '{column}': separator must be text such as \";\", got {separator!r}.")
        advice = "A row without a label has an empty cell: missing, neither alike nor different."
        what = ("without a label", "without a label")
        check_cells(column, cells, lines, lambda cell: not labels_of(cell, separator), what, advice)
        what = ("a list as Python writes it", "lists as Python writes them")
        check_cells(
            column, cells, lines, is_list, what, f"Write the labels with {separator!r} between them, or save lists."
        )

    @classmethod
    def fit(
        cls,
        column: str,
        cells: Sequence[Cell],
        lines: Sequence[int],
        *,
        separator: str = ";",
        alike: LabelOverlap = "jaccard",
    ) -> MultiLabel:
        if not separator.strip():
            raise RecipeError(f"similarity '{column}': separator must be text such as \";\", got {separator!r}.")
        if alike not in get_args(LabelOverlap):
            raise RecipeError(f"similarity '{column}': alike must be one of {get_args(LabelOverlap)}, got {alike!r}.")
        cls.check(column, cells, lines, separator=separator)
        sets = {labels_of(cell, separator) for cell in cells if cell is not None}
        check_differ(column, sets, f"the same labels, {first_few(sorted(next(iter(sets), [])))}")
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
        values = tensor_of(what, labels, "0 and 1")
        need_shape(what, values, len(self.labels) or None, words="a 1 for each label that a row has")
        return zeros_and_ones(what, values).to(torch.uint8)

    def compare(
        self, anchors: UInt8[Tensor, "anchors labels"], candidates: UInt8[Tensor, "candidates labels"]
    ) -> Pairs:
        # Counts as float32, also under autocast: bfloat16 cannot count to 257. The factors are exact in any format.
        with torch.autocast(anchors.device.type, enabled=False):
            a, c = anchors.float(), candidates.float()
            shared = a @ c.T
            of_a, of_c = a.sum(dim=1)[:, None], c.sum(dim=1)[None, :]
        known = (of_a > 0) & (of_c > 0)
        if self.alike == "any":
            weight = shared > 0
        elif self.alike == "all":
            weight = (shared == of_a) & (shared == of_c)
        else:
            weight = shared.div_((of_a + of_c).sub_(shared).clamp_min_(1))
        return Pairs(weight.to(torch.get_default_dtype()), known)

    def missing(self, codes: UInt8[Tensor, "rows labels"]) -> Bool[Tensor, " rows"]:
        return ~codes.bool().any(dim=1)

    @classmethod
    def from_json(cls, state: dict[str, object]) -> MultiLabel:
        labels = tuple(cast(list[str], state["labels"]))
        return cls(
            cast(str, state["column"]), labels, cast(str, state["separator"]), cast(LabelOverlap, state["alike"])
        )
