"""Verbs that train."""

from __future__ import annotations

import argparse
from pathlib import Path

from mscon.cli.arguments import (
    Verbs,
    add_accept_changes,
    add_recipe_and_table,
    add_trust,
    add_verb,
    open_run,
    process_number,
    read_recipe,
)


def train(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "train",
        _run_train,
        "train an encoder on every similarity that a recipe names",
        "Reads one row per image, vector or text from TABLE, writes a run directory\n"
        "holding the resolved recipe, the log, and the checkpoints. `mscon probe` and\n"
        "`mscon report` take that directory and need nothing else but the images.",
        "  mscon train shoes.toml --table shoes.csv\n"
        "  mscon train shoes.toml --table shoes.csv --set weighting.name=equal --out runs/equal\n"
        "  mscon train shoes.toml --table shoes.csv --dry-run     # checks all, takes one step\n"
        "  torchrun --nproc-per-node 2 -m mscon train shoes.toml --table shoes.csv --out runs/shoes",
    )
    add_recipe_and_table(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="run directory; must not exist yet (default: runs/<recipe>-<date>)"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a run that is there: it goes once the new one has its first checkpoint; other files in its "
        "folder stay, and a folder that is no run, or holds the recipe or table, is left alone",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read and build everything, take one step, write nothing"
    )


def _run_train(arguments: argparse.Namespace) -> None:
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
    if process_number():  # the first process speaks for all
        return
    if run is None:
        print("One step taken, nothing written: this will train.")
        return
    print(f"{run.root}\nnext: mscon probe {run.root} && mscon report {run.root}")


def resume(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "resume",
        _run_resume,
        "go on with a run that was stopped",
        "Continues from the last checkpoint to the epochs that the run's recipe says. The\n"
        "result is the one that an uninterrupted run would have had on the same machine.\n"
        "Images and vectors must be those that the run was trained on.",
        "  mscon resume runs/shoes\n  mscon resume runs/shoes --set train.epochs=40     # and train for longer",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="from here on train with another value of [train] or [log] in its recipe; repeatable",
    )
    add_trust(parser)
    add_accept_changes(parser)


def _run_resume(arguments: argparse.Namespace) -> None:
    from mscon.train.fit import resume

    run = resume(
        open_run(arguments.run, arguments.trust), overrides=arguments.set, accept_changes=arguments.accept_changes
    )
    if not process_number():
        print(run.root)
