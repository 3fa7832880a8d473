"""Check: what a recipe will see in a table, told before anything is trained."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from torch import Tensor

from mscon.data.batches.dataset import Dataset, cells_of, fit_similarities
from mscon.data.batches.sampler import sampler_of
from mscon.data.batches.triplet_dataset import in_triplets
from mscon.data.check.advice import advised
from mscon.data.check.batch_stats import Outlook, alike_share, outlook
from mscon.data.check.dependence import Dependence, classes_of, dependences
from mscon.data.check.description import NEARLY, Description
from mscon.data.check.duplicates import find_duplicates
from mscon.data.check.label_summary import Column, column_of
from mscon.data.inputs.images import ImageStore
from mscon.data.table import infer_kind
from mscon.data.table.rows import left_out
from mscon.data.table.split import SPLITS
from mscon.data.table.table import Table, unit
from mscon.method.similarities.base import Similarity
from mscon.run.recipe import Probe, Recipe, SimilarityPart, Triplets, Views, probe_part


def describe(
    rows: pl.DataFrame,
    recipe: Recipe,
    table: Table,
    store: ImageStore | None = None,
    *,
    root: Path | None = None,
    encoded: str = "",
) -> Description:
    """Describe the rows that a recipe uses of a table.

    Args:
        rows: as `select_rows` gives them.
        recipe: names the similarities and probes, the views of a row, the batch size and the sampler.
        table: what the rows were selected from.
        store: their images, to look for duplicates; without it they are not looked for.
        root: folder that lists of triplets are relative to; by default that of the table.
        encoded: what is encoded of a row, in words, as `inputs.encoded` says it.

    Raises:
        TableError: if a column cannot be read as the similarity that the recipe names, or has no triplet.
        RecipeError: if the sampler cannot be what the recipe asks for.
    """
    where = f"{table.name}: "
    parts, inferred = infer_kind.resolve(rows, recipe.similarities, where=where)
    counts = Counter(rows.get_column("split").to_list())
    batch_size = min(recipe.train.batch_size, counts["train"])
    similarities = fit_similarities(rows, parts, where=where, unit=unit(table.name))
    codes = [s.encode(cells_of(rows, s.columns)) for s in similarities]
    triplets, seen = {}, None
    if recipe.triplets.used:
        triplets = _triplets(rows, recipe.triplets, recipe.train.seed, similarities, root or table.path.parent, where)
    else:
        seen = outlook(
            sampler_of(recipe.sampler, rows, similarities, batch_size=recipe.train.batch_size, seed=recipe.train.seed),
            similarities,
            codes,
        )
    trained = advised(
        [
            _trained(rows, recipe.views, *each, batch_size, seen)
            for each in zip(parts, similarities, codes, strict=True)
        ],
        rows,
        similarities,
        codes,
        recipe.sampler,
        recipe.train.batch_size,
        recipe.train.seed,
    )
    probes = _probes(rows, recipe.probe, recipe.columns, where, unit(table.name))
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
        unnamed={
            name: str(found) for name, found in infer_kind.unnamed(rows, recipe.data, parts, recipe.probe).items()
        },
        encoded=encoded,
    )


def _trained(
    rows: pl.DataFrame,
    views: Views,
    part: SimilarityPart,
    similarity: Similarity,
    codes: Tensor,
    batch_size: int,
    seen: Outlook | None,
) -> Column:
    """A column that is trained on, with the shares of anchors that find something in their batches.

    Of `views` of a row, unless the similarity has its own, each finds the others.
    """
    several = (part.views or views).count > 1
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
    alike = min(alike, known)  # batches that were looked at may have missed rows without a label
    return dataclasses.replace(
        column, alike_share=alike, positive_share=known if several else alike, half_counts=similarity.half_counts
    )


def _probes(rows: pl.DataFrame, probe: Probe, trained: Sequence[str], where: str, word: str) -> list[Column]:
    """Columns that are only asked of the features, by the kind that [probe] kinds names."""
    names = [name for name in dict.fromkeys((*probe.columns, *probe.neighbours)) if name not in trained]
    found = []
    for name in names:
        similarity, kind = None, "probe"
        if (asked := probe.kinds.get(name, "categorical")) != "categorical":
            part = probe_part(name, asked)
            (similarity,) = fit_similarities(rows, [part], where=where, unit=word)
            kind = f"probe, {part.name}"
        cells = cells_of(rows, (name,) if similarity is None else similarity.columns)
        found.append(column_of(name, kind, cells, _is_train(rows), similarity))
    return found


def _triplets(
    rows: pl.DataFrame, settings: Triplets, seed: int, similarities: Sequence[Similarity], root: Path, where: str
) -> dict[str, int]:
    """Triplets of an epoch for each similarity, drawn or read as training will."""
    # No input is looked at: a triplet is three numbers of rows.
    of_rows = Dataset.build(rows, similarities, np.zeros((rows.height, 0), np.float32))
    dataset = in_triplets(of_rows, settings, seed, root, where)
    own = dataset.triplets.take(dataset.indices("train")).condition
    return {s.column: int((own == number).sum()) for number, s in enumerate(similarities)}


def _dependences(rows: pl.DataFrame, columns: Sequence[Column]) -> tuple[Dependence, ...]:
    """Of all columns that are trained on or probed, and that are in the table."""
    train = rows.filter(pl.col("split") == "train")
    codes = {
        column.name: classes_of(train.get_column(column.name).to_list(), column.numbers is not None)
        for column in columns
        if column.name in rows.columns and column.kind != "same_row"
    }
    return dependences(codes, NEARLY)


def _is_train(rows: pl.DataFrame) -> np.ndarray:
    return (rows.get_column("split") == "train").to_numpy()
