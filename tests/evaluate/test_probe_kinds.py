"""A probe asks each column by its kind, and leaves everything in the run from which its scores can be made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mscon.cli import main
from mscon.errors import RunError
from mscon.evaluate.column_probes import FrozenFeatures
from mscon.evaluate.metrics.catalog import MEASURES
from mscon.evaluate.probe import probe
from mscon.method.similarities.continuous import Continuous
from mscon.method.similarities.hierarchical import Hierarchical
from mscon.method.similarities.multi_label import MultiLabel
from mscon.method.similarities.ordinal import Ordinal
from mscon.run import recipe
from mscon.run.run import Run

SPLIT = np.repeat(("train", "validation", "test", "unseen"), [120, 40, 40, 40])
G = np.random.default_rng(0)
X = G.normal(size=(240, 5))
NUMBER = (10 + 4 * X[:, 0] + 0.1 * G.normal(size=240)).round(3)
CELLS: dict[str, list[str | None]] = {
    "price": [f"{n:g}" for n in NUMBER],
    "size": [("s", "m", "l", "xl")[int(k)] for k in np.clip(np.floor(X[:, 1] + 2), 0, 3)],
    "tags": [";".join(n for n, x in zip("abc", row, strict=False) if x > 0.3) or "d" for row in X],
    "path": [f"{'ab'[int(x > 0)]}/{'pqr'[int(k)]}" for x, k in zip(X[:, 2], G.integers(3, size=240), strict=True)],
}
for column in CELLS.values():
    column[5], column[170], column[210] = None, None, None

PARTS = """
[[similarity]]
column = "price"
name = "continuous"
[[similarity]]
column = "size"
name = "ordinal"
levels = ["s", "m", "l", "xl"]
[[similarity]]
column = "tags"
name = "multi_label"
[[similarity]]
column = "path"
name = "hierarchical"
[probe]
draws = 200
"""
KINDS = {
    "price": ("continuous", Continuous, {}),
    "size": ("ordinal", Ordinal, {"levels": ("s", "m", "l", "xl")}),
    "tags": ("multi_label", MultiLabel, {}),
    "path": ("hierarchical", Hierarchical, {}),
}


def make(root: Path, text: str, **cells: list[str | None]) -> Run:
    run = Run.create(root)
    run.write_recipe(recipe.parse(text))
    base = {"line": range(2, 242), "split": SPLIT, "image": [f"{i}.png" for i in range(240)]}
    run.write_facts({"table": {"name": "shoes.csv"}})
    run.write_rows(pl.DataFrame({**base, **CELLS, **cells}))
    states = []
    for column, (name, kind, settings) in KINDS.items():
        fitted = kind.fit(column, CELLS[column][:120], list(range(120)), **settings)
        states.append({"name": name, "state": fitted.to_json()})
    run.write_similarities(states)
    run.write_checkpoint("last", {"weight": torch.zeros(1)}, {})
    run.write_features(X.astype(np.float32), np.ones((4, 240, 1), np.float32))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    run = make(tmp_path_factory.mktemp("runs") / "run", PARTS)
    probe(run, progress=False)
    return run


def by_column(run: Run, how: str) -> dict[str, list[dict]]:
    records: dict[str, list[dict]] = {}
    for record in run.read_probe()[how]:
        records.setdefault(record["column"], []).append(record)
    return records


def test_every_kind_is_asked_by_its_own_probe(run):
    assert run.read_probe()["skipped"] == []
    kinds = {column: records[0]["kind"] for column, records in by_column(run, "linear").items()}
    assert kinds == {"price": "number", "size": "rank", "tags": "labels", "path": "class"}
    assert set(by_column(run, "neighbours")) == set(kinds)


def test_features_that_hold_a_column_give_it_back(run):
    linear = by_column(run, "linear")
    (price,), (size,), (tags,) = linear["price"], linear["size"], linear["tags"]
    assert price["r2"]["low"] > 0.95 > price["baseline"]["r2"] + 0.9
    assert size["level_error"]["high"] < size["baseline"]["level_error"]
    assert size["classes"] == ["s", "m", "l", "xl"]
    assert tags["mean_average_precision"]["low"] > tags["baseline"]["mean_average_precision"]
    near = {column: records[0] for column, records in by_column(run, "neighbours").items()}
    assert near["price"]["neighbour_difference"]["high"] < near["price"]["baseline"]["neighbour_difference"]
    assert near["tags"]["precision_at_1"]["value"] > near["tags"]["chance"]


def test_a_hierarchy_is_asked_at_each_level(run):
    coarse, fine = by_column(run, "linear")["path"]
    assert (coarse["level"], fine["level"], fine["levels"]) == (1, 2, 2)
    assert coarse["classes"] == ["a", "b"]
    assert fine["classes"] == ["a/p", "a/q", "a/r", "b/p", "b/q", "b/r"]
    assert coarse["accuracy"]["value"] > 0.9 > fine["accuracy"]["value"], "only the coarse level is in the features"


def test_rows_without_a_cell_are_left_out(run):
    for i, record in enumerate(run.read_probe()["linear"]):
        rows = run.read_predictions()[f"linear/{i}/row"]
        assert set(SPLIT[rows]) == {"test"}
        assert 170 not in rows
        assert (record["test_rows"], len(rows)) == (39, 39)
    for i, _ in enumerate(run.read_probe()["neighbours"]):
        assert 210 not in run.read_predictions()[f"neighbours/{i}/row"]


def test_scores_are_means_of_what_is_kept_row_by_row(run):
    for how in ("linear", "neighbours"):
        for i, record in enumerate(run.read_probe()[how]):
            for name in record.get("baseline", {}):
                values = run.read_predictions()[f"{how}/{i}/{name}"]
                assert values.mean() == pytest.approx(record[name]["value"])
                assert record[name]["low"] <= record[name]["value"] <= record[name]["high"]
                assert MEASURES[name].probe == how


def test_predictions_are_in_the_unit_of_the_column(run):
    i = next(i for i, record in enumerate(run.read_probe()["linear"]) if record["column"] == "price")
    rows, true = (run.read_predictions()[f"linear/{i}/{name}"] for name in ("row", "true"))
    assert true.tolist() == NUMBER[rows].tolist()


def test_the_command_prints_each_column_by_its_own_measure(tmp_path, capsys):
    run = make(tmp_path / "run", PARTS)
    assert main(["probe", str(run.root)]) == 0
    printed = capsys.readouterr().out
    for column, measure in (
        ("price", "R²"),
        ("size", "mean error in levels"),
        ("tags", "mAP"),
        ("path, level 2", "accu"),
    ):
        assert any(line.split(measure)[0].strip() == column for line in printed.splitlines() if measure in line), (
            printed
        )
    assert "difference to the nearest" in printed


def test_columns_that_were_not_trained_on_are_asked_as_the_recipe_says(tmp_path):
    text = """
[[similarity]]
column = "path"
name = "categorical"
[probe]
columns = ["price", "size"]
neighbours = ["price"]
draws = 200
kinds = { price = "continuous", size = { name = "ordinal", levels = ["s", "m", "l", "xl"] } }
"""
    run = make(tmp_path / "run", text)
    probe(run, progress=False)
    linear = by_column(run, "linear")
    assert [linear[c][0]["kind"] for c in ("path", "price", "size")] == ["class", "number", "rank"]
    assert not linear["price"][0]["trained"]
    assert list(by_column(run, "neighbours")) == ["price"]


def test_a_probed_column_that_is_not_of_its_kind_is_refused(tmp_path):
    text = '[[similarity]]\ncolumn = "path"\n[probe]\ncolumns = ["size"]\nkinds = { size = "continuous" }\n'
    with pytest.raises(RunError, match=r"(?s)kinds: .*column 'size'.* not numbers"):
        probe(make(tmp_path / "run", text), progress=False)


def test_a_kind_for_a_column_that_is_not_probed_is_refused(tmp_path):
    text = '[[similarity]]\ncolumn = "path"\n[probe]\nkinds = { size = "ordinal" }\n'
    with pytest.raises(RunError, match="kinds names column 'size', which is not probed"):
        probe(make(tmp_path / "run", text), progress=False)


def test_numbers_that_are_all_the_same_are_not_asked(tmp_path):
    same = [*CELLS["price"][:160], *(["7"] * 80)]
    run = make(tmp_path / "run", PARTS, price=same)
    probe(run, progress=False)
    reasons = {(s["column"], s["probe"]): s["reason"] for s in run.read_probe()["skipped"]}
    assert "two different numbers, which the rows of split test do not have" in reasons["price", "linear"]


def test_no_interval_of_r_squared_goes_above_1():
    frozen = FrozenFeatures(np.zeros((4, 1)), {}, draws=100)
    values = np.array([9.0, 9.0, 9.0, -80.0])  # influence values, of which a draw may well be above 1
    record = frozen.intervals({"r2": values, "level_error": -values}, np.arange(4))
    assert record["r2"]["high"] <= 1.0
    assert record["level_error"]["high"] > 1.0  # in levels
