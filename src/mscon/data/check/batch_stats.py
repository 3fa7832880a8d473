"""What the batches of the first epochs will contain, made by the sampler that training uses; and what would help."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, lgamma

import polars as pl
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from mscon.data.batches.sampler import Sampler, sampler_of
from mscon.data.check.label_summary import CheckedColumn
from mscon.data.table.cell_text import number_text
from mscon.errors import counted
from mscon.method.similarities.base import Similarity
from mscon.run import recipe as recipes

# Share of the training rows that a sampler may leave over before it is advised against.
FEW = 0.05

# Epochs looked at, batches of each at most, and anchors compared in each where pairs must be.
_EPOCHS = 3
_BATCHES = 100
_ANCHORS = 256
# What counts as alike where nearly all rows are a little, see `Similarity.half_counts`.
_HALF = 0.5
# Share of the labelled rows that have another that is alike; advice is given below it.
_ENOUGH = 0.9


@dataclass(frozen=True, slots=True)
class BatchStats:
    """What is in the batches of an epoch, the mean over some epochs.

    Attributes:
        sampler: "shuffled" or "balanced".
        batches: of an epoch.
        smallest, largest: rows of a batch.
        epochs: that were looked at.
        left_over: rows in no batch, of each of these epochs.
        without_floor: for each column with a floor labelled rows of classes too small for it.
        alike: for each similarity the share of rows that have another row in their batch that is alike, see
            `Similarity.half_counts`.
    """

    sampler: str
    batches: int
    smallest: int
    largest: int
    epochs: int
    left_over: tuple[int, ...]
    without_floor: Mapping[str, int]
    alike: Mapping[str, float]

    def to_text(self, train_rows: int) -> list[str]:
        """Lines for a terminal."""
        size = f"{self.largest:,}" if self.smallest == self.largest else f"{self.smallest:,} to {self.largest:,}"
        batches = f"{self.batches:,} {self.sampler} {'batch' if self.batches == 1 else 'batches'}"
        lines = [f"An epoch has {batches} of {size} rows."]
        most = max(self.left_over)
        if not most:
            lines.append("    Every training row comes once.")
        elif self.sampler == "shuffled":
            lines.append(f"    {counted(most, 'row')} left over after the last full batch, others in each epoch.")
        else:
            lines.append(
                f"    {counted(most, 'row')} of {train_rows:,} left over, since no batch can hold enough rows of each "
                f"of their classes ({', '.join(f'{n:,}' for n in self.left_over)} in the first {self.epochs} epochs)."
            )
            if most > FEW * train_rows:
                lines.append(
                    '    Name fewer columns under [sampler] columns, take short = "keep" there, or raise '
                    "train.batch_size."
                )
        return lines + [
            f"    {name!r}: {counted(n, 'row')} in classes of fewer rows than at_least, which the sampler ignores"
            for name, n in self.without_floor.items()
            if n
        ]


def batch_stats(
    sampler: Sampler, similarities: Sequence[Similarity], codes: Sequence[Shaped[Tensor, "rows ..."]]
) -> BatchStats:
    """Statistics of the first epochs of a sampler. Classes are counted; for other similarities some rows are compared.

    Args:
        sampler: of the rows that `codes` has.
        similarities: fitted; those that read no column are left out.
        codes: of each of them the codes of all rows.
    """
    alike = dict.fromkeys((s.column for s in similarities if s.columns), 0)
    anchors = dict.fromkeys(alike, 0)
    sizes, left_over = [], []
    for number in range(1, _EPOCHS + 1):
        epoch = sampler.epoch(number)
        left_over.append(epoch.left_over.numel())
        sizes += [batch.numel() for batch in epoch.batches]
        for batch in epoch.batches[:: -(-len(epoch.batches) // _BATCHES) or 1]:
            for similarity, labels in zip(similarities, codes, strict=True):
                if similarity.columns and batch.numel():
                    with_alike = has_alike(similarity, labels, batch)
                    alike[similarity.column] += int(with_alike.sum())
                    anchors[similarity.column] += with_alike.numel()
    return BatchStats(
        sampler="shuffled" if sampler.floors is None else "balanced",
        batches=len(sampler),
        smallest=min(sizes, default=0),
        largest=max(sizes, default=0),
        epochs=_EPOCHS,
        left_over=tuple(left_over),
        without_floor=sampler.without_floor(),
        alike={name: alike[name] / max(anchors[name], 1) for name in alike},
    )


def has_alike(
    similarity: Similarity, codes: Shaped[Tensor, "rows ..."], batch: Int64[Tensor, " batch"]
) -> Bool[Tensor, " anchors"]:
    """Which rows of a batch have another row there that is alike; some rows if pairs must be compared.

    Args:
        similarity: that reads a column.
        codes: of all rows.
        batch: numbers of rows.
    """
    if similarity.is_partition:
        labels = codes[batch]
        _, place, counts = torch.unique(labels, return_inverse=True, return_counts=True)
        return (counts[place] > 1) & (labels >= 0)
    anchors = batch[:_ANCHORS]
    pairs = similarity.compare(codes[anchors], codes[batch])
    near = pairs.weight >= _HALF if similarity.half_counts else pairs.weight > 0
    return (near & pairs.known & (anchors[:, None] != batch[None, :])).any(dim=1)


def alike_share(counts: Sequence[int], rows: int, batch_size: int) -> float:
    """Expected share of a batch's rows with another row of their class in it; exact.

    The other rows of an anchor's batch are `batch_size` - 1 of the `rows` - 1, drawn without replacement, and n - 1
    of these are of its class: hypergeometric.

    Args:
        counts: rows of each class; their sum may be less than `rows`, the rest has no label.
        rows: rows that batches are drawn from.
        batch_size: rows of a batch, at most `rows`.
    """
    if not 1 <= batch_size <= rows:
        raise ValueError(f"batch_size must be from 1 to the number of rows {rows}, got {batch_size}.")
    others = batch_size - 1

    def alone(n: int) -> float:
        if rows - n < others:
            return 0.0
        return exp(_log_choose(rows - n, others) - _log_choose(rows - 1, others))

    return sum((n / rows * (1.0 - alone(n)) for n in counts), 0.0)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def class_sizes(codes: Int64[Tensor, " rows"]) -> list[int]:
    """Rows of each class, of a similarity that is a partition."""
    return torch.unique(codes[codes >= 0], return_counts=True)[1].tolist()


@dataclass(frozen=True, slots=True, eq=False)
class Batching:
    """The training rows, and how a recipe makes batches of them.

    Attributes:
        rows: of all splits.
        similarities: fitted.
        codes: of each of them the codes of all rows.
        settings: the sampler.
        batch_size: as the recipe says.
        seed: of all epochs.
    """

    rows: pl.DataFrame
    similarities: Sequence[Similarity]
    codes: Sequence[Tensor]
    settings: recipes.Sampler
    batch_size: int
    seed: int

    @property
    def train(self) -> Bool[Tensor, " rows"]:
        """Which rows are training rows."""
        return torch.tensor((self.rows.get_column("split") == "train").to_list())

    def stats(self, settings: recipes.Sampler | None = None) -> BatchStats:
        """What its batches hold, or those of another sampler."""
        sampler = sampler_of(
            settings or self.settings, self.rows, self.similarities, batch_size=self.batch_size, seed=self.seed
        )
        return batch_stats(sampler, self.similarities, self.codes)

    def advised(self, columns: Sequence[CheckedColumn]) -> list[CheckedColumn]:
        """The columns of the similarities, with advice for those of which few rows have another that is alike."""
        low = {c.name for c in columns if c.alike_share is not None and c.reads and _share_of_labelled(c) < _ENOUGH}
        if not low:
            return list(columns)
        balanced = self._balanced(low)
        return [
            dataclasses.replace(column, advice=tuple(self._advice(column, number, balanced)))
            if column.name in low
            else column
            for number, column in enumerate(columns)
        ]

    def _balanced(self, low: Collection[str]) -> tuple[str, BatchStats] | None:
        """The statistics of a balanced sampler of these columns, and its setting; None if it is used already."""
        least = recipes.Sampler().at_least
        if self.batch_size < 2 * least - 1:
            return None
        names = tuple(name for s in self.similarities if (name := s.column) in low or name in self.settings.columns)
        if (self.settings.name, self.settings.at_least, self.settings.columns) == ("balanced", least, names):
            return None
        text = f'[sampler] name = "balanced", columns = [{", ".join(chr(34) + name + chr(34) for name in names)}]'
        if self.settings.at_least != least:
            text += f", at_least = {least}"
        strict = self.stats(recipes.Sampler(name="balanced", columns=names))
        if strict.left_over[0] <= FEW * int(self.train.sum()):
            return text, strict
        return f'{text}, short = "keep"', self.stats(recipes.Sampler(name="balanced", columns=names, short="keep"))

    def _advice(self, column: CheckedColumn, number: int, balanced: tuple[str, BatchStats] | None) -> list[str]:
        tips = list(self._tips(column, number, balanced))
        few = f"that is {_share_of_labelled(column):.1%} of those with a value, which is low."
        return [f"{few} What would help:", *tips] if tips else [few]

    def _tips(self, column: CheckedColumn, number: int, balanced: tuple[str, BatchStats] | None) -> Iterator[str]:
        train = int(self.train.sum())
        known, size, share_now = 1 - column.missing_share, min(self.batch_size, train), _share_of_labelled(column)
        if self.similarities[number].is_partition and self.settings.name == "shuffled":
            counts = class_sizes(self.codes[number][self.train])
            larger = size
            while larger < train and alike_share(counts, train, larger) / known < _ENOUGH:
                larger = min(2 * larger, train)
            if (share := alike_share(counts, train, larger) / known) > share_now + 0.01:
                yield f"  train.batch_size = {larger}: {share:.1%} of them"
            if single := sum(n == 1 for n in counts):
                yield f"  ({counted(single, 'row')} alone in a class have no alike row in any batch)"
        elif size < train:
            yield f"  a larger train.batch_size (it is {self.batch_size})"
        if balanced is not None:
            text, stats = balanced
            if (share := stats.alike[column.name] / known) > share_now + 0.01:
                left = f"; {counted(stats.left_over[0], 'row')} left over" if stats.left_over[0] else ""
                yield f"  {text}: {min(share, 1.0):.1%} of them{left}"
        if (width := self.similarities[number].alike_within) is not None:
            yield f"  a larger width (it is {number_text(width, 3)}), such as {number_text(2 * width, 3)}"


def _share_of_labelled(column: CheckedColumn) -> float:
    """Share of the labelled rows that have another row in their batch that is alike."""
    return (column.alike_share or 0.0) / (1 - column.missing_share) if column.missing_share < 1 else 1.0
