from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batches import Naming, namings
from mscon.method.kernels import counts
from mscon.method.kernels.counts import count, count_each
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

LABELS = st.lists(st.lists(st.integers(-1, 3), min_size=5, max_size=5), min_size=1, max_size=3)


@given(LABELS, st.lists(st.integers(0, 2), min_size=5, max_size=5), st.booleans(), namings)
@settings(deadline=None, derandomize=True)
def test_several_similarities_count_as_each_alone(
    labels: list[list[int]], ids: list[int], apart: bool, naming: Naming
) -> None:
    """Of classes and ids by any names together, and by small numbers alone."""

    def pairs(naming: Naming) -> list[LazyPairs]:
        rows = naming(torch.tensor(ids))
        columns = [naming(torch.tensor(column)) for column in labels]
        return [
            LazyPairs(same_class, c, c.flip(0)[:4], rows, rows[:4], is_partition=True)
            if apart
            else LazyPairs(same_class, c, c, rows, rows, is_partition=True)
            for c in columns
        ]

    together = count_each(pairs(naming))
    for h, pair in enumerate(pairs(torch.clone)):
        alone = count(pair)
        for field in alone._fields:
            torch.testing.assert_close(getattr(together, field)[h], getattr(alone, field))


def test_many_pairs_are_counted_without_writing_them(monkeypatch) -> None:
    monkeypatch.setattr(counts, "MOST_COUNTED", 0)
    monkeypatch.setattr(counts, "pair_masks", None)  # calling it would fail
    codes, rows = torch.tensor([0, 0, 1]), torch.arange(3)
    pair = LazyPairs(same_class, codes, codes, rows, rows, is_partition=True)
    assert count_each([pair, pair]).positives.tolist() == [[1, 1, 0], [1, 1, 0]]
