"""Splits: which rows are for training, validation and test, or of unseen groups; read from a column or drawn."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from hashlib import blake2b

from mscon.data.table.table import Table, unit
from mscon.errors import TableError, counted, nearest, numbered

SPLITS = ("train", "validation", "test", "unseen")
"""`unseen` are rows of held-out groups; it only ever comes from a split column."""

# What other tools call them, in columns and as names of folders; upper and lower case alike.
SPLIT_OF = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test",
    "unseen": "unseen",
}  # fmt: skip

# Words that may mean something else, too far from ours for a comparison by letters.
_SYNONYMS = {"ood": "unseen", "held_out": "unseen"}


def read_split(table: Table, column: str) -> list[str]:
    """The split of every row, as the table's own column says, also by the names of `SPLIT_OF`.

    Raises:
        TableError: for an unknown column; once for all cells that are no split or empty, with each
            value, how often and where it stands, and the nearest known word.
    """
    cells = table.cells(column)
    wrong: dict[str | None, list[int]] = {}
    for cell, line in zip(cells, table.lines, strict=True):
        if cell is None or cell.casefold() not in SPLIT_OF:
            wrong.setdefault(cell, []).append(line)
    if wrong:
        bad = sum(map(len, wrong.values()))
        described = [_describe(cell, lines, unit(table.name)) for cell, lines in wrong.items()]
        raise TableError(
            f"{table.name}: column {column!r} must say {', '.join(SPLITS[:-1])} or {SPLITS[-1]} in every row, "
            f"but {counted(bad, 'row')} of {len(table):,} {'does' if bad == 1 else 'do'} not:\n    "
            + "\n    ".join(described[:10])
            + (f"\n    and {counted(len(described) - 10, 'more value')}" if len(described) > 10 else "")
            + '\n  To have the table split here instead, set split = "" under [data] in the recipe.'
        )
    return [SPLIT_OF[cell.casefold()] for cell in cells if cell is not None]


def _describe(cell: str | None, lines: Sequence[int], word: str) -> str:
    if cell is None:
        what, hint = "empty", ""
    else:
        lower = cell.casefold()
        what = repr(cell)
        hint = f" Did you mean '{_SYNONYMS[lower]}'?" if lower in _SYNONYMS else nearest(lower, SPLITS)
    return f"{what} in {counted(len(lines), 'row')}: {numbered(word, lines)}.{hint}"


def draw_split(
    rows: int, shares: Sequence[float], seed: int, groups: Sequence[str | None] | None = None
) -> tuple[str, ...]:
    """A random split, the same for the same seed in every version: it uses a hash, not a library's generator.

    Groups come in an order by chance, each going to the split that lacks most rows. So no group lies in
    two splits, and no split exceeds its share by more rows than two thirds of the largest group. Which split a
    group falls into does not depend on the order of the rows.

    Args:
        rows: number of rows.
        shares: shares of train, validation and test; they sum to 1, and 0 leaves a split empty.
        seed: any whole number.
        groups: for each row the group it must stay with; a row without one (None) is its own group.

    Returns:
        "train", "validation" or "test" for each row.

    Raises:
        ValueError: if groups and rows differ in number, or the shares are not three that sum to 1.
    """
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares must be three numbers of 0 or more that sum to 1, got {tuple(shares)}.")
    if groups is not None and len(groups) != rows:
        raise ValueError(f"there are {rows} rows but {len(groups)} groups.")
    members: dict[Hashable, list[int]] = {}
    for row in range(rows):
        group = None if groups is None else groups[row]
        members.setdefault(row if group is None else group, []).append(row)

    lacking = {name: share * rows for name, share in zip(SPLITS, shares, strict=False) if share > 0}
    split = [""] * rows
    for key in sorted(members, key=lambda key: _by_chance(seed, key)):
        name = max(lacking, key=lambda name: lacking[name])
        lacking[name] -= len(members[key])
        for row in members[key]:
            split[row] = name
    return tuple(split)


def _by_chance(seed: int, key: Hashable) -> bytes:
    # repr tells row 7 from a group called "7".
    return blake2b(f"{seed}/{key!r}".encode(), digest_size=16).digest()
