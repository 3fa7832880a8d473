"""Transfer: which rows a classifier of few labels is given, and what it makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.errors import RunError
from mscon_paper.transfer import few_of_each, transfer
from report.runs import make_rows, make_run

CODES = st.lists(st.integers(-1, 3), min_size=1, max_size=60).map(np.array)


@given(CODES, st.integers(1, 8), st.integers(0, 50))
def test_each_class_gives_as_many_rows_as_asked_or_all_it_has(codes, number, seed):
    rows = few_of_each(codes, number, seed)
    assert len(set(rows.tolist())) == len(rows)
    assert (codes[rows] >= 0).all()
    for code in range(4):
        assert (codes[rows] == code).sum() == min(number, (codes == code).sum())


@given(CODES, st.integers(1, 8), st.integers(0, 50))
def test_fewer_rows_are_among_more_rows(codes, number, seed):
    assert set(few_of_each(codes, number, seed)) <= set(few_of_each(codes, number + 1, seed))


def test_no_rows_a_class_is_a_mistake():
    with pytest.raises(ValueError, match="1 or more, got 0"):
        few_of_each(np.array([0, 1]), 0, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Features in which the classes of `family` are apart and those of `luck` are nowhere."""
    classes = {"family": ["x", "y", "z"], "luck": ["p", "q"]}
    rows = make_rows(classes, {"train": 150, "validation": 8, "test": 200})
    run = make_run(tmp_path_factory.mktemp("transfer") / "run", rows, train_on=("luck",), ask=("luck", "family"))
    generator = np.random.default_rng(0)
    code = np.array([-1 if v is None else "xyz".index(v) for v in rows["family"]])
    features = generator.normal(size=(rows.height, 6)).astype(np.float32)
    features[np.arange(rows.height), code] += 3.0
    run.write_features(features, run.read_projections())
    transfer(run, ["family", "luck"], (1, 5, 40), draws=4)
    return run


def test_more_labels_help_where_there_is_something_to_learn(run):
    family, luck = run.read_transfer()["curves"]
    means = np.mean(family["accuracy"], axis=1)
    assert means[0] < means[1] < means[2]
    assert means[2] > 0.85
    assert abs(np.mean(luck["accuracy"][2]) - 0.5) < 0.12


def test_what_was_asked_is_kept_with_the_answers(run):
    transferred = run.read_transfer()
    assert transferred["rows_a_class"] == [1, 5, 40]
    assert transferred["draws"] == 4
    family = transferred["curves"][0]
    assert family["train_rows"][:2] == [3.0, 15.0]
    assert [len(a) for a in family["accuracy"]] == [4, 4, 4]


def test_a_column_that_is_not_there_is_named(run):
    with pytest.raises(RunError, match="no label column 'brand'"):
        transfer(run, ["brand"], (1,), draws=1)
