"""Whoever judges two cells says what their similarity says: training, search, report, explorer and doubt."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mscon.data.table.label_columns import LabelColumn, LabelColumns
from mscon.evaluate.report.methods import Member
from mscon.evaluate.report.neighbours import grid
from mscon.method import catalogue
from mscon.method.agreement import in_words, shown
from mscon.run.run import Run
from mscon.search.explorer import page
from mscon.search.explorer.columns import MOST_TABLED, Column, read_columns
from mscon.search.explorer.label_errors import doubt
from mscon.search.explorer.payload import Gathered, doubts_of
from mscon.search.queries import Example, agreement_with

CYCLIC = "tests.cyclic:Cyclic"
PATHS = [
    "boots",
    "boots/ankle",
    "boots / ankle",
    "boots/ankle/chelsea",
    "boots/knee",
    "sandals/flat",
    "sandals/high",
    "shoes",
]

# A kind, its settings, and cells that show what is peculiar to it: the same written otherwise, ties, paths cut short.
CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("categorical", {}, ["boots", "sandals", "shoes", "1", "1.0"]),
    *(
        ("multi_label", {"alike": alike}, ["buckle;zip", "zip", "lace", "zip;buckle", "zip;zip", "lace;buckle;zip"])
        for alike in ("jaccard", "any", "all")
    ),
    ("multi_label", {"separator": " + "}, ["zip + lace", "zip", "lace + zip"]),
    ("ordinal", {}, ["1", "2", "3", "1.0", "2.50"]),
    ("ordinal", {"levels": ["low", "middle", "high", "never seen"]}, ["low", "high", "middle"]),
    ("continuous", {"width": 1.0}, ["1", "1.5", "9", "1.0", " 2", "1e3"]),
    ("continuous", {}, ["1", "1.5", "9", "4"]),
    ("hierarchical", {}, PATHS),
    (CYCLIC, {}, ["23", "1", "1.0", "6", "12.5", "18", "25"]),
    (CYCLIC, {"period": 7.0}, ["0", "3", "6.5"]),
]
IDS = [f"{name}-{number}" for number, (name, _, _) in enumerate(CASES)]


def labels_of(named: dict[str, tuple[str, dict[str, Any], Sequence[str | None]]], trust: bool = True) -> LabelColumns:
    """Columns, each of a kind that was fitted on all of its cells, as a run keeps them."""
    states = []
    for column, (name, settings_of_kind, cells) in named.items():
        fitted = catalogue.find("similarity", name).fit(column, cells, range(len(cells)), **settings_of_kind)
        states.append({"name": name, "state": json.loads(json.dumps(fitted.to_json()))})
    rows = {column: list(cells) for column, (_, _, cells) in named.items()}
    count = len(next(iter(rows.values())))
    columns_of_rows = {
        "line": list(range(2, count + 2)),
        "split": ["test"] * count,
        "image": [f"{n}.png" for n in range(count)],
    }
    return LabelColumns(pl.DataFrame(columns_of_rows | rows), {}, states, trust)


def table_of(case: tuple[str, dict[str, Any], list[str]]) -> LabelColumn:
    """All cells of a case twice, so that it can be fitted, and some holes."""
    name, settings_of_kind, cells = case
    return labels_of({"c": (name, settings_of_kind, [None, *cells, None, *cells])})["c"]


def trained(column: LabelColumn) -> np.ndarray:
    """What training makes of all rows with all, NaN where unknown."""
    codes = column.similarity.encode(column.read())
    pairs = column.similarity.compare(codes, codes)
    return np.where(pairs.known, pairs.weight.double(), np.nan)


def reported(labels: LabelColumns, name: str) -> list[tuple[int, int, str | None, str]]:
    """What a report says of some rows and all others, as nearest neighbours that come by chance."""
    count = labels.rows.height
    vectors = np.random.default_rng(0).normal(size=(1, count, 4)).astype(np.float32)
    contents = {"read_features": vectors[0], "read_projections": vectors, "read_facts": {}}
    readers = {name: lambda self, content=content: content for name, content in contents.items()}
    run = type("RunInMemory", (Run,), {"__slots__": (), **readers})(Path("nowhere"))
    recipe = {"similarity": [{"column": name}], "data": {"input": "vectors"}}
    shown_ = grid(Member(run, 0, recipe), labels.rows, {name: labels[name]})
    return [
        (query.row.number, near.row.number, near.word, near.agreement)
        for query in shown_.queries
        for near in query.nearest[1].neighbours
    ]


def explored(labels: LabelColumns) -> np.ndarray:
    """What the page is told of all rows of the first column with all; its own script is asked below."""
    column, *others = read_columns(labels)
    alike = page.payload(gathered(labels, [column, *others]))["columns"][0]["alike"]
    is_number = column.kind == "number"
    values = (column.values if is_number else np.where(column.codes < 0, np.nan, column.codes)).tolist()
    expected, place = trained(labels[column.name]), {value: row for row, value in enumerate(values)}

    def weight(one: float, other: float) -> float:
        if np.isnan(one) or np.isnan(other):
            return np.nan
        if "equal" in alike:
            return float(one == other)
        if "width" in alike:
            return float(np.exp(-(((one - other) / alike["width"]) ** 2) / 2))
        if "sets" in alike or "levels" in alike:
            # The formulas stand in the page's script, which is asked below.
            return expected[place[one], place[other]]
        first, second = (alike["values"].index(value) if is_number else int(value) for value in (one, other))
        step = base64.b64decode(alike["table"])[first * alike["size"] + second]
        return np.nan if step == 255 else step / 254

    return np.array([[weight(one, other) for other in values] for one in values])


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=40)
def test_all_who_judge_two_cells_say_what_training_says(data):
    name, settings_of_kind, vocabulary = data.draw(st.sampled_from(CASES))
    cells = [*vocabulary, *data.draw(st.lists(st.sampled_from([None, *vocabulary]), max_size=8))]
    labels = labels_of({"c": (name, settings_of_kind, cells)})
    column, count = labels["c"], len(cells)
    expected = trained(column)
    every = np.arange(count)

    for row in range(count):
        searched = agreement_with([Example("", lambda: np.zeros((1, 1)), row)], column, every)
        np.testing.assert_allclose(searched, expected[row], atol=1e-12)

    for query, near, word, text in reported(labels, "c"):
        weight = expected[query, near]
        assert word == in_words(weight)
        assert text == ("" if None in (cells[query], cells[near]) else shown(weight))

    on_page = explored(labels)
    np.testing.assert_allclose(on_page, expected, atol=0.0051)  # 254 steps, whose ends are words
    assert [in_words(w) for w in on_page.ravel()] == [in_words(w) for w in expected.ravel()]

    near = np.array([[other for other in range(count) if other != row] for row in range(count)])
    doubted = doubt(column, near)
    known = [[weight for weight in expected[row][near[row]] if not np.isnan(weight)] for row in range(count)]
    mean = [np.mean(weights) if weights else np.nan for weights in known]
    np.testing.assert_allclose(doubted.share, 1 - np.array(mean), atol=1e-12)
    assert doubted.known.tolist() == [len(weights) for weights in known]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_agreement_is_mutual_and_full_with_itself_wherever_it_is_known(case):
    column = table_of(case)
    cells = column.read()
    there = column.agreement(cells, cells[::-1])
    np.testing.assert_array_equal(there, column.agreement(cells[::-1], cells))
    agreement = column.agreement(cells, cells)
    assert np.isnan(agreement[[cell is None for cell in cells]]).all()
    assert set(agreement[~np.isnan(agreement)]) == {1.0}
    assert len(column.agreement([], [])) == 0
    with pytest.raises(ValueError, match="pairs of cells"):
        column.agreement(cells, cells[1:])


def test_many_pairs_are_compared_in_blocks(monkeypatch):
    """However many there are, a table of a block's cells is all that is compared at once."""
    cells = [str(n) for n in range(3_000)]
    similarity = catalogue.find("similarity", "continuous").fit("c", cells, range(len(cells)), width=1.0)
    compare, largest = type(similarity).compare, []

    def watched(self, anchors, candidates):
        largest.append(len(anchors) * len(candidates))
        return compare(self, anchors, candidates)

    monkeypatch.setattr(type(similarity), "compare", watched)
    weights = similarity.agreement(cells, [*cells[1:], cells[0]])
    assert max(largest) <= 512 * 512
    np.testing.assert_allclose(weights[:-1], np.exp(-0.5), rtol=1e-5)


PROGRAM = """
import {{ agreement, reference }} from "{folder}/agreement.mjs";
import {{ readData }} from "{folder}/data.mjs";

const data = readData({island});
const number = (value) => (Number.isNaN(value) ? null : value);
const compared = data.columns.filter((column) => column.kind !== "name" && !column.split);
const rows = Array.from({{ length: data.rows }}, (_, row) => row);
console.log(JSON.stringify(compared.map((column) => rows.slice(0, {first}).map((one) => rows.map((other) => {{
  const {{ state, value, words }} = agreement(column, reference(column, [one], null), other, data.words);
  return [state, number(value), words];
}})))));
"""


def scripted(labels: LabelColumns, columns: Sequence[Column], first: int) -> list[Any]:
    """What the script of the page says of the first rows with all, on what it would be given."""
    folder = Path(str(resources.files("mscon.search.explorer").joinpath("js"))).as_uri()
    island = json.dumps(page.payload(gathered(labels, columns)), allow_nan=False)
    program = PROGRAM.format(folder=folder, island=island, first=first)
    process = subprocess.run(
        ["node", "--input-type=module", "-"], input=program, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def agree(tables: Sequence[Any], labels: LabelColumns) -> None:
    """That the script says what training says."""
    states = {"same": "same", "partly": "part-way", "different": "other"}
    for name, table in zip(labels.names, tables, strict=True):
        expected, cells = trained(labels[name]), labels[name].read()
        for one, row in enumerate(table):
            for other, (state, value, words) in enumerate(row):
                weight = expected[one, other]
                if cells[one] is None:
                    assert state == "none"
                elif np.isnan(weight):
                    assert state == "unknown" and value is None
                else:
                    assert state == states[in_words(weight)], (name, cells[one], cells[other])
                    assert value == pytest.approx(weight, abs=0.0051)
                    assert ("partly" in words) == (state == "part-way")


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not here to run the script of the page")


@needs_node
def test_the_script_of_the_page_says_what_training_says():
    """All rows of all kinds with all."""
    longest = 2 * (max(len(cells) for _, _, cells in CASES) + 1)
    named = {
        f"c{n}": (name, settings_of_kind, ([None, *cells] * longest)[:longest])
        for n, (name, settings_of_kind, cells) in enumerate(CASES)
    }
    labels = labels_of(named)
    agree(scripted(labels, read_columns(labels), longest), labels)


@needs_node
def test_sets_and_paths_of_any_number_are_compared_by_the_script():
    """More different values than a table of their agreement is sent for."""
    count = 2 * MOST_TABLED
    sets = [";".join(f"l{(n * step) % 41}" for step in (1, 3, 7)[: n % 3 + 1]) + f";m{n}" for n in range(count)]
    paths = ["/".join((f"a{n % 5}", f"b{n % 11}", f"c{n}")[: 3 if n % 5 else n % 3 + 1]) for n in range(count)]
    named = {
        **{alike: ("multi_label", {"alike": alike}, sets) for alike in ("jaccard", "any", "all")},
        "paths": ("hierarchical", {}, paths),
    }
    labels = labels_of(named)
    columns = read_columns(labels)
    assert min(len(set(labels[name].read())) for name in ("jaccard", "paths")) > MOST_TABLED
    assert all(column.alike is not None and not column.note for column in columns)
    agree(scripted(labels, columns, 12), labels)


def gathered(labels: LabelColumns, columns: Sequence[Column]) -> Gathered:
    count = labels.rows.height
    vectors = np.random.default_rng(0).normal(size=(len(columns) - 1, count, 4)).astype(np.float32)
    rows = np.arange(count)
    return Gathered(
        title="", table="", total=count, ids=rows, lines=rows, names=("",) * count, spaces=tuple(labels.names),
        vectors=np.ones((len(columns) - 1, count, 4), dtype=np.int8), columns=tuple(columns),
        doubts=doubts_of(columns, labels, vectors, rows), maps=(), pictures=(), texts=(), note="",
    )  # fmt: skip


# The faults that this began with ---------------------------------------------------------------------


def answers_of(column: LabelColumn, labels: LabelColumns, one: int, other: int) -> dict[str, str]:
    """What each room says of two rows."""
    report = {text for query, near, _, text in reported(labels, column.name) if {query, near} == {one, other}}
    near = np.full((labels.rows.height, 1), other)
    share = doubt(column, near).share[one]
    return {
        "training": shown(trained(column)[one, other]),
        "search": shown(agreement_with([Example("", lambda: np.zeros((1, 1)), one)], column, np.array([other]))[0]),
        "explorer": shown(explored(labels)[one, other]),
        "doubt": shown(1 - share),
        **({"report": report.pop()} if report else {}),
    }


@pytest.mark.parametrize(
    ("name", "settings_of_kind", "cells", "words"),
    [
        ("hierarchical", {}, ["boots", "boots/ankle", "boots/knee", "sandals"], "unknown"),
        ("ordinal", {}, ["1", "1.0", "2", "3"], "same"),
        ("ordinal", {}, ["1", "2", "3", "1.0"], "partly 0.50"),
        ("multi_label", {}, ["buckle;zip", "zip", "lace", "zip;buckle"], "partly 0.50"),
        (CYCLIC, {}, ["23", "1", "6", "12"], "partly 0.93"),
        ("continuous", {"width": 1.0}, ["1", "2", "9", "1.0"], "partly 0.61"),
    ],
)
def test_one_pair_of_cells_has_one_answer_in_every_room(name, settings_of_kind, cells, words):
    labels = labels_of({"c": (name, settings_of_kind, cells)})
    answers = answers_of(labels["c"], labels, 0, 1)
    assert set(answers) == {"training", "search", "explorer", "doubt", "report"}
    assert set(answers.values()) == {words}


def test_a_kind_of_ones_own_is_not_doubted_where_its_neighbours_are_near():
    """Hours that lie on a circle as their labels do: nobody there is suspicious, however few hours are equal."""
    hours = [f"{n * 24 / 120:g}" for n in range(120)]
    labels = labels_of({"hour": (CYCLIC, {}, hours)})
    near = np.array([[(n + step) % 120 for step in (-2, -1, 1, 2)] for n in range(120)])
    assert doubt(labels["hour"], near).share.max() < 0.01
    assert in_words(labels["hour"].agreement(["0.40"], ["0.33"])[0]) == "same"


def test_what_the_page_cannot_be_told_it_does_not_show():
    many = [f"{n * 24 / (MOST_TABLED + 1):.6f}" for n in range(MOST_TABLED + 1)]
    labels = labels_of(
        {"hour": (CYCLIC, {}, many), "price": ("continuous", {}, many), "kind": ("categorical", {}, many)}
    )
    hour, price, kind, _ = read_columns(labels)
    assert hour.alike is None and price.alike.width > 0 and kind.alike.is_equality
    assert hour.note == (
        f"Agreement in 'hour' is not shown: it has {MOST_TABLED + 1:,} different values, more than {MOST_TABLED}"
    )
    assert not price.note and not kind.note


def test_nothing_of_a_stranger_is_imported_and_one_sentence_says_so(monkeypatch):
    labels = labels_of(
        {"hour": (CYCLIC, {}, ["1", "2", None, "23"]), "kind": ("categorical", {}, ["a", "b", "a", "a"])}, trust=False
    )
    monkeypatch.setattr(catalogue, "import_class", lambda *_, **__: pytest.fail("a stranger's class was imported"))
    column = labels["hour"]
    assert np.isnan(column.agreement(["1"], ["1"])).all()
    assert labels.notes == (
        f"agreement of column 'hour' is not known: its kind {CYCLIC} is not imported without --trust",
    )
    hour, kind, _ = read_columns(labels)
    assert hour.alike is None and kind.alike.is_equality
    assert list(doubts_of([hour, kind], labels, np.eye(4, dtype=np.float32)[None].repeat(2, 0), np.arange(4))) == [1]
    assert column.where(lambda cell: column.holds(cell, "23")).tolist() == [False, False, False, True]
    assert {word for _, _, word, _ in reported(labels, "hour")} == {"unknown"}


def test_columns_are_read_by_their_names_whatever_these_look_like():
    labels = labels_of(
        {"^.*$": ("categorical", {}, ["a", "b", None, "a"]), "*": ("ordinal", {}, ["1", "2", "3", None])}
    )
    assert labels["^.*$"].read() == ["a", "b", None, "a"]
    assert labels["*"].read([2, 0]) == ["3", "1"]
    assert labels["*"].read([]) == []
    assert labels["*"].agreement([], []).shape == (0,)
