"""Triplet lists: the files in which the authors of conditional similarity networks keep triplets of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Int64
from torch import Tensor

from mscon.data.batches.triplets import Triplets, joined
from mscon.errors import TableError, counted, nearest

_IMAGES = "filenames.json"
_LISTS = "tripletlists"


def read_triplets(
    folder: Path, split: str, conditions: Sequence[str], images: Sequence[str], rows: Int64[Tensor, " some"]
) -> Triplets:
    """The triplets of one split, in the order of the lists.

    `filenames.json` is, despite its name, plain text: the path of an image a line. A line of
    `tripletlists/<condition>_tripletlist_<split>.txt` holds three numbers, of the lines of that file counted from 0:
    anchor, far, near, in this order. Paths are compared by their last parts, so a table may keep the images
    in a folder; "%2E" stands for a full stop, as on the disks of UT-Zap50K.

    Args:
        folder: where both lie.
        split: "train" or "val" or "test", as in the names of the files.
        conditions: names of the lists, in the order of the similarities.
        images: the image paths of all rows of the table, in their order.
        rows: numbers of the rows that may take part; a triplet with another is a mistake, since it would mix splits.

    Raises:
        TableError: once, with the first fault of every file: one that is missing, a line that does not hold three
            different numbers of lines, an image that is no row of the table or none of those that may take part.

    Source: format of https://github.com/andreasveit/conditional-similarity-networks.
    """
    paths = _lines(folder / _IMAGES)
    complaints: list[str] = []
    rows_of = _rows_of(paths, images, folder / _IMAGES, complaints)
    may = torch.zeros(len(images), dtype=torch.bool)
    may[rows] = True
    allowed = may.tolist()
    parts = []
    for number, condition in enumerate(conditions):
        file = folder / _LISTS / f"{condition}_tripletlist_{split}.txt"
        try:
            parts.append(_read_list(file, number, paths, rows_of, allowed))
        except TableError as error:
            complaints.append(str(error))
    if complaints:
        raise TableError("\n".join(complaints))
    return joined(parts)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except FileNotFoundError:
        there = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise TableError(
            f"'{file}' does not exist.{nearest(file.name, there)}\n  [triplets] folder must hold {_IMAGES} and "
            f"{_LISTS}/; lists with other names than the columns are named by [triplets] lists."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"'{file}' cannot be read: {error}") from None


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path.strip().replace("%2E", ".").replace("%2e", ".")).parts


def _rows_of(paths: Sequence[str], images: Sequence[str], file: Path, complaints: list[str]) -> Mapping[int, int]:
    """Row of each line that has one. Two rows that end in one path cannot be told apart."""
    split = [_parts(path) for path in paths]
    found: dict[tuple[str, ...], int] = {}
    twice: dict[tuple[str, ...], int] = {}
    for length in {len(parts) for parts in split if parts}:
        for row, image in enumerate(images):
            if len(parts := _parts(image)) >= length and found.setdefault(parts[-length:], row) != row:
                twice[parts[-length:]] = row
    if unclear := [line for line, parts in enumerate(split) if parts in twice]:
        first = split[unclear[0]]
        complaints.append(
            f"{file}, line {unclear[0] + 1}: '{paths[unclear[0]]}' may be '{images[found[first]]}' or "
            f"'{images[twice[first]]}' of the table.\n  {counted(len(unclear), 'line')} of {len(paths):,} "
            f"{'has' if len(unclear) == 1 else 'have'} this problem. Give paths with enough folders to tell them apart."
        )
    return {line: found[parts] for line, parts in enumerate(split) if parts in found and parts not in twice}


def _read_list(
    file: Path, condition: int, paths: Sequence[str], rows_of: Mapping[int, int], allowed: Sequence[bool]
) -> Triplets:
    found: list[tuple[int, int, int]] = []
    faults: list[tuple[int, str]] = []
    for line, text in enumerate(_lines(file), start=1):
        if not text.strip():
            continue
        fault, triplet = _read_line(text, paths, rows_of, allowed)
        if fault:
            faults.append((line, fault))
        else:
            found.append(triplet)
    if faults:
        line, fault = faults[0]
        raise TableError(
            f"{file}, line {line}: {fault}\n  {counted(len(faults), 'line')} of "
            f"{len(faults) + len(found):,} cannot be used."
        )
    if not found:
        raise TableError(f"'{file}' holds no triplet.")
    anchor, far, near = torch.tensor(found, dtype=torch.int64).T
    return Triplets(anchor, near, far, torch.full_like(anchor, condition))


def _read_line(
    text: str, paths: Sequence[str], rows_of: Mapping[int, int], allowed: Sequence[bool]
) -> tuple[str, tuple[int, int, int]]:
    """What is wrong with a line ("" if nothing is), and the rows of its anchor, far and near image."""
    none = (0, 0, 0)
    words = text.split()
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        return f"'{text.strip()[:60]}' is not three whole numbers (anchor, far, near).", none
    first, second, third = (int(word) for word in words)
    for number in (first, second, third):
        if number >= len(paths):
            return f"{number} is no line of {_IMAGES}, which has {len(paths):,}, counted from 0.", none
        if number not in rows_of:
            return f"image '{paths[number]}' (line {number + 1} of {_IMAGES}) is no row of the table.", none
        if not allowed[rows_of[number]]:
            return (
                f"image '{paths[number]}' is in another split of the table. Give the table a split column that agrees "
                "with the lists, or triplets of test images would be trained on."
            ), none
    if len({first, second, third}) < 3:
        return f"'{text.strip()}': anchor, far and near must be three images.", none
    return "", (rows_of[first], rows_of[second], rows_of[third])
