"""Targets: the columns that a run is probed for, with what a probe is to predict for each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Int, Shaped

from mscon.data.batches.dataset import cells_of, fit_similarities
from mscon.data.table.infer_kind import infer
from mscon.data.table.label_columns import LabelColumns
from mscon.data.table.table import unit
from mscon.errors import MSConError, RunError, nearest
from mscon.method.similarities.base import BETWEEN_COLUMNS, Cell, Similarity, TargetKind
from mscon.run.recipe import Recipe, probe_part
from mscon.run.run import Run


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """A column to be probed.

    Attributes:
        column: its name in the table.
        cells: of all rows; of several columns that one similarity reads, joined.
        similarity: that reads them; None for plain classes, which need none: there a class that only rows outside
            the training split have is a class too, and counted as such.
        trained: whether the encoder saw its labels.
        largest: keep only so many of its largest classes; None for all.
    """

    column: str
    cells: Sequence[Cell]
    similarity: Similarity | None
    trained: bool
    largest: int | None

    @property
    def kind(self) -> TargetKind:
        """What its targets are."""
        return "class" if self.similarity is None else self.similarity.target_kind

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what its targets number."""
        return () if self.similarity is None else self.similarity.target_names

    def target(self) -> Shaped[np.ndarray, "rows ..."]:
        """What a probe is to predict for each row, see `Similarity.target`."""
        assert self.similarity is not None, "plain classes are probed by their cells"
        return self.similarity.target(self.cells)

    def class_levels(self) -> list[tuple[Int[np.ndarray, " rows"], Sequence[str]]]:
        """Class codes, -1 where missing, and names of the classes; of a hierarchy for each level, coarsest first."""
        return [codes_of(self.cells)] if self.similarity is None else [*self.similarity.class_levels(self.cells)]

    def whole_cells(self) -> list[Cell]:
        """The cells as classes; of several columns only where none of them is empty."""
        return [
            None if cell is None or "" in cell.split(BETWEEN_COLUMNS) else cell.replace(BETWEEN_COLUMNS, "/")
            for cell in self.cells
        ]


def probe_columns(run: Run, recipe: Recipe, rows: pl.DataFrame) -> dict[str, list[ProbeTarget]]:
    """The columns of each probe, "linear" and "neighbours".

    Raises:
        RunError: once, for all columns that the recipe names and the rows do not have, and settings that do not fit;
            or if a column cannot be read as the kind that [probe] kinds names.
    """
    _need_columns(run, recipe, rows)
    probed = probe_targets(run, recipe, rows)
    return {"linear": probed, "neighbours": neighbour_targets(run, recipe, rows, probed)}


def _need_columns(run: Run, recipe: Recipe, rows: pl.DataFrame) -> None:
    labels = [name for name in rows.columns if name not in ("line", "split", "image")]
    trained = [part.column for part in recipe.similarities if part.reads]
    probed = list(dict.fromkeys([*trained, *recipe.probe.columns]))
    complaints = [
        f"run '{run.root}' has no label column '{name}', which its recipe names.{nearest(name, labels)}\n"
        f"  Its columns: {', '.join(labels)}."
        for name in dict.fromkeys([*probed, *recipe.probe.neighbours])
        if name not in labels
    ]
    complaints += [f"run '{run.root}': {complaint}" for complaint in recipe.probe_complaints()]
    if complaints:
        raise RunError("\n".join(complaints))


def probe_targets(run: Run, recipe: Recipe, rows: pl.DataFrame) -> list[ProbeTarget]:
    """Columns of the similarities, in the order of the heads, then those that [probe] names besides.

    Raises:
        RunError: if a column cannot be read as the kind that [probe] kinds names.
    """
    trained = [
        part for part in recipe.similarities if part.reads
    ]  # "same_row" and "teacher" read no cells: nothing to probe
    known = {part.column for part in trained}
    states: Sequence[Mapping[str, Any]] = ()
    if any(part.name != "categorical" for part in trained):
        run.need_trust()
        states = run.read_similarities()
    labels = LabelColumns(rows, {}, states, trust=True)
    columns = []
    for part in trained:
        similarity = None
        if part.name != "categorical":
            if part.column not in labels.trained:
                raise RunError(
                    f"run '{run.root}' keeps no similarity of column '{part.column}'. `mscon train` writes it."
                )
            similarity = labels[part.column].similarity
        cells = cells_of(_as_text(rows, part.reads), part.reads)
        largest = recipe.probe.largest.get(part.column)
        columns.append(ProbeTarget(part.column, cells, similarity, recipe.train.epochs > 0, largest))
    others = [name for name in dict.fromkeys(recipe.probe.columns) if name not in known]
    return columns + [_not_trained(run, recipe, rows, name) for name in others]


def further_targets(run: Run, recipe: Recipe, rows: pl.DataFrame, columns: Sequence[str]) -> list[ProbeTarget]:
    """Columns that neither a similarity nor [probe] names, each of the kind that the cells of its training rows show.

    Raises:
        RunError: once, for columns that the run does not have, that its encoder reads, and that show no labels.
    """
    labels = [name for name in rows.columns if name not in ("line", "split", "image")]
    train, targets, complaints = rows.filter(pl.col("split") == "train"), list[ProbeTarget](), list[str]()
    for column in dict.fromkeys(columns):
        if column not in labels:
            complaints.append(f"run '{run.root}' has no label column '{column}'.{nearest(column, labels)}")
            continue
        if column in recipe.data.encoded:
            complaints.append(
                f"column '{column}' is read by the encoder of run '{run.root}', so it cannot be predicted."
            )
            continue
        looks = infer(train.get_column(column).cast(pl.String).to_list())
        if looks.kind is None:
            complaints.append(f"column '{column}' of run '{run.root}' cannot be predicted: {looks.reason}.")
            continue
        kind = {"name": looks.kind, **looks.settings} if looks.settings else looks.kind
        targets.append(_not_trained(run, recipe, rows, column, kind))
    if complaints:
        raise RunError("\n".join([*complaints, f"  Its label columns: {', '.join(labels)}."]))
    return targets


def neighbour_targets(
    run: Run, recipe: Recipe, rows: pl.DataFrame, columns: Sequence[ProbeTarget]
) -> list[ProbeTarget]:
    """The columns that [probe] neighbours names; by default all that are probed and have two values there."""
    known = {column.column: column for column in columns}
    if named := tuple(dict.fromkeys(recipe.probe.neighbours)):
        return [known[name] if name in known else _not_trained(run, recipe, rows, name) for name in named]
    among = np.flatnonzero(rows.get_column("split").to_numpy() == recipe.probe.neighbours_among)
    return [c for c in columns if rows.get_column(c.column)[among].drop_nulls().n_unique() >= 2]


def _not_trained(
    run: Run, recipe: Recipe, rows: pl.DataFrame, column: str, looks: str | Mapping[str, Any] = "categorical"
) -> ProbeTarget:
    """A column of the kind that [probe] says, or else that it looks like."""
    cells = cells_of(_as_text(rows, (column,)), (column,))
    kind = recipe.probe.kinds.get(column, looks)
    similarity = None if kind == "categorical" else _fitted(run, rows, column, kind)
    if similarity is not None:
        cells = cells_of(_as_text(rows, similarity.columns), similarity.columns)
    return ProbeTarget(column, cells, similarity, False, recipe.probe.largest.get(column))


def _fitted(run: Run, rows: pl.DataFrame, column: str, kind: str | Mapping[str, Any]) -> Similarity:
    """A similarity that the run was not trained with, fitted on its training rows."""
    try:
        (similarity,) = fit_similarities(rows, [probe_part(column, kind)], unit=unit(run.read_facts()["table"]["name"]))
    except MSConError as error:
        raise RunError(f"run '{run.root}': [probe] kinds: {error}") from None
    return similarity


def _as_text(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    return rows.with_columns(pl.col(c).cast(pl.String) for c in columns if c in rows.columns)


def codes_of(cells: Sequence[str | None]) -> tuple[Int[np.ndarray, " rows"], tuple[str, ...]]:
    """Class codes, -1 where the cell is empty, and the names of the classes in order."""
    classes = tuple(sorted({cell for cell in cells if cell is not None}))
    index = {name: code for code, name in enumerate(classes)}
    return np.array([-1 if cell is None else index[cell] for cell in cells], dtype=np.int64), classes


def among_largest(
    codes: Int[np.ndarray, " rows"], train: Int[np.ndarray, " train"], largest: int
) -> Bool[np.ndarray, " rows"]:
    """Rows of the `largest` classes with most train rows; of equally large ones the first by name."""
    sizes = Counter(train[train >= 0].tolist())
    classes = sorted(sizes, key=lambda code: (-sizes[code], code))[:largest]
    return np.isin(codes, classes)
