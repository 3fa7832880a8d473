"""Predictors decide, doubt and write cells as their kind asks; features are the outputs of their linear maps here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mscon.model.linear_map import LinearMap, Standardisation
from mscon.model.predictors.base import Predictor
from mscon.model.predictors.classes import ClassPredictor
from mscon.model.predictors.levels import LevelPredictor
from mscon.model.predictors.numbers import NumberPredictor
from mscon.model.predictors.sets import SetPredictor
from mscon.model.predictors.stored import predictor_of


def identity(outputs: int) -> LinearMap:
    standardised = Standardisation(np.zeros(outputs), np.ones(outputs), 100.0)
    return LinearMap(standardised, np.eye(outputs), np.zeros(outputs))


def logits(*shares: float) -> list[float]:
    return np.log(shares).tolist()


PATHS = ClassPredictor(
    ("kind", "kind"),
    (("boots", "boots", "flats"), ("boots/ankle", "boots/knee", "flats/pump")),
    identity(3),
    (1.0,),
)
COLUMNS = ClassPredictor(
    ("group", "kind"), (("boots", "boots", "flats"), ("ankle", "other", "other")), identity(3), (1.0,)
)


def test_coarser_levels_are_sums_of_the_finest():
    features = np.array([logits(0.45, 0.4, 0.15)])
    assert PATHS.decide(PATHS.linear_map(features)).confidence == pytest.approx(np.array([[0.85, 0.45]]))
    group, kind = COLUMNS.predict(features)
    assert (group.name, group.cells.tolist(), kind.name, kind.cells.tolist()) == ("group", ["boots"], "kind", ["ankle"])
    assert group.beside["confidence"] == pytest.approx([0.85]) and kind.beside["confidence"] == pytest.approx([0.45])


def test_equal_names_under_different_classes_are_different():
    features = np.array([logits(0.1, 0.5, 0.4)])
    _, kind = COLUMNS.predict(features)
    assert kind.cells.tolist() == ["other"] and kind.beside["confidence"] == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("least", "cell", "confidence"), [(0.0, "boots/ankle", 0.45), (0.8, "boots", 0.85), (0.9, None, 0.45)]
)
def test_of_a_path_as_many_levels_are_given_as_are_sure_enough(least, cell, confidence):
    (kind,) = PATHS.predict(np.array([logits(0.45, 0.4, 0.15)]), least)
    assert kind.cells.tolist() == [cell] and kind.beside["confidence"] == pytest.approx([confidence])


def test_a_temperature_changes_confidences_and_no_decision():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(50, 3)) * 3
    (sharp,) = ClassPredictor(("a",), (("x", "y", "z"),), identity(3), (0.5,)).predict(features)
    (flat,) = ClassPredictor(("a",), (("x", "y", "z"),), identity(3), (4.0,)).predict(features)
    assert sharp.cells.tolist() == flat.cells.tolist()
    assert (sharp.beside["confidence"] > flat.beside["confidence"]).all()


def test_confidences_of_classes_are_scaled_level_by_level_and_decisions_are_not():
    features = np.array([logits(0.45, 0.4, 0.15), logits(0.2, 0.3, 0.5)])
    scaled = replace(PATHS, calibration=(1.0, 2.0, 0.5, 1.0, -1.0))
    before, after = (one.decide(features) for one in (PATHS, scaled))
    assert after.values.tolist() == before.values.tolist()
    odds = np.log(before.confidence / (1 - before.confidence))
    assert after.confidence == pytest.approx(1 / (1 + np.exp(-odds * [2.0, 1.0] - [0.5, -1.0])))


def test_a_coarser_level_is_never_less_sure_than_a_finer_one():
    (first,) = replace(PATHS, calibration=(1.0, 1.0, -5.0, 1.0, 5.0)).decide(np.zeros((1, 3))).confidence
    assert first[0] == first[1] > 0.9


def test_two_classes_have_one_output():
    (column,) = ClassPredictor(("a",), (("no", "yes"),), identity(1), (1.0,)).predict(np.array([[-2.0], [3.0]]))
    assert column.cells.tolist() == ["no", "yes"]
    assert column.beside["confidence"] == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-3))])


def test_levels_are_the_median_and_its_probability():
    above = np.array([[0.9, 0.7, 0.2], [0.3, 0.9, 0.1]])  # the second row contradicts itself: sorted 0.9, 0.3, 0.1
    (column,) = LevelPredictor("size", ("s", "m", "l", "xl"), identity(3), (1.0, 0.0)).predict(
        np.log(above / (1 - above))
    )
    assert column.cells.tolist() == ["l", "m"]
    assert column.beside["confidence"] == pytest.approx([0.7 - 0.2, 0.9 - 0.3])


def test_the_confidence_of_a_level_is_scaled_as_a_whole():
    above = np.array([[0.9, 0.7, 0.2]])
    one = LevelPredictor("size", ("s", "m", "l", "xl"), identity(3), (2.0, -1.0))
    (column,) = one.predict(np.log(above / (1 - above)))  # log-odds of 0.5 are 0
    assert column.beside["confidence"] == pytest.approx([1 / (1 + np.exp(1))])


def test_a_set_is_what_is_more_likely_than_not_and_never_empty():
    has = np.array([[0.9, 0.8, 0.1], [0.2, 0.4, 0.3]])
    one = SetPredictor("tags", ("b", "c", "d"), (), ";", identity(3), (1.0, 0.0))
    (column,) = one.predict(np.log(has / (1 - has)))
    assert column.cells.tolist() == ["b;c", "c"]
    assert column.beside["confidence"] == pytest.approx([0.9 * 0.8 * 0.9, 0.8 * 0.4 * 0.7])
    (column,) = SetPredictor("tags", ("b", "c", "d"), ("a",), "; ", identity(3), None).predict(np.log(has / (1 - has)))
    assert column.cells.tolist() == ["a; b; c", "a"] and not column.beside


def test_a_number_has_an_interval():
    (column,) = NumberPredictor("price", identity(1), (2.5,)).predict(np.array([[10.0]]), least=0.9)
    assert (column.cells, column.beside["low"], column.beside["high"]) == (10, 7.5, 12.5)


def test_what_is_far_from_the_training_rows_is_cut_off():
    linear_map = LinearMap(Standardisation(np.ones(1), np.full(1, 2.0), 3.0), np.ones((1, 1)), np.zeros(1))
    assert linear_map(np.array([[3.0], [1e9]])).tolist() == [[1.0], [3.0]]


STORED: list[tuple[str, Predictor]] = [
    ("class", PATHS),
    ("class", COLUMNS),
    ("class", replace(PATHS, calibration=(1.0, 2.0, 0.5, 1.0, -1.0))),
    ("rank", LevelPredictor("size", ("s", "m"), identity(1), None)),
    ("labels", SetPredictor("tags", ("b", "c"), ("a",), ";", identity(2), (1.0, 0.5))),
    ("number", NumberPredictor("price", identity(1), (2.5,))),
]


@pytest.mark.parametrize(("kind", "predictor"), STORED)
def test_a_predictor_is_the_same_after_it_was_stored(kind, predictor):
    about = {**predictor.to_json(), "calibration": predictor.calibration}
    again = predictor_of(kind, about, LinearMap.from_arrays(predictor.linear_map.to_arrays()))
    assert type(again) is type(predictor)
    features = np.random.default_rng(0).normal(size=(20, predictor.linear_map.width))
    for one, other in zip(predictor.predict(features), again.predict(features), strict=True):
        assert one.name == other.name and one.cells.tolist() == other.cells.tolist()
        assert {k: v.tolist() for k, v in one.beside.items()} == {k: v.tolist() for k, v in other.beside.items()}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("class", {"names": ["kind"]}),
        ("class", {"cells": [["a", "b"], ["c", "d"]]}),
        ("class", {"calibration": [1.0, 2.0]}),
        ("class", {"calibration": [0.0]}),
        ("class", {"calibration": [float("nan")]}),
        ("rank", {}),
        ("labels", {}),
        ("number", {}),
        ("teacher", {}),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(kind, changes):
    about: dict[str, Any] = {**PATHS.to_json(), "calibration": [1.0], **changes}
    with pytest.raises(ValueError, match="predictor"):
        predictor_of(kind, about, PATHS.linear_map)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("scale", np.zeros(3)),
        ("scale", np.ones(2)),
        ("weights", np.full((3, 3), np.nan)),
        ("weights", np.ones(3)),
        ("intercept", np.ones(4)),
        ("farthest", np.ones(2)),
    ],
)
def test_odd_arrays_are_refused(name, array):
    with pytest.raises(ValueError, match="linear map"):
        LinearMap.from_arrays({**identity(3).to_arrays(), name: array})
