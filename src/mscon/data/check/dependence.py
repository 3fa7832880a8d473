"""Which label columns nearly determine one another, by their mutual information."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

# Numbers are cut into so many classes of about as many rows each.
_BINS = 10
# Times that one column is shuffled to see what chance alone gives.
_SHUFFLES = 4
# Below this, in nats, there is nothing left to tell beyond chance: every row has nearly a value of its own.
_NOTHING = 0.01


@dataclass(frozen=True, slots=True)
class Dependence:
    """How far two columns determine each other, over the training rows that have a value in both.

    Attributes:
        a, b: names of the columns.
        rows: with a value in both.
        a_tells_b: share of the entropy of b that a explains: 0 if they are unrelated, 1 if b is a function of a.
        b_tells_a: the other way round.
        nmi: normalised mutual information, of both ways: twice the mutual information over the sum of the entropies.
        majority: share of the rows whose b is the most frequent one for their a; and whose a is for their b.
    """

    a: str
    b: str
    rows: int
    a_tells_b: float
    b_tells_a: float
    nmi: float
    majority: tuple[float, float]


def dependences(columns: Mapping[str, Int[np.ndarray, " rows"]], at_least: float) -> tuple[Dependence, ...]:
    """Pairs of columns of which one explains at least a share of the other's entropy, the most dependent first.

    Args:
        columns: class codes of the same rows, -1 where missing; see `tenths_of` for numbers.
        at_least: a share of entropy.
    """
    pairs = [
        dependence(a, b, columns[a], columns[b])
        for a, b in combinations(columns, 2)
        if _may_reach(columns[a], columns[b], at_least)
    ]
    strong = [d for d in pairs if max(d.a_tells_b, d.b_tells_a) >= at_least]
    return tuple(sorted(strong, key=lambda d: -max(d.a_tells_b, d.b_tells_a)))


def _may_reach(x: Int[np.ndarray, " rows"], y: Int[np.ndarray, " rows"], at_least: float) -> bool:
    """Whether `dependence` may find that share. What it takes off for chance only lowers shares, and costs most."""
    known = (x >= 0) & (y >= 0)
    if not known.any():
        return False
    _, x = np.unique(x[known], return_inverse=True)
    _, y = np.unique(y[known], return_inverse=True)
    return _mutual(x, y) >= at_least * min(_entropy(x), _entropy(y)) - _NOTHING


def dependence(a: str, b: str, x: Int[np.ndarray, " rows"], y: Int[np.ndarray, " rows"]) -> Dependence:
    """How far two columns of class codes determine each other.

    Many classes on few rows tell each other by chance. So what the mutual information is where one of the columns is
    shuffled (the mean of four times, always the same ones) is taken off it and off the entropies. A column in which
    nearly every row has a value of its own then tells nothing, as it should.

    Source: Theil's uncertainty coefficient (Theil 1970), adjusted for chance as Vinh, Epps and Bailey 2010 do,
        https://jmlr.org/papers/v11/vinh10a.html, with permutations for their expectation.
    """
    known = (x >= 0) & (y >= 0)
    _, x = np.unique(x[known], return_inverse=True)
    _, y = np.unique(y[known], return_inverse=True)
    if not x.size:
        return Dependence(a, b, 0, 0.0, 0.0, 0.0, (0.0, 0.0))
    entropies = _entropy(x), _entropy(y)
    chance = np.random.default_rng(0)
    expected = float(np.mean([_mutual(x, chance.permutation(y)) for _ in range(_SHUFFLES)]))
    beyond = max(_mutual(x, y) - expected, 0.0)
    of_a, of_b = (max(entropy - expected, 0.0) for entropy in entropies)
    return Dependence(
        a,
        b,
        int(x.size),
        a_tells_b=min(beyond / of_b, 1.0) if of_b > _NOTHING else 0.0,
        b_tells_a=min(beyond / of_a, 1.0) if of_a > _NOTHING else 0.0,
        nmi=min(2 * beyond / (of_a + of_b), 1.0) if of_a + of_b > _NOTHING else 0.0,
        majority=(_majority(x, y), _majority(y, x)),
    )


def classes_of(cells: Sequence[str | None]) -> Int[np.ndarray, " rows"]:
    """Class codes of cells, -1 where empty."""
    classes = {cell: code for code, cell in enumerate(sorted({cell for cell in cells if cell is not None}))}
    return np.array([-1 if cell is None else classes[cell] for cell in cells], dtype=np.int64)


def tenths_of(values: Float[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """Class codes of numbers, -1 where NaN: ten classes of about as many rows each."""
    codes = np.full(len(values), -1, dtype=np.int64)
    known = np.isfinite(values)
    if known.any():
        cuts = np.unique(np.quantile(values[known], np.arange(1, _BINS) / _BINS))
        codes[known] = np.searchsorted(cuts, values[known], side="right")
    return codes


def dependences_text(dependences: Sequence[Dependence], at_least: float) -> list[str]:
    """Lines for a terminal, for each direction in which a column explains at least that share of the other."""
    lines = ["Columns that nearly determine each other (share of the entropy of one that the other explains):"]
    for pair in dependences:
        both = (
            (pair.a, pair.b, pair.a_tells_b, pair.majority[0]),
            (pair.b, pair.a, pair.b_tells_a, pair.majority[1]),
        )
        strong = [
            f"{one!r} explains {share:.0%} of {other!r} (the most frequent value for each {one!r} is right for "
            f"{right:.1%})"
            for one, other, share, right in both
            if share >= at_least
        ]
        lines.append(f"    {'; '.join(strong)}; normalised mutual information {pair.nmi:.2f}")
        if len(strong) == 1:
            fine, coarse = (
                json.dumps(end[n], ensure_ascii=False) for n in (0, 1) for end in both if end[2] >= at_least
            )
            lines.append(
                f"      If {coarse} is a coarser level of {fine}, one similarity can use both: "
                f'column = {fine}, name = "hierarchical", under = [{coarse}].'
            )
    return lines


def _entropy(x: Int[np.ndarray, " rows"]) -> float:
    share = np.bincount(x) / x.size
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def _pairs(x: Int[np.ndarray, " rows"], y: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    return np.unique(x * (int(y.max()) + 1) + y, return_inverse=True)[1]


def _mutual(x: Int[np.ndarray, " rows"], y: Int[np.ndarray, " rows"]) -> float:
    return _entropy(x) + _entropy(y) - _entropy(_pairs(x, y))


def _majority(x: Int[np.ndarray, " rows"], y: Int[np.ndarray, " rows"]) -> float:
    pairs = _pairs(x, y)
    counts = np.bincount(pairs)
    largest = np.zeros(int(x.max()) + 1)
    np.maximum.at(largest, x, counts[pairs])
    return float(largest.sum() / x.size)
