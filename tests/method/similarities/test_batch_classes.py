"""Which rows count as one class for a balanced batch, for every kind of similarity."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclic import Cyclic
from mscon.method.similarities.base import near_values
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import Continuous
from mscon.method.similarities.hierarchical import Hierarchical
from mscon.method.similarities.multi_label import MultiLabel, shared_label
from mscon.method.similarities.ordinal import Ordinal

calm = settings(deadline=None, derandomize=True)


def classes_of(similarity, cells, at_least=2):
    return similarity.fit("x", cells, list(range(len(cells)))).batch_classes(cells, at_least).tolist()


def test_classes_and_levels_are_themselves_and_a_hierarchy_is_its_finest_level():
    assert classes_of(Categorical, ["b", None, "a", "b"]) == [1, -1, 0, 1]
    assert classes_of(Ordinal, ["3", None, "1", "3.0"]) == [1, -1, 0, 1]
    classes = classes_of(Hierarchical, ["a/x", "a/x", "b/x", "b", None])
    assert classes[0] == classes[1] != classes[2]
    assert classes[3:] == [-1, -1]


def test_rows_of_a_class_share_a_label():
    cells = ["red;round", "red", "round;flat", "flat", "red;flat", None]
    classes = classes_of(MultiLabel, cells)
    labels = sorted({"red", "round", "flat"})
    assert classes[-1] == -1
    for cell, label in zip(cells[:-1], classes[:-1], strict=True):
        assert label == -1 or labels[label] in cell.split(";")


def test_numbers_nearer_than_the_width_are_one_class():
    cells = ["0", "0.1", "0.2", "5", "5.1", None, "9"]
    similarity = Continuous.fit("x", cells, list(range(7)), width=0.5)
    assert similarity.batch_classes(cells, 2).tolist() == [0, 0, 0, 1, 1, -1, 1], "9 joins the nearest there is"


@calm
@given(st.lists(st.floats(-100, 100) | st.just(float("nan")), max_size=40), st.integers(2, 4), st.floats(0, 20))
def test_runs_of_values_have_enough_rows_and_do_not_overlap(values, at_least, width):
    y = np.array(values, dtype=np.float64)
    classes = near_values(y, at_least, width)
    known = np.isfinite(y)
    assert (classes[~known] == -1).all() and (classes[known] >= 0).all()
    runs = [y[classes == run] for run in np.unique(classes[known])]
    assert all(len(run) >= min(at_least, int(known.sum())) for run in runs)
    assert all(a.max() < b.min() for a, b in pairwise(runs))


@calm
@given(st.integers(0, 1_000), st.integers(1, 40), st.integers(1, 6), st.integers(1, 4))
def test_a_label_is_chosen_by_enough_rows_that_have_it(seed, rows, labels, at_least):
    has = np.random.default_rng(seed).random((rows, labels)) < 0.3
    classes = shared_label(has, at_least)
    for label in np.unique(classes[classes >= 0]):
        assert (classes == label).sum() >= at_least
        assert has[classes == label, label].all()
    spare = has[classes < 0].sum(axis=0)
    assert (spare < at_least).all(), "rows that could have chosen a label together did not"


class Initials(Categorical):
    """A kind of one's own whose codes join several texts, and which says nothing of its targets."""

    target_kind = "nothing"

    def encode(self, cells):
        return super().encode([cell and cell[0] for cell in cells])


def test_of_a_kind_of_ones_own_numbers_form_runs_and_else_equal_codes_are_a_class():
    assert classes_of(Cyclic, ["1", "23", "2", "22", None]) == [0, 1, 0, 1, -1]
    assert Initials("x", ("a", "b")).batch_classes(["anna", "ben", "ada", None], 2).tolist() == [1, 2, 1, -1]
