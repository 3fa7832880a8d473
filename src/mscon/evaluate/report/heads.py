"""Heads: whether the spaces of different similarities differ, and which dimensions of a shared one each mask keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mscon.evaluate.report.gather import Gathered
from mscon.evaluate.report.maps import fifths, held_out, numbers
from mscon.evaluate.report.methods import Method
from mscon.model.cka import Matrix, cka_matrix, label_cka
from mscon.run.recipe import names_of

# From here on two spaces are called the same, below the second they are clearly different. Columns whose own labels
# are as alike as the third may share a space without a fault.
SAME, DIFFERENT, RELATED = 0.95, 0.5, 0.5
# More rows move the second decimal at most.
_MOST_ROWS = 4_000
# Of the highest bar of a mask, in the unit of its drawing.
HEIGHT = 48.0


@dataclass(frozen=True, slots=True)
class Alignment:
    """CKA of one pair of spaces: the mean over seeds, its lowest and highest."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Diversity:
    """How alike the spaces of one method are.

    Attributes:
        names: of its similarities.
        table: [similarities, similarities] mean CKA over seeds; empty where there are no heads.
        seeds: a matrix for each seed.
        explanation: what that means, in a sentence or two.
        failed: whether spaces are the same that should differ, or one holds nothing.
    """

    method: str
    names: tuple[str, ...]
    table: tuple[tuple[Alignment, ...], ...]
    seeds: tuple[tuple[int, Matrix], ...]
    explanation: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Diversities:
    """Of each method of two or more similarities, and how many rows were compared."""

    rows: int
    methods: tuple[Diversity, ...]

    @property
    def failures(self) -> list[str]:
        """What nobody should have to scroll down for."""
        return [f"“{one.method}”: {one.explanation}" for one in self.methods if one.failed]

    def to_json(self) -> Mapping[str, Any]:
        return {
            "measure": "linear CKA",
            "rows": self.rows,
            "methods": [
                {
                    "title": one.method,
                    "similarities": list(one.names),
                    "mean": [[entry.value for entry in line] for line in one.table],
                    "seeds": [{"seed": seed, "cka": [list(line) for line in matrix]} for seed, matrix in one.seeds],
                    "failed": one.failed,
                }
                for one in self.methods
            ],
        }


def diversity(gathered: Gathered) -> Diversities:
    """The rows are those of the test split; where there is none, others that training never saw, at most 4,000."""
    splits = gathered.rows["split"].to_list()
    tested = ["test" if name == "test" else "" for name in splits]
    rows = held_out(tested if "test" in tested else splits, most=_MOST_ROWS)
    several = [method for method in gathered.methods if len(method.trained) > 1]
    if len(rows) < 3:
        return Diversities(len(rows), ())
    named = {column for method in several for column in method.columns} & set(gathered.rows.columns)
    classes: dict[str, Sequence[str | None]] = {c: gathered.rows[c].gather(rows).to_list() for c in sorted(named)}
    classes |= {column: fifths(classes[column]) for column in named & numbers(gathered)}
    return Diversities(len(rows), tuple(_of(method, rows, classes) for method in several))


def _of(method: Method, rows: Int[np.ndarray, " rows"], classes: Mapping[str, Sequence[str | None]]) -> Diversity:
    matrices = [cka_matrix([space[rows] for space in member.run.read_projections()]) for member in method.members]
    count = len(method.columns)
    entries = tuple(tuple(_entry([matrix[i][j] for matrix in matrices]) for j in range(count)) for i in range(count))
    shared = [i for i, name in enumerate(names_of(method.members[0].recipe, "heads")) if name == "identity"]
    is_shared = len(shared) == count
    labels = {
        (i, j): label_cka(*(classes.get(method.columns[k]) for k in (i, j)))
        for i, j in combinations(range(count), 2)
        if entries[i][j].value is not None and not {i, j} <= {*shared}
    }
    # A space that is a point in one seed is a fault, whatever it is in the others.
    is_point = [any(matrix[i][i] is None for matrix in matrices) for i in range(count)]
    values = [[None if i == j and is_point[i] else entries[i][j].value for j in range(count)] for i in range(count)]
    explanation, failed = explain(method.columns, values, labels, shared)
    seeds = tuple((member.seed, matrix) for member, matrix in zip(method.members, matrices, strict=True))
    return Diversity(method.title, method.columns, () if is_shared else entries, seeds, explanation, failed)


def _entry(values: Sequence[float | None]) -> Alignment:
    known = [value for value in values if value is not None]
    return Alignment(float(np.mean(known)), min(known), max(known)) if known else Alignment(None, None, None)


def explain(
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    labels: dict[tuple[int, int], float | None],
    shared: Sequence[int] = (),
) -> tuple[str, bool]:
    """What a matrix of CKA says, and whether it shows a failure.

    Args:
        names: of the similarities.
        values: [similarities, similarities], None for a space that is one point.
        labels: of pairs, the CKA of the columns themselves, where that is known.
        shared: numbers of similarities without a head, whose spaces are the features.
    """
    if len(shared) == len(names):
        return "This method has no heads: every similarity reads the features themselves, so there is one space.", False
    points = [names[i] for i in range(len(names)) if values[i][i] is None]
    sentences: list[str] = []
    if points:
        sentences.append(f"Warning: in the space of {_listed(points)} all rows lie in one place.")
    several = [pair for pair in combinations(range(len(names)), 2) if not set(pair) <= set(shared)]
    pairs = [(value, i, j) for i, j in several if (value := values[i][j]) is not None]
    if not pairs:
        return " ".join(sentences), bool(points)
    same = [(v, i, j) for v, i, j in pairs if v >= SAME]
    # Two columns that say much the same may well have the same space.
    related = [(v, i, j) for v, i, j in same if (labels.get((i, j)) or 0.0) >= RELATED]
    faults = [pair for pair in same if pair not in related]

    def named(pair: tuple[float, int, int]) -> str:
        value, i, j = pair
        of_labels = labels.get((i, j))
        more = "" if of_labels is None else f"; of the labels themselves {of_labels:.2f}"
        return f"{names[i]} and {names[j]} (linear CKA {value:.2f}{more})"

    if faults and len(faults) == len(pairs):
        low, high = (f"{end[0]:.2f}" for end in (min(pairs), max(pairs)))
        sentences.append(
            f"Warning: all heads have the same space (linear CKA {low if low == high else f'{low} to {high}'}), so a "
            "search that mixes similarities finds what each of them finds alone."
        )
    elif faults:
        though = ", though their labels differ" * all(labels.get((i, j)) is not None for _, i, j in faults)
        sentences.append(
            f"Warning: {_listed([named(pair) for pair in faults])} share one space{though}, "
            "so a search that mixes them finds nearly what each of them finds alone."
        )
    elif not related:
        how = "differ" if max(pairs)[0] < DIFFERENT else "differ in part"
        least = f", least alike {named(min(pairs))}" * (len(pairs) > 1)
        sentences.append(f"The spaces {how}: most alike are {named(max(pairs))}{least}.")
    if related:
        pairs_related = _listed([named(pair) for pair in related])
        sentences.append(f"{pairs_related} share a space, and their labels go together too.")
    if len(shared) > 1:
        sentences.append(f"{_listed([names[i] for i in shared])} have no heads: their space is the features.")
    return " ".join(sentences), bool(points or faults)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# Masks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """One dimension of one similarity: the height of its mask, and whether no other similarity has a higher one."""

    height: float
    is_largest: bool


@dataclass(frozen=True, slots=True)
class Mask:
    """What one similarity reads of a shared embedding.

    Attributes:
        column: the similarity.
        bars: a dimension each, in the order of all masks of the method.
        nonzero: dimensions whose mask is above 0.
        most: dimensions whose mask is the highest of all similarities, or as high as another.
        largest_share: share of its mask's sum that lies on those; None for a mask of zeros.
    """

    column: str
    bars: tuple[Bar, ...]
    nonzero: int
    most: int
    largest_share: float | None


@dataclass(frozen=True, slots=True)
class MethodMasks:
    """All masks of the first seed of one method, drawn on one scale."""

    method: str
    seed: int
    dimensions: int
    largest: float
    masks: tuple[Mask, ...]


def masks(methods: Sequence[Method]) -> tuple[MethodMasks, ...]:
    """Of each method whose heads are masks; of others nothing."""
    drawn = []
    for method in methods:
        member = method.members[0]
        values = np.asarray(member.run.read_masks() or [], dtype=np.float64)
        if len(values):
            values = values[:, order(values)]
            largest = float(values.max()) or 1.0
            of_columns = zip(method.columns, values, strict=True)
            each = tuple(_mask(column, mask, values.max(axis=0), largest) for column, mask in of_columns)
            drawn.append(MethodMasks(method.title, member.seed, values.shape[1], largest, each))
    return tuple(drawn)


def order(values: Float[np.ndarray, "similarities dim"]) -> Int[np.ndarray, " dim"]:
    """Dimensions by the similarity whose mask is highest there, its highest first; those of zeros come last."""
    owner = np.where(values.max(axis=0) > 0, values.argmax(axis=0), len(values))
    return np.lexsort((-values.max(axis=0), owner))


def _mask(column: str, mask: Float[np.ndarray, " dim"], highest: Float[np.ndarray, " dim"], largest: float) -> Mask:
    is_largest = (mask == highest) & (mask > 0)
    heights = np.round(HEIGHT * mask / largest, 1)
    return Mask(
        column,
        tuple(Bar(float(height), bool(first)) for height, first in zip(heights, is_largest, strict=True)),
        int((mask > 0).sum()),
        int(is_largest.sum()),
        float(mask[is_largest].sum() / mask.sum()) if mask.sum() > 0 else None,
    )
