"""Who is called best: constructed cases with known answers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.evaluate.metrics.bootstrap import Interval
from mscon.evaluate.report.compare import ColumnScores, Comparison, MethodScore, compare_column
from mscon.evaluate.report.comparison_json import comparison_json
from mscon.evaluate.report.gather import Question
from mscon.evaluate.report.markdown import comparison_text
from mscon.evaluate.report.summary import sentences

SEEDS, ROWS = 3, 200


def question(*values: np.ndarray | None, trained: tuple[bool, ...] | None = None, **what) -> Question:
    rows = next(v.shape[1] for v in values if v is not None)
    settings = {"column": "family", "measure": "accuracy", "baseline": 0.2, "classes": 5, **what}
    return Question(rows=np.arange(rows), values=values, trained=trained or (False,) * len(values), **settings)


def share(right: int, seeds: int = SEEDS, rows: int = ROWS) -> np.ndarray:
    """The first `right` rows are right under every seed."""
    return np.tile((np.arange(rows) < right).astype(float), (seeds, 1))


def comparison(
    *columns: ColumnScores, methods: tuple[str, ...] = ("A", "B"), seeds: tuple[int, ...] = (3, 3)
) -> Comparison:
    return Comparison(methods, seeds, columns, 1_000)


def standings(column: ColumnScores) -> list[str | None]:
    return [None if cell is None else cell.standing for cell in column.cells]


def test_a_clear_winner_is_best_and_all_others_are_behind():
    column = compare_column(question(share(100), share(160), share(90)), 500)
    assert standings(column) == ["behind", "best", "behind"]
    assert column.cells[1].score.value == pytest.approx(0.8)
    assert column.cells[0].behind_by.value == pytest.approx(0.3)


def test_nobody_is_best_in_a_tie():
    column = compare_column(question(share(120), share(120)), 500)
    assert sorted(standings(column)) == ["first", "level"]


def test_equal_best_means_have_one_mark():
    equal = np.roll(share(150), 50, axis=1)
    column = compare_column(question(share(150), equal, np.roll(share(149), 50, axis=1)), draws=500)
    assert [column.mark(cell) for _, cell in column.scored] == ["first", "first", "level"]
    text = comparison_text(comparison(column, methods=("A", "B", "C"), seeds=(3, 3, 3)))
    assert len(re.findall(r"75\.0 \([^)]*\) ▲", text)) == 2


def test_one_rival_that_is_not_told_apart_is_enough_to_withhold_bold():
    """Ahead of most is not ahead of all."""
    generator = np.random.default_rng(0)
    near = [(generator.random((SEEDS, ROWS)) < 0.7).astype(float) for _ in range(2)]
    column = compare_column(question(*near, share(20)), 500)
    assert sorted(standings(column)) == ["behind", "first", "level"]


def test_pairing_finds_a_small_difference_that_overlapping_intervals_hide():
    """Of 200 rows B gets the same 140 right as A and 10 more: intervals overlap, the difference does not reach 0."""
    column = compare_column(question(share(140), share(150)), 1_000)
    worse, better = column.cells
    assert better.standing == "best"
    assert worse.score.high > better.score.low


@pytest.mark.parametrize("few", [0, 1])
def test_fewer_than_three_seeds_on_either_side_withhold_bold(few):
    seeds = [3, 3]
    seeds[few] = 2
    column = compare_column(question(share(160, seeds[0]), share(100, seeds[1])), 500)
    assert standings(column) == ["first", "behind"]


def test_no_interval_of_a_share_leaves_0_to_1():
    """Row values of macro-F1 lie on both sides of it."""
    high = np.full((1, 40), 1.0)
    high[0, :2] = 0.2, 1.6
    (score,) = (cell.score for cell in compare_column(question(high, measure="macro_f1"), 500).cells)
    assert score.high == 1.0
    (error,) = (cell.score for cell in compare_column(question(2 * high, measure="level_error"), 500).cells)
    assert error.high > 1.0


def test_a_method_alone_is_not_best():
    column = compare_column(question(share(160), None), 500)
    assert standings(column) == ["only", None]


@given(st.lists(st.integers(0, 40), min_size=2, max_size=4), st.integers(1, 4))
def test_best_never_goes_to_a_cell_whose_difference_includes_zero(right, seeds):
    column = compare_column(question(*(share(r, seeds, 40) for r in right)), 100)
    best = [cell for cell in column.cells if cell.standing == "best"]
    assert len(best) <= 1
    if best:
        others = [cell for cell in column.cells if cell is not best[0]]
        assert all(cell.behind_by.low > 0 and cell.standing == "behind" for cell in others)
        assert seeds >= 3
    top = max(right)
    first = next(cell for cell in column.cells if cell.standing in ("best", "first"))
    assert first.score.value == pytest.approx(top / 40)


def test_columns_are_in_domain_if_any_method_trained_on_them():
    inside = compare_column(question(share(10), share(20), trained=(True, False)), 100)
    outside = compare_column(question(share(10), share(20)), 100)
    both = comparison(inside, outside)
    assert both.leading("trained on") == (inside,)
    assert both.leading("not trained on") == (outside,)
    assert both.leading("nearest neighbours") == ()


def test_the_text_marks_best_level_and_untrained_and_explains_the_marks():
    clear = compare_column(question(share(160), share(100), trained=(True, False), column="slant"), 500)
    close = compare_column(question(share(120), np.roll(share(119), 50, axis=1)), 500)
    text = comparison_text(comparison(clear, close))
    slant, family = (next(line for line in text.splitlines() if line.startswith(f"| {c}")) for c in ("slant", "family"))
    assert re.search(r"80\.0 \([\d.]+ to [\d.]+\) ★ +\|", slant)
    assert re.search(r"50\.0 \([\d.]+ to [\d.]+\)  ' \|", slant)
    assert re.findall(r"(?:60\.0|59\.5) \([\d.]+ to [\d.]+\) (.)", family) == ["▲", "="]
    for line in ("★  clearly best", "▲  best mean", "=  not distinguishable", "'  this method was not trained"):
        assert line in text
    assert "fewer than 3 seeds" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in tables}) == 2, "columns are aligned"


def test_many_methods_stand_in_several_tables():
    many = compare_column(question(*(share(r) for r in range(20, 40))), 50)
    table = comparison(many, methods=tuple("ABCDEFGHIJKLMNOPQRST"), seeds=(3,) * 20)
    assert [len(block) for block in table.blocks] == [6, 7, 7]
    assert [i for block in table.blocks for i in block] == list(range(20))
    assert comparison_text(table).count("| family") == 3


@pytest.mark.parametrize(
    ("value", "measure", "mark"),
    [
        (0.5, "accuracy", "above"),
        (0.1, "accuracy", "below"),
        (0.2, "accuracy", "chance"),
        (0.1, "level_error", "above"),
        (0.5, "level_error", "below"),
    ],
)
def test_a_number_without_a_rival_is_marked_by_guessing(value, measure, mark):
    row = column(only := cell(value, "only"), measure=measure)
    assert row.mark(only) == mark
    left, middle, right, guess = row.whisker(only)
    assert 4 <= left <= middle <= right <= 108 and 4 <= guess <= 108
    assert (guess < left) == (value > 0.2 + 0.01) and (guess > right) == (value < 0.2 - 0.01)
    assert column(only, measure=measure, baseline=None).mark(only) == ""


def test_the_text_cannot_move_a_cursor_or_break_a_table():
    column = compare_column(question(share(160), share(100), column="a|b\x1b[2J\n"), 100)
    text = comparison_text(comparison(column, methods=("x|\x07", "B")))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "a\\|b" in text


def test_the_json_holds_shares_and_survives_a_strict_writer():
    column = compare_column(question(share(160), share(100), None), 500)
    record = json.loads(
        json.dumps(comparison_json(comparison(column, methods=("A", "B", "C"), seeds=(3, 3, 1))), allow_nan=False)
    )
    first, second, third = record["columns"][0]["cells"]
    assert first["value"] == pytest.approx(0.8)
    assert first["standing"] == "best"
    assert second["behind_by"]["value"] == pytest.approx(0.3)
    assert third is None


def cell(value: float, standing: str, gap: Interval | None = None, seeds: int = 3) -> MethodScore:
    return MethodScore(Interval(value, value - 0.01, value + 0.01, 0.005), seeds, False, standing, gap)


def column(*cells: MethodScore | None, name: str = "family", **what) -> ColumnScores:
    settings = {"measure": "accuracy", "in_domain": False, "baseline": 0.2, "classes": 5, "rows": 9, **what}
    return ColumnScores(column=name, cells=cells, **settings)


def test_the_summary_says_clearly_best_only_of_a_clear_winner():
    near, far = Interval(0.02, 0.01, 0.03, 0.005), Interval(0.2, 0.18, 0.22, 0.01)
    clear = column(cell(0.5, "best"), cell(0.3, "behind", far), cell(0.48, "behind", near))
    (text,) = sentences(comparison(clear, methods=("A", "B", "C"), seeds=(3, 3, 3)))
    assert "“A” is clearly best (accuracy 50.0" in text
    assert "the nearest, “C”, is 2.0 points behind (1.0 to 3.0)" in text


def test_the_summary_names_those_not_distinguishable():
    tie, far = Interval(0.02, -0.01, 0.05, 0.01), Interval(0.2, 0.18, 0.22, 0.01)
    unclear = column(cell(0.5, "first"), cell(0.48, "level", tie), cell(0.3, "behind", far), cell(0.3, "behind", far))
    (text,) = sentences(comparison(unclear, methods=("A", "B", "C", "D"), seeds=(3, 3, 3, 3)))
    assert "clearly" not in text
    assert "“A” has the highest mean" in text and "not distinguishable from “B”" in text


def test_the_summary_warns_of_few_seeds():
    gap = Interval(0.2, 0.1, 0.3, 0.05)
    few = column(cell(0.5, "first", seeds=1), cell(0.3, "behind", gap))
    lines = sentences(comparison(few, seeds=(1, 3)))
    assert "too few seeds to call it best" in lines[0]
    assert "fewer than 3 seeds" in lines[-1]


def test_a_summary_has_at_most_three_sentences_and_counts_columns():
    won, tie = cell(0.5, "best"), Interval(0.02, -0.01, 0.05, 0.01)
    columns = [column(won, cell(0.3, "behind", tie), name=f"c{i}", in_domain=i < 3) for i in range(6)]
    columns += [column(cell(0.5, "first"), cell(0.4, "level", tie), name="tie", in_domain=True)]
    columns += [column(won, None, measure="precision_at_1", name=f"n{i}") for i in range(3)]
    lines = sentences(comparison(*columns, seeds=(1, 1)))
    assert len(lines) == 3
    assert lines[1] == (
        "Of the 4 columns that at least one method was trained on, “A” is clearly best on “c0”, “c1” and “c2”; no "
        "method is clearly best on “tie”."
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.5, "better than guessing"), (0.1, "worse than guessing"), (0.2, "not distinguishably better than guessing")],
)
def test_a_single_method_is_set_against_guessing(value, words):
    (text,) = sentences(comparison(column(cell(value, "only")), methods=("A",), seeds=(3,)))
    assert f"On columns that “A” was not trained on, linear probes of its features are {words}: “family” (" in text
    assert "guessing 20.0" in text
