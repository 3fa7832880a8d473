"""Maps: features and spaces in two dimensions, coloured by a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mscon.data.table.cell_text import number_text
from mscon.errors import counted
from mscon.evaluate.page import colours
from mscon.evaluate.page.maps import framed, neighbourhoods, principal
from mscon.evaluate.report.gather import Gathered
from mscon.evaluate.report.methods import Member, Method
from mscon.evaluate.report.summary import SPLITS
from mscon.run.recipe import names_of

# t-SNE takes about 4 CPU-seconds for so many rows; a map of more is a blot anyway.
MOST_ROWS = 1_200
# More maps than this beside each other, or spaces below each other, say less.
_MOST_COLUMNS, _MOST_SPACES = 6, 6
# Rows of a small map; half the rows cost a third of the time.
_FEW_ROWS = 600
# Side of a drawing in its own unit, a whole number a point to keep the page small; and what is left free around.
SIDE, _MARGIN = 1_000, 20

Labels = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True, slots=True)
class Layer:
    """The points of one class: its name, place in the palette (None: grey) and number of rows, and the points.

    `path` is what SVG draws: of each point a line of no length, which round or square ends make visible, or a
    triangle, by the shape that belongs to the place in the palette.
    """

    name: str
    position: int | None
    rows: int
    path: str


@dataclass(frozen=True, slots=True)
class Map:
    """One map under its title; without a legend where an earlier one has it."""

    title: str
    alt: str
    layers: tuple[Layer, ...]
    has_legend: bool


@dataclass(frozen=True, slots=True)
class Block:
    """Maps of one kind, what is to be known of them, and whether they are drawn small."""

    title: str
    note: str
    maps: tuple[Map, ...]
    is_small: bool = False


@dataclass(frozen=True, slots=True)
class Atlas:
    """All maps, and what they share."""

    note: str
    blocks: tuple[Block, ...]


def held_out(splits: Sequence[str], most: int = MOST_ROWS, seed: int = 0) -> Int[np.ndarray, " rows"]:
    """Positions of rows that training never saw (test and unseen, else validation, else all), at most `most`."""
    names = np.asarray(splits, dtype=object)
    for group in (("test", "unseen"), ("validation",)):
        rows = np.flatnonzero(np.isin(names, group))
        if len(rows):
            break
    else:
        rows = np.arange(len(names))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return rows


def atlas(gathered: Gathered, method: Method, member: Member) -> Atlas:
    """Maps of one run's features and spaces by every column, and of every method's features by one column."""
    rows = held_out(gathered.rows["split"].to_list())
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
        f"{'' if 'train' in splits else ', which training never saw'}. Every map of a block has the same points, "
        f"coloured by one column{'' if len(rows) <= _FEW_ROWS else '; maps of a space have fewer points'}. "
        f"The {colours.MOST} largest classes have a colour and a shape, all others are grey."
    )
    blocks = [*_features(method, member, rows, labels), *_spaces(method, member, rows, labels)]
    if len(gathered.methods) > 1:
        blocks.append(_by_method(gathered, rows, labels))
    return Atlas(note, tuple(blocks))


def _features(method: Method, member: Member, rows: Int[np.ndarray, " rows"], labels: Labels) -> list[Block]:
    features = member.run.read_features()[rows]
    subject = f"the features of {method.title}, seed {member.seed}"
    blocks = []
    near = neighbourhoods(features)
    if near is not None:
        note = (
            "t-SNE of the features at unit length: rows that lie near each other are alike. Distances between far "
            "groups, and the sizes of groups, mean nothing."
        )
        drawn = tuple(coloured(near, cells, c, f"t-SNE map of {subject}") for c, cells in labels.items())
        blocks.append(Block(f"Features as neighbourhoods: {method.title}, seed {member.seed}", note, drawn))
    flat, shares = principal(features)
    # Where there is no map above, there is no legend above either.
    has_legend = near is None
    drawn = tuple(coloured(flat, cells, c, f"PCA map of {subject}", has_legend) for c, cells in labels.items())
    note = (
        f"The two directions of largest variance, {100 * shares[0]:.0f} and {100 * shares[1]:.0f} % of it. Distances "
        f"are true, but most of the space is not seen.{'' if has_legend else ' Colours as above.'}"
    )
    title = f"Features along their principal axes: {method.title}, seed {member.seed}"
    return [*blocks, Block(title, note, drawn, not has_legend)]


def _spaces(method: Method, member: Member, rows: Int[np.ndarray, " rows"], labels: Labels) -> list[Block]:
    """The projection space of each similarity, by its own column first: what it tells apart, and what it leaves out."""
    if set(names_of(member.recipe, "heads")) == {"identity"}:
        return []  # the features again
    every = -(-len(rows) // _FEW_ROWS)
    rows, labels = rows[::every], {column: cells[::every] for column, cells in labels.items()}
    blocks = []
    for name, space in list(zip(method.trained, member.run.read_projections(), strict=False))[:_MOST_SPACES]:
        vectors = space[rows]
        places, kind = neighbourhoods(vectors), "t-SNE"
        if places is None:
            places, kind = principal(vectors)[0], "PCA"
        subject = f"{kind} map of the space of {name} of {method.title}, seed {member.seed}"
        order = sorted(labels, key=lambda column: column != name)
        drawn = tuple(coloured(places, labels[c], c, subject, has_legend=False) for c in order)
        others = ", and other columns only where they go with it" * (len(order) > 1)
        should = f"Its own column should form groups here{others}." if name in labels else "No column shown is its own."
        note = f"{kind} of the projections of this similarity. {should} Colours as above."
        blocks.append(Block(f"Space of {name}: {method.title}, seed {member.seed}", note, drawn, True))
    return blocks


def _by_method(gathered: Gathered, rows: Int[np.ndarray, " rows"], labels: Labels) -> Block:
    """One map a method, by a column that nobody trained on if there is one; of those the one with fewest classes."""
    unseen = [q.column for q in gathered.questions if not q.in_domain and q.column in labels]
    column = min(unseen or labels, key=lambda name: len(set(labels[name])))
    drawn = []
    for method in gathered.methods:
        places = principal(method.members[0].run.read_features()[rows])[0]
        subject = f"PCA map of the features of {method.title}"
        drawn.append(coloured(places, labels[column], column, subject, has_legend=False, title=method.title))
    return Block(
        f"Features of each method along their principal axes, coloured by {column}",
        f"First seed of each. The colours of “{column}” are those of the legend above.",
        tuple(drawn),
        True,
    )


def coloured(
    places: Float[np.ndarray, "rows 2"],
    labels: Sequence[str | None],
    column: str,
    subject: str,
    has_legend: bool = True,
    title: str = "",
) -> Map:
    """A map coloured by a column: its 20 largest classes in colour and shape, smaller ones and blanks in grey."""
    counts = Counter(label for label in labels if label is not None)
    # The largest, in the order of their names: so the same class has the same colour in every map.
    named = sorted(sorted(counts, key=lambda label: (-counts[label], label))[: colours.MOST])
    position = {label: i for i, label in enumerate(named)}
    where = np.array([-1 if label is None else position.get(label, -1) for label in labels])
    points = np.rint(_MARGIN + (SIDE - 2 * _MARGIN) * framed(places)).astype(int)
    points[:, 1] = SIDE - points[:, 1]
    layers = [
        Layer(label, i, counts[label], _path(points[where == i], colours.shape(i))) for label, i in position.items()
    ]
    if rest := int((where < 0).sum()):
        smaller = len(counts) - len(named)
        words = [f"{smaller} smaller classes"] * bool(smaller) + ["no label"] * (None in labels)
        layers.insert(0, Layer(" or ".join(words), None, rest, _path(points[where < 0], 0)))
    alt = (
        f"{subject}: {len(labels)} points coloured by {column}, {len(counts)} classes, "
        f"{len(labels) - sum(counts.values())} rows without a label."
    )
    return Map(title or column, alt, tuple(layers), has_legend)


def _path(points: Int[np.ndarray, "points 2"], shape: int) -> str:
    triangle = 1
    mark = "l-9 16h18z" if shape == triangle else "h0"
    return "".join(f"M{x} {y - 9 * (shape == triangle)}{mark}" for x, y in points.tolist())


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
        low, high = number_text(mine.min()), number_text(mine.max())
        names[i] = f"{i + 1}: {low}" + (f" to {high}" if high != low else "")
    return [names[i] if there else None for i, there in zip(place, known, strict=True)]
