"""Neighbour score: how well nearest training rows of features agree with validation rows, for any kind of column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mscon.data.batches.dataset import cells_of, fit_similarities
from mscon.data.table.table import unit
from mscon.method.similarities.base import Similarity
from mscon.run.recipe import Recipe, probe_part

NEIGHBOURS = 10

# Rows whose neighbours are looked for at a time.
_BLOCK = 256


def scored_similarities(
    recipe: Recipe, rows: pl.DataFrame, trained: Sequence[Similarity], table_name: str
) -> list[Similarity]:
    """Of the label columns that are trained on, and of those that [probe] names besides, which training does not see.

    Not of those that [keep] unscored names.

    Args:
        rows: of the run, all columns.
        trained: similarities of the recipe, fitted.
        table_name: for messages.

    Raises:
        TableError: if a column of [probe] cannot be read as its kind.
    """
    known = [similarity for similarity in trained if similarity.target_kind != "nothing"]
    names = [name for name in dict.fromkeys(recipe.probe.columns) if name not in recipe.keep.unscored]
    parts = [
        probe_part(name, recipe.probe.kinds.get(name, "categorical"))
        for name in names
        if name not in {similarity.column for similarity in known}
    ]
    text = rows.with_columns(pl.col(name).cast(pl.String) for name in names if name in rows.columns)
    return [*known, *fit_similarities(text, parts, where=f"{table_name}: ", unit=unit(table_name))]


def neighbour_scores(
    features: Float[Tensor, "rows width"],
    train: Int64[Tensor, " train"],
    validation: Int64[Tensor, " validation"],
    similarities: Sequence[Similarity],
    rows: pl.DataFrame,
) -> Mapping[str, float]:
    """Of each column the mean agreement, 0 to 1, of validation rows with their 10 nearest training rows by cosine.

    Rows without a label are left out, and columns of which no row is left.

    Args:
        features: of all rows.
        train, validation: numbers of rows.
        similarities: which say how alike two cells are.
        rows: the cells.
    """
    columns = {name for similarity in similarities for name in similarity.columns}
    text = rows.with_columns(pl.col(name).cast(pl.String) for name in columns)
    unit_features = torch.nn.functional.normalize(features, dim=1)
    scores = {}
    for similarity in similarities:
        codes = similarity.encode(cells_of(text, similarity.columns))
        known = ~similarity.missing(codes)
        compared, queries = train[known[train]], validation[known[validation]]
        agreements = []
        for block in queries.split(_BLOCK):
            cosines = unit_features[block] @ unit_features[compared].T
            nearest = cosines.topk(min(NEIGHBOURS, len(compared))).indices
            weight = similarity.compare(codes[block], codes[compared]).weight.double()
            agreements.append(weight.gather(1, nearest).mean(dim=1))
        if len(queries) and len(compared):
            scores[similarity.column] = float(torch.cat(agreements).mean())
    return scores
