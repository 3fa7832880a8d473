"""Rows with equal images, and those among them that are in more than one split."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import polars as pl

from mscon.data.inputs.images import ImageStore
from mscon.errors import counted, first_few

# Groups that are named: in all, which JSON has, and in the text.
_MOST, _SHOWN = 1_000, 5


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows whose images are equal pixel by pixel, as they are stored.

    Attributes:
        groups: groups of equal images.
        rows: rows in them.
        groups_across: groups with rows in more than one split.
        leaked: rows outside the training split whose image a training row has too.
        examples: lines of the groups, those across splits first; of many only the first 1,000.
        names: what the first image of each of these is called.
    """

    groups: int
    rows: int
    groups_across: int
    leaked: int
    examples: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = ()


def find_duplicates(rows: pl.DataFrame, store: ImageStore) -> Duplicates:
    """Groups of rows whose stored images are equal."""
    rows_of: dict[bytes, list[int]] = {}
    for row in range(len(store)):
        rows_of.setdefault(blake2b(store.images[row].tobytes(), digest_size=16).digest(), []).append(row)
    groups = [group for group in rows_of.values() if len(group) > 1]
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
    )


def duplicates_text(duplicates: Duplicates, word: str) -> list[str]:
    """Lines for a terminal, which call the rows by `word`, "line" or "row"."""
    if not duplicates.groups:
        return ["No two images are equal."]
    across = f"{counted(duplicates.groups_across, 'group')} with rows in more than one split"
    leak = f"{counted(duplicates.leaked, 'row')} outside the training split with an image that is trained on"
    lines = [
        f"{counted(duplicates.rows, 'row')} in {counted(duplicates.groups, 'group')} of equal images; {across}"
        + (f"; {leak}." if duplicates.leaked else "."),
        *(
            f"    {word}s {first_few(group, 8)}: {name!r}"
            for group, name in zip(duplicates.examples[:_SHOWN], duplicates.names, strict=False)
        ),
    ]
    return lines + ([f"    and {duplicates.groups - _SHOWN:,} more"] if duplicates.groups > _SHOWN else [])
