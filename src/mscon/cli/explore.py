"""The verb that lets people look around in a run."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path

from mscon.cli.arguments import Verbs, add_verb, open_run, positive

_MOST = 20_000


def explore(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "explore",
        _run_explore,
        "write a page to search a run by any mix of its similarities",
        "One self-contained HTML file: click a picture, move a slider for each similarity, and\n"
        "its neighbours re-rank at once, with the score of each similarity and whether labels\n"
        "agree. Maps with a lasso, filters, suspicious labels first. It asks the network for\n"
        "nothing. Needs what `mscon probe` leaves in the run.",
        "  mscon explore runs/shoes\n  mscon explore runs/shoes --out shoes.html --no-open --rows 5000",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: explorer.html in the run; replaced if there")
    parser.add_argument("--no-open", action="store_true", help="do not open it in the browser")
    parser.add_argument(
        "--rows",
        type=positive,
        metavar="N",
        default=_MOST,
        help=f"of a larger table, a sample of so many (default and most: {_MOST:,})",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images (default: where they lay in training)"
    )
    where.add_argument("--no-images", action="store_true", help="show rows as text, also where they are images")


def _run_explore(arguments: argparse.Namespace) -> None:
    from mscon.errors import RunError
    from mscon.search.explorer.page import build_explorer

    run = open_run(arguments.run)
    if arguments.rows > _MOST:
        raise RunError(f"a page holds at most {_MOST:,} rows, --rows asks for {arguments.rows:,}.")
    path = build_explorer(
        run,
        arguments.out or run.root,
        most=arguments.rows,
        images=arguments.images,
        with_images=not arguments.no_images,
    )
    print(path)
    if not arguments.no_open and _has_screen():
        webbrowser.open(path.resolve().as_uri())


def _has_screen() -> bool:
    """On a server the browser would be one in the terminal, or none."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
