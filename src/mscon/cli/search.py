"""The verb that looks for rows by any mix of a run's similarities."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from mscon.cli.arguments import DIMENSIONS, NAME_COLUMN, RUN, TRUST, argument, flag, positive, probability, share, verb
from mscon.data.table.cell_text import cell_text
from mscon.run.terminal import steered, visible

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from mscon.search.hits import Hit, Hits

# How a label compares to the query: a sign, since colours are not seen everywhere.
_SIGNS = {"same": ("=", "green"), "partly": ("≈", "yellow"), "different": ("≠", "red"), "unknown": ("?", "dim")}


class _Listed(argparse.Action):
    """Appends a pair of a value and its number, which is None unless an option behind it says one."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), (values, None)])
        namespace.option_before = self.dest


class _OfOptionBefore(argparse.Action):
    """The number of the value before it. Within the value it could be a part of a name or a text."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        dest = getattr(namespace, "option_before", "")
        if dest not in self.const or getattr(namespace, dest)[-1][1] is not None:
            options = " or ".join(f"--{name}" for name in self.const)
            raise argparse.ArgumentError(self, f"must stand behind the {options} that it is of, once.")
        *others, (value, _) = getattr(namespace, dest)
        setattr(namespace, dest, [*others, (value, values)])


@verb(
    RUN.described("run directory, evaluated with `mscon probe`"),
    argument(
        "--query", "what to be similar to; may be repeated", metavar="QUERY", action=_Listed, default=[], required=True
    ),
    argument("--unlike", "what not to be similar to; may be repeated", metavar="QUERY", action=_Listed, default=[]),
    argument(
        "--weight",
        "how much the --query or --unlike before it counts (default: 1)",
        metavar="N",
        action=_OfOptionBefore,
        const=("query", "unlike"),
        type=share,
    ),
    argument(
        "--towards",
        "move the query along a column, in the space of its similarity alone: colour=dark, heel=higher, heel=3; may be "
        "repeated",
        metavar="COLUMN=VALUE",
        action=_Listed,
        default=[],
    ),
    argument(
        "--amount",
        "how far the --towards before it moves, from 0 to 1 (default: 1; of higher and lower 0.5)",
        metavar="SHARE",
        action=_OfOptionBefore,
        const=("towards",),
        type=probability,
    ),
    argument("--mix", "weights of similarities (default: equal)", metavar="NAME=WEIGHT,..."),
    argument(
        "--filter",
        "gender=women, heel=2..4 or 'heel>=3', for any label column or the split; may be repeated: all must hold, "
        "but several values of one column are alternatives",
        metavar="CONDITION",
        action="append",
        default=[],
    ),
    argument("-k", "number of rows (default: 20)", metavar="N", type=positive, default=20),
    flag("--explain", "also print which part of each score is from which similarity and query"),
    DIMENSIONS,
    flag("--json", "print JSON instead of a table, with these parts as contributions"),
    NAME_COLUMN,
    TRUST,
    examples="""
    mscon search runs/shoes --query 17
    mscon search runs/shoes --query photo.jpg --mix closure=1,category=0.5 -k 50
    mscon search runs/shoes --query kind=boots --unlike 17 --filter gender=women
    mscon search runs/shoes --query line:18 --filter 'heel>=3' --json
    mscon search runs/shoes --query 17 --weight 2 --query photo.jpg --unlike 5 --weight 0.5
    mscon search runs/shoes --query photo.jpg --towards colour=dark --towards heel=higher --amount 0.3 --explain
    mscon search runs/reviews --query 'text:small red boots'
    mscon search runs/diamonds --query '{"carat": 0.7, "cut": "Ideal"}'
    mscon search runs/clips --query vector.npy
    """,
    fault="a mistake in the run, the query, the mix or a filter",
)
def search(arguments: argparse.Namespace) -> None:
    """Find the rows of a run that are most similar to a query.

    A query is the number of a row (17), a line of the table (line:18), an image path as the table
    has it, a label (kind=boots) for the mean of all rows that have it, or a new row of what the run
    was trained on: the path of an image; a text (text:small red boots); a vector, as the path of a
    .npy or .safetensors file or as its numbers ([0.1, -2, 0.5]); or the cells of a row as a JSON
    object, with null for a missing cell. file:, label: and text: say which of these is meant.

    Several queries are combined, each by its --weight. --towards moves the query in the space of one
    similarity and leaves the others as they are: towards the mean of the rows with a label, the rows
    near a number, or higher or lower values. --mix says how much each similarity counts; only proportions
    matter, and similarities that are not named count nothing.

    Prints the best rows first: the score under the mix, the score by each similarity (-1 to 1),
    and all labels with a sign: = same as the query, ≈0.61 partly the same, ≠ different, ? unknown,
    as the similarity of that column compares them. Rows of the query stand first, marked "query".
    Uncertainty, from 0 to 1, says how far the vectors of a row can be trusted: 0.95 is more uncertain
    than 95 % of the validation rows. It is there if the run was evaluated with such rows.
    A note names rows that are shown whose image or vector has changed since training.
    """
    import json
    import sys

    from mscon.deploy.inputs import changed_rows
    from mscon.errors import numbered
    from mscon.search.index import open_index

    index = open_index(
        arguments.run, name_column=arguments.name_column, trust=arguments.trust, truncate_dim=arguments.dimensions
    )
    like, unlike = ([(q, 1 if w is None else w) for q, w in pairs] for pairs in (arguments.query, arguments.unlike))
    hits = index.search(
        like, unlike=unlike, towards=arguments.towards, mix=arguments.mix, k=arguments.k, filters=arguments.filter
    )
    if rows := changed_rows(index.run, [hit.row for hit in (*hits.examples, *hits)]):
        what = "have changed since training, or are gone: the scores are of those of training"
        print(f"note: the images or vectors of {numbered('row', rows)} {what}.", file=sys.stderr)
    if arguments.json:
        print(json.dumps(hits.to_json(), indent=2, allow_nan=False))
        return
    _print(hits, arguments.explain)


def _print(hits: Hits, explain: bool) -> None:
    from rich.console import Console

    terminal = Console(file=steered(sys.stdout))
    # Into a file or a pipe every cell goes whole, however wide the table is.
    console = terminal if terminal.is_terminal else Console(width=10_000)
    within = f", {', '.join(hits.filters)}" if hits.filters else ""
    console.print(_plain(f"{hits.query}\nmix {hits.mix}; among {hits.searched:,} rows{within}"))
    console.print(_table(hits))
    for hit in hits if explain else ():
        console.print(_plain(f"row {hit.row}: {hit.explanation}"))
    for note in hits.notes:
        console.print(_plain(note))


def _table(hits: Hits) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = (*hits.examples, *hits)
    names = [hit.name for hit in shown if hit.name]
    images = [hit.image for hit in shown if hit.image]
    for title in ("row", "line"):
        table.add_column(_plain(title), justify="right")
    if names:
        table.add_column("name", overflow="fold")
    # A column of labels often has the name of a similarity, so that of its scores is another.
    rated = ["uncertainty"] if any(hit.uncertainty is not None for hit in shown) else []
    for title in ("score", *(f"by {name}" for name in hits.mix.names), *rated):
        table.add_column(_plain(title), justify="right")
    # The column that rows are called by stands before the scores already.
    labels = [label for label in hits[0].labels if [hit.labels[label] for hit in shown] != [hit.name for hit in shown]]
    for title in (*labels, *(["image"] if images else [])):
        table.add_column(_plain(title), overflow="fold")
    for number, hit in enumerate(shown):
        is_query = number < len(hits.examples)
        table.add_row(
            str(hit.row),
            str(hit.line),
            *([_plain(hit.name or "")] if names else []),
            "query" if is_query else f"{hit.score:.3f}",
            *("" if is_query else f"{score:.3f}" for score in hit.scores.values()),
            *(f"{hit.uncertainty:.2f}" for _ in rated),
            *(_plain(cell_text(hit.labels[name] or "")) if is_query else _label(hit, name) for name in labels),
            *([_plain(hit.image or "")] if images else []),
            end_section=number == len(hits.examples) - 1,
        )
    return table


def _label(hit: Hit, name: str) -> Text:
    word, weight = hit.agreement[name], hit.weights[name]
    sign, style = _SIGNS[word]
    sign = f"{sign}{weight:.2f}" if word == "partly" else sign
    text = _plain(f"{sign} {cell_text(hit.labels[name] or '')}".rstrip())
    text.stylize(style)
    return text


def _plain(text: str) -> Text:
    """Text as such: labels and file names are no markup, and do not steer the terminal."""
    from rich.text import Text

    return Text(visible(text))
