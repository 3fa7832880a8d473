"""Atlas: which maps of which spaces the page shows, coloured by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mscon.errors import counted
from mscon.evaluate.report import maps
from mscon.evaluate.report.gather import Gathered, Member, Method
from mscon.evaluate.report.summary import SPLITS
from mscon.run.recipe import names_of

# More maps than this beside each other, or spaces below each other, say less.
_MOST_COLUMNS, _MOST_SPACES = 6, 6
# Rows and inches of a small map; half the rows cost a third of the time.
_FEW_ROWS, _SMALL = 600, 2.1

Labels = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """One map under its title; without a legend where an earlier one has it."""

    title: str
    of: maps.Map
    legend: bool


@dataclass(frozen=True, slots=True)
class Block:
    """Maps of one kind, what is to be known of them, and whether they are drawn small."""

    title: str
    note: str
    maps: tuple[Sheet, ...]
    small: bool = False


@dataclass(frozen=True, slots=True)
class Atlas:
    """All maps, and what they share."""

    note: str
    blocks: tuple[Block, ...]


def atlas(gathered: Gathered, method: Method, member: Member) -> Atlas:
    """Maps of one run's features and spaces by every column, and of every method's features by one column."""
    rows = maps.held_out(gathered.rows["split"].to_list())
    columns = list(gathered.label_columns)[:_MOST_COLUMNS]
    if len(rows) < 3 or not columns:
        return Atlas("", ())
    labels: dict[str, Sequence[str | None]] = {
        column: gathered.rows[column].gather(rows).to_list() for column in columns
    }
    labels |= {column: fifths(labels[column]) for column in columns if column in numbers(gathered)}
    splits = set(gathered.rows["split"].gather(rows).to_list())
    note = (
        f"{counted(len(rows), 'row')} of {' and '.join(s for s in SPLITS if s in splits)}"
        f"{'' if 'train' in splits else ', which training never saw'}. The same points in every map of a block, "
        f"coloured by one column each{'' if len(rows) <= _FEW_ROWS else '; maps of a space show fewer'}. "
        "The 20 largest classes have a colour and a shape, the rest is grey."
    )
    blocks = [*_features(method, member, rows, labels), *_spaces(method, member, rows, labels)]
    if len(gathered.methods) > 1:
        blocks.append(_by_method(gathered, rows, labels))
    return Atlas(note, tuple(blocks))


def _features(method: Method, member: Member, rows: Int[np.ndarray, " rows"], labels: Labels) -> list[Block]:
    features = member.run.read_features()[rows]
    subject = f"the features of {method.title}, seed {member.seed}"
    blocks = []
    near = maps.neighbourhoods(features)
    if near is not None:
        drawn = tuple(
            Sheet(c, maps.coloured(near, cells, c, subject, "t-SNE map"), True) for c, cells in labels.items()
        )
        note = (
            "t-SNE of the features at unit length. Near points are alike; distances between far groups, "
            "and their sizes, mean nothing."
        )
        blocks.append(Block(f"Neighbourhoods: {method.title}, seed {member.seed}", note, drawn))
    first, second = (100 * share for share in maps.variance_shares(features))
    flat = maps.principal(features)
    # Where there is no map above, there is no legend above either.
    side = 3.6 if near is None else _SMALL
    drawn = tuple(
        Sheet(c, maps.coloured(flat, cells, c, subject, "PCA map", side), near is None) for c, cells in labels.items()
    )
    note = (
        f"The two directions of largest variance, {first:.0f} and {second:.0f} % of it. "
        f"Distances here are true, but most of the space is not seen.{'' if near is None else ' Colours as above.'}"
    )
    blocks.append(Block(f"Principal axes: {method.title}, seed {member.seed}", note, drawn, near is not None))
    return blocks


def _spaces(method: Method, member: Member, rows: Int[np.ndarray, " rows"], labels: Labels) -> list[Block]:
    """The projection space of each similarity, by its own column first: what it tells apart, and what it leaves out."""
    if set(names_of(member.recipe, "heads")) == {"identity"}:
        return []  # the features again
    every = -(-len(rows) // _FEW_ROWS)
    rows, labels = rows[::every], {column: cells[::every] for column, cells in labels.items()}
    blocks = []
    for name, space in list(zip(method.columns, member.run.read_projections(), strict=False))[:_MOST_SPACES]:
        vectors = space[rows]
        places, kind = maps.neighbourhoods(vectors), "t-SNE map"
        if places is None:
            places, kind = maps.principal(vectors), "PCA map"
        subject = f"the space of {name} of {method.title}, seed {member.seed}"
        order = sorted(labels, key=lambda column: column != name)
        drawn = tuple(Sheet(c, maps.coloured(places, labels[c], c, subject, kind, _SMALL), False) for c in order)
        note = (
            f"{kind[:-4]} of its projections. Its own column should fall into groups here"
            f"{', and the others only where they go with it' if len(order) > 1 else ''}. Colours as above."
            if name in labels
            else f"{kind[:-4]} of its projections; it reads no column shown here. Colours as above."
        )
        blocks.append(Block(f"Space of {name}: {method.title}, seed {member.seed}", note, drawn, True))
    return blocks


def numbers(gathered: Gathered) -> set[str]:
    """Columns of numbers, by how they were probed."""
    return {q.column for q in gathered.questions if q.measure == "r2"} | {
        record["column"]
        for member in gathered.members
        for record in member.run.read_probe().get("neighbours", [])
        if record.get("kind") == "number"
    }


def fifths(cells: Sequence[str | None]) -> list[str | None]:
    """Numbers as five classes of about as many rows each, named by their ends and in their order."""
    values = np.array([np.nan if cell is None else float(cell) for cell in cells])
    known = np.isfinite(values)
    if not known.any():
        return list(cells)
    # Few different numbers have fewer ends: no class is empty.
    ends = np.unique(np.quantile(values[known], np.linspace(0, 1, 6), method="higher"))
    place = np.searchsorted(ends[1:-1], np.nan_to_num(values), side="right")
    names = {}
    for i in np.unique(place[known]):
        mine = values[known & (place == i)]
        low, high = f"{mine.min():.4g}", f"{mine.max():.4g}"
        names[i] = f"{i + 1}: {low}" + (f" to {high}" if high != low else "")
    return [names[i] if there else None for i, there in zip(place, known, strict=True)]


def _by_method(gathered: Gathered, rows: Int[np.ndarray, " rows"], labels: Labels) -> Block:
    """One map a method, by a column that nobody trained on if there is one; of those the one with fewest classes."""
    unseen = [q.column for q in gathered.questions if not q.in_domain and q.column in labels]
    column = min(unseen or labels, key=lambda name: len(set(labels[name])))
    drawn = []
    for method in gathered.methods:
        places = maps.principal(method.members[0].run.read_features()[rows])
        subject = f"the features of {method.title}"
        drawn.append(
            Sheet(method.title, maps.coloured(places, labels[column], column, subject, "PCA map", _SMALL), False)
        )
    return Block(
        f"Principal axes of each method, coloured by {column}",
        f"First seed of each. The colours of “{column}” are those of the legend above.",
        tuple(drawn),
        True,
    )
