"""What batches will hold: shares that are exact."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mscon.data.check.batch_stats import alike_share


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 4), max_size=3), st.integers(0, 2), st.data())
def test_the_share_of_anchors_with_an_alike_row_is_that_of_all_batches(counts, unlabelled, data):
    labels = [k for k, n in enumerate(counts) for _ in range(n)] + [-1 - i for i in range(unlabelled)]
    if not labels:
        return
    size = data.draw(st.integers(1, len(labels)))
    shares = [sum(k >= 0 and batch.count(k) > 1 for k in batch) / size for batch in combinations(labels, size)]
    assert alike_share(counts, len(labels), size) == pytest.approx(sum(shares) / len(shares), abs=1e-9)


def test_large_tables_do_not_overflow():
    assert alike_share([10**6] * 2, 2 * 10**6, 4096) == pytest.approx(1.0)
    assert alike_share([1] * 10**4, 10**4, 64) == 0.0


@pytest.mark.parametrize("size", [0, 4])
def test_a_batch_is_no_larger_than_the_table(size):
    with pytest.raises(ValueError, match="batch_size"):
        alike_share([3], 3, size)
