"""Clusters: which rows the features of a run take for alike, as one more column of its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from mscon.data.table.table import Table
from mscon.errors import RunError, counted
from mscon.evaluate.features import extract, read_features
from mscon.evaluate.label_quality.corrections import need_table
from mscon.evaluate.metrics.nearest import unit_length
from mscon.run import atomic, outputs
from mscon.run.run import Run

SEPARATOR = "/"


def cluster(
    run: Run | str | Path,
    out: str | Path,
    *,
    clusters: int = 10,
    column: str = "cluster",
    seed: int = 0,
    table: str | Path | None = None,
    progress: bool = True,
) -> dict[str, int]:
    """Write a CSV copy of a run's table with a column of clusters: k-means of the features, scaled to unit length.

    For multistage contrastive learning: a next run that tells rows of one cluster apart, by objective `l_spread` with
    spread = 1 on this column, must learn what the features of this run do not hold. If the table has the column
    already, from the stage before, its cells are continued: "3" becomes "3/7". Rows then share a cluster only if they
    do so in all stages. Clusters are found on training rows; rows of other splits get the nearest one. Cells of rows
    that are not in the run, or whose cell of the stage before is empty, are empty.

    Args:
        run: a trained run, or its directory.
        out: the CSV file, a name that ends in .csv; it must not exist.
        clusters: how many, 2 or more; the paper takes 10.
        column: name of the column.
        seed: of k-means, and of the mini-batches that it takes.
        table: the table, if it is no longer where it was when the run was trained.
        progress: show a bar on standard error while features are extracted.

    Returns:
        For each cluster, largest first, how many rows of the run are in it.

    Raises:
        RunError: if the table is not there or has changed, has columns that CSV cannot hold, the run has fewer training
            rows than clusters, or `out` is in the way. Nothing is written then.
        TableError: if the table cannot be read.
        ValueError: if `clusters` is below 2.

    Source: multistage contrastive learning (MCL), Zhang et al. 2024, https://arxiv.org/abs/2402.11816, and
        https://github.com/MajorDavidZhang/MCL, with k-means in mini-batches of normalised features as there.
    """
    if clusters < 2:
        raise ValueError(f"clusters must be 2 or more, got {clusters}.")
    run, out = Run.of(run), Path(out)
    original = need_table(run, out, table, option="--out")
    known = run.read_facts()["table"].get("sha256")
    if known and original.sha256 != known:
        raise RunError(
            f"{original.name} is not the table that run '{run.root}' was trained on. Pass --table with that."
        )
    extract(run, progress=progress)
    names = _names(run, clusters, seed)
    frame = _with_column(original, dict(zip(run.read_rows().get_column("line"), names, strict=True)), column)
    with outputs.writing(out, "Choose another --out."):
        atomic.write_with(out, frame.write_csv)
    cells = frame.get_column(column).drop_nulls()
    return dict(cells.value_counts(sort=True, name="rows").sort("rows", column, descending=[True, False]).iter_rows())


def _names(run: Run, clusters: int, seed: int) -> list[str]:
    """The number of each row's cluster, as text."""
    from sklearn.cluster import MiniBatchKMeans

    features = unit_length(read_features(run)).astype(np.float32)
    train = (run.read_rows().get_column("split") == "train").to_numpy()
    if train.sum() < clusters:
        raise RunError(
            f"run '{run.root}' has {counted(int(train.sum()), 'train row')}, too few for {clusters} clusters."
        )
    k_means = MiniBatchKMeans(clusters, random_state=seed, n_init=3).fit(features[train])
    return [str(number) for number in k_means.predict(features)]


def _with_column(table: Table, names: dict[int, str], column: str) -> pl.DataFrame:
    cells: list[str | None] = [names.get(line) for line in table.lines]
    if column in table.frame.columns:
        before = table.frame.get_column(column).to_list()
        cells = [
            f"{b}{SEPARATOR}{c}" if b is not None and c is not None else None
            for b, c in zip(before, cells, strict=True)
        ]
    return table.frame.with_columns(pl.Series(column, cells, dtype=pl.String))
