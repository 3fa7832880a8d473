"""Prediction: fits predictors with `evaluate` where a run has none, and applies them with `deploy`.

A packed model has predictors already, if it was written with them.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mscon.data.table.table import Table, read_table
from mscon.deploy.embedder import Embedder
from mscon.deploy.inputs import open_table
from mscon.deploy.load import files_of, is_packed, load
from mscon.deploy.predict import Shown, fill_missing, predict_table, shown_of, summary
from mscon.deploy.shards import table_data
from mscon.errors import MSConError, RunError, counted
from mscon.evaluate.predictors import need_predictors, predictor_targets
from mscon.model.predictors.stored import current_predictors
from mscon.run import atomic, outputs
from mscon.run.run import Run

_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predictions of a run.

    Attributes:
        frame: a row a row; see `predict`.
        summary: what was predicted, in words.
    """

    frame: pl.DataFrame
    summary: str


def predict(
    run: Run | str | Path,
    table: object = None,
    *,
    columns: Sequence[str] = (),
    abstain: float = 0.0,
    images: str | Path | None = None,
    vectors: str | None = None,
    batch_size: int = 256,
    progress: bool = True,
    accept_changes: bool = False,
    trust: bool = False,
) -> pl.DataFrame:
    """Values of label columns for the rows of a table, or for the empty cells of the rows that a run was trained on.

    The first call fits the predictors and writes them to the run, see `mscon.evaluate.predictors.need_predictors`.

    Args:
        run: a trained run, or its directory; or what else `mscon.load` takes: a packed model, or one on the hub, that
            was written with predictors. Nothing is fitted then.
        table: what `mscon.read_table` takes, with the columns that the run reads its inputs from; its labels are not
            looked at. None for the rows of the run, which a packed model does not have.
        columns: label columns of the run; empty for those that it was trained on, that [probe] names, and that were
            predicted before.
        abstain: a cell whose confidence is below it stays empty; from 0 to 1. Of a path in one cell as many levels are
            given as reach it. Numbers have intervals, and none is left out.
        images: folder that image paths, or the file of vectors, are relative to; by default the table's.
        vectors: of a run of vectors the file or column that holds them; by default called as in training.
        batch_size: rows in memory at a time; changes speed and memory only.
        progress: say on standard error what is done.
        accept_changes: fit predictors also if images or vectors of the run have changed since training.
        trust: also import classes from outside mscon that the run names, see `mscon.load`.

    Returns:
        Columns line, image (where rows are images), uncertainty (where the run knows it, see
        `mscon.deploy.embedder.Embedder.uncertainty`), and for each predicted column NAME and NAME_confidence, or
        NAME_low and NAME_high where it is a number; these only where they are calibrated. Without a table, see
        `mscon.deploy.predict.fill_missing`.

    Raises:
        RunError, TableError: for mistakes in the run, the columns or the table, all at once.
        ValueError: for a threshold outside [0, 1], or what is no table.
    """
    model = run if isinstance(run, Run) else open_model(run, trust)
    with tempfile.TemporaryDirectory(prefix="mscon-predict-") as folder:
        settings = {"images": images, "vectors": vectors, "batch_size": batch_size, "progress": progress}
        opened = None if table is None else read_table(table)
        return _predict(model, opened, columns, abstain, Path(folder), settings, accept_changes).frame


def open_model(source: str | Path, trust: bool = False) -> Run | Embedder:
    """A run, or the embedder of a packed model; see `mscon.load`."""
    return load(source, trust=trust) if is_packed(source) else Run.open(source, trust)


def write_predictions(
    source: str | Path,
    table: Path | None,
    out: Path,
    *,
    columns: Sequence[str] = (),
    abstain: float = 0.0,
    images: Path | None = None,
    vectors: str | None = None,
    batch_size: int = 256,
    accept_changes: bool = False,
    overwrite: bool = False,
    trust: bool = False,
) -> str:
    """The same, written to a file, whole or not at all. A job that is killed continues with the vectors in OUT.vectors.

    Args:
        source: the directory of a trained run; or a packed model, see `predict`.
        table: a path; None for the rows of the run.
        out: a name that ends in .csv or .parquet.
        columns, abstain, images, vectors, batch_size, accept_changes, trust: see `predict`.
        overwrite: replace a file that is there; never the table or a file of the run.

    Returns:
        What was predicted, in words.

    Raises:
        RunError, TableError: see `predict`; or for an output of another kind or in the way.
    """
    if out.suffix not in _SUFFIXES:
        raise RunError(f"--out '{out}': its name must end in {' or '.join(_SUFFIXES)}.")
    model = open_model(source, trust)
    reads = [*files_of(source), *([] if table is None else [table])]
    images_of_run = model.images if isinstance(model, Run) else ()
    outputs.need_free([out], reads=reads, images=images_of_run, overwrite=overwrite)
    folder = out.with_name(f"{out.name}.vectors")
    opened = None if table is None else read_table(table)
    settings = {"images": images, "vectors": vectors, "batch_size": batch_size, "reads": reads}
    prediction = _predict(model, opened, columns, abstain, folder, settings, accept_changes)
    write = prediction.frame.write_csv if out.suffix == ".csv" else prediction.frame.write_parquet
    # Before the output is there: the same command would not come this far again.
    with contextlib.suppress(OSError):  # not there, or something of the user's is in it
        folder.rmdir()
    with outputs.writing(out):
        atomic.write_with(out, write)
    return f"{out}: {prediction.summary}"


def _predict(
    model: Run | Embedder,
    table: Table | None,
    columns: Sequence[str],
    abstain: float,
    folder: Path,
    settings: dict[str, Any],
    accept_changes: bool,
) -> Prediction:
    if not 0 <= abstain <= 1:
        raise ValueError(f"abstain must be from 0 to 1, got {abstain}.")
    if isinstance(model, Embedder):
        if table is None:
            raise RunError(f"{model.name} has no rows of a run, so it takes a table.")
        return _of_table(
            model, shown_of(model.predictors, model.name, columns, abstain), table, abstain, folder, settings
        )
    embedder = None if table is None else load(model.root, trust=model.trust)
    _need_all(model, table, embedder, columns, settings)
    if table is None and not model.has_predictors:  # of former ones there may be further columns, known below
        targets = [one for one in predictor_targets(model, columns) if not columns or one.column in columns]
        names = [(one.column,) if one.similarity is None else one.similarity.columns for one in targets]
        _need_empty(model, [name for of_one in names for name in of_one])
    need_predictors(model, columns, progress=settings.get("progress", True), accept_changes=accept_changes)
    shown = shown_of(current_predictors(model), f"run '{model.root}'", columns, abstain)
    if table is not None and embedder is not None:
        return _of_table(embedder, shown, table, abstain, folder, settings)
    empty = _need_empty(model, [name for _, names in shown for name in names])
    shown = [(one, [name for name in names if empty[name]]) for one, names in shown]
    frame = fill_missing(model, shown, abstain)
    heading = f"{counted(frame.height, 'row')}, {counted(sum(empty.values()), 'empty cell')}"
    return Prediction(frame, "\n".join([heading, *summary(shown, frame, abstain, empty)]))


def _of_table(
    embedder: Embedder, shown: Shown, table: Table, abstain: float, folder: Path, settings: dict[str, Any]
) -> Prediction:
    frame = predict_table(embedder, shown, table, folder, least=abstain, **settings)
    return Prediction(frame, "\n".join([counted(frame.height, "row"), *summary(shown, frame, abstain)]))


def _need_empty(run: Run, columns: Sequence[str]) -> dict[str, int]:
    """How many cells of each column are empty; raises where none is."""
    rows = run.read_rows()
    empty = {name: rows.get_column(name).null_count() for name in columns}
    if not any(empty.values()):
        named = ", ".join(f"'{name}'" for name in empty)
        raise RunError(f"run '{run.root}' has no empty cell to fill in {named}.")
    return empty


def _need_all(
    run: Run, table: Table | None, embedder: Embedder | None, columns: Sequence[str], settings: dict[str, Any]
) -> None:
    """Raise for all that is wrong with columns and table before anything is fitted."""
    checks: list[Callable[[], object]] = [lambda: predictor_targets(run, columns)]
    if table is not None and embedder is not None:
        root = None if settings["images"] is None else Path(settings["images"])
        checks.append(
            lambda: open_table(table, table_data(embedder, settings["vectors"]), root, embedder.known, drops=False)
        )
    faults: list[str] = []
    for check in checks:
        try:
            check()
        except MSConError as error:
            faults.append(str(error))
    if faults:
        raise RunError("\n".join(faults))
