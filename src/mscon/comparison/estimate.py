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
        prepared: with the time of a step.
        planned: all runs.
        waiting: those that are not finished.
        jobs: processes, see `mscon.comparison.pool.carry_out`.
    """
    there = len(planned) - len(waiting)
    finished = f" of {len(planned)}, {there} of which are there already" if there else ""
    if not waiting:
        return f"All {counted(len(planned), 'run')} are there already."
    side_by_side = processes(len(waiting), jobs)
    steps = sum(prepared.steps * run.recipe.train.epochs / prepared.recipe.train.epochs for run in waiting)
    seconds = steps * prepared.seconds_a_step / side_by_side
    return (
        f"{counted(len(waiting), 'run')}{finished}, {side_by_side} at a time: about {duration_text(seconds)} of "
        f"training ({prepared.steps:,} steps a run by the recipe, {1000 * prepared.seconds_a_step:.0f} ms each), and "
        "the probes besides."
    )
