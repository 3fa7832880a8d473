"""Columns that are no classes: their own measure and unit, and which end of it is good."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest

from mscon.evaluate.metrics.catalog import MEASURES
from mscon.evaluate.report.compare import Comparison, compare, compare_column
from mscon.evaluate.report.comparison_json import comparison_json
from mscon.evaluate.report.gather import Question, gather
from mscon.evaluate.report.markdown import comparison_text
from mscon.evaluate.report.page import build_report
from mscon.evaluate.report.summary import sentences
from mscon.run.run import Run


def question(measure: str, *values: np.ndarray, baseline: float, in_domain: bool = False) -> Question:
    rows = np.arange(values[0].shape[1])
    return Question("heel", measure, rows, values, (in_domain,) * len(values), baseline, 0)


def errors(mean: float, seeds: int = 3, rows: int = 200) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 2 * mean, size=(seeds, rows))


def standings(column) -> list[str]:
    return [cell.standing for cell in column.cells]


def test_the_lowest_error_is_the_best():
    column = compare_column(question("level_error", errors(1.2), errors(0.4), errors(0.9), baseline=1.5), 500)
    assert standings(column) == ["behind", "best", "behind"]
    assert column.cells[0].behind_by.value == pytest.approx(0.8, abs=0.1)
    assert column.cells[1].behind_by is None
    (text,) = sentences(Comparison(("A", "B", "C"), (3, 3, 3), (column,), 500))
    assert "“B” is clearly best (mean error in levels 0.4" in text
    assert "“C”, is 0.5" in text and "points" not in text


def test_words_for_a_lower_number_that_is_not_told_apart():
    near = errors(0.4) + np.random.default_rng(1).normal(0, 0.4, size=(3, 200))
    column = compare_column(question("level_error", errors(0.4), near, baseline=1.5), 500)
    assert sorted(standings(column)) == ["first", "level"]
    (text,) = sentences(Comparison(("A", "B"), (3, 3), (column,), 500))
    assert "has the lowest mean" in text


@pytest.mark.parametrize(("mean", "words"), [(0.4, "better than guessing"), (2.5, "worse than guessing")])
def test_a_lower_error_than_that_of_guessing_is_better(mean, words):
    column = compare_column(question("level_error", errors(mean), baseline=1.5), 500)
    (text,) = sentences(Comparison(("A",), (3,), (column,), 500))
    assert f"are {words}: “heel”" in text and "guessing 1.500" in text


def test_numbers_stand_in_their_own_unit():
    assert MEASURES["accuracy"].with_unit(0.3768) == "37.7\N{NO-BREAK SPACE}%"
    assert MEASURES["r2"].with_unit(0.5123) == "0.512"
    assert MEASURES["level_error"].with_unit(0.5) == "0.500\N{NO-BREAK SPACE}levels"
    assert MEASURES["neighbour_difference"].with_unit(1234.5) == "1,234"
    assert all(measure.name == name for name, measure in MEASURES.items())


def probed(run: Run, skill: float, price: Sequence[str]) -> Run:
    """The same run, asked for a number and for levels besides."""
    rows = np.flatnonzero(run.read_rows()["split"].to_numpy() == "test")
    values = skill + 0.1 * np.random.default_rng(0).normal(size=len(rows))
    arrays, probe = run.read_predictions(), run.read_probe()
    score = {"value": skill, "low": skill - 0.02, "high": skill + 0.02}
    place = len(probe["linear"])
    for i, (column, kind, measures) in enumerate(
        (("price", "number", ("r2", "spearman")), ("size", "rank", ("level_error", "within_one")))
    ):
        probe["linear"].append(
            {"column": column, "kind": kind, "trained": False, "baseline": dict.fromkeys(measures, 0.0)}
            | dict.fromkeys(measures, score)
        )
        arrays[f"linear/{place + i}/row"] = rows
        arrays |= {f"linear/{place + i}/{measure}": values for measure in measures}
    run.write_probe(probe, arrays)
    assert len(price) == run.read_rows().height
    return run


@pytest.fixture
def runs(a_run: Callable[..., Run], rows: pl.DataFrame) -> list[Run]:
    price = [f"{n:g}" for n in np.random.default_rng(0).normal(50, 9, size=rows.height).round(1)]
    table = rows.with_columns(price=pl.Series(price), size=pl.lit("m"))
    skills = {"MSCon": 0.8, "SupCon": 0.5}
    return [
        probed(a_run(f"{title}{seed}", table, title=title, seed=seed, skill=skill), skill, price)
        for title, skill in skills.items()
        for seed in range(3)
    ]


def test_each_kind_has_its_table_and_best_is_where_it_is_good(runs):
    comparison = compare(gather(runs), draws=200)
    columns = {(c.column, c.measure): c for c in comparison.columns}
    assert standings(columns["price", "r2"]) == ["best", "behind"]
    assert standings(columns["size", "level_error"]) == ["behind", "best"]
    text = comparison_text(comparison)
    assert "R²: Ridge regression" in text and "| R² " in text
    assert "mean error in levels" in text and "Lower is better" in text
    record = json.loads(json.dumps(comparison_json(comparison), allow_nan=False))
    by_measure = {c["measure"]: (c["unit"], c["better"]) for c in record["columns"]}
    assert by_measure["level_error"] == ("levels", "lower")
    assert by_measure["r2"] == ("", "higher")
    assert by_measure["accuracy"] == ("share", "higher")


def test_the_page_shows_numbers_and_levels(runs, tmp_path):
    page = build_report(runs, tmp_path).read_text("utf-8")
    assert '<td class="text">R²<small></small></td>' in page
    assert '<td class="text">mean error in levels<small>levels, lower is better</small></td>' in page
    assert page.count('aria-label="clearly best: ') >= 2
    assert "1: " in page, "numbers colour a map in fifths"


def test_a_level_of_a_hierarchy_is_a_question_of_its_own(a_run):
    run = a_run("r")
    probe, arrays = run.read_probe(), run.read_predictions()
    again = {**probe["linear"][0], "level": 1, "levels": 2}
    probe["linear"][0] |= {"level": 2, "levels": 2}
    place = len(probe["linear"])
    probe["linear"].append(again)
    arrays |= {f"linear/{place}/{key}": arrays[f"linear/0/{key}"] for key in ("row", "true", "predicted")}
    run.write_probe(probe, arrays)
    names = [q.column for q in gather([run]).questions if q.measure == "accuracy"]
    assert names == ["character, level 2 of 2", "slant", "family", "character, level 1 of 2"]
