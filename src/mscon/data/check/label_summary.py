"""Column: what check says of one label column, by its kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from mscon.errors import counted, first_few
from mscon.method.similarities.base import BETWEEN_COLUMNS, Cell, Similarity
from mscon.method.similarities.multi_label import labels_of


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the training rows have of a column of numbers.

    Attributes:
        least, quartiles, greatest: in the unit of the column.
        different: how many different values.
        width: within which two are alike; None if the column is only asked of the features.
    """

    least: float
    quartiles: tuple[float, float, float]
    greatest: float
    different: int
    width: float | None


@dataclass(frozen=True, slots=True)
class Column:
    """A label column as training will see it.

    Attributes:
        name: the column, or the name of a similarity that reads none.
        kind: its similarity; "probe" if it is only asked of the features.
        classes: values of the training rows with their counts, the most frequent first; levels in their order; each
            label by itself where cells hold several. Empty for numbers, and for a similarity that reads no column.
        missing_share: training rows without a value, of all training rows.
        majority_share: the most frequent value, of the training rows that have one: what a guess scores.
        outside: values that no training row has, with their rows elsewhere; where cells hold several, such labels.
            They count as missing; of a path, from the first new level on.
        alike_share: expected share of anchors that find, in a batch of training rows, an alike one besides their
            own row. None for probes, and where batches are of triplets.
        positive_share: the same with the further views of the own row counted, as the training log does.
            None likewise.
        numbers: of a column of numbers.
        labels_a_row: mean number of labels of a row that is not missing, where cells hold several.
        half_counts: whether rows are alike from a weight of 0.5 on, see `Similarity.half_counts`.
        advice: sentences on what would help, where few anchors find an alike one.
    """

    name: str
    kind: str
    classes: Mapping[str, int]
    missing_share: float
    majority_share: float
    outside: Mapping[str, int]
    alike_share: float | None
    positive_share: float | None
    numbers: Numbers | None = None
    labels_a_row: float | None = None
    half_counts: bool = False
    advice: tuple[str, ...] = ()


def column_of(
    name: str,
    kind: str,
    cells: Sequence[Cell],
    is_train: Bool[np.ndarray, " rows"],
    similarity: Similarity | None = None,
) -> Column:
    """A column by its cells, read as `similarity` does; without one they are classes."""
    if similarity is not None and similarity.target_kind == "number":
        return _numbers(name, kind, cells, is_train, similarity)
    if similarity is not None and similarity.target_kind == "labels":
        return _labels(name, kind, cells, is_train, similarity)
    shown = [None if cell is None else cell.replace(BETWEEN_COLUMNS, " / ") for cell in cells]
    classes = Counter(cell for cell, train in zip(shown, is_train, strict=True) if train and cell is not None)
    outside = Counter(cell for cell in shown if cell is not None and cell not in classes)
    labelled = sum(classes.values())
    ordered = _sorted(classes)
    if similarity is not None and similarity.target_kind == "rank":
        places = {level: place for place, level in enumerate(similarity.target_names)}
        ordered = dict(sorted(ordered.items(), key=lambda item: places.get(item[0], len(places))))
    return Column(
        name=name,
        kind=kind,
        classes=ordered,
        missing_share=1 - labelled / int(is_train.sum()),
        majority_share=max(classes.values(), default=0) / max(labelled, 1),
        outside=_sorted(outside),
        alike_share=None,
        positive_share=None,
    )


def _numbers(
    name: str, kind: str, cells: Sequence[Cell], is_train: Bool[np.ndarray, " rows"], similarity: Similarity
) -> Column:
    values = similarity.target(cells)[is_train]
    known = values[np.isfinite(values)]
    _, counts = np.unique(known, return_counts=True)
    low, middle, high = (float(q) for q in np.quantile(known, [0.25, 0.5, 0.75]))
    width = float(similarity.width) if "probe" not in kind and hasattr(similarity, "width") else None
    return Column(
        name=name,
        kind=kind,
        classes={},
        missing_share=1 - known.size / values.size,
        majority_share=float(counts.max()) / known.size,
        outside={},
        alike_share=None,
        positive_share=None,
        numbers=Numbers(float(known.min()), (low, middle, high), float(known.max()), int(counts.size), width),
    )


def _labels(
    name: str, kind: str, cells: Sequence[Cell], is_train: Bool[np.ndarray, " rows"], similarity: Similarity
) -> Column:
    has = similarity.target(cells)[is_train]
    known = has[np.isfinite(has).all(axis=1)]
    separator = getattr(similarity, "separator", None)
    each = [labels_of(cell or "", separator) if separator else () for cell in cells]
    trained = frozenset(similarity.target_names)
    outside = Counter(label for labels in each for label in labels if label not in trained)
    counts = Counter({label: int(n) for label, n in zip(similarity.target_names, known.sum(axis=0), strict=True)})
    return Column(
        name=name,
        kind=kind,
        classes=_sorted(counts),
        missing_share=1 - len(known) / len(has),
        majority_share=max(counts.values(), default=0) / max(len(known), 1),
        outside=_sorted(outside),
        alike_share=None,
        positive_share=None,
        labels_a_row=float(known.sum(axis=1).mean()) if len(known) else 0.0,
    )


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def column_text(column: Column, batch_size: int) -> list[str]:
    """Lines for a terminal."""
    head = f"{column.name!r} ({column.kind})"
    if column.kind == "same_row":
        return [f"{head}: views of one row are alike; it reads no column"]
    if column.numbers is not None:
        lines = [f"{head}: {_numbers_text(column.numbers)}, {column.missing_share:.1%} missing"]
    elif not column.classes:
        lines = [f"{head}: no training row has a value"]
    else:
        lines = [f"{head}: {_classes_text(column)}", f"    {_listed(column.classes)}"]
    if column.alike_share is not None and column.positive_share is not None:
        alike = "one of weight 0.5 or more" if column.half_counts else "an alike one"
        lines.append(
            f"    in a batch of {batch_size:,} rows {column.alike_share:.1%} of the anchors find {alike} besides "
            f"their own row ({column.positive_share:.1%} have a positive, further views of their row counted)"
        )
    lines += [f"    {sentence}" for sentence in column.advice]
    if column.outside:
        lines.append(f"    {_outside_text(column)}")
    return lines


def _numbers_text(numbers: Numbers) -> str:
    low, middle, high = numbers.quartiles
    text = (
        f"{numbers.different:,} different numbers among the training rows, from {numbers.least:.4g} to "
        f"{numbers.greatest:.4g}, quartiles {low:.4g}, {middle:.4g}, {high:.4g}"
    )
    return text if numbers.width is None else f"{text}; alike within {numbers.width:.3g} (width)"


def _classes_text(column: Column) -> str:
    word = "label" if column.labels_a_row is not None else "level" if column.kind == "ordinal" else "class"
    number = len(column.classes)
    classes = f"{number:,} {word if number == 1 else 'classes' if word == 'class' else word + 's'}"
    start = f"{classes} among the training rows, {column.missing_share:.1%} missing; "
    if column.labels_a_row is not None:
        return f"{start}{column.labels_a_row:.2f} labels a row"
    most = max(column.classes, key=lambda name: column.classes[name])
    return f"{start}always guessing {most!r} is right for {column.majority_share:.1%}"


def _outside_text(column: Column) -> str:
    if column.labels_a_row is not None:
        return f"labels that no training row has, left out of their cells: {_listed(column.outside)}"
    # Of a path what training rows know is kept: see the similarity.
    new = "levels" if column.kind == "hierarchical" else "values"
    rows = counted(sum(column.outside.values()), "row")
    return f"{rows} with a value that no training row has: {_listed(column.outside)} (new {new} count as missing)"


def _listed(counts: Mapping[str, int]) -> str:
    return first_few([f"{name!r} {n:,}" for name, n in counts.items()], 8)
