"""Advice: what would help a column whose anchors find hardly anything alike in their batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence

import polars as pl
from torch import Tensor

from mscon.data.batches.sampler import sampler_of
from mscon.data.check.batch_stats import FEW, Outlook, alike_share, outlook
from mscon.data.check.label_summary import Column
from mscon.errors import counted
from mscon.method.similarities.base import Similarity
from mscon.run.recipe import Sampler

# Of the labelled anchors; below it something is advised.
_ENOUGH = 0.9


def advised(
    columns: Sequence[Column],
    rows: pl.DataFrame,
    similarities: Sequence[Similarity],
    codes: Sequence[Tensor],
    sampler: Sampler,
    batch_size: int,
    seed: int,
) -> list[Column]:
    """The same columns, with what would help those whose anchors find little in the batches of a sampler."""
    low = {c.name for c in columns if c.alike_share is not None and c.kind != "same_row" and _found(c) < _ENOUGH}
    if not low:
        return list(columns)
    train = rows.get_column("split").to_list().count("train")
    balanced = _balanced(low, rows, similarities, codes, sampler, batch_size, seed)
    return [
        dataclasses.replace(column, advice=tuple(_advice(column, sampler, batch_size, train, balanced)))
        if column.name in low
        else column
        for column in columns
    ]


def _balanced(
    low: Collection[str],
    rows: pl.DataFrame,
    similarities: Sequence[Similarity],
    codes: Sequence[Tensor],
    now: Sampler,
    batch_size: int,
    seed: int,
) -> tuple[str, Outlook] | None:
    """What a balanced sampler would make of these columns, and how a recipe says so; None if it has that already."""
    least, train = Sampler().at_least, rows.get_column("split").to_list().count("train")
    if batch_size < 2 * least - 1:
        return None
    names = tuple(name for s in similarities if (name := s.column) in low or name in now.columns)
    if now.name == "balanced" and now.at_least == least and now.columns == names:
        return None
    said = f'[sampler] name = "balanced", columns = [{", ".join(chr(34) + name + chr(34) for name in names)}]'
    if now.at_least != least:
        said += f", at_least = {least}"

    def seen(floors: Sampler) -> Outlook:
        made = sampler_of(floors, rows, similarities, batch_size=batch_size, seed=seed)
        return outlook(made, similarities, codes)

    strict = seen(Sampler(name="balanced", columns=names))
    if strict.left_over[0] <= FEW * train:
        return said, strict
    return f'{said}, short = "keep"', seen(Sampler(name="balanced", columns=names, short="keep"))


def _found(column: Column) -> float:
    """Share of the labelled anchors that find an alike one."""
    return (column.alike_share or 0.0) / (1 - column.missing_share) if column.missing_share < 1 else 1.0


def _advice(
    column: Column, sampler: Sampler, batch_size: int, train: int, balanced: tuple[str, Outlook] | None
) -> list[str]:
    found, tips = _found(column), list(_tips(column, sampler, batch_size, train, balanced))
    few = f"that is {found:.1%} of those with a value, which is few."
    return [f"{few} What would help:", *tips] if tips else [few]


def _tips(
    column: Column, sampler: Sampler, batch_size: int, train: int, balanced: tuple[str, Outlook] | None
) -> Iterator[str]:
    known, size, found = 1 - column.missing_share, min(batch_size, train), _found(column)
    if column.kind == "categorical" and sampler.name == "shuffled":
        counts = tuple(column.classes.values())
        larger = size
        while larger < train and alike_share(counts, train, larger) / known < _ENOUGH:
            larger = min(2 * larger, train)
        if (share := alike_share(counts, train, larger) / known) > found + 0.01:
            yield f"  train.batch_size = {larger}: {share:.1%} of them"
        if single := sum(n == 1 for n in counts):
            yield f"  (no batch helps {counted(single, 'row')} alone in a class)"
    elif size < train:
        yield f"  a larger train.batch_size (it is {batch_size})"
    if balanced is not None:
        said, seen = balanced
        if (share := seen.alike[column.name] / known) > found + 0.01:
            left = f"; {counted(seen.left_over[0], 'row')} left over" if seen.left_over[0] else ""
            yield f"  {said}: {min(share, 1.0):.1%} of them{left}"
    if column.numbers is not None and column.numbers.width is not None:
        yield f"  a larger width (it is {column.numbers.width:.3g}), such as {2 * column.numbers.width:.3g}"
