"""A folder of class folders: FOLDER/class/x.jpg, or FOLDER/train/class/x.jpg with one folder a split."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from mscon.data.table.split import SPLIT_OF
from mscon.data.table.table import Table
from mscon.errors import TableError, counted, first_few

# Of a file name only; whether it is an image is seen when it is decoded.
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")


def read(path: Path) -> Table:
    """A row for each image: columns `image` (relative to the folder), `class`, and `split` where folders say it.

    Folders are taken for splits if all of them have such names. Images may lie in folders below those of the classes.
    Hidden files and folders are left alone, and so are files that do not end like an image. Links to folders are
    followed, but for those to a folder that holds them; whether an image may be read is judged when it is.

    Raises:
        TableError: if there are no class folders with images, or images that lie outside of them.
        OSError: if a folder cannot be read.
    """
    top = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not _is_clutter(entry.name))
    split_of = {name: SPLIT_OF[name.casefold()] for name in top if name.casefold() in SPLIT_OF}
    has_splits = bool(top) and len(split_of) == len(top)
    depth = 2 if has_splits else 1
    rows: list[tuple[str, str, str | None]] = []
    loose: list[str] = []
    for image in _images(path):
        parts = image.split("/")
        if len(parts) <= depth:
            loose.append(image)
        else:
            rows.append((image, parts[depth - 1], split_of[parts[0]] if has_splits else None))
    if not rows:
        raise TableError(
            f"table '{path}' is a folder, but not one of class folders with images in them, nor a dataset that "
            "`save_to_disk` wrote.\n  Name the file in it that is the table, or lay images out as FOLDER/class/x.jpg."
        )
    if loose:
        raise TableError(
            f"{path.name}: {counted(len(loose), 'image')} in no class folder: {first_few([repr(i) for i in loose])}.\n"
            f"  Images lie in {'FOLDER/split/class' if has_splits else 'FOLDER/class'} here. Move them, or take them "
            "out."
        )
    columns = {"image": [r[0] for r in rows], "class": [r[1] for r in rows]}
    if has_splits:
        columns["split"] = [r[2] or "" for r in rows]
    return Table(path, pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)), range(1, len(rows) + 1))


def _images(root: Path) -> list[str]:
    """Paths of image files below a folder, with "/", in order."""
    images = []
    for folder, below, files in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not _is_clutter(name) and not _is_loop(folder, name))
        inner = Path(folder).relative_to(root).as_posix()
        prefix = "" if inner == "." else f"{inner}/"
        images += [f"{prefix}{name}" for name in files if name.lower().endswith(_ENDINGS) and not _is_clutter(name)]
    return sorted(images)


def _is_loop(folder: str, name: str) -> bool:
    """Whether a folder is a link to one that it lies in, below which it would be found again without end."""
    path = os.path.join(folder, name)
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    return os.path.commonpath([target, os.path.realpath(folder)]) == target


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.casefold() == "__macosx"
