"""Head diversity: whether the spaces of different similarities differ, by how alike rows lie in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from mscon.evaluate.report.atlas import fifths, numbers
from mscon.evaluate.report.gather import Gathered, Method
from mscon.evaluate.report.maps import held_out
from mscon.run.recipe import names_of

# From here on two spaces are called the same, below the second they are clearly different. Columns whose own labels
# are as alike as the third may share a space without a fault.
SAME, DIFFERENT, RELATED = 0.95, 0.5, 0.5
# More rows move the second decimal at most.
_MOST_ROWS = 4_000
_STEPS = 8
# One-hot labels of more classes than this are no reference that is worth its memory.
_MOST_CLASSES = 2_000

Matrix = tuple[tuple[float | None, ...], ...]


def linear_cka(a: Float[np.ndarray, "rows p"], b: Float[np.ndarray, "rows q"]) -> float | None:
    """Linear centred kernel alignment: how far two sets of vectors of the same rows have the same geometry.

    1 for spaces that are turned, mirrored or scaled copies of each other, near 0 for spaces that tell rows apart by
    unrelated things. Does not depend on the order of dimensions or on where the centre lies.

    Returns:
        A number in [0, 1]; None if all rows of either lie in one place, where it has no value.

    Source: Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", eq. 7,
        https://arxiv.org/abs/1905.00414.
    """
    x, y = (_centred(vectors) for vectors in (a, b))
    if x is None or y is None:
        return None
    within = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return min(1.0, float(np.linalg.norm(y.T @ x)) ** 2 / within)


def _centred(vectors: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"] | None:
    """Double precision, mean 0, largest entry 1; None where the rows differ by no more than rounding."""
    wide = vectors.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    largest = np.abs(centred).max(initial=0.0)
    return centred / largest if largest > 1e-6 * np.abs(wide).max(initial=0.0) else None


def cka_matrix(spaces: Sequence[Float[np.ndarray, "rows _"]]) -> Matrix:
    """Linear CKA of every pair of spaces; None in the rows and columns of spaces that are one point."""
    values: dict[tuple[int, int], float | None] = {
        (i, j): linear_cka(spaces[i], spaces[j]) for i, j in combinations(range(len(spaces)), 2)
    }
    # A space is like itself, unless it is a point.
    values |= {(i, i): None if _centred(space) is None else 1.0 for i, space in enumerate(spaces)}
    return tuple(tuple(values[min(i, j), max(i, j)] for j in range(len(spaces))) for i in range(len(spaces)))


@dataclass(frozen=True, slots=True)
class Entry:
    """One pair: the mean over seeds, its lowest and highest, and which of nine shades it gets."""

    value: float | None
    low: float | None
    high: float | None
    shade: int


@dataclass(frozen=True, slots=True)
class Diversity:
    """How alike the spaces of one method are.

    Attributes:
        names: of its similarities.
        table: [similarities, similarities] mean CKA over seeds; empty where there are no heads.
        seeds: a matrix for each seed.
        words: what that means, in a sentence or two.
        failed: whether spaces are the same that should differ, or one holds nothing.
    """

    method: str
    names: tuple[str, ...]
    table: tuple[tuple[Entry, ...], ...]
    seeds: tuple[tuple[int, Matrix], ...]
    words: str
    failed: bool


def diversity(gathered: Gathered) -> tuple[int, tuple[Diversity, ...]]:
    """How many rows were compared, and an entry for each method of two or more similarities.

    The rows are those of the test split; where there is none, others that training never saw, at most 4,000.
    """
    splits = gathered.rows["split"].to_list()
    rows = _rows(splits)
    several = [method for method in gathered.methods if len(method.columns) > 1]
    if len(rows) < 3:
        return len(rows), ()
    named = {column for method in several for column in method.columns} & set(gathered.rows.columns)
    classes: dict[str, Sequence[str | None]] = {c: gathered.rows[c].gather(rows).to_list() for c in sorted(named)}
    classes |= {column: fifths(classes[column]) for column in named & numbers(gathered)}
    return len(rows), tuple(_of(method, rows, classes) for method in several)


def _rows(splits: Sequence[str]) -> Int[np.ndarray, " rows"]:
    names = ["test" if name == "test" else "" for name in splits]
    return held_out(names if "test" in names else splits, most=_MOST_ROWS)


def _of(method: Method, rows: Int[np.ndarray, " rows"], classes: Mapping[str, Sequence[str | None]]) -> Diversity:
    matrices = [cka_matrix([space[rows] for space in member.run.read_projections()]) for member in method.members]
    count = len(method.columns)
    entries = tuple(tuple(_entry([matrix[i][j] for matrix in matrices]) for j in range(count)) for i in range(count))
    shared = set(names_of(method.members[0].recipe, "heads")) == {"identity"}
    labels = {
        (i, j): label_cka(*(classes.get(method.columns[k]) for k in (i, j)))
        for i, j in combinations(range(count), 2)
        if entries[i][j].value is not None and not shared
    }
    # A space that is a point in one seed is a fault, whatever it is in the others.
    point = [any(matrix[i][i] is None for matrix in matrices) for i in range(count)]
    values = [[None if i == j and point[i] else entries[i][j].value for j in range(count)] for i in range(count)]
    words, failed = in_words(method.columns, values, labels, shared)
    seeds = tuple((member.seed, matrix) for member, matrix in zip(method.members, matrices, strict=True))
    return Diversity(method.title, method.columns, () if shared else entries, seeds, words, failed)


def _entry(values: Sequence[float | None]) -> Entry:
    known = [value for value in values if value is not None]
    if not known:
        return Entry(None, None, None, 0)
    mean = float(np.mean(known))
    return Entry(mean, min(known), max(known), round(_STEPS * mean))


def label_cka(first: Sequence[str | None] | None, second: Sequence[str | None] | None) -> float | None:
    """CKA of two columns' cells as classes, over rows that have both: how alike spaces may be without a fault.

    None where one is no column of the table (same row), or has too many different cells to be classes.
    """
    if first is None or second is None:
        return None
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    hots = []
    for cells in zip(*both, strict=True):
        names, codes = np.unique(np.array(cells, dtype=object).astype(str), return_inverse=True)
        if len(names) > min(_MOST_CLASSES, max(2, len(codes) // 2)):
            return None
        hots.append(np.eye(len(names))[codes])
    return linear_cka(*hots) if hots else None


def in_words(
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    labels: dict[tuple[int, int], float | None],
    shared: bool = False,
) -> tuple[str, bool]:
    """What a matrix of CKA says, and whether it tells of a failure.

    Args:
        names: of the similarities.
        values: [similarities, similarities], None for a space that is one point.
        labels: of pairs, the same of the columns themselves, where that is known.
        shared: whether the method has no heads, so that all spaces are the features.
    """
    if shared:
        return "It has no heads: every similarity is read off the features themselves, so there is one space.", False
    points = [names[i] for i in range(len(names)) if values[i][i] is None]
    sentences, failed = [], bool(points)
    if points:
        sentences.append(
            f"A failure: the {'space' if len(points) == 1 else 'spaces'} of {_listed(points)} "
            f"{'holds' if len(points) == 1 else 'hold'} nothing, all rows lie in one place."
        )
    pairs = [(value, i, j) for i, j in combinations(range(len(names)), 2) if (value := values[i][j]) is not None]
    if not pairs:
        return " ".join(sentences), failed
    same = [(v, i, j) for v, i, j in pairs if v >= SAME]
    # Two columns that say much the same may well have the same space.
    alike = [(v, i, j) for v, i, j in same if (labels.get((i, j)) or 0.0) >= RELATED]
    faults = [pair for pair in same if pair not in alike]
    failed = failed or bool(faults)
    (highest, i, j), (lowest, k, m) = max(pairs), min(pairs)
    if faults and len(faults) == len(pairs):
        sentences.append(
            f"A failure: all heads give the same space (CKA {_span(lowest, highest)}), so one head would do as well, "
            "and a mix of similarities is no different from any of them."
        )
    elif faults:
        sentences.append(
            f"A failure: {_listed([f'{names[a]} and {names[b]} ({v:.2f})' for v, a, b in faults])} "
            f"{'share' if len(faults) == 1 else 'each share'} one space{_though(labels, faults)}."
        )
    elif len(pairs) == 1 and not alike:
        sentences.append(f"The two spaces {_how(highest)} (CKA {highest:.2f}{_of_labels(labels, i, j)}).")
    elif not alike:
        sentences.append(
            f"The spaces {_how(highest)}: most alike are {names[i]} and {names[j]} "
            f"(CKA {highest:.2f}{_of_labels(labels, i, j)}), least {names[k]} and {names[m]} ({lowest:.2f})."
        )
    if alike:
        pairs_alike = [f"{names[a]} and {names[b]} (CKA {v:.2f}{_of_labels(labels, a, b)})" for v, a, b in alike]
        sentences.append(f"{_listed(pairs_alike)} share a space, and their labels go together too.")
    return " ".join(sentences), failed


def _how(highest: float) -> str:
    if highest < DIFFERENT:
        return "differ: each head found a geometry of its own"
    return "differ in part: some of the geometry is common to them"


def _of_labels(labels: dict[tuple[int, int], float | None], i: int, j: int) -> str:
    value = labels.get((i, j))
    return "" if value is None else f"; of the labels themselves {value:.2f}"


def _though(labels: dict[tuple[int, int], float | None], faults: Sequence[tuple[float, int, int]]) -> str:
    known = all(labels.get((i, j)) is not None for _, i, j in faults)
    return ", though their labels differ" if known else ""


def _span(low: float, high: float) -> str:
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
