"""The verb that looks for rows by any mix of a run's similarities."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mscon.cli.arguments import Verbs, add_name_column, add_trust, add_verb, positive

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from mscon.search.hits import Hit, Hits

# How a label compares to the query: a sign, since colours are not seen everywhere.
_SIGNS = {"same": ("=", "green"), "partly": ("≈", "yellow"), "different": ("≠", "red"), "unknown": ("?", "dim")}


def search(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "search",
        _run_search,
        "find the rows of a run that are like this one, in what you say",
        "A query is the number of a row (17), a line of the table (line:18), an image as the\n"
        "table has it, a label (kind=boots) for the middle of all rows that carry it, or the\n"
        "path of a new image. Several are taken together. The mix says how much each\n"
        "similarity counts; only proportions matter, and what it leaves out counts nothing.\n\n"
        "Prints, best first, the score under the mix and that of each similarity alone, from\n"
        "-1 to 1, and all labels: = the same as the query's, ≈0.61 partly alike, ≠ different, ? not\n"
        "known, as the similarity of the column compares them. Rows of the query stand first, marked\n"
        "as such, and are not among the hits.",
        "  mscon search runs/shoes --query 17\n"
        "  mscon search runs/shoes --query photo.jpg --mix closure=1,category=0.5 -k 50\n"
        "  mscon search runs/shoes --query kind=boots --unlike 17 --filter gender=women\n"
        "  mscon search runs/shoes --query line:18 --filter 'heel>=3' --json",
        "exit status: 0 done, 1 stopped on the way, 2 the run, the query, the mix or a filter is at fault.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory, probed (`mscon probe`)")
    parser.add_argument(
        "--query", metavar="QUERY", action="append", required=True, help="what to be like, see above; repeatable"
    )
    parser.add_argument(
        "--unlike", metavar="QUERY", action="append", default=[], help="what not to be like, likewise; repeatable"
    )
    parser.add_argument("--mix", metavar="NAME=WEIGHT,...", help="weights of similarities (default: all alike)")
    parser.add_argument(
        "--filter",
        metavar="CONDITION",
        action="append",
        default=[],
        help="gender=women, heel=2..4 or 'heel>=3', of any label column or the split; repeatable: all must hold, but "
        "several values of one column are alternatives",
    )
    parser.add_argument("-k", type=positive, default=20, metavar="N", help="how many rows (default: 20)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_name_column(parser)
    add_trust(parser)


def _run_search(arguments: argparse.Namespace) -> None:
    import json

    from mscon.search.index import open_index

    index = open_index(arguments.run, name_column=arguments.name_column, trust=arguments.trust)
    hits = index.search(
        arguments.query, unlike=arguments.unlike, mix=arguments.mix, k=arguments.k, filters=arguments.filter
    )
    if arguments.json:
        print(json.dumps(hits.to_json(), indent=2, allow_nan=False))
        return
    _print(hits)


def _print(hits: Hits) -> None:
    from rich.console import Console

    terminal = Console()
    # Into a file or a pipe every cell goes whole, however wide the table is.
    console = terminal if terminal.is_terminal else Console(width=10_000)
    within = f", {', '.join(hits.filters)}" if hits.filters else ""
    console.print(_plain(f"{hits.query}\nmix {hits.mix}; among {hits.searched:,} rows{within}"))
    console.print(_table(hits))
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
    for title in ("score", *hits.mix.names):
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
            *(_plain(hit.labels[name] or "") if is_query else _label(hit, name) for name in labels),
            *([_plain(hit.image or "")] if images else []),
            end_section=number == len(hits.examples) - 1,
        )
    return table


def _label(hit: Hit, name: str) -> Text:
    word, weight = hit.agreement[name], hit.weights[name]
    sign, style = _SIGNS[word]
    sign = f"{sign}{weight:.2f}" if word == "partly" else sign
    text = _plain(f"{sign} {hit.labels[name] or ''}".rstrip())
    text.stylize(style)
    return text


def _plain(text: str) -> Text:
    """Text as such: labels and file names are no markup, and do not steer the terminal."""
    from rich.text import Text

    return Text(
        "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)
    )
