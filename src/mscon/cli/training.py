"""Verbs that train."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mscon.cli.arguments import (
    ACCEPT_CHANGES,
    IMAGES,
    MOVED,
    RECIPE,
    RUN,
    SET,
    TABLE,
    TRUST,
    argument,
    flag,
    open_run,
    process_number,
    read_recipe,
    verb,
)
from mscon.cli.evidence import scores_text
from mscon.errors import MSConError

if TYPE_CHECKING:
    from mscon.run.run import Run

NO_PROBE = flag("--no-probe", "do not score the features when training has ended (`mscon probe` does that later)")


@verb(
    RECIPE,
    TABLE,
    IMAGES,
    SET,
    argument("--out", "run directory; must not exist yet (default: runs/<recipe>-<date>)", metavar="DIR", type=Path),
    flag(
        "--overwrite",
        "replace an existing run; it is kept until the new one has its first checkpoint. Other files in its folder "
        "stay. A folder that is not a run, or that holds the recipe or the table, is never replaced",
    ),
    flag("--dry-run", "read and build everything, take two steps on the CPU, estimate the time of all, write nothing"),
    NO_PROBE,
    examples="""
    mscon train shoes.toml --table shoes.csv
    mscon train shoes.toml --table shoes.csv --set weighting.name=equal --out runs/equal
    mscon train shoes.toml --table shoes.csv --dry-run     # checks everything, takes two steps
    torchrun --nproc-per-node 2 -m mscon train shoes.toml --table shoes.csv --out runs/shoes
    torchrun --nnodes 2 --max-restarts 3 --rdzv-backend c10d --rdzv-endpoint HOST:PORT \\
        --rdzv-id shoes -m mscon train shoes.toml --table shoes.csv --out runs/shoes  # restarts go on
    """,
    is_shared=True,
)
def train(arguments: argparse.Namespace) -> None:
    """Train an encoder on all similarities of a recipe.

    Reads TABLE and writes a run directory with the complete recipe, the log and the checkpoints.
    Then scores the features as `mscon probe` does, and compares them with what training began
    from, where that is pretrained weights, another run, vectors, columns or texts. `mscon probe`
    and `mscon report` need that directory and the images, and nothing else.
    """
    from mscon.data.table.table import read_table
    from mscon.train.fit import default_out, fit

    recipe = read_recipe(arguments)
    table = read_table(arguments.table)
    out = arguments.out or default_out(arguments.recipe.stem)
    run = fit(
        recipe,
        table,
        out,
        images=arguments.images,
        overwrite=arguments.overwrite,
        dry_run=arguments.dry_run,
        protected=[arguments.recipe],
    )
    if process_number():  # the first process prints for all
        return
    if run is None:
        step = "Two steps were taken" if recipe.train.epochs else "Everything was built"
        print(f"{step} and nothing was written: this will {'train' if recipe.train.epochs else 'write a run'}.")
        return
    _end(run, arguments.no_probe)


@verb(
    RUN,
    MOVED,
    SET.described("from now on use another value of [train] or [log] of its recipe; may be repeated"),
    TRUST,
    ACCEPT_CHANGES,
    NO_PROBE,
    examples="""
    mscon resume runs/shoes
    mscon resume runs/shoes --set train.epochs=40     # and train for longer
    """,
    is_shared=True,
)
def resume(arguments: argparse.Namespace) -> None:
    """Continue the training of a run that was stopped.

    Continues from the last checkpoint until the epochs of the run's recipe are done. On the same
    machine the result equals that of an uninterrupted run. Images and vectors must not have
    changed since the run began. Then scores the features, as `mscon train` does.
    """
    from mscon.train.fit import resume

    run = open_run(arguments.run, arguments.trust).moved(arguments.images)
    run = resume(run, overrides=arguments.set, accept_changes=arguments.accept_changes)
    if not process_number():
        _end(run, arguments.no_probe, arguments.accept_changes)


@verb(
    RUN,
    TRUST,
    ACCEPT_CHANGES,
    examples="""
    mscon replay runs/shoes
    """,
)
def replay(arguments: argparse.Namespace) -> None:
    """Repeat the step at which a training broke down.

    A training stops at the first step with a loss or a gradient that is not a finite number. It
    keeps that step in the run: the rows of its batch, the weights before it, and the state of the
    random number generators. This command takes the step again and prints which number is not
    finite first, and in which rows. It writes nothing.
    """
    from mscon.train.replay import replay

    print(replay(open_run(arguments.run, arguments.trust), accept_changes=arguments.accept_changes))


def _end(run: Run, no_probe: bool, accept_changes: bool = False) -> None:
    """Score the features of a trained run, and say what comes next."""
    if no_probe:
        print(f"{run.root}\nnext: mscon probe {run.root} && mscon report {run.root}")
        return
    from mscon.evaluate.probe import probe

    try:
        probe(run, accept_changes=accept_changes)
    except MSConError as error:  # the run is whole, whatever keeps it from being probed
        print(f"note: the run is trained, but not probed. {error}", file=sys.stderr)
        print(f"{run.root}\nnext: mscon probe {run.root}")
        return
    print(f"{scores_text(run)}\nnext: mscon report {run.root}")
