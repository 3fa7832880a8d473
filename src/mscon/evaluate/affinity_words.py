"""Affinity in words: which label columns help which, and which to try to leave out; and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mscon.evaluate.affinity import Affinity, ColumnPair, Target

# Normalised mutual information from which two columns say nearly the same.
_SAME = 0.9
# By how much a column must show better in a space than in the features to be helped; and the affinity below which it
# does not even show in its own space.
_LEAD, _NOT_LEARNT = 0.03, 0.05
# Mean cosine of gradients up to which two columns are in conflict, if nearly all batches are below 0 as well.
_CONFLICT = -0.05
# Similarities that one sentence lists.
_MOST = 4


def sentences(affinity: Affinity) -> list[str]:
    """At most one for each target, each pair and each fault; the last one says what to try."""
    lines = [line for target in affinity.targets if (line := _help_for(target))]
    to_drop: list[str] = []
    for pair in affinity.pairs:
        one, other = pair.columns
        if pair.nmi >= _SAME:
            lines.append(f"'{one}' and '{other}' say nearly the same (normalised mutual information {pair.nmi:.2f}).")
            to_drop.append(f"one of '{one}' and '{other}'")
        if _is_conflict(pair) and pair.cosine is not None:
            lines.append(
                f"'{one}' and '{other}' pull the features apart: the cosine of their gradients is "
                f"{pair.cosine.value:.2f} on average, {pair.cosine.low:.2f} to {pair.cosine.high:.2f} "
                "in 95 % of the batches."
            )
            to_drop.append(f"one of '{one}' and '{other}'")
    for target in affinity.targets:
        mine = target.spaces.get(target.column) if target.trained else None
        if mine is not None and mine < _NOT_LEARNT:
            lines.append(
                f"'{target.column}' does not show in its own space ({mine:.2f}; 0 is chance): its head has learnt "
                f"nothing that holds on {affinity.split} rows."
            )
            to_drop.append(f"'{target.column}'")
    if unknown := [target.column for target in affinity.targets if target.features is None]:
        lines.append(f"Of {_listed(unknown)} nothing can be said: too few {affinity.split} rows differ in it.")
    if to_drop:
        lines.append(
            f"Try to leave out {', '.join(dict.fromkeys(to_drop))}: `mscon compare --held-out` shows what that changes."
        )
    elif affinity.pairs:
        lines.append("No column is one to leave out by these numbers.")
    return lines


def _is_conflict(pair: ColumnPair) -> bool:
    return pair.cosine is not None and pair.cosine.value <= _CONFLICT and pair.cosine.high < 0


def _help_for(target: Target) -> str:
    """Which similarities help a column: those in whose spaces it shows clearly better than in the features."""
    others = {name: value for name, value in target.spaces.items() if name != target.column and value is not None}
    if target.features is None or not others:
        return ""
    ranked = sorted(others, key=lambda name: -others[name])
    helpers = [name for name in ranked if others[name] - target.features >= _LEAD]
    if not helpers:
        best = f"at most to {others[ranked[0]]:.2f} in another space ('{ranked[0]}')"
        return (
            f"No similarity helps '{target.column}': nearest rows agree in it to {target.features:.2f} in the "
            f"features, {best}."
        )
    listed = ", ".join(f"'{name}' ({others[name]:.2f})" for name in helpers[:_MOST])
    return (
        f"'{target.column}' is helped by {listed}: so far nearest rows in that space agree in it, and to "
        f"{target.features:.2f} in the features."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def tables(affinity: Affinity) -> Iterator[str]:
    """Lines: how well nearest rows in each space agree in each column, then every pair of trained columns."""
    similarities = list(affinity.targets[0].spaces) if affinity.targets else []
    head = ["nearest rows agree in", *similarities, "features"]
    rows = [
        [target.column, *(_number(target.spaces[name]) for name in similarities), _number(target.features)]
        for target in affinity.targets
    ]
    yield from _aligned([head, *rows])
    if affinity.pairs:
        yield ""
        head = ["columns", "same labels", "same space", "cosine of gradients", "in 95 % of batches"]
        yield from _aligned([head, *(_pair_row(pair) for pair in affinity.pairs)])


def _pair_row(pair: ColumnPair) -> list[str]:
    cosine = pair.cosine
    between = "-" if cosine is None else f"{cosine.low:z.2f} to {cosine.high:z.2f}"
    value = None if cosine is None else cosine.value
    return [" / ".join(pair.columns), _number(pair.nmi), _number(pair.cka), _number(value), between]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:z.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        (first, width), *others = zip(row, widths, strict=True)
        yield "  ".join(["", first.ljust(width), *(cell.rjust(width) for cell, width in others)])
