"""Which rows make which batch: a function of seed and epoch alone, so that resuming changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import torch
from jaxtyping import Int64
from torch import Tensor


def count_batches(rows: int, batch_size: int, drop_last: bool = True) -> int:
    """How many batches `epoch_batches` makes of so many rows."""
    if rows <= batch_size:
        return min(rows, 1)
    return rows // batch_size if drop_last else -(-rows // batch_size)


def epoch_batches(
    indices: Int64[Tensor, " rows"],
    batch_size: int,
    seed: int,
    epoch: int,
    *,
    shuffle: bool = True,
    drop_last: bool = True,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Int64[Tensor, " batch"]]:
    """The batches of one epoch. Every row comes at most once.

    Args:
        indices: the rows to go through.
        batch_size: rows of a batch, over all processes together. Of fewer rows one batch of all is made.
        seed, epoch: the order depends on these two and nothing else; to resume in the middle of an
            epoch, skip the batches that are done.
        shuffle: in an order by chance; else as given.
        drop_last: leave out the rows after the last full batch; by chance they are others each epoch.
        rank, world: this process's number and how many there are. All get as many batches, and their parts of a
            batch, one after the other, are the batch that a single process gets. Parts differ by at most
            one row, and may be empty if a batch has fewer rows than there are processes.

    Raises:
        ValueError: if a number is out of range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if not 0 <= rank < world:
        raise ValueError(f"rank must be from 0 to world - 1 = {world - 1}, got {rank}.")
    return _batches(indices, batch_size, seed, epoch, shuffle, drop_last, rank, world)


def part_of(count: int, rank: int, world: int) -> slice:
    """The part of a batch of so many rows that a process has, see `epoch_batches`."""
    each, more = divmod(count, world)
    begin = rank * each + min(rank, more)
    return slice(begin, begin + each + (rank < more))


def _batches(
    indices: Int64[Tensor, " rows"],
    batch_size: int,
    seed: int,
    epoch: int,
    shuffle: bool,
    drop_last: bool,
    rank: int,
    world: int,
) -> Iterator[Int64[Tensor, " batch"]]:
    rows = indices.numel()
    if shuffle:
        indices = indices[torch.randperm(rows, generator=_generator(seed, epoch))]
    for number in range(count_batches(rows, batch_size, drop_last)):
        batch = indices[number * batch_size : (number + 1) * batch_size]
        yield batch[part_of(batch.numel(), rank, world)]


def _generator(seed: int, epoch: int) -> torch.Generator:
    # Hashed and not added: seed 0 in epoch 1 must not be seed 1 in epoch 0.
    mixed = blake2b(f"{seed}/{epoch}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(mixed, "big"))
