"""Maps of the features: what they must keep, whatever the features."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.evaluate.page import colours, maps
from mscon.evaluate.report.maps import coloured, held_out


@given(st.integers(2, 30), st.integers(1, 6), st.integers(0, 5))
def test_principal_axes_carry_the_variance_that_they_say(rows, dim, seed):
    features = np.random.default_rng(seed).normal(size=(rows, dim))
    places, shares = maps.principal(features)
    centred = features - features.mean(axis=0)
    assert places.shape == (rows, 2)
    np.testing.assert_allclose((places**2).sum(axis=0) / (centred**2).sum(), shares, atol=1e-9)
    assert shares[0] >= shares[1] >= 0


def test_two_dimensional_features_keep_all_their_distances():
    features = np.random.default_rng(0).normal(size=(12, 2))
    places, _ = maps.principal(features)
    np.testing.assert_allclose(
        np.linalg.norm(places[:, None] - places, axis=2), np.linalg.norm(features[:, None] - features, axis=2)
    )


def test_the_map_does_not_depend_on_where_the_features_lie():
    features = np.random.default_rng(0).normal(size=(20, 5))
    np.testing.assert_allclose(maps.principal(features)[0], maps.principal(features + 100)[0], atol=1e-9)


def test_features_that_coincide_give_one_place():
    places, shares = maps.principal(np.ones((5, 3)))
    assert (places == 0).all() and (shares == 0).all()


def test_neighbourhoods_keep_far_groups_apart_and_do_not_change():
    generator = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 8) * 10, 20, axis=0)
    features = centres + generator.normal(size=(60, 8)) * 0.3
    places = maps.neighbourhoods(features)
    group = np.repeat(np.arange(3), 20)
    distance = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(60) * 1e9
    assert (group[distance.argmin(axis=1)] == group).all()
    np.testing.assert_array_equal(places, maps.neighbourhoods(features))


def test_too_few_rows_have_no_neighbourhoods():
    assert maps.neighbourhoods(np.ones((19, 4))) is None


def test_held_out_rows_are_those_of_test_and_unseen():
    splits = ["train", "test", "validation", "unseen", "test"]
    assert held_out(splits).tolist() == [1, 3, 4]
    assert held_out(["train", "validation"]).tolist() == [1]
    assert held_out(["train", "train"]).tolist() == [0, 1]
    assert len(held_out(["test"] * 50, most=10)) == 10


def test_the_twenty_largest_classes_are_coloured_and_the_rest_is_grey():
    labels = [f"class {i:02d}" for i in range(25) for _ in range(2 + (i < 20))] + [None]
    others, *classes = coloured(np.zeros((len(labels), 2)), labels, "c", "PCA map of m").layers
    assert [layer.name for layer in classes] == [f"class {i:02d}" for i in range(20)]
    assert others.position is None
    assert others.rows == 5 * 2 + 1
    assert all(layer.path.count("M") == layer.rows for layer in (others, *classes))


def test_every_class_of_a_map_has_a_mark_of_its_own():
    marks = {(colours.hue(i), colours.shape(i)) for i in range(colours.MOST)}
    assert len(marks) == colours.MOST


@pytest.mark.parametrize("labels", [["a"] * 4, [None] * 4, ["$x$", "<b>", "\\frac", None]])
def test_any_labels_can_be_drawn(labels):
    drawn = coloured(np.random.default_rng(0).normal(size=(4, 2)), labels, "$c", "PCA map of m")
    assert sum(layer.rows for layer in drawn.layers) == 4
    assert {"".join(filter(str.isalpha, layer.path)) for layer in drawn.layers} <= {"Mh" * n for n in range(1, 5)}
