"""Check: what a recipe will see in a table, told before anything is trained."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import exp, lgamma
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from mscon.data import kinds
from mscon.data.column import Column, column_of, column_text
from mscon.data.dataset import Dataset, cells_of, fit_similarities
from mscon.data.dependence import Dependence, classes_of, dependences
from mscon.data.images import ImageStore
from mscon.data.outlook import Outlook, outlook
from mscon.data.rows import left_out
from mscon.data.sampler import sampler_of
from mscon.data.split import SPLITS
from mscon.data.table import Table, unit
from mscon.data.triplet_dataset import in_triplets
from mscon.errors import counted, first_few
from mscon.recipe import Recipe, Sampler, SimilarityPart, probe_part
from mscon.similarities.base import Similarity

# Of the labelled anchors; below it something is advised.
_ENOUGH = 0.9
# Share of the training rows that a sampler may leave over before it is advised against.
_FEW = 0.05
# Share of a column's entropy that another one tells from which on the pair is told of.
_NEARLY = 0.8


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows whose images are equal pixel by pixel, as they are stored.

    Attributes:
        groups: groups of equal images.
        rows: rows in them.
        groups_across: groups with rows in more than one split: what is tested was trained on.
        leaked: rows outside the training split whose image a training row has too.
        examples: lines of some groups, those across splits first.
    """

    groups: int
    rows: int
    groups_across: int
    leaked: int
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
        batches: what the batches of the first epochs hold; None where they are of triplets.
        triplets: for each similarity the triplets of an epoch; empty where batches are of rows.
        dependences: pairs of columns that are nearly functions of one another, by the training rows.
        inferred: a sentence on each similarity whose kind the recipe leaves to be inferred.
        unnamed: columns that the recipe does not name, and what they look like: "continuous: ..." and why.
    """

    table: str
    rows: int
    left_out: str
    splits: Mapping[str, int]
    batch_size: int
    columns: tuple[Column, ...]
    duplicates: Duplicates | None
    batches: Outlook | None = None
    triplets: Mapping[str, int] = field(default_factory=dict)
    dependences: tuple[Dependence, ...] = ()
    inferred: tuple[str, ...] = ()
    unnamed: Mapping[str, str] = field(default_factory=dict)

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
            lines += ["", *column_text(column, self.batch_size)]
        lines += ["", *_batches_text(self)]
        if self.dependences:
            lines += ["", *_dependences_text(self.dependences)]
        if self.inferred:
            lines += ["", *self.inferred, "    Another kind is taken if the recipe names it."]
        if self.unnamed:
            lines += ["", "Columns that the recipe does not name, and what they look like:"]
            lines += [f"    {name!r}: {what}" for name, what in self.unnamed.items()]
        if self.duplicates is not None:
            lines += ["", *_duplicates_text(self.duplicates, unit(self.table))]
        return "\n".join(lines)


def describe(
    rows: pl.DataFrame,
    recipe: Recipe,
    table: Table,
    store: ImageStore | None = None,
    *,
    root: Path | None = None,
) -> Description:
    """Describe the rows that a recipe uses of a table.

    Args:
        rows: as `select_rows` gives them.
        recipe: names the similarities and probes, the views of a row, the batch size and the sampler.
        table: what the rows were selected from.
        store: their images, to look for duplicates; without it they are not looked for.
        root: folder that lists of triplets are relative to; by default that of the table.

    Raises:
        TableError: if a column cannot be read as the similarity that the recipe names, or has no triplet.
        RecipeError: if the sampler cannot be what the recipe asks for.
    """
    where = f"{table.name}: "
    recipe, inferred = kinds.resolve(rows, recipe, where=where)
    counts = Counter(rows.get_column("split").to_list())
    batch_size = min(recipe.train.batch_size, counts["train"])
    similarities = fit_similarities(rows, recipe, where=where, unit=unit(table.name))
    codes = [s.encode(cells_of(rows, s.columns)) for s in similarities]
    triplets, seen = {}, None
    if recipe.triplets.used:
        triplets = _triplets(rows, recipe, similarities, root or table.path.parent, where)
    else:
        seen = outlook(sampler_of(recipe, rows, similarities), similarities, codes)
    trained = _advised(
        [
            _trained(rows, recipe, *each, batch_size, seen)
            for each in zip(recipe.similarities, similarities, codes, strict=True)
        ],
        rows,
        recipe,
        similarities,
        codes,
    )
    probes = _probes(rows, recipe, where, unit(table.name))
    return Description(
        table=table.name,
        rows=rows.height,
        left_out=left_out(rows, table),
        splits={name: counts[name] for name in SPLITS if counts[name]},
        batch_size=batch_size,
        columns=(*trained, *probes),
        duplicates=None if store is None else find_duplicates(rows, store),
        batches=seen,
        triplets=triplets,
        dependences=_dependences(rows, [*trained, *probes]),
        inferred=inferred,
        unnamed={name: str(found) for name, found in kinds.unnamed(rows, recipe).items()},
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
    leaked = [row for group in across if "train" in {split[r] for r in group} for row in group if split[row] != "train"]
    within = [group for group in groups if len({split[row] for row in group}) == 1]
    return Duplicates(
        groups=len(groups),
        rows=sum(map(len, groups)),
        groups_across=len(across),
        leaked=len(leaked),
        examples=tuple(tuple(line[row] for row in group) for group in [*across, *within][:5]),
    )


# Columns ------------------------------------------------------------------------------------------


def _is_train(rows: pl.DataFrame) -> np.ndarray:
    return (rows.get_column("split") == "train").to_numpy()


def _trained(
    rows: pl.DataFrame,
    recipe: Recipe,
    part: SimilarityPart,
    similarity: Similarity,
    codes: Tensor,
    batch_size: int,
    seen: Outlook | None,
) -> Column:
    """A column that is trained on, with the shares of anchors that find something in their batches."""
    several = recipe.views.count > 1
    if not similarity.columns:
        share = 1.0 if several else 0.0
        return Column(part.column, part.name, {}, 0.0, 0.0, {}, alike_share=0.0, positive_share=share)
    is_train = _is_train(rows)
    column = column_of(part.column, part.name, cells_of(rows, similarity.columns), is_train, similarity)
    if seen is None:
        return column
    if part.name == "categorical" and seen.sampler == "shuffled":
        alike = alike_share(tuple(column.classes.values()), int(is_train.sum()), batch_size)  # exact
    else:
        alike = seen.alike[part.column]
    known = 1 - float(similarity.missing(codes).numpy()[is_train].mean())
    return dataclasses.replace(column, alike_share=alike, positive_share=known if several else alike)


def _probes(rows: pl.DataFrame, recipe: Recipe, where: str, word: str) -> list[Column]:
    """Columns that are only asked of the features, by the kind that [probe] kinds names."""
    names = [n for n in dict.fromkeys((*recipe.probe.columns, *recipe.probe.neighbours)) if n not in recipe.columns]
    found = []
    for name in names:
        similarity, kind = None, "probe"
        if (asked := recipe.probe.kinds.get(name, "categorical")) != "categorical":
            part = probe_part(name, asked)
            alone = dataclasses.replace(recipe, similarities=(part,))
            (similarity,) = fit_similarities(rows, alone, where=where, unit=word)
            kind = f"probe, {part.name}"
        cells = cells_of(rows, (name,) if similarity is None else similarity.columns)
        found.append(column_of(name, kind, cells, _is_train(rows), similarity))
    return found


def _advised(
    columns: Sequence[Column],
    rows: pl.DataFrame,
    recipe: Recipe,
    similarities: Sequence[Similarity],
    codes: Sequence[Tensor],
) -> list[Column]:
    """The same columns, with what would help those whose anchors find little."""
    low = {c.name for c in columns if c.alike_share is not None and c.kind != "same_row" and _found(c) < _ENOUGH}
    if not low:
        return list(columns)
    balanced = _balanced(low, rows, recipe, similarities, codes)
    train = int(_is_train(rows).sum())
    return [
        dataclasses.replace(column, advice=tuple(_advice(column, recipe, train, balanced)))
        if column.name in low
        else column
        for column in columns
    ]


def _balanced(
    low: Collection[str],
    rows: pl.DataFrame,
    recipe: Recipe,
    similarities: Sequence[Similarity],
    codes: Sequence[Tensor],
) -> tuple[str, Outlook] | None:
    """What a balanced sampler would make of these columns, and how a recipe says so; None if it has one already."""
    if recipe.sampler.name != "shuffled" or recipe.train.batch_size < 2 * Sampler().at_least - 1:
        return None
    names = [name for name in recipe.columns if name in low]
    said = f'[sampler] name = "balanced", columns = [{", ".join(chr(34) + name + chr(34) for name in names)}]'

    def seen(floors: Sampler) -> Outlook:
        return outlook(sampler_of(dataclasses.replace(recipe, sampler=floors), rows, similarities), similarities, codes)

    strict = seen(Sampler(name="balanced", columns=tuple(names)))
    if strict.left_over[0] <= _FEW * int(_is_train(rows).sum()):
        return said, strict
    return f'{said}, short = "keep"', seen(Sampler(name="balanced", columns=tuple(names), short="keep"))


def _found(column: Column) -> float:
    """Share of the labelled anchors that find an alike one."""
    return (column.alike_share or 0.0) / (1 - column.missing_share) if column.missing_share < 1 else 1.0


def _advice(column: Column, recipe: Recipe, train: int, balanced: tuple[str, Outlook] | None) -> list[str]:
    found, tips = _found(column), list(_tips(column, recipe, train, balanced))
    few = f"that is {found:.1%} of those with a value, which is few."
    return [f"{few} What would help:", *tips] if tips else [few]


def _tips(column: Column, recipe: Recipe, train: int, balanced: tuple[str, Outlook] | None) -> Iterator[str]:
    known, size, found = 1 - column.missing_share, min(recipe.train.batch_size, train), _found(column)
    if column.kind == "categorical" and recipe.sampler.name == "shuffled":
        counts = tuple(column.classes.values())
        larger = size
        while larger < train and alike_share(counts, train, larger) / known < _ENOUGH:
            larger = min(2 * larger, train)
        if (share := alike_share(counts, train, larger) / known) > found + 0.01:
            yield f"  train.batch_size = {larger}: {share:.1%} of them"
        if single := sum(n == 1 for n in counts):
            yield f"  (no batch helps {counted(single, 'row')} alone in a class)"
    elif size < train:
        yield f"  a larger train.batch_size (it is {recipe.train.batch_size})"
    if balanced is not None:
        said, seen = balanced
        if (share := seen.alike[column.name] / known) > found + 0.01:
            left = f"; {counted(seen.left_over[0], 'row')} left over" if seen.left_over[0] else ""
            yield f"  {said}: {min(share, 1.0):.1%} of them{left}"
    if column.numbers is not None and column.numbers.width is not None:
        yield f"  a larger width (it is {column.numbers.width:.3g}), such as {2 * column.numbers.width:.3g}"


# Batches ------------------------------------------------------------------------------------------


def _triplets(
    rows: pl.DataFrame, recipe: Recipe, similarities: Sequence[Similarity], root: Path, where: str
) -> dict[str, int]:
    """Triplets of an epoch for each similarity, drawn or read as training will."""
    # No input is looked at: a triplet is three numbers of rows.
    dataset = in_triplets(
        Dataset.build(rows, similarities, np.zeros((rows.height, 0), np.float32)), recipe, root, where
    )
    own = dataset.triplets.take(dataset.indices("train")).condition
    return {s.column: int((own == number).sum()) for number, s in enumerate(similarities)}


def _batches_text(description: Description) -> list[str]:
    if (seen := description.batches) is None:
        each = ", ".join(f"{name!r} {n:,}" for name, n in description.triplets.items())
        return [f"Batches are of triplets; an epoch has {sum(description.triplets.values()):,} of them: {each}."]
    size = f"{seen.largest:,}" if seen.smallest == seen.largest else f"{seen.smallest:,} to {seen.largest:,}"
    batches = f"{seen.batches:,} {seen.sampler} {'batch' if seen.batches == 1 else 'batches'}"
    lines = [f"An epoch has {batches} of {size} rows."]
    most = max(seen.left_over)
    if not most:
        lines.append("    Every training row comes once.")
    elif seen.sampler == "shuffled":
        lines.append(f"    {counted(most, 'row')} left over after the last full batch, others in each epoch.")
    else:
        train = description.splits["train"]
        lines.append(
            f"    {counted(most, 'row')} of {train:,} left over, since no batch can hold enough rows of each of their "
            f"classes ({', '.join(f'{n:,}' for n in seen.left_over)} in the first {seen.epochs} epochs)."
        )
        if most > _FEW * train:
            lines.append(
                '    Name fewer columns under [sampler] columns, take short = "keep" there, or raise train.batch_size.'
            )
    lines += [
        f"    {name!r}: {counted(n, 'row')} of classes too small for the floor, of which nothing is demanded"
        for name, n in seen.without_floor.items()
        if n
    ]
    return lines


# Dependence ---------------------------------------------------------------------------------------


def _dependences(rows: pl.DataFrame, columns: Sequence[Column]) -> tuple[Dependence, ...]:
    """Of all columns that are trained on or probed, and that are in the table."""
    train = rows.filter(pl.col("split") == "train")
    codes = {
        column.name: classes_of(train.get_column(column.name).to_list(), column.numbers is not None)
        for column in columns
        if column.name in rows.columns and column.kind != "same_row"
    }
    return dependences(codes, _NEARLY)


def _dependences_text(found: Sequence[Dependence]) -> list[str]:
    lines = ["Columns that are nearly functions of one another (share of the one's entropy that the other tells):"]
    for pair in found:
        both = (
            (pair.a, pair.b, pair.a_tells_b, pair.majority[0]),
            (pair.b, pair.a, pair.b_tells_a, pair.majority[1]),
        )
        told = [
            f"{one!r} tells {share:.0%} of {other!r} (its most frequent value is right for {right:.1%})"
            for one, other, share, right in both
            if share >= _NEARLY
        ]
        lines.append(f"    {'; '.join(told)}; normalised mutual information {pair.nmi:.2f}")
    return lines


def _duplicates_text(found: Duplicates, word: str) -> list[str]:
    if not found.groups:
        return ["No two images are equal."]
    across = f"{counted(found.groups_across, 'group')} with rows in more than one split"
    leak = f" ({counted(found.leaked, 'row')} elsewhere with an image of the training split)"
    return [
        f"{counted(found.rows, 'row')} in {counted(found.groups, 'group')} of equal images; {across}"
        + (f": what is tested there was trained on{leak if found.leaked else ''}." if found.groups_across else "."),
        *(f"    {word}s {first_few(group, 8)}" for group in found.examples),
    ]
