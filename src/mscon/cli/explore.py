"""The verb that lets people look around in a run."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from mscon.cli.arguments import NAME_COLUMN, OVERWRITE, RUN, TRUST, argument, flag, open_run, port, positive, verb

if TYPE_CHECKING:
    from mscon.run.run import Run

_MOST = 20_000
_SERVED = 5_000


@verb(
    RUN,
    argument("--out", "default: explorer.html in the run", metavar="FILE", type=Path),
    OVERWRITE,
    flag("--no-open", "do not open it in the browser"),
    argument(
        "--rows",
        f"random sample of a larger table (default and most: {_MOST:,}); with --serve only for the map (default: "
        f"{_SERVED:,})",
        metavar="N",
        type=positive,
    ),
    flag("--serve", "serve the page instead of writing it"),
    argument("--port", "port of the server on 127.0.0.1 (default: any free one)", metavar="N", type=port),
    NAME_COLUMN,
    TRUST,
    argument("--images", "folder of the images (default: as in training)", metavar="DIR", type=Path),
    flag("--no-images", "show rows as text, even where they are images"),
    examples="""
    mscon explore runs/shoes
    mscon explore runs/shoes --out shoes.html --no-open --rows 5000
    mscon explore runs/shoes --serve
    """,
)
def explore(arguments: argparse.Namespace) -> None:
    """Write an HTML page to search the rows of a run with sliders.

    One file that needs nothing else: click an image, move a slider for each similarity, and its
    neighbours are ranked again at once, with the score of each similarity and whether labels
    agree. Maps with a lasso, filters, a search for words, suspicious labels first, and a CSV file
    of the rows that are listed. Needs `mscon probe RUN` before.

    With --serve (pip install "mscon[serve]") the page is served to this machine only, until
    Ctrl-C. It then searches all rows of a table of any size and takes new images as queries.
    Whoever has its address can see the rows of the run and their images, and nothing else.
    """
    from mscon.errors import RunError

    run = open_run(arguments.run, arguments.trust)
    if arguments.rows is not None and arguments.rows > _MOST:
        raise RunError(f"a page holds at most {_MOST:,} rows, but --rows is {arguments.rows:,}.")
    if arguments.no_images and arguments.images is not None:
        raise RunError("--images and --no-images exclude each other. Leave one of them out.")
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
        print(f"{url}\nOnly this machine can open it. Ctrl-C ends it.", flush=True)
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


def _has_screen() -> bool:
    """Whether a browser can open a window: without a screen it would be one in the terminal, or none."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
