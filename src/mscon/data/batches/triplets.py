"""Triplets: an anchor, a row near to it and a row far from it under one similarity; drawn, or read from lists.

The lists are the files in which the authors of conditional similarity networks keep triplets of images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from mscon.errors import TableError, counted, nearest
from mscon.method.similarities.base import Similarity

# Anchors compared with all rows at once while drawing; 256 x 50,000 weights are 51 MB.
_ANCHORS = 256

_IMAGES = "filenames.json"
_LISTS = "tripletlists"


@dataclass(frozen=True, slots=True, eq=False)
class Triplets:
    """Under similarity number `condition`, `anchor` is more like `near` than like `far`. All are numbers of rows."""

    anchor: Int64[Tensor, " triplets"]
    near: Int64[Tensor, " triplets"]
    far: Int64[Tensor, " triplets"]
    condition: Int64[Tensor, " triplets"]

    def __len__(self) -> int:
        return self.anchor.numel()

    def take(self, numbers: Int64[Tensor, " some"]) -> Triplets:
        """Those of these numbers, in this order."""
        return Triplets(self.anchor[numbers], self.near[numbers], self.far[numbers], self.condition[numbers])


def joined(parts: Sequence[Triplets]) -> Triplets:
    """All triplets of all parts, in order; of no part, none."""
    none = torch.empty(0, dtype=torch.int64)
    return Triplets(
        *(torch.cat([none, *(getattr(p, name) for p in parts)]) for name in ("anchor", "near", "far", "condition"))
    )


def draw(
    similarities: Sequence[Similarity],
    codes: Sequence[Shaped[Tensor, "rows ..."]],
    rows: Int64[Tensor, " some"],
    count: int,
    seed: int,
    *,
    needed: bool = True,
) -> Triplets:
    """Draw triplets from some rows; similarities get equally many, or one more if they come first.

    An anchor is a row with a label; far is any other row that is less like it than some row is; near any row that is
    more like it than far is. For classes that is: near of the same class, far of another. A row without a
    label takes no part. Every row is an anchor once before any is twice.

    Args:
        similarities: the conditions, in the order of the heads.
        codes: for each of them the codes of all rows.
        rows: numbers of the rows to draw from.
        count: how many triplets.
        seed: they depend on it, on the codes and on nothing else.
        needed: whether a similarity without a triplet is a mistake; else it is left out, and the rest share.

    Raises:
        TableError: for similarities that have no triplet in these rows.
    """
    drawable, complaints = [], []
    for number, similarity in enumerate(similarities):
        if _draw_one(similarity, codes[number], rows, 1, generator_of(seed, f"draw {number}")) is None:
            complaints.append(
                f"column '{similarity.column}': no triplet can be drawn from {len(rows):,} rows, none of which has "
                "both a row that is more alike and one that is less. Leave it out of the recipe."
            )
        else:
            drawable.append(number)
    if complaints and needed:
        raise TableError("\n".join(complaints))
    parts = []
    for position, number in enumerate(drawable):
        share = count // len(drawable) + (position < count % len(drawable))
        if share and (
            drawn := _draw_one(similarities[number], codes[number], rows, share, generator_of(seed, f"draw {number}"))
        ):
            parts.append(replace(drawn, condition=torch.full_like(drawn.anchor, number)))
    return joined(parts)


def _draw_one(
    similarity: Similarity,
    codes: Shaped[Tensor, "rows ..."],
    rows: Int64[Tensor, " some"],
    count: int,
    generator: torch.Generator,
) -> Triplets | None:
    """Triplets of one similarity; None if there is not one."""
    rows = rows[~similarity.missing(codes[rows])]
    if rows.numel() < 3:
        return None
    labelled, total, drawn = codes[rows], 0, []
    while True:
        before = total
        for block in torch.randperm(rows.numel(), generator=generator).split(_ANCHORS):
            pairs = similarity.compare(labelled[block], labelled)
            known = pairs.known & (block[:, None] != torch.arange(rows.numel()))
            best = pairs.weight.where(known, -torch.inf).amax(dim=1, keepdim=True)
            far = _pick(known & (pairs.weight < best), generator)
            has_far = far >= 0
            far_weight = pairs.weight.gather(1, far.clamp_min(0)[:, None])
            near = _pick(known & (pairs.weight > far_weight) & has_far[:, None], generator)
            drawn.append(torch.stack([rows[block], rows[near], rows[far]])[:, has_far])
            total += int(has_far.sum())
            if total >= count:
                anchor, near, far = torch.cat(drawn, dim=1)[:, :count]
                return Triplets(anchor, near, far, torch.zeros_like(anchor))
        if total == before:  # a pass over all rows without one
            return None


def _pick(mask: Bool[Tensor, "anchors candidates"], generator: torch.Generator) -> Int64[Tensor, " anchors"]:
    """A position by chance, each true one alike, in every line; -1 in lines without one."""
    order = mask.cumsum(dim=1)
    counts = order[:, -1:]
    drawn = torch.rand(mask.shape[0], 1, generator=generator, dtype=torch.float64)
    position = (drawn * counts).long().clamp_max(counts - 1) + 1
    return torch.searchsorted(order, position).squeeze(1).where(counts.squeeze(1) > 0, -1)


def generator_of(seed: int, purpose: str) -> torch.Generator:
    """Random numbers for one purpose. Hashed, so that neighbouring seeds have nothing in common."""
    mixed = blake2b(f"{seed}/triplets/{purpose}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(mixed, "big"))


def files_of(folder: Path, split: str, conditions: Sequence[str]) -> list[Path]:
    """The files that `read_triplets` reads: the names of the images, then a list for each condition."""
    return [folder / _IMAGES, *(folder / _LISTS / f"{name}_tripletlist_{split}.txt" for name in conditions)]


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
    names, *lists = files_of(folder, split, conditions)
    paths = _lines(names)
    complaints: list[str] = []
    rows_of = _rows_of(paths, images, names, complaints)
    may = torch.zeros(len(images), dtype=torch.bool)
    may[rows] = True
    allowed = may.tolist()
    parts = []
    for number, file in enumerate(lists):
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
    row_of: dict[tuple[str, ...], int] = {}
    twice: dict[tuple[str, ...], int] = {}
    for length in {len(parts) for parts in split if parts}:
        for row, image in enumerate(images):
            if len(parts := _parts(image)) >= length and row_of.setdefault(parts[-length:], row) != row:
                twice[parts[-length:]] = row
    if unclear := [line for line, parts in enumerate(split) if parts in twice]:
        first = split[unclear[0]]
        complaints.append(
            f"{file}, line {unclear[0] + 1}: '{paths[unclear[0]]}' may be '{images[row_of[first]]}' or "
            f"'{images[twice[first]]}' of the table.\n  {counted(len(unclear), 'line')} of {len(paths):,} "
            f"{'has' if len(unclear) == 1 else 'have'} this problem. Give paths with enough folders to tell them apart."
        )
    return {line: row_of[parts] for line, parts in enumerate(split) if parts in row_of and parts not in twice}


def _read_list(
    file: Path, condition: int, paths: Sequence[str], rows_of: Mapping[int, int], allowed: Sequence[bool]
) -> Triplets:
    lines = [(line, text) for line, text in enumerate(_lines(file), start=1) if text.strip()]
    faults = [(line, fault) for line, text in lines if (fault := _line_fault(text, paths, rows_of, allowed))]
    if faults:
        line, fault = faults[0]
        raise TableError(
            f"{file}, line {line}: {fault}\n  {counted(len(faults), 'line')} of {len(lines):,} cannot be used."
        )
    if not lines:
        raise TableError(f"'{file}' holds no triplet.")
    rows = [[rows_of[int(word)] for word in text.split()] for _, text in lines]
    anchor, far, near = torch.tensor(rows, dtype=torch.int64).T
    return Triplets(anchor, near, far, torch.full_like(anchor, condition))


def _line_fault(text: str, paths: Sequence[str], rows_of: Mapping[int, int], allowed: Sequence[bool]) -> str:
    """What is wrong with a line; "" if nothing is."""
    words = text.split()
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        return f"'{text.strip()[:60]}' is not three whole numbers (anchor, far, near)."
    for number in map(int, words):
        if number >= len(paths):
            return f"{number} is no line of {_IMAGES}, which has {len(paths):,}, counted from 0."
        if number not in rows_of:
            return f"image '{paths[number]}' (line {number + 1} of {_IMAGES}) is no row of the table."
        if not allowed[rows_of[number]]:
            return (
                f"image '{paths[number]}' is in another split of the table. Give the table a split column that agrees "
                "with the lists, or triplets of test images would be trained on."
            )
    if len({int(word) for word in words}) < 3:
        return f"'{text.strip()}': anchor, far and near must be three images."
    return ""
