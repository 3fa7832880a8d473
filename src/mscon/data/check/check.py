"""`mscon check`: what a recipe will use of a table, before anything is trained."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from mscon.data.batches.dataset import Dataset, cells_of, encode_all, fit_similarities
from mscon.data.batches.sampler import count_batches
from mscon.data.batches.training_length import training_length
from mscon.data.batches.triplet_dataset import in_triplets
from mscon.data.check.batch_stats import Batching, BatchStats, alike_share, class_sizes
from mscon.data.check.dependence import Dependence, classes_of, dependences, dependences_text, tenths_of
from mscon.data.check.duplicates import Duplicates, duplicates_text, find_duplicates
from mscon.data.check.judged_labels import judged_labels_text
from mscon.data.check.label_summary import CheckedColumn, check_column
from mscon.data.check.lookalikes import lookalikes
from mscon.data.check.pixel_ranges import PixelRanges, pixel_ranges
from mscon.data.check.vector_summary import summarise_vectors
from mscon.data.inputs.images import ImageStore
from mscon.data.inputs.open import Inputs
from mscon.data.inputs.teachers import TeacherCodes
from mscon.data.table import infer_kind
from mscon.data.table.rows import left_out
from mscon.data.table.split import SPLITS
from mscon.data.table.table import Table, unit
from mscon.errors import RecipeError, counted
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.teacher import Teacher
from mscon.run.recipe import Probe, Recipe, SimilarityPart, Views, probe_part

# Share of a column's entropy that another one tells, from which on the pair is listed.
_NEARLY = 0.8


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
        duplicates: None if the inputs were not looked at.
        pixels: of images; None for other inputs, and if they were not looked at.
        batches: what the batches of the first epochs hold; None where they are of triplets.
        triplets: for each similarity the triplets of an epoch; empty where batches are of rows.
        dependences: pairs of columns that are nearly functions of one another, by the training rows.
        inferred: a sentence on each similarity whose kind the recipe leaves to be inferred.
        encoded: what is encoded of a row, in words; empty if that was not looked at.
        steps: of the whole training.
        length: sentences on these steps: how many an epoch has, and what to change where they are few.
        unnamed: columns that the recipe does not name, and what they look like: "continuous: ..." and why.
        doubt: of each column whose labels [doubt] takes from a judged run, the counts that run.json of a training has.
    """

    table: str
    rows: int
    left_out: str
    splits: Mapping[str, int]
    batch_size: int
    columns: tuple[CheckedColumn, ...]
    duplicates: Duplicates | None
    pixels: PixelRanges | None = None
    batches: BatchStats | None = None
    triplets: Mapping[str, int] = field(default_factory=dict)
    dependences: tuple[Dependence, ...] = ()
    inferred: tuple[str, ...] = ()
    unnamed: Mapping[str, str] = field(default_factory=dict)
    encoded: str = ""
    steps: int = 0
    length: tuple[str, ...] = ()
    doubt: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """For a terminal."""
        splits = ", ".join(f"{n:,} {name}" for name, n in self.splits.items())
        lines = [f"{self.table}: {counted(self.rows, 'row')} ({splits})"]
        if self.encoded:
            lines.append(f"  what is encoded: {self.encoded}")
        if self.left_out:
            lines.append(f"  {self.left_out}")
        for column in self.columns:
            lines += ["", *column.to_text(self.batch_size)]
        if self.batches is not None:
            lines += ["", *self.batches.to_text(self.splits["train"])]
        else:
            each = ", ".join(f"{name!r} {n:,}" for name, n in self.triplets.items())
            total = sum(self.triplets.values())
            lines += ["", f"Batches are of triplets; an epoch has {total:,} of them: {each}."]
        if self.doubt:
            lines += ["", *judged_labels_text(self.doubt)]
        if self.dependences:
            lines += ["", *dependences_text(self.dependences, _NEARLY)]
        if self.inferred:
            lines += ["", *self.inferred, "    Another kind is taken if the recipe names it."]
        if self.unnamed:
            lines += ["", "Columns that the recipe does not name, and what they look like:"]
            lines += [f"    {name!r}: {what}" for name, what in self.unnamed.items()]
        if self.duplicates is not None:
            lines += ["", *duplicates_text(self.duplicates, unit(self.table))]
        if self.pixels is not None and (sentences := self.pixels.to_text(unit(self.table))):
            lines += ["", *sentences]
        if self.length:
            lines += ["", *self.length]
        if self.steps:
            lines.append("`mscon train --dry-run` measures how long they take on this machine.")
        return "\n".join(lines)


def describe(
    rows: pl.DataFrame,
    recipe: Recipe,
    table: Table,
    inputs: Inputs | None = None,
    *,
    root: Path | None = None,
    encoded: str = "",
    teachers: TeacherCodes = MappingProxyType({}),
    judge: Callable[[Sequence[Similarity]], Mapping[str, Mapping[str, Any]]] = lambda similarities: {},
    complaints: Callable[[Recipe, Sequence[Similarity]], Sequence[str]] = lambda recipe, _: recipe.probe_complaints(),
) -> Description:
    """Describe the rows that a recipe uses of a table.

    Args:
        rows: as `select_rows` gives them.
        recipe: names the similarities and probes, the views of a row, the batch size and the sampler.
        table: what the rows were selected from.
        inputs: of these rows, to look for duplicates and, of images, at pixels; without them neither is looked at.
        root: folder that images and lists of triplets are relative to; by default that of the table.
        encoded: what is encoded of a row, in words, as `inputs.encoded` says it.
        teachers: the codes of similarities of kind `teacher`, by name, as far as they are known before training.
        judge: what [doubt] takes of the labels of these similarities, as `Description.doubt`.
        complaints: why the recipe cannot be trained with these similarities, a message for each reason.

    Raises:
        TableError: if a column cannot be read as the similarity that the recipe names, or has no triplet.
        RecipeError: with all complaints; or if the sampler cannot be what the recipe asks for.
    """
    where = f"{table.name}: "
    parts, inferred = infer_kind.resolve(rows, recipe.similarities, where=where)
    counts = Counter(rows.get_column("split").to_list())
    similarities = fit_similarities(rows, parts, where=where, unit=unit(table.name))
    if messages := complaints(recipe, similarities):
        raise RecipeError(*messages)
    codes = encode_all(rows, similarities, teachers)
    doubt = judge(similarities)
    batching = Batching(rows, similarities, codes, recipe.sampler, recipe.train.batch_size, recipe.train.seed)
    triplets, stats = {}, None
    if recipe.triplets.used:
        triplets = _triplets(batching, recipe, root or table.path.parent, where)
    else:
        stats = batching.stats()
    steps_an_epoch = count_batches(sum(triplets.values()), recipe.train.batch_size) if stats is None else stats.batches
    trained = [_trained(batching, number, part, recipe.views, stats) for number, part in enumerate(parts)]
    columns = [_with_kind_advice(column, rows) for column in batching.advised(trained)]
    read_by = dict(zip((part.column for part in parts), similarities, strict=True))
    probes = _probes(rows, recipe.probe, read_by, where, unit(table.name))
    of_images = inputs if isinstance(inputs, ImageStore) else None
    kind = {"vectors": "vector"}.get(recipe.data.input, recipe.data.input)
    return Description(
        table=table.name,
        rows=rows.height,
        left_out=left_out(rows, table),
        splits={name: counts[name] for name in SPLITS if counts[name]},
        batch_size=min(recipe.train.batch_size, counts["train"]),
        columns=tuple(map(_with_lookalikes, (*columns, *(column for column, _ in probes)))),
        duplicates=None if inputs is None else find_duplicates(rows, inputs, kind),
        pixels=None if of_images is None else pixel_ranges(rows, of_images, root or table.folder, recipe.data),
        batches=stats,
        triplets=triplets,
        dependences=_dependences(rows, read_by | {column.name: similarity for column, similarity in probes}),
        inferred=inferred,
        unnamed={
            name: str(looks) for name, looks in infer_kind.unnamed(rows, recipe.data, parts, recipe.probe).items()
        },
        encoded=encoded,
        steps=recipe.train.epochs * steps_an_epoch,
        length=training_length(recipe.train, recipe.sampler, steps_an_epoch),
        doubt=doubt,
    )


def _trained(
    batching: Batching, number: int, part: SimilarityPart, views: Views, stats: BatchStats | None
) -> CheckedColumn:
    """A column that is trained on, with the shares of rows that have a positive in their batch.

    The `views` of a row are positives of each other, unless the similarity has views of its own.
    """
    similarity, codes, train = batching.similarities[number], batching.codes[number], batching.train
    cells = cells_of(batching.rows, similarity.columns)
    column = check_column(part.column, part.name, cells, train.numpy(), similarity, is_trained=True)
    several = (part.views or views).count > 1
    if isinstance(similarity, Teacher):
        column = dataclasses.replace(column, reads_vectors=True, missing_share=0.0)
        if (of_train := codes[train]).shape[0] and not similarity.missing(of_train).all():
            summary = summarise_vectors(similarity, of_train, batching.batch_size)
            column = dataclasses.replace(column, vectors=summary, missing_share=summary.missing_share)
        return column
    if not similarity.columns:
        share = 1.0 if several else 0.0
        return dataclasses.replace(column, missing_share=0.0, alike_share=0.0, positive_share=share)
    if stats is None:
        return column
    if similarity.is_partition and stats.sampler == "shuffled":
        rows = int(train.sum())
        alike = alike_share(class_sizes(codes[train]), rows, min(batching.batch_size, rows))  # exact
    else:
        alike = stats.alike[part.column]
    known = 1 - float(similarity.missing(codes)[train].double().mean())
    alike = min(alike, known)  # batches that were looked at may have missed rows without a label
    return dataclasses.replace(
        column, alike_share=alike, positive_share=known if several else alike, half_counts=similarity.half_counts
    )


def _with_lookalikes(column: CheckedColumn) -> CheckedColumn:
    """The column, with a word on values that look alike, in any split."""
    sentences = lookalikes({**column.classes, **column.outside})
    return dataclasses.replace(column, advice=(*column.advice, *sentences)) if sentences else column


def _with_kind_advice(column: CheckedColumn, rows: pl.DataFrame) -> CheckedColumn:
    """The column, with a word on its kind if each of its numbers is taken as a class of its own."""
    if column.kind != "categorical":
        return column
    looks = infer_kind.infer(rows.filter(split="train").get_column(column.name).to_list())
    if looks.kind != "continuous":
        return column
    advice = f'{looks.reason}, taken as classes; set name = "continuous" if near numbers are alike'
    return dataclasses.replace(column, advice=(advice, *column.advice))


def _probes(
    rows: pl.DataFrame, probe: Probe, trained: Mapping[str, Similarity], where: str, word: str
) -> list[tuple[CheckedColumn, Similarity | None]]:
    """Columns that are only probed, read as the kind that [probe] kinds names; without one as classes."""
    is_train = (rows.get_column("split") == "train").to_numpy()
    columns: list[tuple[CheckedColumn, Similarity | None]] = []
    for name in dict.fromkeys((*probe.columns, *probe.neighbours)):
        if name in trained:
            continue
        similarity, kind = None, "probe"
        if (settings := probe.kinds.get(name, "categorical")) != "categorical":
            part = probe_part(name, settings)
            (similarity,) = fit_similarities(rows, [part], where=where, unit=word)
            kind = f"probe, {part.name}"
        cells = cells_of(rows, (name,) if similarity is None else similarity.columns)
        columns.append((check_column(name, kind, cells, is_train, similarity, is_trained=False), similarity))
    return columns


def _triplets(batching: Batching, recipe: Recipe, root: Path, where: str) -> dict[str, int]:
    """Triplets of an epoch for each similarity, drawn or read as training will."""
    rows, similarities = batching.rows, tuple(batching.similarities)
    # No input is looked at: a triplet is three numbers of rows.
    of_rows = Dataset(rows, similarities, np.zeros((rows.height, 0), np.float32), tuple(batching.codes))
    dataset = in_triplets(of_rows, recipe.triplets, batching.seed, root, where, recipe.data.link_folders)
    condition = dataset.triplets.take(dataset.indices("train")).condition
    return {s.column: int((condition == number).sum()) for number, s in enumerate(similarities)}


def _dependences(rows: pl.DataFrame, read_by: Mapping[str, Similarity | None]) -> tuple[Dependence, ...]:
    """Of all columns that are trained on or probed, by their own cells in the training rows."""
    train, codes = rows.filter(pl.col("split") == "train"), {}
    for name, similarity in read_by.items():
        if similarity is None or similarity.columns:
            cells = train.get_column(name).to_list()
            is_number = similarity is not None and similarity.target_kind == "number"
            codes[name] = tenths_of(similarity.target(cells)) if is_number and similarity else classes_of(cells)
    return dependences(codes, _NEARLY)
