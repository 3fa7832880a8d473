"""Reproduce: run an experiment, and write its numbers beside those of the paper.

Runs of one source lie together, whatever experiment they were made for: two experiments that want the same run (same
recipe, same seed) share it, and what is finished is not run again. What was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mscon.comparison.planned import Outcome, Planned, attempt, is_finished
from mscon.comparison.pool import carry_out_with_bar
from mscon.errors import MSConError, RunError, TableError, counted
from mscon.evaluate.report.experiments import FILE as RESULTS_FILE
from mscon.run import atomic, outputs
from mscon.run.run import Run
from mscon_paper import files
from mscon_paper.experiment import Experiment, PlannedRun, size
from mscon_paper.results import read, spaces
from mscon_paper.table import ExperimentResult, result_json, result_text

# In the folder of an experiment's results.
_FILES = (
    *(RESULTS_FILE, "table.md", "report.html", "report.json"),
    *(f"{name}.{kind}" for name in ("figure", "curves") for kind in ("svg", "png")),
)


def reproduce(
    name: str,
    *,
    data: Path | None = None,
    seeds: int | None = None,
    quick: bool = False,
    jobs: int | None = None,
    out: Path = Path("runs/reproduce"),
    overrides: Sequence[str] = (),
) -> Path:
    """Run an experiment, or what of it is not there yet; print the table and write it, with plots and numbers.

    Args:
        name: such as "glyphs/table3".
        data: folder of the data set, or its table; glyphs are made here.
        seeds: runs of each method and case; by default as many as the experiment says.
        quick: one seed and two epochs. Not together with `seeds`.
        jobs: runs side by side.
        out: runs go to OUT/SOURCE/runs, results to OUT/EXPERIMENT, with -quick or -changed behind it where they
            are not those of the experiment as it is written.
        overrides: of every recipe, such as "encoder.pretrained=false".

    Returns:
        Folder of the results: table.md, results.json, figure.svg and figure.png, and report.html; where all methods saw
        the same rows that holds the runs too, and curves.svg and curves.png show how far each method had learnt.

    Raises:
        RecipeError: if there is no such experiment, a recipe of it cannot be built, or `quick` comes with `seeds`.
        TableError: if its data is not there, or not what it should be.
        RunError: if other files than an earlier call's lie where the results go.
    """
    began = time.monotonic()
    experiment = files.find(name)
    planned = experiment.plan(seeds, quick, overrides)
    table = find_table(experiment, data)
    folder = out / (name + ("-quick" if quick else "-changed" if overrides else ""))
    outputs.need_free(
        [folder / file for file in _FILES],
        reads=[table],
        is_ours=lambda path: outputs.json_object(folder / RESULTS_FILE).get("experiment") == name,
    )
    print(f"table: {table}", file=sys.stderr)
    table_hash = hashlib.sha256(table.read_bytes()).hexdigest()
    pool = out / experiment.source / "runs"
    directories = {run.name: Planned(run.recipe, pool / run.name) for run in planned}
    work = partial(carry_out_one, table_hash=table_hash, transfer=_transfer(experiment))
    waiting = [p for p in directories.values() if not _is_done(p, table_hash, _transfer(experiment))]
    if there := len(directories) - len(waiting):
        print(f"{counted(there, 'run')} of {len(directories)} are there already.")
    outcomes = carry_out_with_bar(waiting, table, jobs, work)
    faults = {one.name: one.fault for one in outcomes if one.fault}
    changed = (["--quick: one seed and two epochs"] if quick else []) + [f"--set {text}" for text in overrides]
    result = read(experiment, planned, pool, faults, changed=changed)
    with outputs.writing(folder):
        _write(experiment, result, planned, pool, faults, folder)
    print(result_text(result))
    print(f"{counted(len(waiting), 'run')} in {time.monotonic() - began:.0f} s. {folder.resolve()}")
    return folder


def listed() -> str:
    """Every experiment in one line, with its size."""
    lines = ["experiment                    runs   epochs  what"]
    for name in files.names():
        one = files.find(name)
        try:
            runs, epochs = (one.seeds * count for count in size(one.plan(1)))
        except MSConError as error:
            lines.append(f"{name:<28} {'cannot be planned: ' + str(error).splitlines()[0]}")
            continue
        needs = "" if not one.data else "  (needs --data)"
        lines.append(f"{name:<28} {runs:>5} {epochs:>8}  {one.title}{needs}")
    return "\n".join(lines)


# Data ---------------------------------------------------------------------------------------------


def find_table(experiment: Experiment, data: Path | None) -> Path:
    """The table of an experiment's source, prepared if it is not there yet.

    Raises:
        TableError: saying which data set is wanted and how to get it.
    """
    from mscon.run.cache import cache_folder
    from mscon_paper import sources

    if data is None:
        if experiment.data:
            raise TableError(
                f"experiment '{experiment.name}' needs {experiment.source_title}: pass --data ROOT, "
                f"{experiment.data}.\n"
                f"  `mscon prepare {experiment.source} ROOT` checks the folder, and names what is missing."
            )
        data = cache_folder(experiment.source)
    elif not data.exists():
        raise TableError(
            f"--data '{data}' does not exist. Experiment '{experiment.name}' needs {experiment.source_title}: "
            f"{experiment.data or 'a folder to make it in'}."
        )
    if data.is_file():
        return data
    if experiment.data and (data / f"{experiment.source}.csv").is_file():
        return data / f"{experiment.source}.csv"  # prepared before; preparing decodes every image
    return sources.find(experiment.source)(data)


# Runs ---------------------------------------------------------------------------------------------


def carry_out_one(planned: Planned, table: Path, *, table_hash: str, transfer: Mapping[str, Any]) -> Outcome:
    """One run from start to end, unless it is there, and its few labels where the experiment asks for them."""
    if not is_finished(planned, table_hash) and (outcome := attempt(planned, table)).fault:
        return outcome
    if transfer:
        from mscon_paper.transfer import transfer as few_labels

        columns, numbers, draws = transfer["columns"], transfer["rows_a_class"], transfer["draws"]
        try:
            few_labels(Run.open(planned.out), columns, numbers, draws)
        except RunError as error:
            return Outcome(planned.out.name, str(error))
    return Outcome(planned.out.name)


def _transfer(experiment: Experiment) -> Mapping[str, Any]:
    return {**experiment.transfer, "columns": experiment.out_of_domain} if experiment.kind == "transfer" else {}


def _is_done(planned: Planned, table_hash: str, transfer: Mapping[str, Any]) -> bool:
    if not is_finished(planned, table_hash):
        return False
    if not transfer:
        return True
    run = Run.open(planned.out)
    if not run.has_transfer:
        return False
    there = run.read_transfer()
    columns = {curve["column"] for curve in there["curves"]}
    same = (there["rows_a_class"], there["draws"]) == (list(transfer["rows_a_class"]), transfer["draws"])
    return same and columns >= set(transfer["columns"])


# Writing ------------------------------------------------------------------------------------------


def _write(
    experiment: Experiment,
    result: ExperimentResult,
    planned: Sequence[PlannedRun],
    pool: Path,
    faults: Mapping[str, str],
    folder: Path,
) -> None:
    from mscon.evaluate.report.page import build_report
    from mscon_paper.figures import draw, draw_spaces, draw_training

    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(folder / RESULTS_FILE, result_json(result))  # first: by it the others are known as its own
    atomic.write_text(folder / "table.md", result_text(result))
    runs = [Run(pool / one.name) for one in planned if one.name not in faults]
    if experiment.kind == "views" and runs:
        rows = runs[0].read_rows()
        labels = {column: rows.get_column(column).to_list() for column in experiment.probed}
        pictures = draw_spaces(spaces(runs[0]), labels, rows.get_column("split").to_list(), result.changed)
    else:
        pictures = draw(result)
    for kind, content in pictures.items():
        atomic.write_bytes(folder / f"figure.{kind}", content)
    # Runs of several cases saw other rows or had other settings: their figure and its tables stand alone.
    comparable = experiment.kind == "table" and len(experiment.cases) == 1 and not faults
    if comparable:
        logs = {
            row.title: [Run(pool / p.name).read_log() for p in planned if p.row == row] for row in experiment.rows()
        }
        for kind, content in draw_training(logs, result.changed).items():
            atomic.write_bytes(folder / f"curves.{kind}", content)
    (folder / "report.json").unlink(missing_ok=True)
    build_report(runs if comparable else [], folder / "report.html", results=[folder], overwrite=True)
