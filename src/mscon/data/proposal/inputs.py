"""Inputs: what of a table is encoded, as far as its columns and the files beside it show."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from mscon.data.inputs.boxes import image_path
from mscon.data.inputs.decoding import Refused, quiet_pillow, side_and_mode
from mscon.data.inputs.image_files import find_images
from mscon.data.inputs.vectors import SUFFIXES, map_file
from mscon.data.table.infer_kind import infer
from mscon.data.table.table import Table
from mscon.errors import TableError, first_few
from mscon.run.recipe import Data

Input = Literal["image", "vectors", "columns", "text"]

_PICTURES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
_GREY = {"1", "L", "LA", "I", "I;16", "F"}  # modes of Pillow
_LOOKED_AT = 64  # cells of a column, images, and vectors
_WORDS_OF_A_TEXT = 3


@dataclass(frozen=True, slots=True)
class EncodedInput:
    """What is encoded of each row.

    Attributes:
        input: its kind.
        source: the column or file; "" for columns, which are chosen with the labels.
        others: other inputs that the table has, in words.
    """

    input: Input
    source: str = ""
    others: tuple[str, ...] = ()


def encoded_input(table: Table, kind: Input | None, root: Path) -> EncodedInput:
    """The input that a table has; of several images come first, then vectors, texts and columns.

    Args:
        table: the user's.
        kind: the one that the user names; None for the first that is there.
        root: folder that image paths and files of vectors are relative to.

    Raises:
        TableError: if the table has no input of the kind that is named.
    """
    of_kind: dict[Input, Sequence[str]] = {
        "image": _image_columns(table),
        "vectors": _vectors(table, root),
        "text": _text_columns(table),
        "columns": ("",),
    }
    # Texts need an extra: where it is not there, columns can be trained on as they are.
    has_encoder = importlib.util.find_spec("sentence_transformers") is not None
    usable = [name for name, sources in of_kind.items() if sources and (name != "text" or has_encoder)]
    if kind is not None and not of_kind[kind]:
        needed = {
            "image": "column of image paths (such as photos/0017.jpg) or of encoded images",
            "vectors": f"column of lists of numbers, nor a {' or '.join(SUFFIXES)} of {len(table):,} vectors beside it",
            "text": "column of texts that has one in every row",
        }[kind]
        raise TableError(f"{table.name} has no {needed}.")
    others = tuple(
        f"{name} ({first_few([repr(one) for one in sources], 3)})"
        for name, sources in of_kind.items()
        if name not in (kind or usable[0], "columns") and sources
    )
    return EncodedInput(kind or usable[0], of_kind[kind or usable[0]][0], others)


def side_and_channels(table: Table, data: Data, root: Path) -> tuple[int, Literal[1, 3]]:
    """Of some images of a column the median short side in pixels, and the channels that they need.

    Args:
        table: the user's.
        data: names the column of images, or of their paths, and says where these may lead.
        root: folder that the paths are relative to.
    """
    cells = table.frame.get_column(data.image).drop_nulls()
    files = find_images(root, cells.gather_every(max(len(cells) // _LOOKED_AT, 1)).to_list(), data)
    sides, modes = [], set[str]()
    with quiet_pillow():
        for file in files:
            with contextlib.suppress(Refused):
                if file is not None:
                    side, mode = side_and_mode(file)
                    sides.append(side)
                    modes.add(mode)
    return int(median(sides)) if sides else 0, 1 if modes and modes <= _GREY else 3


def _image_columns(table: Table) -> list[str]:
    named = [name for name in table.frame.columns if name not in table.pictures and _has_files(table, name)]
    return sorted([*table.pictures, *named], key=lambda name: name != "image")


def _has_files(table: Table, name: str) -> bool:
    cells = table.frame.get_column(name).drop_nulls().head(_LOOKED_AT).to_list()
    pictures = sum(image_path(cell.partition("::")[0]).suffix.lower() in _PICTURES for cell in cells)
    return bool(cells) and 2 * pictures > len(cells)


def _vectors(table: Table, root: Path) -> list[str]:
    has_place = table.path.exists() and root.is_dir()  # a frame has none
    files = [path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()] if has_place else []
    files.sort(key=lambda path: (path.stem != table.path.stem, path.name))
    fitting = []
    for path in files:
        with contextlib.suppress(TableError):
            if np.isfinite(map_file(path, len(table), table.name)[:_LOOKED_AT]).all():
                fitting.append(path.name)
    return [*table.vectors, *fitting]


def _text_columns(table: Table) -> list[str]:
    """Columns with a text in every row, the longest texts first."""
    lengths = {}
    for name in table.frame.columns:
        cells = table.frame.get_column(name)
        if cells.null_count() or _has_files(table, name):
            continue
        some = cells.head(1_000).to_list()
        words = sum(len(cell.split()) for cell in some) / max(len(some), 1)
        if words >= _WORDS_OF_A_TEXT and len(set(some)) > 1 and infer(some).kind is None:
            lengths[name] = words
    return sorted(lengths, key=lambda name: -lengths[name])
