"""Scores: means over columns whose rows differ, and sentences and tables that say what known numbers say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mscon.comparison.recommendation import Validation, lead_text
from mscon.comparison.scores import TRAINED, UNSEEN, Scores, compared, mean_over_columns
from mscon.comparison.text import table_text
from mscon.comparison.verdict import verdict
from mscon.evaluate.metrics.bootstrap import seeded_interval
from mscon.evaluate.report.gather import Gathered, Member, Method, Question
from mscon.run.run import Run

ROWS = 400


def right(share: float, seeds: int = 3, rows: int = ROWS) -> np.ndarray:
    """This share of the rows is right under every seed."""
    return np.tile((np.arange(rows) < round(share * rows)).astype(float), (seeds, 1))


def question(column: str, *values: np.ndarray | None, measure: str = "accuracy", trained=None, **more) -> Question:
    count = next(v.shape[1] for v in values if v is not None)
    rows = more.pop("rows", np.arange(count))
    return Question(
        column,
        measure,
        rows,
        values,
        trained or (False,) * len(values),
        0.1,
        more.pop("classes", 3),
        **{"label": column, **more},
    )


def gathered(titles: dict[str, int], *questions: Question) -> Gathered:
    """Methods by title with their number of runs."""
    recipe = {"train": {"epochs": 1}, "probe": {"draws": 200}, "similarity": [], "data": {}}
    methods = (
        Method(title, tuple(Member(Run(Path("none")), seed, recipe) for seed in range(runs)))
        for title, runs in titles.items()
    )
    return Gathered(tuple(methods), questions)


# Means over columns -------------------------------------------------------------------------------


def test_the_mean_over_columns_is_the_mean_of_their_scores():
    one = question("a", right(0.5), right(1.0))
    other = question("b", right(0.9, rows=100), None, rows=np.arange(350, 450))
    mean = mean_over_columns("mean", [one, other])
    assert len(mean.rows) == 450
    assert mean.values[0].mean() == pytest.approx(0.7)
    assert mean.values[1] is None  # it was not scored in both


def test_levels_of_a_path_count_together_as_one_column():
    levels = [question(f"a, level {i} of 2", right(0.2 * i), label="a") for i in (1, 2)]
    assert mean_over_columns("mean", [*levels, question("b", right(0.9))]).values[0].mean() == pytest.approx(0.6)


def test_an_error_in_levels_counts_as_the_share_that_it_falls_short_of():
    error = question("size", np.full((1, 50), 0.5), measure="level_error", classes=3)
    assert mean_over_columns("mean", [error]).values[0].mean() == pytest.approx(0.75)
    numbers = question("price", np.full((1, 50), 0.35), measure="r2", classes=0)
    assert mean_over_columns("mean", [error, numbers]).values[0].mean() == pytest.approx(0.55)


def test_the_interval_of_a_mean_is_that_of_drawing_the_rows_of_all_columns_together():
    """Half of the rows have a label in `b`; each draw of rows is scored anew."""
    g = np.random.default_rng(0)
    a, b = (g.random((1, ROWS)) < 0.6).astype(float), (g.random((1, ROWS // 2)) < 0.3).astype(float)
    mean = mean_over_columns("mean", [question("a", a), question("b", b, rows=np.arange(0, ROWS, 2))])
    drawn = []
    for _ in range(4_000):
        rows = g.integers(ROWS, size=ROWS)
        labelled = rows[rows % 2 == 0] // 2
        drawn.append((a[0, rows].mean() + b[0, labelled].mean()) / 2)
    assert seeded_interval(mean.values[0], draws=4_000).standard_error == pytest.approx(np.std(drawn), rel=0.06)


def test_groups_of_rows_go_with_them():
    groups = np.arange(100) // 5
    one = question("a", right(0.5, rows=50), rows=np.arange(50), groups=groups[:50])
    other = question("b", right(0.5, rows=50), rows=np.arange(50, 100), groups=groups[50:])
    np.testing.assert_array_equal(mean_over_columns("mean", [one, other]).groups, groups)


# All together -------------------------------------------------------------------------------------

METHODS = {"start": 1, "XEnt": 3, "MSCon": 3, "SupCon, colour": 3}


@pytest.fixture
def scores() -> Scores:
    trained = (False, True, True, True)
    whole = gathered(
        METHODS,
        question("colour", right(0.5, 1), right(0.9), right(0.8), right(0.85), trained=trained),
        question("make", right(0.6, 1), right(0.7), right(0.7), right(0.5), trained=(False, True, True, False)),
        question("season", right(0.8, 1), right(0.5), right(0.6), right(0.4)),
    )
    apart = {
        # In another order, and without the method that is trained on colour alone.
        "colour": gathered(
            {"MSCon": 3, "start": 1, "XEnt": 3},
            question("colour", right(0.4), right(0.5, 1), right(0.3)),
            question("make", right(0.0), right(0.0, 1), right(0.0)),
        ),
        "make": gathered(METHODS, question("make", right(0.6, 1), right(0.45), right(0.55), right(0.5))),
    }
    return compared(whole, apart, ["colour", "make"], untrained=["start"])


def values(scores: Scores, column: str, held_out: bool = False) -> list[float | None]:
    (row,) = [r for r in scores.comparison.columns if (r.column, r.held_out) == (column, held_out)]
    return [None if cell is None else pytest.approx(cell.score.value) for cell in row.cells]


def test_each_column_is_compared_as_trained_on_and_held_out(scores):
    assert values(scores, "colour") == [0.5, 0.9, 0.8, 0.85]
    assert values(scores, "colour", held_out=True) == [0.5, 0.3, 0.4, None]
    assert values(scores, "make", held_out=True) == [0.6, 0.45, 0.55, 0.5]
    assert values(scores, TRAINED) == [0.55, 0.8, 0.75, 0.675]
    assert values(scores, UNSEEN) == [(0.5 + 0.6 + 0.8) / 3, (0.3 + 0.45 + 0.5) / 3, (0.4 + 0.55 + 0.6) / 3, None]


def test_rows_of_columns_held_out_stand_with_those_that_no_method_was_trained_on(scores):
    trained, others = (rows for _, rows in scores.comparison.parts)
    assert [row.name for row in trained] == [TRAINED, "colour", "make"]
    assert [row.name for row in others] == [UNSEEN, "season", "colour, held out", "make, held out"]


def test_what_no_seed_changes_counts_as_scored_under_every_seed(scores):
    assert scores.comparison.seeds == (1, 3, 3, 3)
    assert not scores.comparison.few_seeds and not scores.comparison.has_few("start", 1)
    (row,) = [row for row in scores.comparison.columns if row.column == "season"]
    assert [cell.seeds for cell in row.cells] == [1, 3, 3, 3]
    assert row.cells[0].standing == "best"  # with one run it could not be


def test_a_difference_is_paired_and_turned_so_that_more_is_better(scores):
    gaps = {(row.column, row.held_out): gap for row, gap in scores.ahead("start", "MSCon")}
    assert gaps["season", False].value == pytest.approx(0.2)
    assert gaps["colour", False].high < 0
    errors = gathered(
        {"A": 1, "B": 1}, question("size", np.full((1, 9), 1.0), np.full((1, 9), 0.5), measure="level_error")
    )
    ((_, gap),) = (pair for pair in compared(errors, {}, []).ahead("B", "A") if pair[0].column == "size")
    assert gap.value == pytest.approx(0.5)


# The verdict --------------------------------------------------------------------------------------


def test_the_verdict_says_who_leads_where_and_where_the_start_is_better(scores):
    label, unseen, last = verdict(scores, ["start"], "MSCon", "mine")
    assert label.startswith("On the label columns “XEnt” has the best mean, 80.0 (")
    assert "“MSCon” is 5.0 (" in label and "points behind, and 2 others are further behind." in label
    assert unseen.startswith("On columns that were not trained on “start” has the best mean, 63.3 (")
    assert last.startswith("The frozen features are still better than “MSCon” for tasks like “season” (by 20.0 (")
    assert "“colour, held out” (by 10.0 (" in last and "“make, held out” (by 5.0 (" in last
    assert last.endswith("Take “MSCon”, the best by validation rows.")


def test_the_verdict_names_what_cannot_be_told_apart():
    """B is right in other rows than A, one fewer."""
    a, b = right(0.6), np.roll(right(0.5975), 150, axis=1)
    even = compared(gathered({"A": 3, "B": 3}, question("colour", a, b, trained=(True, True))), {}, ["colour"])
    label, unseen, last = verdict(even, [], "A", "A")
    assert "“A” has the best mean" in label and "and cannot be told apart from “B”." in label
    assert "nothing is known of new tasks; name columns" in unseen
    assert last == "Take “A”, the best by validation rows."


def test_the_verdict_says_if_training_is_not_worth_it_and_if_nothing_can_be_recommended(scores):
    assert verdict(scores, ["start"], "start", "MSCon")[2].startswith("Take “start”: by validation rows no training")
    last = verdict(scores, ["start"], "", "MSCon")[2]
    assert "still better than “MSCon”" in last
    assert last.endswith("No recipe is recommended: no method has scores on validation rows in every column.")


def test_where_columns_could_be_held_out_the_verdict_says_so():
    several = [question(column, right(0.6), trained=(True,)) for column in ("colour", "make")]
    unseen = verdict(compared(gathered({"A": 3}, *several), {}, ["colour", "make"]), [], "A", "A")[1]
    assert "hold some out (--held-out, by default all), or name columns under [probe]" in unseen


def test_the_verdict_says_how_far_ahead_the_recommended_method_is(scores):
    lead = lead_text([Validation("MSCon", 0.8, None, 0.766), Validation("XEnt", 0.7, None, 0.764)], 28)
    assert verdict(scores, [], "MSCon", "mine", lead)[2] == (
        "Take “MSCon”, the best by validation rows, by a hair: 76.6 against 76.4 of “XEnt” on 28 validation rows; "
        "so few rows make the choice nearly arbitrary."
    )


def test_where_the_start_is_nowhere_better_the_verdict_says_so():
    one = question("colour", right(0.5, 1), right(0.9), trained=(False, True))
    scores = compared(gathered({"start": 1, "MSCon": 3}, one), {}, ["colour"], ["start"])
    assert verdict(scores, ["start"], "MSCon", "MSCon")[2].startswith(
        "On no column are the frozen features clearly better"
    )


# The table ----------------------------------------------------------------------------------------


def test_the_table_has_a_line_for_each_method_and_those_that_broke_down(scores):
    lines = table_text(scores.comparison, {"SimCLR": "epoch 1: the loss is not finite.\n  Lower it."}).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")][:4] == [
        "method",
        "label columns",
        "unseen columns",
        "colour",
    ]
    assert lines[2].startswith("| start ") and "63.3 (" in lines[2]
    assert lines[5].startswith("| SupCon, colour ") and "| -" in lines[5].replace("  ", "")
    assert lines[6] == "SimCLR: broke down. epoch 1: the loss is not finite."


def test_the_legend_explains_each_mark(scores):
    legend = " ".join(table_text(scores.comparison, {}).split("in %. ")[1].split())
    meanings = dict(re.split(r":? ", part, maxsplit=1) for part in legend.partition(". ")[0].rstrip(".").split("; "))
    assert meanings == {
        "★": "clearly best",
        "▲": "best mean, but not clearly",
        "=": "not told apart from the best mean",
        "no": "mark: clearly worse",
        "'": "not trained on the column",
    }


def test_what_does_not_fit_the_terminal_is_counted(scores):
    text = table_text(scores.comparison, {}, width=70, most=2)
    assert max(map(len, text.splitlines())) <= 70
    assert "| XEnt" in text and "| MSCon" in text and "start" not in text.splitlines()[2]
    assert "table.md has 2 more methods, with lower means. table.md has 4 more columns." in " ".join(text.split())


def test_a_table_of_many_methods_fits_25_lines(scores):
    many = replace(
        scores.comparison,
        methods=tuple(f"SupCon, column {n}" for n in range(40)),
        columns=tuple(replace(row, cells=row.cells * 10) for row in scores.comparison.columns),
    )
    many = replace(many, methods=(*many.methods[:-1], "this recipe (mine)"))
    lines = table_text(many, {"SimCLR": "diverged"}).splitlines()
    assert any("this recipe (mine)" in line for line in lines)
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 118
