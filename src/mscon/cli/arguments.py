"""What verbs share: how one is added, and the arguments that several take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mscon.run.recipe import Recipe
    from mscon.run.run import Run

_EXIT = """exit status: 0 done, 1 stopped on the way, 2 the recipe, the table or the run is at fault
(nothing was written)."""

# What add_subparsers gives has no public name, and takes a type argument for type checkers only.
if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Verbs = argparse._SubParsersAction


def add_verb(
    verbs: Verbs,
    name: str,
    run: Callable[[argparse.Namespace], None],
    summary: str,
    body: str,
    examples: str,
    status: str = _EXIT,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{body}",
        epilog=f"examples:\n{examples}\n\n{status}",
    )
    parser.set_defaults(verb=run)
    return parser


def add_recipe_and_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe", metavar="RECIPE", type=Path, help="TOML file; `mscon list recipes` names some to start from"
    )
    parser.add_argument(
        "--table",
        metavar="TABLE",
        type=Path,
        required=True,
        help="file or folder, one row per thing; README: your own table",
    )
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        help="folder that image paths, or a file of vectors, are relative to (default: the table's)",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one recipe value, such as train.epochs=12; repeatable; the key must exist",
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", choices=("last", "best"), help="whose weights (default: the one that the run's recipe names)"
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="also replace files there that this command did not write"
    )


def add_name_column(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--name-column",
        metavar="COLUMN",
        help="the column to call rows by (default: of rows that are no images a column of short texts that differ, "
        "such as name, title or id)",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust",
        action="store_true",
        help="also import classes from outside mscon that the run or model names; a run that you trained on this "
        "machine needs no --trust",
    )


def add_accept_changes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--accept-changes",
        action="store_true",
        help="go on also where images or vectors are not those trained on, and record it",
    )


def add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="run directories")


def read_recipe(arguments: argparse.Namespace) -> Recipe:
    from mscon.run import recipe

    return recipe.read(arguments.recipe, arguments.set)


def open_run(path: Path, trust: bool = False) -> Run:
    from mscon.run.run import Run

    return Run.open(path, trust)


def positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got '{text}'")
    return number


def share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number, 0 or above, got '{text}'")
    return number


def process_number() -> int:
    """The number of this process among those that torchrun started; 0 without it."""
    return int(os.environ["RANK"]) if started_by_torchrun() else 0


def started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
