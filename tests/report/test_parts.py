"""Parts of the page that are numbers before they are pictures."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.evaluate.report.citations import bibtex
from mscon.evaluate.report.confusion import MOST_CLASSES, confusion
from mscon.evaluate.report.curves import series, thin
from mscon.evaluate.report.gather import gather
from mscon.evaluate.report.neighbours import grid, nearest, thumbnail
from mscon.evaluate.report.similarities import in_words, learnt

# Curves ---------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50), st.integers(1, 10))
def test_bins_keep_the_mean(values, bins):
    steps = np.arange(1.0, len(values) + 1)
    edges = np.linspace(0, steps[-1], bins + 1)
    x, y = thin(steps, np.array(values), edges)
    count = np.bincount(np.digitize(steps, edges[1:-1], right=True), minlength=bins)
    assert np.nansum(y * count) == pytest.approx(sum(values), abs=1e-9)
    assert (np.diff(x[~np.isnan(x)]) > 0).all()
    if bins == len(values):
        assert y.tolist() == values, "as many bins as records keep every record"


def test_a_similarity_absent_from_a_batch_leaves_a_gap_and_no_zero():
    log = [
        {"kind": "step", "step": 1, "loss": {"a": 2.0}},
        {"kind": "step", "step": 2, "loss": {"a": None}},
        {"kind": "validation", "step": 2, "loss": {"a": 9.0}},
        {"kind": "step", "step": 3, "loss": {"b": 7.0}},
        {"kind": "step", "step": 4},
        {"kind": "step", "step": 5, "loss": {"a": 4.0}},
    ]
    steps, values = series(log, "step", "loss", "a")
    assert steps.tolist() == [1, 5]
    assert values.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("excess", "validation", "words"),
    [
        (0.5, 0.05, "Learnt"),
        (0.05, None, "Learnt"),
        (0.05, 0.95, "Hardly better than chance.*memorised"),
        (0.3, 0.3, "Mostly learnt"),
        (0.7, None, "Partly learnt"),
        (None, None, "Nothing was logged"),
    ],
)
def test_the_words_follow_the_validation_rows(excess, validation, words):
    assert re.match(words, in_words(excess, validation))


def test_the_end_of_training_is_a_mean_over_seeds(a_run):
    methods = gather([a_run("a"), a_run("b", seed=1)]).methods
    told = {record.column: record for record in learnt(methods)}
    ends = [series(m.run.read_log(), "step", "loss", "slant")[1][-2:].mean() for m in methods[0].members]
    assert told["slant"].loss == pytest.approx(np.mean(ends))
    assert told["slant"].share == pytest.approx(0.97)


# Neighbours -----------------------------------------------------------------------------------------


def test_the_nearest_are_by_angle_and_never_the_row_itself():
    vectors = np.array([[1, 0], [2, 0.1], [0, 5], [-1, 0], [0.9, 0.2]], dtype=np.float32)
    rows, cosines = nearest(vectors, np.array([0, 2]), np.arange(5), count=3)
    assert rows.tolist() == [[1, 4, 2], [4, 1, 0]]
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert cosines[0, 2] == pytest.approx(0)


def test_a_query_finds_only_rows_of_the_gallery():
    vectors = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    gallery = np.array([3, 7, 11, 20])
    rows, _ = nearest(vectors, np.array([7]), gallery, count=6)
    assert sorted(rows[0].tolist()) == [3, 11, 20]


def test_agreement_is_told_by_the_labels_of_the_table(a_run, rows):
    gathered = gather([a_run("a")])
    told = grid(gathered.methods[0].members[0], rows, gathered.labels)
    assert "does not say where its images are" in told.without_pictures
    for query in told.queries:
        assert rows["split"][query.row] == "test"
        assert [answer.by for answer in query.answers] == ["features", "character", "slant"]
        for answer in query.answers[1:]:
            for near in answer.nearest:
                mine, theirs = rows[answer.by][query.row], rows[answer.by][near.row]
                assert near.word == ("unknown" if None in (mine, theirs) else "same" if mine == theirs else "different")
                assert rows["split"][near.row] in ("test", "unseen")


@pytest.mark.parametrize(
    ("shape", "kind"), [((1, 24, 24), "png"), ((3, 24, 24), "png"), ((3, 224, 224), "jpeg"), ((1, 112, 112), "jpeg")]
)
def test_a_thumbnail_is_small(shape, kind):
    image = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    uri = thumbnail(image)
    assert uri.startswith(f"data:image/{kind};base64,")
    assert len(uri) < 16_000


# Confusions -----------------------------------------------------------------------------------------


def test_confusions_are_shares_of_the_true_class_and_mistakes_come_by_frequency():
    told = confusion("c", ["a", "b", "empty"], np.array([[6, 2, 0], [5, 5, 0], [0, 0, 0]]))
    assert told.table[0][1].share == pytest.approx(0.25)
    assert [(m.true, m.predicted, m.rows) for m in told.mistakes] == [("b", "a", 5), ("a", "b", 2)]
    assert told.table[2][0].share == 0
    assert {entry.shade for row in told.table for entry in row} <= set(range(9))


def test_many_classes_have_mistakes_but_no_table():
    counts = np.eye(MOST_CLASSES + 1, dtype=int)
    counts[0, 1] = 3
    told = confusion("c", [str(i) for i in range(MOST_CLASSES + 1)], counts)
    assert told.table == ()
    assert len(told.mistakes) == 1


# Citations ------------------------------------------------------------------------------------------


def recipe(*kinds: str, objective: str = "supcon", weighting: str = "equal") -> dict:
    return {
        "similarity": [{"column": str(i), "name": kind} for i, kind in enumerate(kinds)],
        "objective": {"name": objective},
        "weighting": {"name": weighting},
    }


def with_own(plain: dict, objective: str) -> dict:
    """The last similarity with an objective of its own."""
    plain["similarity"][-1]["objective"] = {"name": objective}
    return plain


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        (recipe("categorical", "categorical", weighting="uncertainty"), {"mscon", "supcon", "uncertainty"}),
        (recipe("same_row"), {"mscon", "simclr"}),
        (recipe("categorical", "same_row"), {"mscon", "supcon", "simclr"}),
        (recipe("categorical", objective="cross_entropy"), {"mscon"}),
        (with_own(recipe("categorical", "same_row", objective="cross_entropy"), "supcon"), {"mscon", "simclr"}),
    ],
)
def test_only_what_was_used_is_cited(given, keys):
    text = bibtex([given, given])
    names = {"mscon": "mu2023", "supcon": "khosla2020", "simclr": "chen2020", "uncertainty": "kendall2018"}
    assert {key for key, name in names.items() if text.count(name) == 1} == keys
    assert "http" not in text
