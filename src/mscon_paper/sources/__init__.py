"""Public data sets, a file each: `mscon_paper.sources.<name>` holds `prepare(root, **settings) -> Path`.

`prepare` makes the data under `root`, or finds it unpacked there, and returns the path of a table, which is then read
like anybody's own: there is no other kind of data set. It writes whole or not at all, gives the same table for the same
data and settings, and raises TableError where something is missing, saying what, what is there instead, and where it is
to be had. It downloads nothing, but for one package of a fixed version, size and hash. Settings are keyword arguments
with defaults of the types that a recipe knows. Its module's docstring says, its first line first, what it is, under
which licence, and where it comes from.
A new file in this folder is found by its name; it needs no other entry.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

from mscon.errors import TableError, nearest


def names() -> tuple[str, ...]:
    """All data sets that come with mscon, in alphabetical order."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def summary(name: str) -> str:
    """One line about a data set: the first of its module's docstring."""
    return (inspect.getdoc(importlib.import_module(f"{__name__}.{name}")) or "").partition("\n")[0]


def find(name: str) -> Callable[..., Path]:
    """The `prepare` of a data set.

    Raises:
        TableError: if there is none of that name.
    """
    if name not in names():
        raise TableError(f"there is no data set '{name}'.{nearest(name, names())}\n  Known: {', '.join(names())}.")
    return cast(Callable[..., Path], importlib.import_module(f"{__name__}.{name}").prepare)
