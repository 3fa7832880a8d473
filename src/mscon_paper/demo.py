"""The demo: `mscon compare` on rendered glyphs, from fonts to a report and an explorer page."""

from __future__ import annotations

import time
from pathlib import Path

from mscon.run import outputs
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.run.starting_recipes import recipe_text

# As much as two cores compute in three minutes, see docs/decisions/0031-compare.md.
METHODS = ("cross_entropy", "simclr", "mscon", "mscon_same_row")
HELD_OUT = ("weight",)
SETTINGS = ("weighting.name=equal", "train.epochs=5")


def demo(out: Path, *, seeds: int | None = None, jobs: int | None = None, quick: bool = False) -> Path:
    """Run it all; prints the table, the verdict, and where report and explorer lie.

    Args:
        out: folder for runs and pages.
        seeds: runs of each method; 3 by default.
        jobs: runs side by side; by default one a core, at most 8.
        quick: one seed and two epochs, to see that it works. Not together with `seeds`.

    Returns:
        The report's path.

    Raises:
        RecipeError: for `quick` together with `seeds`.
        RunError: if another file lies where the pages go.
    """
    from mscon.comparison.compare import compare
    from mscon.run.cache import cache_folder
    from mscon.search.explorer.page import build_explorer
    from mscon_paper.sources import glyphs

    began = time.monotonic()
    report, explorer = out / "report.html", out / "explorer.html"
    outputs.need_free([explorer], is_ours=lambda path: outputs.is_page(path, "explorer"))
    table = glyphs.prepare(cache_folder("glyphs"))
    recipe = recipes.parse(recipe_text("glyphs"), SETTINGS)
    result = compare(recipe, table, out, methods=METHODS, held_out=HELD_OUT, seeds=seeds, jobs=jobs, quick=quick)
    build_explorer(Run.open(result.run), explorer)
    print("\n".join([result.text, "", *result.verdict, ""]))
    print(f"{time.monotonic() - began:.0f} s. Open {report.resolve()} and {explorer.resolve()}")
    return report
