"""Description: what a check found in a table, as values, as JSON and as text for a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mscon.data.check.batch_stats import FEW, Outlook
from mscon.data.check.dependence import Dependence
from mscon.data.check.duplicates import Duplicates, duplicates_text
from mscon.data.check.label_summary import Column, column_text
from mscon.data.table.table import unit
from mscon.errors import counted

# Share of a column's entropy that another one tells from which on the pair is told of.
NEARLY = 0.8


@dataclass(frozen=True, slots=True)
class Description:
    """What is in a table, in plain values.

    Attributes:
        table: name of the table.
        rows: rows used.
        left_out: a sentence on rows that are not; empty if there are none.
        splits: rows of each split that occurs.
        batch_size: rows of a batch, at most the training rows.
        columns: similarities in the order of the recipe, then probes.
        duplicates: None if the images were not looked at.
        batches: what the batches of the first epochs hold; None where they are of triplets.
        triplets: for each similarity the triplets of an epoch; empty where batches are of rows.
        dependences: pairs of columns that are nearly functions of one another, by the training rows.
        inferred: a sentence on each similarity whose kind the recipe leaves to be inferred.
        encoded: what is encoded of a row, in words; empty if that was not looked at.
        unnamed: columns that the recipe does not name, and what they look like: "continuous: ..." and why.
    """

    table: str
    rows: int
    left_out: str
    splits: Mapping[str, int]
    batch_size: int
    columns: tuple[Column, ...]
    duplicates: Duplicates | None
    batches: Outlook | None = None
    triplets: Mapping[str, int] = field(default_factory=dict)
    dependences: tuple[Dependence, ...] = ()
    inferred: tuple[str, ...] = ()
    unnamed: Mapping[str, str] = field(default_factory=dict)
    encoded: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """For a terminal."""
        splits = ", ".join(f"{n:,} {name}" for name, n in self.splits.items())
        lines = [f"{self.table}: {counted(self.rows, 'row')} ({splits})"]
        if self.encoded:
            lines.append(f"  what is encoded: {self.encoded}")
        if self.left_out:
            lines.append(f"  {self.left_out}")
        for column in self.columns:
            lines += ["", *column_text(column, self.batch_size)]
        lines += ["", *_batches_text(self)]
        if self.dependences:
            lines += ["", *_dependences_text(self.dependences)]
        if self.inferred:
            lines += ["", *self.inferred, "    Another kind is taken if the recipe names it."]
        if self.unnamed:
            lines += ["", "Columns that the recipe does not name, and what they look like:"]
            lines += [f"    {name!r}: {what}" for name, what in self.unnamed.items()]
        if self.duplicates is not None:
            lines += ["", *duplicates_text(self.duplicates, unit(self.table))]
        return "\n".join(lines)


def _batches_text(description: Description) -> list[str]:
    if (seen := description.batches) is None:
        each = ", ".join(f"{name!r} {n:,}" for name, n in description.triplets.items())
        return [f"Batches are of triplets; an epoch has {sum(description.triplets.values()):,} of them: {each}."]
    size = f"{seen.largest:,}" if seen.smallest == seen.largest else f"{seen.smallest:,} to {seen.largest:,}"
    batches = f"{seen.batches:,} {seen.sampler} {'batch' if seen.batches == 1 else 'batches'}"
    lines = [f"An epoch has {batches} of {size} rows."]
    most = max(seen.left_over)
    if not most:
        lines.append("    Every training row comes once.")
    elif seen.sampler == "shuffled":
        lines.append(f"    {counted(most, 'row')} left over after the last full batch, others in each epoch.")
    else:
        train = description.splits["train"]
        lines.append(
            f"    {counted(most, 'row')} of {train:,} left over, since no batch can hold enough rows of each of their "
            f"classes ({', '.join(f'{n:,}' for n in seen.left_over)} in the first {seen.epochs} epochs)."
        )
        if most > FEW * train:
            lines.append(
                '    Name fewer columns under [sampler] columns, take short = "keep" there, or raise train.batch_size.'
            )
    lines += [
        f"    {name!r}: {counted(n, 'row')} of classes too small for the floor, of which nothing is demanded"
        for name, n in seen.without_floor.items()
        if n
    ]
    return lines


def _dependences_text(found: Sequence[Dependence]) -> list[str]:
    lines = ["Columns that are nearly functions of one another (share of the one's entropy that the other tells):"]
    for pair in found:
        both = (
            (pair.a, pair.b, pair.a_tells_b, pair.majority[0]),
            (pair.b, pair.a, pair.b_tells_a, pair.majority[1]),
        )
        told = [
            f"{one!r} tells {share:.0%} of {other!r} (its most frequent value is right for {right:.1%})"
            for one, other, share, right in both
            if share >= NEARLY
        ]
        lines.append(f"    {'; '.join(told)}; normalised mutual information {pair.nmi:.2f}")
    return lines
