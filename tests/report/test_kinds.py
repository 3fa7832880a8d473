"""Columns of every kind on the page: what they hold, what was taken for what, and who agrees with whom."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mscon.evaluate.report.atlas import fifths
from mscon.evaluate.report.confusion import confusions, of_labels, of_numbers
from mscon.evaluate.report.data import census
from mscon.evaluate.report.gather import gather
from mscon.evaluate.report.neighbours import grid
from mscon.evaluate.report.page import build_report
from mscon.run.run import Run


@pytest.fixture
def every_kind(a_run, rows) -> Run:
    """A run that was asked for a number, a level, a set of labels, and a path of two levels besides its classes."""
    generator = np.random.default_rng(0)
    count = rows.height
    price = [None if i % 9 == 0 else f"{n:g}" for i, n in enumerate(generator.normal(50, 9, size=count).round(1))]
    size = [("small", "middle", "large")[i] for i in generator.integers(3, size=count)]
    parts = [(("dot", "bar", "dot;bar")[i]) for i in generator.integers(3, size=count)]
    path = [("boots/ankle", "boots/knee", "sandals/flat")[i] for i in generator.integers(3, size=count)]
    own = rows.with_columns(price=pl.Series(price), size=pl.Series(size), parts=pl.Series(parts), path=pl.Series(path))
    levels_of_size = 'probe.kinds={size = {name = "ordinal", levels = ["small", "middle", "large"]}}'
    run = a_run("kinds", own, settings=[levels_of_size])
    test = np.flatnonzero(own["split"].to_numpy() == "test")
    probe, arrays = run.read_probe(), run.read_predictions()
    score = {"value": 0.5, "low": 0.4, "high": 0.6}

    def add(column: str, kind: str, measures: dict[str, float], values: dict[str, np.ndarray], **more: object) -> None:
        place = len(probe["linear"])
        record = {"column": column, "kind": kind, "trained": False, "baseline": measures, **more}
        probe["linear"].append(record | dict.fromkeys(measures, score))
        arrays[f"linear/{place}/row"] = test
        arrays.update({f"linear/{place}/{name}": value for name, value in values.items()})
        arrays.update({f"linear/{place}/{name}": np.full(len(test), 0.5) for name in measures})

    levels = np.array([("small", "middle", "large").index(size[i]) for i in test])
    numbers = np.linspace(0, 99, len(test))
    has = np.array([["bar" in parts[i], "dot" in parts[i]] for i in test]).astype(np.int64)
    add("price", "number", {"r2": 0.0, "spearman": 0.0}, {"true": numbers, "predicted": numbers + 1})
    wrong = np.minimum(levels + 1, 2)
    add(
        "size",
        "rank",
        {"level_error": 1.0, "within_one": 0.8},
        {"true": levels, "predicted": wrong},
        classes=["small", "middle", "large"],
    )
    f1 = {"mean_average_precision": 0.3, "micro_f1": 0.4, "macro_f1": 0.4}
    add("parts", "labels", f1, {"true": has, "predicted": np.ones_like(has)}, classes=["bar", "dot"])
    for level in (1, 2):
        place = len(probe["linear"])
        probe["linear"].append({**probe["linear"][0], "column": "path", "level": level, "levels": 2})
        arrays |= {f"linear/{place}/{k}": arrays[f"linear/0/{k}"] for k in ("row", "true", "predicted")}
    run.write_probe(probe, arrays)
    return run


def test_the_page_has_a_table_for_each_kind(every_kind, tmp_path):
    page = build_report([every_kind], tmp_path / "kinds.html").read_text("utf-8")
    captions = re.findall(r"<caption><strong>([^<]+)\.</strong>", page)
    assert {"Numbers", "Levels in order", "Sets of labels"} <= set(captions)
    assert "mAP</th>" in page and "MAP." not in page
    assert "path, level 1 of 2" in page
    assert "Each label by itself" in page


def test_the_census_says_what_a_column_holds(every_kind):
    told = census(gather([every_kind]), "t.csv")
    holds = {column.name: column.holds for column in told.columns}
    assert re.fullmatch(r"\d+ different numbers from .* to .*, quartiles .*", holds["price"])
    assert holds["size"] == "3 levels in order"
    assert re.fullmatch(r"2 labels, 1\.\d\d a row, in 3 different sets", holds["parts"])
    assert holds["path"] == "3 paths of up to 2 levels"
    assert holds["slant"] == "2 classes"
    rows = every_kind.read_rows()
    price = next(column for column in told.columns if column.name == "price")
    assert [rows_of for _, rows_of in told.splits] == [len(rows.filter(split=name)) for name, _ in told.splits]
    for (split, count), empty in zip(told.splits, price.empty, strict=True):
        assert empty.rows == rows.filter(split=split)["price"].null_count()
        assert empty.share == pytest.approx(empty.rows / count)


def test_levels_numbers_and_labels_have_a_table_of_what_was_taken_for_what(every_kind):
    taken, (labels,) = confusions(gather([every_kind]).methods[0].members[0])
    by_name = {told.column: told for told in taken}
    assert by_name["size"].classes == ("small", "middle", "large")
    assert by_name["size"].table[0][1].share == 1.0
    assert len(by_name["price"].classes) == 5
    assert [label.name for label in labels.labels] == ["bar", "dot"]
    assert all(label.recall == 1.0 for label in labels.labels)


def test_fifths_of_numbers_hold_every_row():
    true = np.arange(100.0)
    told = of_numbers("c", true, true)
    assert [sum(entry.rows for entry in line) for line in told.table] == [20] * 5
    assert told.mistakes == ()
    assert len(of_numbers("c", np.ones(4), np.zeros(4)).classes) == 1


def test_labels_that_nobody_has_or_names_have_no_share():
    told = of_labels("c", ["a", "b"], np.array([[1, 0], [1, 0]]), np.array([[1, 0], [0, 0]]))
    assert [(label.name, label.rows, label.recall, label.precision) for label in told.labels] == [
        ("a", 2, 0.5, 1.0),
        ("b", 0, None, None),
    ]


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=40))
def test_fifths_keep_the_order_of_numbers(values):
    told = fifths([None if value is None else str(value) for value in values])
    assert [name is None for name in told] == [value is None for value in values]
    known = sorted((value, name) for value, name in zip(values, told, strict=True) if value is not None)
    places = [int(name.partition(":")[0]) for _, name in known]
    assert places == sorted(places)
    for value, name in known:
        low, _, high = name.partition(": ")[2].partition(" to ")
        assert float(low) <= value <= float(high or low)


def test_neighbours_agree_as_the_similarity_of_their_column_says(every_kind):
    gathered = gather([every_kind])
    shown = grid(gathered.methods[0].members[0], gathered.rows, gathered.labels)
    assert {name: column.geometry for name, column in gathered.labels.items()} == {
        "character": "class", "slant": "class", "family": "class",
        "price": "line", "size": "line", "parts": "set", "path": "path",
    }  # fmt: skip
    for query in shown.queries:
        for near in query.answers[0].nearest:
            weights = [c.agreement(c.read([query.row]), c.read([near.row]))[0] for c in gathered.labels.values()]
            known = [weight for weight in weights if not np.isnan(weight)]
            assert near.label == f"{sum(known):.3g} of {len(known)} alike"
            assert near.word is None and near.agreement == ""
