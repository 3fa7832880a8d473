"""Files of UT-Zap50K: where its labels and images are, in whichever folders the archives were unpacked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mscon.errors import TableError, first_few
from mscon_paper.prepared import is_clutter, missing_data

CATEGORIES = ("boots", "sandals", "shoes", "slippers")
"""The classes of the column of that name, and the names of the images' outermost folders."""

_META = "meta-data.csv"
_SUFFIXES = (".jpg", ".jpeg", ".png")
_OBTAIN = (
    "  UT-Zap50K comes from http://vision.cs.utexas.edu/projects/finegrained/utzap50k for academic, non-commercial\n"
    "  use only. Unpack ut-zap50k-data.zip and ut-zap50k-images.zip (or ut-zap50k-images-square.zip) into one folder,\n"
    "  and name that folder, or one of the two in it."
)


@dataclass(frozen=True, slots=True)
class Place:
    """The two halves of the data set.

    Attributes:
        meta: the file with the labels.
        folder: the images' folder.
        others: further folders with images, which are not used.
    """

    meta: Path
    folder: Path
    others: tuple[Path, ...]

    @property
    def base(self) -> Path:
        return self.folder.parent


def find_place(root: Path, images: str) -> Place:
    """Both halves, in `root` or, if it is one of them, beside it."""
    named = Path(os.path.abspath(root.expanduser()))
    meta, folders = _meta_files(named), _image_folders(named)
    # Beside it only if it is one half itself: a folder that merely holds a half should hold the other one too.
    if not meta and _holds_categories(named):
        meta = _meta_files(named.parent)
    elif not folders and (named / _META).is_file():
        folders = _image_folders(named.parent)
    missing = [] if meta else [f"the file '{_META}' (from ut-zap50k-data.zip)"]
    if not folders:
        missing.append(
            "the folder 'ut-zap50k-images' or 'ut-zap50k-images-square', with the folders Boots, Sandals, Shoes and "
            "Slippers in it"
        )
    if missing:
        raise missing_data("zappos50k", root, missing, _OBTAIN)
    if images:
        selected = [folder for folder in folders if folder.name == images]
        if not selected:
            listed = first_few([repr(folder.name) for folder in folders])
            raise TableError(f"zappos50k: there is no images' folder '{images}' in '{root}'. Found: {listed}.")
    else:
        selected = sorted(folders, key=lambda f: (not f.name.startswith("ut-zap50k"), "square" in f.name, f.name))
    return Place(meta[0], selected[0], tuple(folder for folder in folders if folder != selected[0]))


def _meta_files(base: Path) -> list[Path]:
    return [
        path
        for pattern in (_META, f"*/{_META}", f"*/*/{_META}")  # archives are often unpacked into a folder of their name
        for path in sorted(base.glob(pattern))
        if path.is_file() and not any(is_clutter(part) for part in path.relative_to(base).parts)
    ]


def _image_folders(base: Path) -> list[Path]:
    """The folder itself if it holds categories, else those one or two steps below that do."""
    if _holds_categories(base):
        return [base]
    image_folders = []
    for folder in _folders(base):
        image_folders += (
            [folder] if _holds_categories(folder) else [f for f in _folders(folder) if _holds_categories(f)]
        )
    return image_folders


def _holds_categories(folder: Path) -> bool:
    return any(child.name.casefold() in CATEGORIES for child in _folders(folder))


def _folders(base: Path) -> list[Path]:
    try:
        return sorted(child for child in base.iterdir() if child.is_dir() and not is_clutter(child.name))
    except OSError:  # not there, or not ours to read: then nothing is found in it
        return []


@dataclass(slots=True)
class Images:
    """Files by stem.

    Attributes:
        by_stem: "100627.72" -> files, relative to the images' folder.
        unnameable: files whose names are no UTF-8 and so cannot stand in a table.
    """

    by_stem: dict[str, list[Path]] = field(default_factory=dict)
    unnameable: list[str] = field(default_factory=list)


def index_images(folder: Path) -> Images:
    index = Images()
    for path in _files(folder):
        try:
            str(path).encode("utf-8")
        except UnicodeEncodeError:
            index.unnameable.append(ascii(str(path)))
            continue
        index.by_stem.setdefault(path.stem, []).append(path)
    return index


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        for name in sorted(files):
            if name.lower().endswith(_SUFFIXES) and not is_clutter(name):
                yield Path(where, name).relative_to(folder)
