"""Batches: a function of seed and epoch, nothing twice, exact over processes."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mscon.data.batches.sampler import Sampler, check_left_over, count_batches, epoch_batches, part_of, sampler_of
from mscon.errors import RecipeError
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.same_row import SameRow
from mscon.run.recipe import Sampler as Asked

rows = st.integers(0, 60)
sizes = st.integers(1, 20)
flags = st.booleans()
seeds = st.integers(0, 2**32 - 1)


def numbered(n: int) -> torch.Tensor:
    """Row numbers that are not their own positions."""
    return torch.arange(n) * 3 + 100


@given(rows, sizes, seeds, st.integers(0, 50), flags)
def test_every_row_comes_at_most_once_and_all_do_unless_the_rest_is_dropped(n, size, seed, epoch, drop_last):
    batches = epoch_batches(numbered(n), size, seed, epoch, drop_last=drop_last)
    assert len(batches) == count_batches(n, size, drop_last)
    batched = torch.cat([torch.empty(0, dtype=torch.int64), *batches]).tolist()
    assert len(batched) == len(set(batched))
    assert set(batched) <= set(numbered(n).tolist())
    assert n - len(batched) == (n % size if drop_last and n > size else 0)
    full = batches if drop_last else batches[:-1]
    assert all(len(b) == min(size, n) for b in full)


@given(rows, st.integers(1, 7))
def test_the_parts_of_all_processes_are_the_batch_of_one(n, world):
    batch = numbered(n)
    parts = [batch[part_of(n, rank, world)] for rank in range(world)]
    assert torch.equal(torch.cat(parts), batch)
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


def test_other_rows_are_dropped_in_other_epochs():
    dropped = {
        (set(range(10)) - set(torch.cat(list(epoch_batches(torch.arange(10), 9, 0, e))).tolist())).pop()
        for e in range(40)
    }
    assert len(dropped) > 5


def test_a_batch_of_no_rows_is_refused():
    with pytest.raises(ValueError, match="batch_size"):
        epoch_batches(torch.arange(4), 0, seed=0, epoch=0)


ROWS = pl.DataFrame(
    {
        "line": range(2, 62),
        "split": ["test"] * 10 + ["train"] * 50,
        "kind": [f"k{i % 9}" for i in range(60)],
        "mate": [f"m{i // 2}" if i % 7 else None for i in range(60)],
    }
)
SIMILARITIES = (
    *(Categorical.fit(name, ROWS[name][10:].to_list(), list(range(50))) for name in ("kind", "mate")),
    SameRow(),
)
BALANCED = Asked(name="balanced", columns=("mate",))


def sampler_with(**what: object) -> Sampler:
    return sampler_of(replace(BALANCED, **what), ROWS, SIMILARITIES, batch_size=8, seed=3)


def test_a_shuffled_sampler_gives_the_batches_of_the_epoch_and_what_is_left_over():
    sampler = sampler_with(name="shuffled")
    epoch = sampler.epoch(2)
    expected = list(epoch_batches(torch.arange(10, 60), 8, 3, 2))
    assert len(sampler) == len(expected) == 6
    assert all(torch.equal(a, b) for a, b in zip(epoch.batches, expected, strict=True))
    assert sorted(torch.cat([*epoch.batches, epoch.left_over]).tolist()) == list(range(10, 60))
    assert sampler.without_floor() == {}


def test_a_balanced_sampler_keeps_pairs_together():
    sampler = sampler_with()
    epoch = sampler.epoch(1)
    assert len(epoch.batches) == len(sampler) == 9
    assert sorted(torch.cat(list(epoch.batches)).tolist()) == list(range(10, 60)), "rows of the training split only"
    mates = ROWS["mate"].to_list()
    for batch in epoch.batches:
        here = [mates[row] for row in batch.tolist()]
        alone = {name for name in here if name is not None and here.count(name) == 1}
        assert all(mates[10:].count(name) == 1 for name in alone), "only who has no mate in the table"
    assert sampler.without_floor() == {"mate": sum(mates[10:].count(m) == 1 for m in mates[10:] if m)}


def test_all_columns_have_a_floor_unless_some_are_named():
    assert sampler_with(columns=()).columns == ("kind", "mate"), "views of a row are there in any batch"


def test_several_processes_make_the_same_batches():
    """Each makes the whole plan, and takes its part: nothing is exchanged, so nothing may differ."""
    one, other = (sampler_with().epoch(4) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.batches, other.batches, strict=True))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Asked("balanced", 2, ("knd",)), "names 'knd', .* Did you mean 'kind'"),
        (Asked("balanced", 2, ("same_row",)), "no .* that reads a column"),
        (Asked("balanced", 5), "at_least is 5, but a batch has 8 rows. It takes 9"),
    ],
)
def test_floors_that_cannot_be_are_refused(settings, words):
    with pytest.raises(RecipeError, match=words):
        sampler_of(settings, ROWS, SIMILARITIES, batch_size=8)


def test_floors_that_leave_over_most_rows_are_refused_before_training():
    chain = ROWS.with_columns(kind=pl.Series([f"k{(i + 1) // 2}" for i in range(60)]))
    chain = chain.with_columns(mate=pl.Series([f"m{i // 2}" for i in range(60)]))
    similarities = [Categorical.fit(name, chain[name][10:].to_list(), list(range(50))) for name in ("kind", "mate")]
    with pytest.raises(RecipeError, match=r"leave \d+ of 50 rows out of every epoch"):
        check_left_over(sampler_of(Asked("balanced"), chain, similarities, batch_size=8, seed=3))
    check_left_over(sampler_of(Asked("balanced", short="keep"), chain, similarities, batch_size=8, seed=3))
