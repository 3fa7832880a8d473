"""What verbs share: how one is declared, and the arguments that several of them take."""

from __future__ import annotations

import argparse
import functools
import inspect
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscon.errors import nearest

if TYPE_CHECKING:
    from mscon.run.recipe import Recipe
    from mscon.run.run import Run


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a verb. `options` are those of argparse's `add_argument`."""

    name: str
    help: str
    options: Mapping[str, Any]

    def described(self, help: str) -> Argument:
        """The same argument with another help text."""
        return replace(self, help=help)


def argument(name: str, help: str, *, choices: Sequence[str] = (), **options: Any) -> Argument:
    """A positional argument, or an option where its name begins with dashes.

    Args:
        choices: the values that it may have; of another one the message names the nearest.
    """
    if choices:
        options = {"metavar": f"{{{','.join(choices)}}}", **options, "type": functools.partial(_one_of, choices)}
    return Argument(name, help, options)


def _one_of(choices: Sequence[str], text: str) -> str:
    if text not in choices:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(choices)}, got '{text}'.{nearest(text, choices)}")
    return text


def flag(name: str, help: str) -> Argument:
    """An option without a value."""
    return Argument(name, help, {"action": "store_true"})


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the command line. Its help is the docstring of the function that runs it.

    Attributes:
        run: the function; the verb has its name.
        arguments: in the order of the help.
        examples: a command a line.
        fault: what exit status 2 means.
        is_shared: whether several processes of torchrun share its work; else the first does all of it.
    """

    run: Callable[[argparse.Namespace], None]
    arguments: tuple[Argument, ...]
    examples: str
    fault: str
    is_shared: bool

    def add_to(self, verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        description = inspect.getdoc(self.run) or ""
        summary = description.partition("\n")[0].removesuffix(".")
        status = textwrap.fill(f"exit status: 0 success, 1 interrupted, 2 {self.fault}.", 88)
        parser = verbs.add_parser(
            self.run.__name__.removesuffix("_"),
            help=summary[:1].lower() + summary[1:],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            description=description,
            epilog=f"examples:\n{textwrap.indent(textwrap.dedent(self.examples).strip(), '  ')}\n\n{status}",
        )
        names = [one.name for one in self.arguments if one.name.startswith("-")]
        parser.set_defaults(verb=self.run, is_shared=self.is_shared, options=names)
        for one in self.arguments:
            parser.add_argument(one.name, help=one.help, **one.options)


def verb(
    *arguments: Argument,
    examples: str,
    fault: str = "a mistake in the recipe, the table or the run (nothing was written)",
    is_shared: bool = False,
) -> Callable[[Callable[[argparse.Namespace], None]], Verb]:
    """Decorates the function that runs a verb, see `Verb`."""
    return lambda run: Verb(run, arguments, examples, fault, is_shared)


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


def probability(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got '{text}'")
    return number


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"must be a port from 1 to 65535, got '{text}'")
    return int(text)


RECIPE = argument("recipe", "TOML file; `mscon list recipes` shows some to start from", metavar="RECIPE", type=Path)
RUN = argument("run", "run directory", metavar="RUN", type=Path)
DIMENSIONS = argument(
    "--dimensions",
    "compare by the first N dimensions of each projection, for heads trained with matryoshka (default: all)",
    metavar="N",
    type=positive,
)
MODEL = argument("model", "run directory, packed model, or hf:OWNER/NAME", metavar="MODEL")
RUNS = argument("runs", "run directories", metavar="RUN", type=Path, nargs="+")
TABLE = argument(
    "--table",
    "table: .csv, .tsv, .jsonl, .parquet or a folder, one row per example (docs/tables.md)",
    metavar="TABLE",
    type=Path,
    required=True,
)
VECTORS = argument(
    "--vectors",
    "for models of vectors: the file or column with the vectors (default: the name used in training)",
    metavar="NAME",
)
BATCH_SIZE = argument(
    "--batch-size", "rows in memory at a time (default: 256)", metavar="N", type=positive, default=256
)
IMAGES = argument(
    "--images",
    "folder that image paths, or the file of vectors, are relative to (default: the folder of the table)",
    metavar="DIR",
    type=Path,
)
MOVED = IMAGES.described(
    "the folder in which the images, or the file of vectors, are now, if they moved; the run remembers it"
)
SET = argument(
    "--set",
    "change one value of the recipe, such as train.epochs=12; may be repeated",
    metavar="KEY=VALUE",
    action="append",
    default=[],
)
CHECKPOINT = argument(
    "--checkpoint", "which weights to use (default: as [train] checkpoint of the run says)", choices=("last", "best")
)
OVERWRITE = flag("--overwrite", "also replace existing files that this command did not write")
TRUST = flag(
    "--trust",
    "import classes from outside mscon that the run or model names, which executes their code; not needed for runs "
    "that you trained on this machine",
)
NAME_COLUMN = argument(
    "--name-column",
    "column by which rows are called (default: if rows are not images, a column of short texts that differ, such as "
    "name, title or id)",
    metavar="COLUMN",
)
ACCEPT_CHANGES = flag(
    "--accept-changes", "continue even if images or vectors have changed since training, and record it in the run"
)
JOBS = argument("--jobs", "runs at the same time (default: one per core, at most 8)", metavar="N", type=positive)


def read_recipe(arguments: argparse.Namespace) -> Recipe:
    from mscon.run import recipe

    return recipe.read(arguments.recipe, arguments.set)


def open_run(path: Path, trust: bool = False) -> Run:
    from mscon.run.run import Run

    return Run.open(path, trust)


def process_number() -> int:
    """The number of this process among those that torchrun started; 0 without it."""
    return int(os.environ["RANK"]) if started_by_torchrun() else 0


def started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
