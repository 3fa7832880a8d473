"""Check: what a recipe will see in a table, told before anything is trained. No torch for what counting can answer."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import exp, lgamma
from typing import Any

import polars as pl

from mscon.data.images import ImageStore
from mscon.data.rows import left_out
from mscon.data.split import SPLITS
from mscon.data.table import Table, unit
from mscon.errors import counted, first_few
from mscon.recipe import Recipe, SimilarityPart

# Batches drawn, and anchors asked in each at most, where a similarity cannot be counted: 12,800 give half a point.
_BATCHES = 50
_ANCHORS = 256


@dataclass(frozen=True, slots=True)
class Column:
    """A label column as training will see it.

    Attributes:
        name: the column, or the name of a similarity that reads none.
        kind: its similarity; "probe" if it is only asked of the features.
        classes: values of the training rows with their counts, the most frequent first. Empty for a similarity that
            reads no column.
        missing_share: training rows without a value, of all training rows.
        majority_share: the most frequent value, of the training rows that have one: what a guess scores.
        outside: values that no training row has, with their rows elsewhere. They count as missing.
        alike_share: expected share of anchors that find, in a batch of training rows, an alike one besides their
            own row. None for probes.
        positive_share: the same with the further views of the own row counted, as the training log does.
            None for probes.
    """

    name: str
    kind: str
    classes: Mapping[str, int]
    missing_share: float
    majority_share: float
    outside: Mapping[str, int]
    alike_share: float | None
    positive_share: float | None


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows whose images are equal pixel by pixel, as they are stored.

    Attributes:
        groups: groups of equal images.
        rows: rows in them.
        groups_across: groups with rows in more than one split: what is tested was trained on.
        examples: lines of some groups, those across splits first.
    """

    groups: int
    rows: int
    groups_across: int
    examples: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What is in a table, in plain values.

    Attributes:
        table: name of the table.
        rows: rows used.
        left_out: a sentence on rows that are not; empty if there are none.
        splits: rows of each split that occurs.
        batch_size: rows of a batch, at most the training rows.
        columns: similarities in the order of the recipe, then probes.
        duplicates: None if the images were not looked at.
    """

    table: str
    rows: int
    left_out: str
    splits: Mapping[str, int]
    batch_size: int
    columns: tuple[Column, ...]
    duplicates: Duplicates | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """For a terminal."""
        splits = ", ".join(f"{n:,} {name}" for name, n in self.splits.items())
        lines = [f"{self.table}: {counted(self.rows, 'row')} ({splits})"]
        if self.left_out:
            lines.append(f"  {self.left_out}")
        for column in self.columns:
            lines += ["", *_column_text(column, self.batch_size)]
        if self.duplicates is not None:
            lines += ["", *_duplicates_text(self.duplicates, unit(self.table))]
        return "\n".join(lines)


def describe(rows: pl.DataFrame, recipe: Recipe, table: Table, store: ImageStore | None = None) -> Description:
    """Describe the rows that a recipe uses of a table.

    Args:
        rows: as `select_rows` gives them.
        recipe: names the similarities and probes, the views of a row and the batch size.
        table: what the rows were selected from.
        store: their images, to look for duplicates; without it they are not looked for.

    Raises:
        TableError: if a column cannot be read as the similarity that the recipe names.
    """
    counts = Counter(rows.get_column("split").to_list())
    batch_size = min(recipe.train.batch_size, counts["train"])
    trained = [_similarity(rows, recipe, part, batch_size) for part in recipe.similarities]
    asked = dict.fromkeys((*recipe.probe.columns, *recipe.probe.neighbours))
    probes = [_column(rows, name, "probe") for name in asked if name not in recipe.columns]
    return Description(
        table=table.name,
        rows=rows.height,
        left_out=left_out(rows, table),
        splits={name: counts[name] for name in SPLITS if counts[name]},
        batch_size=batch_size,
        columns=(*trained, *probes),
        duplicates=None if store is None else find_duplicates(rows, store),
    )


def alike_share(counts: Sequence[int], rows: int, batch_size: int) -> float:
    """Expected share of a batch's rows with another row of their class in it; exact.

    The other rows of an anchor's batch are `batch_size` - 1 of the `rows` - 1, drawn without replacement, and n - 1
    of these are of its class: hypergeometric.

    Args:
        counts: rows of each class; their sum may be less than `rows`, the rest has no label.
        rows: rows that batches are drawn from.
        batch_size: rows of a batch, at most `rows`.
    """
    if not 1 <= batch_size <= rows:
        raise ValueError(f"batch_size must be from 1 to the number of rows {rows}, got {batch_size}.")
    others = batch_size - 1

    def alone(n: int) -> float:
        if rows - n < others:
            return 0.0
        return exp(_log_choose(rows - n, others) - _log_choose(rows - 1, others))

    return sum((n / rows * (1.0 - alone(n)) for n in counts), 0.0)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def find_duplicates(rows: pl.DataFrame, store: ImageStore) -> Duplicates:
    """Groups of rows whose stored images are equal."""
    found: dict[bytes, list[int]] = {}
    for row in range(len(store)):
        found.setdefault(blake2b(store.images[row].tobytes(), digest_size=16).digest(), []).append(row)
    groups = [group for group in found.values() if len(group) > 1]
    split, line = rows.get_column("split").to_list(), rows.get_column("line").to_list()
    across = [group for group in groups if len({split[row] for row in group}) > 1]
    within = [group for group in groups if len({split[row] for row in group}) == 1]
    return Duplicates(
        groups=len(groups),
        rows=sum(map(len, groups)),
        groups_across=len(across),
        examples=tuple(tuple(line[row] for row in group) for group in [*across, *within][:5]),
    )


def _column(rows: pl.DataFrame, name: str, kind: str) -> Column:
    is_train = (rows.get_column("split") == "train").to_list()
    cells = rows.get_column(name).to_list()
    classes = Counter(cell for cell, train in zip(cells, is_train, strict=True) if train and cell is not None)
    outside = Counter(cell for cell in cells if cell is not None and cell not in classes)
    labelled = sum(classes.values())
    return Column(
        name=name,
        kind=kind,
        classes=_sorted(classes),
        missing_share=1 - labelled / sum(is_train),
        majority_share=max(classes.values(), default=0) / max(labelled, 1),
        outside=_sorted(outside),
        alike_share=None,
        positive_share=None,
    )


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _similarity(rows: pl.DataFrame, recipe: Recipe, part: SimilarityPart, batch_size: int) -> Column:
    several = recipe.views.count > 1
    if part.name == "same_row":
        share = 1.0 if several else 0.0
        return Column(part.column, part.name, {}, 0.0, 0.0, {}, alike_share=0.0, positive_share=share)
    column = _column(rows, part.column, part.name)
    train = int((rows.get_column("split") == "train").sum())
    if part.name == "categorical":
        alike, known = alike_share(tuple(column.classes.values()), train, batch_size), 1 - column.missing_share
    else:
        alike, known = _drawn_share(rows, recipe, part, batch_size)
    return dataclasses.replace(column, alike_share=alike, positive_share=known if several else alike)


def _drawn_share(rows: pl.DataFrame, recipe: Recipe, part: SimilarityPart, batch_size: int) -> tuple[float, float]:
    """For a similarity that cannot be counted: the alike share from drawn batches, and the share of rows it knows."""
    import torch

    from mscon.data.dataset import fit_similarities
    from mscon.data.sampler import epoch_batches

    (similarity,) = fit_similarities(rows, dataclasses.replace(recipe, similarities=(part,)))
    train = rows.filter(pl.col("split") == "train")
    codes = similarity.encode(train.get_column(part.column).to_list())
    with_alike, anchors = 0, 0
    for epoch in range(_BATCHES):
        batch = next(epoch_batches(torch.arange(train.height), batch_size, seed=0, epoch=epoch))
        asked = batch[:_ANCHORS]
        pairs = similarity.compare(codes[asked], codes[batch])
        alike = (pairs.weight > 0) & pairs.known & (asked[:, None] != batch[None, :])
        with_alike += int(alike.any(dim=1).sum())
        anchors += asked.numel()
    return with_alike / anchors, 1 - similarity.missing(codes).double().mean().item()


def _column_text(column: Column, batch_size: int) -> list[str]:
    head = f"{column.name!r} ({column.kind})"
    if column.kind == "same_row":
        return [f"{head}: views of one row are alike; it reads no column"]
    if not column.classes:
        lines = [f"{head}: no training row has a value"]
    else:
        most = next(iter(column.classes))
        listed = first_few([f"{name!r} {n:,}" for name, n in column.classes.items()], 8)
        classes = "1 class" if len(column.classes) == 1 else f"{len(column.classes):,} classes"
        lines = [
            f"{head}: {classes} among the training rows, {column.missing_share:.1%} missing; "
            f"always guessing {most!r} is right for {column.majority_share:.1%}",
            f"    {listed}",
        ]
    if column.alike_share is not None:
        lines.append(
            f"    in a batch of {batch_size:,} rows {column.alike_share:.1%} of the anchors find an alike one besides "
            f"their own row ({column.positive_share:.1%} have a positive, further views of their row counted)"
        )
    if column.outside:
        listed = first_few([f"{name!r} {n:,}" for name, n in column.outside.items()], 8)
        lines.append(
            f"    {counted(sum(column.outside.values()), 'row')} with a value that no training row has: {listed}"
        )
    return lines


def _duplicates_text(found: Duplicates, word: str) -> list[str]:
    if not found.groups:
        return ["No two images are equal."]
    across = f"{counted(found.groups_across, 'group')} with rows in more than one split"
    return [
        f"{counted(found.rows, 'row')} in {counted(found.groups, 'group')} of equal images; {across}"
        + (": what is tested there was trained on." if found.groups_across else "."),
        *(f"    {word}s {first_few(group, 8)}" for group in found.examples),
    ]
