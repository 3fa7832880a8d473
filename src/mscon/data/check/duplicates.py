"""Rows with equal inputs (images, vectors, columns, texts), and those of them that are in more than one split."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import polars as pl

from mscon.data.inputs.open import Inputs
from mscon.errors import counted, first_few

# Groups that are named: in all, which JSON has, and in the text.
_MOST, _SHOWN = 1_000, 5

_ROWS_AT_ONCE = 1_024

# Of each kind of input several of them, and one that has been trained on.
_WORDS = {
    "image": ("images", "an image"),
    "vector": ("vectors", "a vector"),
    "text": ("texts", "a text"),
    "columns": ("encoded columns", "encoded columns"),
}


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows whose inputs are equal: images pixel by pixel as they are stored, vectors number by number.

    Attributes:
        groups: groups of equal inputs.
        rows: rows in them.
        groups_across: groups with rows in more than one split.
        leaked: rows outside the training split whose input a training row has too.
        held_out: all rows outside the training split.
        examples: lines of the groups, those across splits first; of many only the first 1,000.
        names: what the first image of each of these is called; "" where rows are no images.
        kind: what the inputs are: "image", "vector", "text" or "columns".
    """

    groups: int
    rows: int
    groups_across: int
    leaked: int
    examples: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = ()
    kind: str = "image"
    held_out: int = 0


def find_duplicates(rows: pl.DataFrame, inputs: Inputs, kind: str = "image") -> Duplicates:
    """Groups of rows whose inputs are equal.

    Args:
        rows: as `select_rows` gives them.
        inputs: of these rows.
        kind: what they are.
    """
    groups = _groups(inputs)
    split, line = rows.get_column("split").to_list(), rows.get_column("line").to_list()
    across = [group for group in groups if len({split[row] for row in group}) > 1]
    leaked = [row for group in across if "train" in {split[r] for r in group} for row in group if split[row] != "train"]
    within = [group for group in groups if len({split[row] for row in group}) == 1]
    examples = [*across, *within][:_MOST]
    name = rows.get_column("image").to_list()
    return Duplicates(
        groups=len(groups),
        rows=sum(map(len, groups)),
        groups_across=len(across),
        leaked=len(leaked),
        examples=tuple(tuple(line[row] for row in group) for group in examples),
        names=tuple(name[group[0]] or "" for group in examples),
        kind=kind,
        held_out=sum(name != "train" for name in split),
    )


def _groups(inputs: Inputs) -> list[list[int]]:
    """Numbers of the rows of each group of equal inputs, by the first row of the group."""
    digests = np.empty(len(inputs), dtype="S16")  # not a dict, which for a million rows takes a quarter of a gigabyte
    for start in range(0, len(inputs), _ROWS_AT_ONCE):
        block = inputs[range(start, min(start + _ROWS_AT_ONCE, len(inputs)))]
        block = block + np.zeros((), block.dtype)  # -0.0 becomes 0.0
        digests[start : start + len(block)] = [blake2b(one, digest_size=16).digest() for one in block]
    _, group, counts = np.unique(digests, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[group] > 1)
    in_groups = repeated[np.argsort(group[repeated], kind="stable")]
    parts = np.split(in_groups, np.flatnonzero(np.diff(group[in_groups])) + 1)
    return sorted(part.tolist() for part in parts if len(part))


def duplicates_text(duplicates: Duplicates, word: str) -> list[str]:
    """Lines for a terminal, which call the rows by `word`, "line" or "row"."""
    several, one = _WORDS[duplicates.kind]
    if not duplicates.groups:
        return [
            f"No two rows have equal {several}." if duplicates.kind == "columns" else f"No two {several} are equal."
        ]
    verb = "that are" if duplicates.kind == "columns" else "that is"
    across = f"{counted(duplicates.groups_across, 'group')} with rows in more than one split"
    lines = [
        f"{counted(duplicates.rows, 'row')} in {counted(duplicates.groups, 'group')} of equal {several}; {across}.",
        *(
            f"    {word}s {first_few(group, 8)}" + (f": {name!r}" if name else "")
            for group, name in zip(duplicates.examples[:_SHOWN], duplicates.names, strict=False)
        ),
    ]
    if duplicates.groups > _SHOWN:
        lines.append(f"    and {duplicates.groups - _SHOWN:,} more")
    if duplicates.leaked:
        has = "has" if duplicates.leaked == 1 else "have"
        lines.append(
            f"warning: of {counted(duplicates.held_out, 'row')} outside the training split, {duplicates.leaked:,} "
            f"{has} {one} {verb} trained on. Scores on them do not tell how well new rows are predicted. Put equal "
            "rows into one split, or leave them out."
        )
    return lines
