"""The demo: MSCon and its baselines on rendered glyphs, from fonts to a report."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from mscon.errors import counted
from mscon.run import outputs
from mscon.run.run import Run
from mscon.run.starting_recipes import recipe_text
from mscon_paper import comparison

# What each method changes in the recipe `glyphs`. All else is shared: encoder, rows, budget, views, seeds.
METHODS = {
    "MSCon, equal weights": ["weighting.name=equal"],
    "MSCon, uncertainty": ["weighting.name=uncertainty"],
    "MSCon, relative": ["weighting.name=relative"],
    "MSCon + same row": [
        "weighting.name=equal",
        'similarity=[{column="character", name="categorical"}, {column="slant", name="categorical"}, '
        '{column="weight", name="categorical"}, {name="same_row"}]',
    ],
    "XEnt multi-task": [
        "objective.name=cross_entropy",
        "heads.name=identity",
        "weighting.name=equal",
        "train.checkpoint=best",
    ],
    "SupCon, character": ["weighting.name=equal", 'similarity=[{column="character", name="categorical"}]'],
    "SimCLR": ["weighting.name=equal", 'similarity=[{name="same_row"}]'],
}
QUICK = ["train.epochs=2"]


def demo(out: Path, *, seeds: int = 3, jobs: int | None = None, quick: bool = False, overwrite: bool = False) -> Path:
    """Run it all; prints the table and the path of the report.

    Args:
        out: folder for runs and report.
        seeds: runs of each method.
        jobs: runs side by side; by default one a core, at most 8.
        quick: one seed and two epochs, to see that it works.
        overwrite: train again what is there.

    Returns:
        The report's path.

    Raises:
        RunError: if another file lies where the report goes.
    """
    from mscon.evaluate.report.compare import compare
    from mscon.evaluate.report.gather import gather
    from mscon.evaluate.report.markdown import comparison_text
    from mscon.evaluate.report.page import build_report, is_report, report_files
    from mscon.run.cache import cache_folder
    from mscon_paper.sources import glyphs

    began = time.monotonic()
    outputs.need_free(report_files(out / "report.html"), is_ours=is_report)
    table = glyphs.prepare(cache_folder().parent / "glyphs")
    recipes = comparison.with_titles(recipe_text("glyphs"), METHODS, QUICK if quick else ())
    planned = comparison.plan(recipes, 1 if quick else seeds, out)
    table_hash = hashlib.sha256(table.read_bytes()).hexdigest()
    waiting = [p for p in planned if overwrite or not comparison.is_finished(p, table_hash)]
    if there := len(planned) - len(waiting):
        print(f"{counted(there, 'run')} of {len(planned)} are there already (--overwrite trains them again).")
    comparison.carry_out_with_bar(waiting, table, jobs, comparison.train_and_probe)
    runs = [Run.open(p.out) for p in planned]
    compared = compare(gather(runs))
    report = build_report(runs, out / "report.html", compared)
    print(comparison_text(compared))
    print(f"\n{counted(len(waiting), 'run')} in {time.monotonic() - began:.0f} s. Open {report.resolve()}")
    return report
