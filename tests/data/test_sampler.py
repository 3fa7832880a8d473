"""Batches: a function of seed and epoch, nothing twice, exact over processes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mscon.data.sampler import count_batches, epoch_batches, part_of

rows = st.integers(0, 60)
sizes = st.integers(1, 20)
flags = st.booleans()
seeds = st.integers(0, 2**32 - 1)


def numbered(n: int) -> torch.Tensor:
    """Row numbers that are not their own positions."""
    return torch.arange(n) * 3 + 100


@given(rows, sizes, seeds, st.integers(0, 50), flags, flags)
def test_every_row_comes_at_most_once_and_all_do_unless_the_rest_is_dropped(n, size, seed, epoch, shuffle, drop_last):
    batches = list(epoch_batches(numbered(n), size, seed, epoch, shuffle=shuffle, drop_last=drop_last))
    assert len(batches) == count_batches(n, size, drop_last)
    seen = torch.cat([torch.empty(0, dtype=torch.int64), *batches]).tolist()
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(numbered(n).tolist())
    assert n - len(seen) == (n % size if drop_last and n > size else 0)
    full = batches if drop_last else batches[:-1]
    assert all(len(b) == min(size, n) for b in full)


@given(rows, sizes, seeds, st.integers(1, 7), flags)
def test_the_parts_of_all_processes_are_the_batch_of_one(n, size, seed, world, drop_last):
    whole = list(epoch_batches(numbered(n), size, seed, 2, drop_last=drop_last))
    ranks = [
        list(epoch_batches(numbered(n), size, seed, 2, drop_last=drop_last, rank=r, world=world)) for r in range(world)
    ]
    assert all(len(parts) == len(whole) for parts in ranks)
    for number, batch in enumerate(whole):
        parts = [r[number] for r in ranks]
        assert torch.equal(torch.cat(parts), batch)
        assert all(torch.equal(parts[r], batch[part_of(len(batch), r, world)]) for r in range(world))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_an_epoch_depends_on_seed_and_epoch_only():
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(list(epoch_batches(torch.arange(50), 10, seed, epoch))).tolist()

    first = order(0, 1)
    torch.manual_seed(123)
    torch.rand(7)
    assert order(0, 1) == first
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(epoch_batches(torch.arange(9), 3, 0, 0))
    assert torch.equal(torch.rand(3), expected)


def test_without_shuffling_the_order_stays():
    batches = epoch_batches(numbered(5), 2, 0, 0, shuffle=False, drop_last=False)
    assert [b.tolist() for b in batches] == [[100, 103], [106, 109], [112]]


def test_other_rows_are_dropped_in_other_epochs():
    dropped = {
        (set(range(10)) - set(torch.cat(list(epoch_batches(torch.arange(10), 9, 0, e))).tolist())).pop()
        for e in range(40)
    }
    assert len(dropped) > 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2, "rank": 2, "world": 2}, "rank"),
        ({"batch_size": 2, "world": 0}, "rank"),
    ],
)
def test_numbers_out_of_range_are_refused_before_the_first_batch(arguments, words):
    with pytest.raises(ValueError, match=words):
        epoch_batches(torch.arange(4), seed=0, epoch=0, **arguments)
