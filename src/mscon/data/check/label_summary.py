"""What a label column holds, as its similarity reads it: for `mscon check`, the report and the model card alike."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from mscon.data.table.cell_text import number_text
from mscon.errors import counted, first_few

if TYPE_CHECKING:  # the report imports no torch
    from mscon.data.check.vector_summary import VectorSummary
    from mscon.method.similarities.base import Cell, Similarity


@dataclass(frozen=True, slots=True)
class NumberSummary:
    """A column of numbers.

    Attributes:
        least, quartiles, greatest: in the unit of the column.
        different: how many different values.
        width: the difference within which two rows are alike; None where no setting says so.
    """

    least: float
    quartiles: tuple[float, float, float]
    greatest: float
    different: int
    width: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSummary:
    """The values of some rows in a label column.

    Attributes:
        classes: values with their counts, the most frequent first; levels in their order; each label by itself where
            cells hold several. Empty for numbers.
        different: how many different cells.
        missing_share: rows without a value, of all rows.
        majority_share: the most frequent value, of the rows that have one: the score of always guessing it.
        numbers: of a column of numbers.
        labels_a_row: mean number of labels of a row that is not missing, where cells hold several.
        path_levels: how many levels the longest path has, where cells are paths.
        in_order: whether classes are levels of an order.
    """

    classes: Mapping[str, int]
    different: int
    missing_share: float
    majority_share: float
    numbers: NumberSummary | None = None
    labels_a_row: float | None = None
    path_levels: int | None = None
    in_order: bool = False

    @property
    def size(self) -> str:
        """How much there is, without a value of the table: "40 classes", "12 paths of up to 3 levels"."""
        if self.numbers is not None:
            return counted(self.numbers.different, "different number")
        if not self.classes:
            return "no value"
        if self.labels_a_row is not None:
            sets = counted(self.different, "different set")
            return f"{counted(len(self.classes), 'label')}, {self.labels_a_row:.2f} a row, in {sets}"
        if self.path_levels is not None:
            return f"{counted(self.different, 'path')} of up to {counted(self.path_levels, 'level')}"
        if self.in_order:
            return f"{counted(len(self.classes), 'level')} in order"
        return "1 class" if len(self.classes) == 1 else f"{len(self.classes):,} classes"

    @property
    def words(self) -> str:
        """The same, and of numbers where they lie: "41 different numbers from 0.5 to 9, quartiles 1, 3, 5"."""
        if self.numbers is None:
            return self.size
        low, middle, high = self.numbers.quartiles
        return (
            f"{self.size} from {number_text(self.numbers.least)} to {number_text(self.numbers.greatest)}, "
            f"quartiles {number_text(low)}, {number_text(middle)}, {number_text(high)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedColumn(LabelSummary):
    """A label column as training will see it: its training rows, and how many of them have a positive in their batch.

    Attributes:
        name: the column, or the name of a similarity that reads none.
        kind: its similarity; "probe" if it is only probed.
        is_trained: whether a similarity is trained on it.
        reads: the columns whose cells it reads.
        outside: values that no training row has, with their rows elsewhere: see `unknown_values`.
        alike_share: expected share of the rows of a batch that have another row there that is alike. None for
            probes, and where batches are of triplets.
        positive_share: the same where other views of the same row count, as in the training log.
            None likewise.
        half_counts: whether rows are alike from a weight of 0.5 on, see `Similarity.half_counts`.
        advice: sentences on what would help, where few rows have another that is alike.
        reads_vectors: whether the similarity reads vectors and no cells.
        vectors: what they are like; None where they are features that are not computed yet.
    """

    name: str
    kind: str
    is_trained: bool
    reads: tuple[str, ...]
    outside: Mapping[str, int]
    alike_share: float | None = None
    positive_share: float | None = None
    half_counts: bool = False
    advice: tuple[str, ...] = ()
    reads_vectors: bool = False
    vectors: VectorSummary | None = None

    def to_text(self, batch_size: int) -> list[str]:
        """Lines for a terminal."""
        head = f"{self.name!r} ({self.kind})"
        if self.reads_vectors and self.vectors is None:
            return [f"{head}: the features that training starts from; they are computed when it begins"]
        if self.vectors is not None:
            first, *others = self.vectors.to_text(batch_size)
            return [f"{head}: {first}", *others]
        if not self.reads:
            return [f"{head}: views of one row are alike; it reads no column"]
        lines = [f"{head}: {self.words} among the training rows, {self.missing_share:.1%} missing"]
        if self.numbers is not None and self.numbers.width is not None and self.is_trained:
            lines[0] += f"; alike within {number_text(self.numbers.width, 3)} (width)"
        if self.classes and self.labels_a_row is None:
            most = max(self.classes, key=lambda name: self.classes[name])
            lines[0] += f"; always guessing {most!r} is right for {self.majority_share:.1%}"
        if self.classes:
            lines.append(f"    {_listed(self.classes)}")
        if self.alike_share is not None and self.positive_share is not None:
            alike = "alike (weight 0.5 or more)" if self.half_counts else "alike"
            lines.append(
                f"    in a batch of {batch_size:,} rows, {self.alike_share:.1%} of the rows have another row that is "
                f"{alike}, and {self.positive_share:.1%} have a positive (other views of the same row included)"
            )
        lines += [f"    {sentence}" for sentence in self.advice]
        return lines + ([f"    {self._outside_text()}"] if self.outside else [])

    def _outside_text(self) -> str:
        if self.labels_a_row is not None:
            return f"labels that no training row has, left out of their cells: {_listed(self.outside)}"
        # Of a path what training rows know is kept: see the similarity.
        new = "values" if self.path_levels is None else "levels"
        rows = counted(sum(self.outside.values()), "row")
        return f"{rows} with a value that no training row has: {_listed(self.outside)} (new {new} count as missing)"


def check_column(
    name: str,
    kind: str,
    cells: Sequence[Cell],
    is_train: Bool[np.ndarray, " rows"],
    similarity: Similarity | None,
    *,
    is_trained: bool,
) -> CheckedColumn:
    """A column by its cells in all rows, read as `similarity` does; without one they are classes."""
    training = [cell for cell, train in zip(cells, is_train, strict=True) if train]
    others = [cell for cell, train in zip(cells, is_train, strict=True) if not train]
    summary = summarise(training, similarity)
    return CheckedColumn(
        **{field.name: getattr(summary, field.name) for field in dataclasses.fields(summary)},
        name=name,
        kind=kind,
        is_trained=is_trained,
        reads=(name,) if similarity is None else similarity.columns,
        outside=unknown_values(others, similarity, summary),
    )


def summarise(cells: Sequence[Cell], similarity: Similarity | None) -> LabelSummary:
    """Summarise cells as a similarity reads them; without one, or for one without targets, as classes.

    Args:
        cells: of some rows, as the similarity reads them.
        similarity: fitted, maybe on other rows.
    """
    texts = [cell for cell in cells if cell is not None]
    kind = "class" if similarity is None else similarity.target_kind
    counts, labelled = Counter[str](), len(texts)
    numbers = labels_a_row = path_levels = None
    if similarity is None or kind in ("class", "nothing"):
        counts.update(texts if similarity is None else map(similarity.shown, texts))
        if similarity is not None and similarity.geometry == "path" and texts:
            path_levels = max(len(similarity.parts(text)) for text in set(texts))
    else:
        target = similarity.target(texts)
        target = target[np.isfinite(target) if target.ndim == 1 else np.isfinite(target).all(axis=1)]
        labelled = len(target)
        if kind == "labels":
            counts.update(dict(zip(similarity.target_names, target.sum(axis=0).astype(int).tolist(), strict=True)))
            labels_a_row = sum(counts.values()) / max(labelled, 1)
        elif kind == "rank":
            counts.update(similarity.target_names[int(rank)] for rank in np.sort(target))
        elif labelled:
            numbers = _numbers(target, similarity.alike_within)
    most = np.unique(target, return_counts=True)[1].max() if numbers else max(counts.values(), default=0)
    return LabelSummary(
        classes=dict(counts) if kind == "rank" else most_frequent_first({name: n for name, n in counts.items() if n}),
        different=len(set(texts)),
        missing_share=1 - labelled / max(len(cells), 1),
        majority_share=float(most) / max(labelled, 1),
        numbers=numbers,
        labels_a_row=labels_a_row,
        path_levels=path_levels,
        in_order=kind == "rank",
    )


def _numbers(values: Float[np.ndarray, " rows"], width: float | None) -> NumberSummary:
    low, middle, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    return NumberSummary(
        float(values.min()), (low, middle, high), float(values.max()), int(np.unique(values).size), width
    )


def unknown_values(cells: Sequence[Cell], similarity: Similarity | None, training: LabelSummary) -> dict[str, int]:
    """Values that no training row has, with their counts; labels where cells hold several.

    They count as missing; of a path, from the first new level on.

    Args:
        cells: of rows outside the training split.
        similarity: fitted on training rows.
        training: what these hold.
    """
    values = [cell for cell in cells if cell is not None]
    if similarity is not None and similarity.target_kind == "labels":
        values = [label for cell in values for label in similarity.parts(cell) if label not in similarity.target_names]
    elif similarity is not None and similarity.target_kind in ("number", "rank"):
        is_unread = np.isnan(similarity.target(values)).tolist()
        values = [cell for cell, unread in zip(values, is_unread, strict=True) if unread]
    elif similarity is not None:
        values = [similarity.shown(cell) for cell in values]
    return most_frequent_first(Counter(value for value in values if value not in training.classes))


def most_frequent_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Sorted by count, descending; equal counts by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _listed(counts: Mapping[str, int]) -> str:
    return first_few([f"{name!r} {n:,}" for name, n in counts.items()], 8)
