"""Alike means: a long way together down a tree of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mscon.errors import RecipeError
from mscon.method.labels import Values, integers, need_shape
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import (
    BETWEEN_COLUMNS,
    Cell,
    Geometry,
    Similarity,
    TargetKind,
    check_cells,
    check_differ,
)

ClassPath = tuple[str, ...]


@dataclass(frozen=True)
class Hierarchical(Similarity):
    """Rows are as alike as the share of levels that their paths have in common, from the coarsest on.

    A path is a cell such as "boots/ankle/chelsea", or the cells of several columns from coarse to fine: those of
    `under`, then the column itself. A code is a row of class numbers, one a level, -1 from the level on at
    which nothing is known. Classes of equal names under different ones are different.

    Levels that a row does not name are unknown, not different. In several columns an empty cell makes its level and all
    levels below it unknown. If a path is the beginning of another ("boots" and "boots/ankle"), its further levels are
    unknown; a path that no other continues is complete. A pair is unknown if both rows agree on every level that both
    name and that is not the last one. If they differ on a level, the pair is known, whatever the levels below.

    Attributes:
        paths: all different paths of the training rows, sorted; by default any, for a training loop whose labels are
            numbers.
        separator: stands between the levels of a cell; of no use with `under`.
        under: the coarser columns, the coarsest first; empty where cells hold whole paths.

    Source: the levels are those of HiMulCon, Zhang et al. 2022, https://arxiv.org/abs/2204.13207, whose loss is
        objective `himulcon`. With `supcon`, weights are the share of levels in common.
    """

    column: str
    paths: tuple[ClassPath, ...] = ()
    separator: str = "/"
    under: tuple[str, ...] = ()

    target_kind: ClassVar[TargetKind] = "class"
    geometry: ClassVar[Geometry] = "path"
    suited_objective: ClassVar[str] = "himulcon"

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.under, self.column)

    @property
    def levels(self) -> int:
        """How many levels there are, at least 1."""
        return max((len(path) for path in self.paths), default=1)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The classes of the finest level, as whole paths."""
        return self._names(self._classes()[-1])

    def _names(self, paths: Sequence[ClassPath]) -> tuple[str, ...]:
        return tuple(self.separator.join(part for part in path if part) for path in paths)

    def class_levels(self, cells: Sequence[Cell]) -> list[tuple[Int[np.ndarray, " rows"], tuple[str, ...]]]:
        return list(zip(self.encode(cells).numpy().T, map(self._names, self._classes()), strict=True))

    def target(self, cells: Sequence[Cell]) -> Int[np.ndarray, " rows"]:
        return self.encode(cells)[:, -1].numpy()

    def parts(self, cell: str) -> tuple[str, ...]:
        return self._path(cell)

    @classmethod
    def check(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], **settings: Any) -> None:
        separator, under = settings.get("separator", "/"), tuple(settings.get("under", ()))
        if not separator.strip():
            raise RecipeError(f"similarity '{column}': separator must be text such as \"/\", got {separator!r}.")
        if under:
            what = ("with a control character (1F)", "with a control character (1F)")
            check_cells(column, cells, lines, lambda c: c.count(BETWEEN_COLUMNS) != len(under), what, "Take it out.")
            return
        what = ("a path with an empty part", "paths with an empty part")
        advice = f"Write boots{separator}ankle, without a separator at either end or twice in a row."
        check_cells(column, cells, lines, lambda cell: "" in _parts(cell, separator), what, advice)

    @classmethod
    def fit(
        cls,
        column: str,
        cells: Sequence[Cell],
        lines: Sequence[int],
        *,
        separator: str = "/",
        under: Sequence[str] = (),
    ) -> Hierarchical:
        if column in under or len(set(under)) < len(under):
            raise RecipeError(f"similarity '{column}': under must name other columns, each once, got {list(under)}.")
        cls.check(column, cells, lines, separator=separator, under=under)
        reads = cls(column, (), separator, tuple(under))
        paths = {path for cell in cells if (path := reads._path(cell))}
        check_differ(column, paths, f"one path only, '{separator.join(next(iter(paths), ()))}'")
        return cls(column, tuple(sorted(paths)), separator, tuple(under))

    def _path(self, cell: Cell) -> ClassPath:
        """What a row says, from the coarsest level on and as far as there is no hole."""
        if cell is None:
            return ()
        if not self.under:
            return _parts(cell, self.separator)
        parts = cell.split(BETWEEN_COLUMNS)
        return tuple(parts[: parts.index("")] if "" in parts else parts)

    def _complete(self) -> frozenset[ClassPath]:
        """Paths that end because there is nothing below them. Where an empty cell is missing, none is known to."""
        if self.under:
            return frozenset()
        continued = {path[:end] for path in self.paths for end in range(len(path))}
        return frozenset(path for path in self.paths if path not in continued)

    def _whole(self, path: ClassPath, complete: frozenset[ClassPath]) -> ClassPath:
        return path + ("",) * (self.levels - len(path)) if path in complete else path

    def _classes(self) -> list[list[ClassPath]]:
        """The classes of each level, as paths down to it; a complete path is a class of all levels below it too."""
        complete = self._complete()
        whole = [self._whole(path, complete) for path in self.paths]
        return [sorted({path[:end] for path in whole if len(path) >= end}) for end in range(1, self.levels + 1)]

    def encode(self, cells: Sequence[Cell]) -> Int[Tensor, "rows levels"]:
        complete = self._complete()
        index = [{path: i for i, path in enumerate(classes)} for classes in self._classes()]
        codes: dict[Cell, list[int]] = {}
        for cell in set(cells):
            path = self._whole(self._path(cell), complete)
            codes[cell] = [numbers.get(path[: end + 1], -1) for end, numbers in enumerate(index)]
            # A slice beyond the end of a path is the path itself, never a class of that level: -1, as it should be.
        return torch.tensor([codes[cell] for cell in cells], dtype=torch.int64).reshape(len(cells), len(index))

    def encode_tensor(self, labels: Values) -> Int[Tensor, "rows levels"]:
        """From (rows, levels): numbers of classes, the coarsest level first, -1 from where nothing is known on.

        Equal numbers under different classes are different classes, so that each class may number its own from 0. A
        number must be below 2^(63 / levels): two million with three levels.
        """
        what = f"labels '{self.column}'"
        codes = integers(what, labels)
        need_shape(
            what, codes, self.levels if self.paths else None, words="a number for each level, the coarsest first"
        )
        # With the number of the class above as the upper digits a number names its whole path, in every batch alike.
        digit = 2 ** (63 // codes.shape[1])
        if codes.shape[1] == 1:
            return codes
        if (codes >= digit).any():
            raise ValueError(f"{what} must be below {digit:,} for {codes.shape[1]} levels, got {int(codes.max()):,}.")
        whole = codes[:, 0]
        paths = [whole]
        for level in codes.T[1:]:
            whole = torch.where((whole < 0) | (level < 0), -1, whole * digit + level)
            paths.append(whole)
        return torch.stack(paths, dim=1)

    def compare(self, anchors: Int[Tensor, "anchors levels"], candidates: Int[Tensor, "candidates levels"]) -> Pairs:
        levels = anchors.shape[1]
        # How far either says something; where both do, equal numbers are the same class under the same classes.
        a_end, c_end = ((codes >= 0).sum(dim=1, dtype=torch.int16) for codes in (anchors, candidates))
        depth = torch.minimum(a_end[:, None], c_end[None, :])
        together = torch.zeros_like(depth)
        for level in range(levels):  # one level at a time: all at once would be levels times as large
            a = anchors[:, level, None]
            together += (a == candidates[None, :, level]) & (a >= 0)
        known = (depth > 0) & ((together < depth) | (depth == levels))
        return Pairs(together.to(torch.get_default_dtype()).div_(levels), known)

    def missing(self, codes: Int[Tensor, "rows levels"]) -> Bool[Tensor, " rows"]:
        return codes[:, 0] < 0

    @classmethod
    def from_json(cls, state: dict[str, object]) -> Hierarchical:
        paths = tuple(tuple(path) for path in cast(list[list[str]], state["paths"]))
        under = tuple(cast(list[str], state["under"]))
        return cls(cast(str, state["column"]), paths, cast(str, state["separator"]), under)


def _parts(cell: str, separator: str) -> ClassPath:
    return tuple(part.strip() for part in cell.split(separator))
