"""The rows of each batch: a function of seed and epoch alone, so that a resumed run sees the same batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import polars as pl
import torch
from jaxtyping import Float32, Int, Int64
from torch import Tensor

from mscon.data.batches.dataset import cells_of
from mscon.data.batches.m_per_class import balanced_plan, count_balanced, demanded
from mscon.errors import RecipeError, counted, nearest
from mscon.method.similarities.base import Similarity
from mscon.run import recipe as recipes


@dataclass(frozen=True, slots=True, eq=False)
class Epoch:
    """The batches of one epoch, and what is in none of them.

    Attributes:
        batches: numbers of rows; no row is in two, or twice in one. A balanced batch may be empty.
        left_over: numbers of the rows that are in none.
    """

    batches: tuple[Int64[Tensor, " _"], ...]
    left_over: Int64[Tensor, " left_over"]


@dataclass(frozen=True, slots=True, eq=False)
class Sampler:
    """Makes the batches of every epoch, a function of the seed and the number of the epoch.

    Attributes:
        indices: numbers of the rows to go through.
        batch_size: most rows of a batch, over all processes together.
        seed: of all epochs.
        floors: for each column with a floor a class number a row of `indices`, -1 where nothing is demanded; None for
            batches by chance.
        at_least: the floor.
        columns: names of the columns with a floor.
        keep_short: keep rows for which a floor cannot hold.
    """

    indices: Int64[Tensor, " rows"]
    batch_size: int
    seed: int
    floors: Int[np.ndarray, "columns rows"] | None = None
    at_least: int = 2
    columns: tuple[str, ...] = ()
    keep_short: bool = False

    def __len__(self) -> int:
        """Batches of an epoch, the same in all of them."""
        rows = self.indices.numel()
        if self.floors is None:
            return count_batches(rows, self.batch_size)
        return count_balanced(rows, self.batch_size, self.at_least)

    def epoch(self, number: int) -> Epoch:
        """The batches of an epoch. Of several processes each takes its `part_of` every one of them.

        By chance: full batches, and as many rows as are left over after the last full one. Balanced: see
        `balanced_plan`.
        """
        if self.floors is None:
            batches = epoch_batches(self.indices, self.batch_size, self.seed, number)
            batched = torch.cat(batches) if batches else self.indices[:0]
            return Epoch(batches, self.indices[~torch.isin(self.indices, batched)])
        plan = balanced_plan(self.floors, self.batch_size, self.at_least, self.seed, number, keep_short=self.keep_short)
        return Epoch(
            tuple(self.indices[torch.from_numpy(batch)] for batch in plan.batches),
            self.indices[torch.from_numpy(plan.left_over)],
        )

    def without_floor(self) -> dict[str, int]:
        """For each column with a floor, the number of labelled rows in classes that are too small for it."""
        if self.floors is None:
            return {}
        lost = (self.floors >= 0) & (demanded(self.floors, self.at_least) < 0)
        return dict(zip(self.columns, lost.sum(axis=1).tolist(), strict=True))


def sampler_of(
    settings: recipes.Sampler,
    rows: pl.DataFrame,
    similarities: Sequence[Similarity],
    indices: Int64[Tensor, " rows"] | None = None,
    *,
    batch_size: int,
    seed: int = 0,
    label_weights: Float32[Tensor, "similarities all"] | None = None,
) -> Sampler:
    """The sampler of the training rows that [sampler] of a recipe describes.

    Args:
        settings: by chance, or balanced, and how.
        rows: all rows of the run.
        similarities: fitted.
        indices: what an epoch goes through if it is not rows, such as numbers of triplets.
        batch_size: most rows of a batch, over all processes together.
        seed: of all epochs.
        label_weights: see `Dataset`; labels of weight 0 are missing.

    Raises:
        RecipeError: if a floor is asked for a column that is no similarity, or of batches that cannot hold it.
    """
    if indices is None:
        indices = torch.from_numpy((rows.get_column("split") == "train").arg_true().to_numpy().astype("int64"))
    if settings.name == "shuffled":
        return Sampler(indices, batch_size, seed)
    floored = {
        number: s
        for number, s in enumerate(similarities)
        if s.columns and (not settings.columns or s.column in settings.columns)
    }
    known = [s.column for s in similarities if s.columns]
    complaints = [
        f"[sampler] columns names '{name}', which is no [[similarity]] that reads a column.{nearest(name, known)}"
        for name in settings.columns
        if name not in known
    ]
    if batch_size < 2 * settings.at_least - 1:
        complaints.append(
            f"[sampler] at_least is {settings.at_least}, but a batch has {counted(batch_size, 'row')}. It takes "
            f"{2 * settings.at_least - 1} or more: set a larger train.batch_size."
        )
    if not known:
        complaints.append("[sampler] name 'balanced' needs a similarity that reads a column; there is none.")
    if complaints:
        raise RecipeError("\n".join(complaints))
    train = rows[indices.numpy()]
    floors = []
    for number, s in floored.items():
        cells = cells_of(train, s.columns)
        if label_weights is not None:
            is_used = (label_weights[number, indices] > 0).tolist()
            cells = [cell if used else None for cell, used in zip(cells, is_used, strict=True)]
        floors.append(s.batch_classes(cells, settings.at_least))
    names = tuple(s.column for s in floored.values())
    return Sampler(indices, batch_size, seed, np.stack(floors), settings.at_least, names, settings.short == "keep")


def check_left_over(sampler: Sampler) -> None:
    """Refuse a balanced sampler that leaves out more than half of the rows.

    Raises:
        RecipeError: with how many, and what to do.
    """
    if sampler.floors is None:
        return
    left, rows = sampler.epoch(1).left_over.numel(), sampler.indices.numel()
    if 2 * left > rows:
        raise RecipeError(
            f"[sampler] name 'balanced' would leave {left:,} of {counted(rows, 'row')} out of every epoch: no batch of "
            f"{sampler.batch_size} can hold {sampler.at_least} rows of each class in all of "
            f"{', '.join(sampler.columns)}.\n  Name fewer of them under [sampler] columns, set a larger "
            'train.batch_size, or short = "keep" under [sampler], which keeps such rows.'
        )


def count_batches(rows: int, batch_size: int, drop_last: bool = True) -> int:
    """How many batches `epoch_batches` makes of so many rows."""
    if rows <= batch_size:
        return min(rows, 1)
    return rows // batch_size if drop_last else -(-rows // batch_size)


def epoch_batches(
    indices: Int64[Tensor, " rows"], batch_size: int, seed: int, epoch: int, *, drop_last: bool = True
) -> tuple[Int64[Tensor, " batch"], ...]:
    """The batches of one epoch, in an order by chance. Every row comes at most once.

    Args:
        indices: the rows to go through.
        batch_size: rows of a batch, over all processes together. Of fewer rows one batch of all is made.
        seed, epoch: the order depends on these two and nothing else; to resume in the middle of an
            epoch, skip the batches that are done.
        drop_last: leave out the rows after the last full batch, which are others in each epoch.

    Raises:
        ValueError: if the size of a batch is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    rows = indices.numel()
    order = indices[torch.randperm(rows, generator=_generator(seed, epoch))]
    starts = (number * batch_size for number in range(count_batches(rows, batch_size, drop_last)))
    return tuple(order[start : start + batch_size] for start in starts)


def part_of(count: int, rank: int, world: int) -> slice:
    """The part of a batch of so many rows that a process has.

    Parts of all processes, one after the other, are the batch that a single process gets. They differ by at most one
    row, and may be empty if a batch has fewer rows than there are processes.

    Args:
        rank, world: this process's number, and how many there are.
    """
    each, more = divmod(count, world)
    begin = rank * each + min(rank, more)
    return slice(begin, begin + each + (rank < more))


def _generator(seed: int, epoch: int) -> torch.Generator:
    # Hashed and not added: seed 0 in epoch 1 must not be seed 1 in epoch 0.
    mixed = blake2b(f"{seed}/{epoch}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(mixed, "big"))
