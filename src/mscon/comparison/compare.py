"""Compare: a recipe against its specialists and its frozen start, on the user's own table, from runs to a verdict."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import polars as pl

from mscon import __version__
from mscon.comparison import planned as runs
from mscon.comparison.estimate import estimate
from mscon.comparison.methods import NAMES
from mscon.comparison.plan import Group, Plan, plan
from mscon.comparison.pool import carry_out_with_bar
from mscon.comparison.preparation import Prepared, prepare
from mscon.comparison.recommendation import Validation, lead_text, recommended_toml, validations
from mscon.comparison.scores import Scores, compared, frame_of
from mscon.comparison.text import full_text, table_text
from mscon.comparison.verdict import verdict
from mscon.data.inputs.open import images_root
from mscon.data.table.table import read_table
from mscon.errors import RecipeError, RunError, nearest
from mscon.evaluate.metrics.catalog import MEASURES
from mscon.evaluate.report.comparison_json import comparison_json
from mscon.evaluate.report.gather import gather
from mscon.evaluate.report.markdown import plain
from mscon.evaluate.report.page import build_report
from mscon.run import atomic, folder, outputs
from mscon.run import recipe as recipes
from mscon.run.layout import LOCK
from mscon.run.recipe import Recipe
from mscon.run.run import Run

RESULTS, TABLE, REPORT, RECOMMENDED = "compare.json", "table.md", "report.html", "recommended.toml"
FRAME = "table.parquet"
"""A frame that was compared, as a file that the process of a run can read."""
QUICK = ("train.epochs=2", "probe.draws=100")
"""What `quick` changes in every recipe, beside the one seed."""


@dataclass(frozen=True, eq=False)
class Compared:
    """What a comparison found.

    Attributes:
        frame: a row for each score: method, column, role, measure, value, low, high, seeds, standing, trained.
        verdict: three sentences.
        recommended: the recipe that validation rows recommend; None where they cannot say, and after a quick try.
        text: the table of the terminal.
        out: folder of the files.
        run: the first run of the recommended method; of the recipe where none is recommended.
    """

    frame: pl.DataFrame
    verdict: tuple[str, ...]
    recommended: Recipe | None
    text: str
    out: Path
    run: Path


def compare(
    recipe: Recipe | str | Path,
    table: object,
    out: str | Path,
    *,
    also: Sequence[Recipe | str | Path] = (),
    methods: Sequence[str] = (),
    held_out: Sequence[str] | None = None,
    seeds: int | None = None,
    jobs: int | None = None,
    quick: bool = False,
    images: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: bool = True,
) -> Compared:
    """Train and probe a recipe and what it should be better than, all under one budget, and say which to take.

        mscon.compare("shoes.toml", "shoes.csv", "runs/shoes").frame

    Compared are the frozen start (the pretrained encoder, or the vectors as they are, also reduced to the width of the
    features), cross-entropy, SupCon of each column, SimCLR, MSCon, and the recipe itself. Each label column is also
    held out in turn: methods are trained without it and probed for it. Finished runs in `out` are used again if recipe,
    table, inputs, teachers and the run to start from are the same, and one whose training was stopped goes on from its
    last checkpoint, so the same call continues a comparison that was stopped. Runs are processes: a script calls this
    under `if __name__ == "__main__":`, or with jobs=1.

    Args:
        recipe: a Recipe, or a TOML file.
        table: a path, or a frame, which is written to `out`.
        out: folder for the runs, `compare.json`, `table.md`, `report.html` and `recommended.toml`.
        also: more recipes; "title=FILE" gives one a title.
        methods: names of `mscon.comparison.methods.NAMES`, to compare these only; the recipe itself is always there.
        held_out: label columns to hold out; by default all, where there are several. An empty list for none.
        seeds: runs of each method, with the recipe's seed and those that follow; 3 by default.
        jobs: runs side by side; by default one a core, at most 8.
        quick: one seed and two epochs, to see that it works; the scores mean nothing, and no recipe is recommended.
            Not together with `seeds`.
        images: folder that image paths, or the file of vectors, are relative to. Default: the folder of the table.
        overrides: of every recipe, such as "train.epochs=12".
        progress: print what is left out, an estimate of the time, and a bar, on standard error.

    Raises:
        RecipeError: for a mistake in a recipe, or in what is to be compared.
        TableError: for a mistake in the table, or one too small for intervals.
        RunError: if other files lie where the results go, another process compares there, or no run came to its end.
        ValueError: if seeds or jobs are below 1.
    """
    out, images = Path(out), None if images is None else Path(images)
    overrides = [*overrides, *(QUICK if quick else ())]
    if unknown := [name for name in methods if name not in NAMES]:
        raise RecipeError(
            f"there is no method '{unknown[0]}' to compare with.{nearest(unknown[0], NAMES)} Known: {', '.join(NAMES)}."
        )
    seeds = runs.seed_count(seeds, quick, default=3)
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be 1 or more, got {jobs!r}.")
    is_frame = not isinstance(table, str | Path)
    outputs.need_free(
        [out / name for name in (RESULTS, TABLE, REPORT, "report.json", RECOMMENDED, *([FRAME] if is_frame else []))],
        reads=[Path(str(p)) for p in (recipe, table, *also) if isinstance(p, str | Path)],
        # Only the frame is there before the results are, but not before the lock.
        is_ours=lambda path: (
            "compared" in outputs.json_object(out / RESULTS) or (path.name == FRAME and (out / LOCK).is_file())
        ),
    )
    base = _recipe(recipe, overrides)
    others = [_also(one, overrides) for one in also]
    files = ["" if isinstance(one, Recipe) else _title_and_file(one)[1] for one in also]
    rows = read_table(table)
    prepared = prepare(base, rows, also=others, names=methods, held_out=held_out, images=images, files=files)
    with folder.locked(out, "compares in"):
        path = rows.path
        if is_frame:
            # The process of a run reads a file, but paths in the table are still relative to the current folder.
            path, images = _write_table(table, out), images or rows.folder
            rows = read_table(path)
        planned = plan(
            prepared.methods,
            prepared.labels,
            prepared.probe,
            prepared.held_out,
            seeds,
            out / "runs",
            images,
        )
        table_hash = rows.sha256
        root = images_root(rows, prepared.recipe.data, images)
        waiting = [p for p in planned.runs if not runs.is_finished(p, table_hash, prepared.fingerprints, root)]
        if progress:
            damaged = [f"{fault} This run is trained again." for p in waiting if (fault := runs.damage(p.out))]
            for sentence in (*prepared.sentences, *damaged, estimate(prepared, planned.runs, waiting, jobs)):
                print(plain(sentence), file=sys.stderr)
        outcomes = carry_out_with_bar(waiting, path, jobs, runs.attempt, shown=progress)
        faults = {outcome.name: outcome.fault for outcome in outcomes if outcome.fault}
        return _conclude(prepared, planned, base, faults, out, quick)


def _recipe(source: Recipe | str | Path, overrides: Sequence[str]) -> Recipe:
    if isinstance(source, Recipe):
        return recipes.of_plain(source.to_plain(), overrides) if overrides else source
    return recipes.read(source, overrides)


def _also(source: Recipe | str | Path, overrides: Sequence[str]) -> Recipe:
    """A recipe of --also: a file, or "title=FILE"; without a title of its own it is called by its file."""
    if isinstance(source, Recipe):
        return _recipe(source, overrides)
    title, file = _title_and_file(source)
    recipe = recipes.read(file, overrides)
    return replace(recipe, title=title or recipe.title or Path(file).stem)


def _title_and_file(source: str | Path) -> tuple[str, str]:
    if Path(source).is_file():
        return "", str(source)
    title, _, file = str(source).rpartition("=")
    return title, file


def _write_table(table: object, out: Path) -> Path:
    frame = table if isinstance(table, pl.DataFrame) else pl.from_pandas(cast(Any, table))
    path = out / FRAME
    atomic.write_with(path, frame.write_parquet)
    return path


# The end ------------------------------------------------------------------------------------------


def _conclude(
    prepared: Prepared, planned: Plan, base: Recipe, faults: Mapping[str, str], out: Path, quick: bool
) -> Compared:
    """Scores, verdict and files of runs that are finished."""
    whole = {title: _finished(group, faults) for title, group in planned.groups.items()}
    broken = {
        title: next(faults[p.out.name] for p in planned.groups[title].runs if p.out.name in faults)
        for title, there in whole.items()
        if not there
    }
    if len(broken) == len(whole):
        raise RunError("no run came to its end:\n" + "\n".join(f"  {title}: {why}" for title, why in broken.items()))
    members = [run for there in whole.values() for run in there]
    apart = {
        column: gather(there)
        for column, groups in planned.held_out.items()
        if (there := [run for group in groups.values() for run in _finished(group, faults)])
    }
    untrained = [method.title for method in prepared.methods if not method.is_trained]
    scores = compared(gather(members), apart, list(prepared.labels), untrained)
    ranked = validations(planned, list(prepared.labels))
    best = ranked[0] if ranked and not quick else None
    title = best.title if best else ""
    itself = next(method.title for method in prepared.methods if method.name == "recipe")
    rows = int((members[0].read_rows().get_column("split") == "validation").sum())
    starts = [method.title for method in prepared.methods if method.name == "start"]
    rivals = [v for v in ranked if v is best or title not in starts or v.title not in starts]
    sentences = verdict(scores, starts, title, itself, lead_text(rivals, rows), is_quick=quick)
    notes = [
        f"Column '{column}' is in no table and no mean: {reason}."
        for column, reason in _unscored(members, scores).items()
    ]
    text = "\n".join([table_text(scores.comparison, broken), *map(plain, notes)])
    recommended = None
    with outputs.writing(out):  # first what tells the same command that the other files are its own
        atomic.write_json(out / RESULTS, _json(prepared, planned, scores, ranked, sentences, faults, notes))
    build_report(members, out / REPORT, scores.comparison, lead=sentences, overwrite=True)
    with outputs.writing(out):
        atomic.write_text(out / TABLE, full_text(scores.comparison, broken, [*sentences, *notes]))
        if best is not None:
            toml = recommended_toml(planned, best, ranked[1] if len(ranked) > 1 else None, base.probe, base.title)
            atomic.write_text(out / RECOMMENDED, toml)
            recommended = recipes.parse(toml)
        else:
            (out / RECOMMENDED).unlink(missing_ok=True)
    return Compared(frame_of(scores), sentences, recommended, text, out, planned.groups[title or itself].runs[0].out)


def _finished(group: Group, faults: Mapping[str, str]) -> list[Run]:
    return [Run(planned.out, trust=True) for planned in group.runs if planned.out.name not in faults]


def _unscored(members: Sequence[Run], scores: Scores) -> dict[str, str]:
    """Columns that no linear probe scored, and why."""
    scored = {q.label for q in scores.gathered.questions if MEASURES[q.measure].probe == "linear"}
    skipped = [entry for run in members for entry in run.read_probe()["skipped"] if entry["probe"] == "linear"]
    return {entry["column"]: entry["reason"] for entry in skipped if entry["column"] not in scored}


def _json(
    prepared: Prepared,
    planned: Plan,
    scores: Scores,
    ranked: Sequence[Validation],
    sentences: Sequence[str],
    faults: Mapping[str, str],
    notes: Sequence[str],
) -> dict[str, Any]:
    return {
        "mscon": __version__,
        "compared": list(scores.comparison.methods),
        "verdict": list(sentences),
        "notes": [*prepared.sentences, *notes],
        "label_columns": list(prepared.labels),
        "held_out": list(prepared.held_out),
        "validation": [
            {"method": v.title, "mean": v.mean, "label_columns": v.trained, "unseen_columns": v.unseen} for v in ranked
        ],
        "broken_down": dict(faults),
        "runs": {title: [p.out.name for p in group.runs] for title, group in planned.groups.items()},
        "runs_held_out": {
            column: {title: [p.out.name for p in group.runs] for title, group in groups.items()}
            for column, groups in planned.held_out.items()
        },
        **comparison_json(scores.comparison),
    }
