"""Affinity in the report: what `mscon affinity` said of the label columns, and its numbers as two heatmaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shaded:
    """A cell of a heatmap: its number, a shade of 0 to 8 steps, and what stands below the number."""

    value: float | None
    shade: int
    below: float | None = None


@dataclass(frozen=True, slots=True)
class AffinityMaps:
    """Two heatmaps of label columns.

    Attributes:
        sentences: which columns help which, and which to try to leave out.
        split: whose rows were judged.
        spaces: titles of the columns of the first heatmap: similarities, and the features.
        targets: a label column and how far nearest rows in each of these spaces agree in it.
        columns: that the run was trained on, in both directions of the second heatmap.
        pairs: [columns, columns] how far two say the same, and below it the cosine of their gradients.
    """

    sentences: tuple[str, ...]
    split: str
    spaces: tuple[str, ...]
    targets: tuple[tuple[str, tuple[Shaded, ...]], ...]
    columns: tuple[str, ...]
    pairs: tuple[tuple[Shaded, ...], ...]


def affinity_maps(affinity: Mapping[str, Any] | None) -> AffinityMaps | None:
    """What affinity.json says; None where the run has none."""
    if affinity is None:
        return None
    similarities = tuple(dict.fromkeys(name for target in affinity["targets"] for name in target["spaces"]))
    targets = tuple(
        (
            target["column"],
            tuple(_shaded(value) for value in (*map(target["spaces"].get, similarities), target["features"])),
        )
        for target in affinity["targets"]
    )
    by_pair = {frozenset(pair["columns"]): pair for pair in affinity["pairs"]}
    columns = tuple(dict.fromkeys(name for pair in affinity["pairs"] for name in pair["columns"]))
    pairs = tuple(tuple(_of_pair(by_pair.get(frozenset((one, other)))) for other in columns) for one in columns)
    return AffinityMaps(
        tuple(affinity["sentences"]), affinity["split"], (*similarities, "features"), targets, columns, pairs
    )


def _of_pair(pair: Mapping[str, Any] | None) -> Shaded:
    """A column with itself has no pair, and says the same."""
    if pair is None:
        return _shaded(1.0)
    return _shaded(pair["nmi"], pair["cosine"] and pair["cosine"]["value"])


def _shaded(value: float | None, below: float | None = None) -> Shaded:
    return Shaded(value, round(8 * min(max(value or 0.0, 0.0), 1.0)), below)
