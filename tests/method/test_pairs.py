"""Pairs: counting without looking at pairs equals counting them."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from batches import namings
from mscon.method.kernels.counts import count
from mscon.method.pairs import LazyPairs, Pairs, renumbered
from mscon.method.similarities.categorical import same_class

labels = st.lists(st.integers(-1, 3), min_size=1, max_size=12)


def lazy(
    anchors: list[int], candidates: list[int], anchor_ids: list[int], candidate_ids: list[int], partition: bool
) -> LazyPairs:
    codes = [torch.tensor(v, dtype=torch.int64) for v in (anchors, candidates, anchor_ids, candidate_ids)]
    return LazyPairs(same_class, *codes, is_partition=partition)


@given(labels, labels, namings, st.data())
def test_classes_of_any_name_are_counted_as_pairs_are(anchors, candidates, naming, data):
    ids = [data.draw(st.lists(st.integers(0, 5), min_size=len(v), max_size=len(v))) for v in (anchors, candidates)]
    named = [naming(torch.tensor(v)) for v in (anchors, candidates, *ids)]
    by_class = count(LazyPairs(same_class, *named, is_partition=True))
    by_pair = count(lazy(anchors, candidates, *ids, partition=False))
    for name in ("positives", "known", "floor", "ceiling"):
        torch.testing.assert_close(getattr(by_class, name), getattr(by_pair, name))


@given(labels)
def test_a_block_of_the_lazy_pairs_is_that_block_of_all_of_them(codes):
    ids = list(range(len(codes)))
    pairs = lazy(codes, codes, ids, ids, partition=True)
    whole = pairs.dense()
    for i in range(len(codes)):
        part = pairs.block(slice(i, i + 2), slice(0, i + 1))
        assert torch.equal(part.weight, whole.weight[i : i + 2, : i + 1])
        assert torch.equal(part.known, whole.known[i : i + 2, : i + 1])


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_renumbered_codes_keep_order_sign_and_who_is_equal(anchors, candidates):
    a, c, count = renumbered(*(torch.tensor(v, dtype=torch.int64) for v in (anchors, candidates)))
    names = sorted({*anchors, *candidates})
    numbers = {name: place - sum(n < 0 for n in names) for place, name in enumerate(names)}
    assert (a.tolist(), c.tolist()) == ([numbers[v] for v in anchors], [numbers[v] for v in candidates])
    assert count == sum(n >= 0 for n in names)


def test_a_sample_is_never_its_own_candidate():
    pairs = lazy([0, 0, 1], [0, 0, 1], [0, 1, 2], [0, 1, 2], partition=True)
    assert not pairs.dense().known.diagonal().any()
    assert count(pairs).positives.tolist() == [1, 1, 0]


def test_ids_of_rows_leave_out_all_views_of_the_own_row():
    pairs = lazy([0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 0, 1], partition=True)
    assert count(pairs).known.tolist() == [2, 2, 2, 2]


def test_a_missing_label_makes_its_pairs_unknown_not_negative():
    pairs = lazy([0, -1, 0], [0, -1, 0], [0, 1, 2], [0, 1, 2], partition=True).dense()
    assert not pairs.known[1].any()
    assert not pairs.known[:, 1].any()


def test_floor_and_ceiling_are_logs_of_positives_and_of_candidates():
    counts = count(lazy([0, 0, 0, 1], [0, 0, 0, 1], [0, 1, 2, 3], [0, 1, 2, 3], partition=True))
    assert counts.floor.tolist() == [torch.tensor(2.0).log().item()] * 3 + [0.0]
    torch.testing.assert_close(counts.ceiling, torch.full((4,), math.log(3)))


def test_the_floor_of_graded_weights_is_their_entropy():
    weight = torch.tensor([[0.5, 0.25, 0.25, 0.9]])
    known = torch.tensor([[True, True, True, False]])
    torch.testing.assert_close(count(Pairs(weight, known)).floor, torch.tensor([1.5 * math.log(2)]))


def test_counting_nothing_gives_nothing():
    empty = torch.zeros(0, dtype=torch.int64)
    for partition in (True, False):
        counts = count(LazyPairs(same_class, empty, empty, empty, empty, partition))
        assert counts.floor.shape == (0,)


def test_counting_in_blocks_covers_every_anchor():
    codes = torch.arange(2_500) % 7
    ids = torch.arange(2_500)
    graded = count(LazyPairs(same_class, codes, codes, ids, ids, is_partition=False))
    classes = count(LazyPairs(same_class, codes, codes, ids, ids, is_partition=True))
    torch.testing.assert_close(graded.positives, classes.positives)


def test_labels_may_be_any_numbers():
    """Article or customer numbers are labels too: nothing may be allocated by their size."""
    codes = torch.tensor([2**62, 7, 2**62, 7, 2**40])
    ids = torch.tensor([2**61, 1, 2, 3, 2**50])
    assert count(LazyPairs(same_class, codes, codes, ids, ids, is_partition=True)).positives.tolist() == [1, 1, 1, 1, 0]
