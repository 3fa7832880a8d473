"""The verb that lets people look around in a run."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from mscon.cli.arguments import Verbs, add_name_column, add_overwrite, add_trust, add_verb, open_run, positive

if TYPE_CHECKING:
    from mscon.run.run import Run

_MOST = 20_000
_SERVED = 5_000


def explore(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "explore",
        _run_explore,
        "write a page to search a run by any mix of its similarities",
        "One self-contained HTML file: click a picture, move a slider for each similarity, and\n"
        "its neighbours re-rank at once, with the score of each similarity and whether labels\n"
        "agree. Maps with a lasso, filters, a search for words, suspicious labels first, and a CSV\n"
        "file of what is selected. It makes no request to the network. Needs `mscon probe` first.\n\n"
        "With --serve (extra `serve`) the page is served to this machine alone, until Ctrl-C: it\n"
        "searches all rows of a table of any size, and takes new images as queries. Whoever has its\n"
        "address can see the run's rows and their images, and nothing else.",
        "  mscon explore runs/shoes\n  mscon explore runs/shoes --out shoes.html --no-open --rows 5000\n"
        "  mscon explore runs/shoes --serve",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: explorer.html in the run")
    add_overwrite(parser)
    parser.add_argument("--no-open", action="store_true", help="do not open it in the browser")
    parser.add_argument(
        "--rows",
        type=positive,
        metavar="N",
        help=f"of a larger table, a sample of so many (default and most: {_MOST:,}); with --serve it is what the map "
        f"shows (default: {_SERVED:,})",
    )
    parser.add_argument("--serve", action="store_true", help="serve the page instead of writing it")
    parser.add_argument(
        "--port", type=_port, metavar="N", help="where to serve it, on 127.0.0.1 (default: any that is free)"
    )
    add_name_column(parser)
    add_trust(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images (default: where they lay in training)"
    )
    where.add_argument("--no-images", action="store_true", help="show rows as text, also where they are images")


def _run_explore(arguments: argparse.Namespace) -> None:
    from mscon.errors import RunError

    run = open_run(arguments.run, arguments.trust)
    if arguments.rows is not None and arguments.rows > _MOST:
        raise RunError(f"a page holds at most {_MOST:,} rows; --rows is {arguments.rows:,}.")
    if arguments.serve:
        _serve(run, arguments)
        return
    if arguments.port is not None:
        raise RunError("--port needs --serve: without it no server listens.")
    from mscon.search.explorer.page import build_explorer

    path = build_explorer(
        run,
        arguments.out or run.root,
        most=arguments.rows or _MOST,
        images=arguments.images,
        with_images=not arguments.no_images,
        name_column=arguments.name_column,
        overwrite=arguments.overwrite,
    )
    print(path)
    if not arguments.no_open and _has_screen():
        webbrowser.open(path.resolve().as_uri())


def _serve(run: Run, arguments: argparse.Namespace) -> None:
    from mscon.errors import RunError
    from mscon.search.explorer.server import serve

    if arguments.out is not None or arguments.overwrite:
        raise RunError("--serve writes no file, so it does not go together with --out and --overwrite.")

    def ready(url: str) -> None:
        print(f"{url}\nServing to this machine alone. Ctrl-C ends it.", flush=True)
        if not arguments.no_open and _has_screen():
            webbrowser.open(url)

    serve(
        run,
        port=arguments.port or 0,
        most=arguments.rows or _SERVED,
        images=arguments.images,
        with_images=not arguments.no_images,
        name_column=arguments.name_column,
        ready=ready,
    )
    print("\nThe server has ended.")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, got '{text}'")
    return int(text)


def _has_screen() -> bool:
    """On a server the browser would be one in the terminal, or none."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
