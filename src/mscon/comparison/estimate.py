"""How long the runs of a comparison will take, from a few steps that were timed."""

from __future__ import annotations

from collections.abc import Sequence

from mscon.comparison.planned import Planned
from mscon.comparison.pool import processes
from mscon.comparison.preparation import Prepared
from mscon.errors import counted
from mscon.run.progress import duration_text


def estimate(prepared: Prepared, planned: Sequence[Planned], waiting: Sequence[Planned], jobs: int | None) -> str:
    """A sentence: how many runs there are to be made, and about how long their training takes on this machine.

    A step of every method is taken to last as long as one of the recipe.

    Args:
        prepared: with the times of the recipe.
        planned: all runs.
        waiting: those that are not finished.
        jobs: processes, see `mscon.comparison.pool.carry_out`.
    """
    there = len(planned) - len(waiting)
    finished = f" of {len(planned)}, {there} of which are there already" if there else ""
    if not waiting:
        return f"All {counted(len(planned), 'run')} are there already."
    side_by_side, times = processes(len(waiting), jobs), prepared.times
    steps = sum(times.steps * run.recipe.train.epochs / prepared.recipe.train.epochs for run in waiting)
    seeds = len({run.recipe.train.seed for run in waiting})
    encoding = times.images + seeds * times.views  # by one run of a seed; the others wait for it
    once = f"{duration_text(encoding)} of encoding images once, then " if encoding else ""
    return (
        f"{counted(len(waiting), 'run')}{finished}, {side_by_side} at a time: about {once}"
        f"{duration_text(steps * times.a_step / side_by_side)} of training ({times.steps:,} steps a run by the "
        f"recipe, {1000 * times.a_step:.0f} ms each). Probes come on top; once runs are finished, the "
        "time that is left is shown."
    )
