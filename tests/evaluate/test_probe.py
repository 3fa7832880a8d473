"""The probe of a run: what it asks, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mscon.cli import main
from mscon.errors import RunError
from mscon.evaluate.metrics.bootstrap import interval, macro_f1_interval
from mscon.evaluate.metrics.uniformity import tolerance, uniformity
from mscon.evaluate.probe import probe
from mscon.run import recipe
from mscon.run.run import Run

RECIPE = """
[[similarity]]
column = "kind"
name = "categorical"
[[similarity]]
column = "same_row"
name = "same_row"
[probe]
draws = 100
"""

SPLITS = ("train", "validation", "test", "unseen")


def make(root: Path, text: str = RECIPE, **columns: list[str | None]) -> Run:
    """A trained run of 240 rows whose features tell `kind` perfectly and nothing else."""
    g = np.random.default_rng(0)
    kind = g.integers(3, size=240)
    split = np.repeat(SPLITS, [120, 40, 40, 40])
    run = Run.create(root)
    run.write_facts({"table": {"name": "shoes.csv"}})
    run.write_recipe(recipe.parse(text))
    table = {"line": range(2, 242), "split": split, "image": [f"{i}.png" for i in range(240)]}
    table["kind"] = np.array(["boot", "sandal", "slipper"])[kind]
    run.write_rows(pl.DataFrame({**table, **columns}))
    run.write_checkpoint("last", {"weight": torch.zeros(1)}, {})
    features = 8 * np.eye(5)[kind] + g.normal(size=(240, 5))
    run.write_features(features.astype(np.float32), np.ones((2, 240, 1), np.float32))
    return run


def with_probe(*lines: str) -> str:
    return RECIPE + "\n".join(lines)


def linear(run: Run) -> dict[str, dict]:
    return {record["column"]: record for record in run.read_probe()["linear"]}


def neighbours(run: Run) -> dict[str, dict]:
    return {record["column"]: record for record in run.read_probe()["neighbours"]}


def noise(classes: int = 3, seed: int = 1) -> list[str]:
    return [f"c{i}" for i in np.random.default_rng(seed).integers(classes, size=240)]


def test_a_column_that_the_features_tell_is_read_off_whole(tmp_path):
    run = make(tmp_path / "run")
    probe(run, progress=False)
    (record,) = run.read_probe()["linear"]
    assert (record["column"], record["trained"]) == ("kind", True)
    assert record["classes"] == ["boot", "sandal", "slipper"]
    assert [record[f"{name}_rows"] for name in ("train", "validation", "test", "dropped")] == [120, 40, 40, 0]
    assert record["accuracy"] == record["macro_f1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert 0.2 < record["majority"] < 0.6
    assert np.trace(record["confusion"]) == 40
    (record,) = run.read_probe()["neighbours"]
    assert record["precision_at_1"]["value"] == 1.0
    assert record["map_at_r"]["value"] > 0.99
    assert 0.1 < record["map_at_r_chance"] < record["chance"] < 0.5
    assert (record["rows"], record["left_out"]) == (40, 0)
    assert record["classes"] == ["boot", "sandal", "slipper"]
    assert (run.read_probe()["checkpoint"], run.read_probe()["skipped"]) == ("last", [])


def test_a_column_that_they_do_not_tell_scores_about_its_majority(tmp_path):
    run = make(tmp_path / "run", with_probe('columns = ["noise"]'), noise=noise())
    probe(run, progress=False)
    record = linear(run)["noise"]
    assert not record["trained"]
    assert record["accuracy"]["low"] < 0.5
    assert record["accuracy"]["low"] < record["accuracy"]["value"] < record["accuracy"]["high"]
    assert neighbours(run)["noise"]["precision_at_1"]["low"] < neighbours(run)["noise"]["chance"] + 0.1


def test_predictions_are_kept_row_by_row_and_give_the_scores(tmp_path):
    run = make(tmp_path / "run", with_probe('columns = ["noise"]'), noise=noise())
    probe(run, progress=False)
    rows, arrays = run.read_rows(), run.read_predictions()
    for i, record in enumerate(run.read_probe()["linear"]):
        row, true, predicted = (arrays[f"linear/{i}/{name}"] for name in ("row", "true", "predicted"))
        assert row.dtype == true.dtype == predicted.dtype == np.int64
        assert set(rows["split"].to_numpy()[row]) == {"test"}
        assert [record["classes"][code] for code in true] == rows[record["column"]].to_numpy()[row].tolist()
        assert (true == predicted).mean() == pytest.approx(record["accuracy"]["value"])
    for i, record in enumerate(run.read_probe()["neighbours"]):
        assert set(rows["split"].to_numpy()[arrays[f"neighbours/{i}/row"]]) == {"unseen"}
        for name in ("precision_at_1", "r_precision", "map_at_r"):
            values = arrays[f"neighbours/{i}/{name}"]
            assert values.dtype == np.float32
            assert values.mean() == pytest.approx(record[name]["value"], rel=1e-5)


def test_a_column_may_be_called_anything(tmp_path):
    name = "../a/b: 'ä' [bold]"
    run = make(tmp_path / "run", with_probe(f"columns = [{json.dumps(name)}]"), **{name: noise()})
    probe(run, progress=False)
    assert [r["column"] for r in run.read_probe()["linear"]] == ["kind", name]
    assert set(run.read_predictions()) == {
        *(f"linear/{i}/{key}" for i in (0, 1) for key in ("row", "true", "predicted")),
        *(f"projections/0/{key}" for key in ("row", "true", "predicted")),
        *(f"neighbours/{i}/{key}" for i in (0, 1) for key in ("row", "precision_at_1", "r_precision", "map_at_r")),
    }


def test_an_empty_cell_is_as_good_as_no_row(tmp_path):
    names = noise()
    empty = np.random.default_rng(2).random(240) < 0.3
    holes = [None if hole else name for name, hole in zip(names, empty, strict=True)]
    run = make(tmp_path / "run", with_probe('columns = ["noise"]'), noise=holes)
    probe(run, progress=False)
    other = make(tmp_path / "other", with_probe('columns = ["noise"]'), noise=names)
    other.write_rows(other.read_rows().filter(~empty))
    other.write_features(run.read_features()[~empty], run.read_projections()[:, ~empty])
    probe(other, progress=False)
    assert linear(run)["noise"] == linear(other)["noise"]
    assert neighbours(run)["noise"] == neighbours(other)["noise"]


def test_labels_of_test_rows_do_not_touch_the_predictions(tmp_path):
    names = noise(2)
    turned = names[:160] + names[160:200][::-1] + names[200:]
    assert turned != names
    runs = [make(tmp_path / str(i), with_probe('columns = ["noise"]'), noise=n) for i, n in enumerate((names, turned))]
    for run in runs:
        probe(run, progress=False)
    a, b = (run.read_predictions()["linear/1/predicted"] for run in runs)
    assert np.array_equal(a, b)
    assert not np.array_equal(*(run.read_predictions()["linear/1/true"] for run in runs))


def test_the_same_run_gives_the_same_probe(tmp_path):
    run = make(tmp_path / "run", with_probe('columns = ["noise"]'), noise=noise())
    probe(run, progress=False)
    first, arrays = run.read_probe(), run.read_predictions()
    probe(run, progress=False)
    assert run.read_probe() == first
    assert all(np.array_equal(arrays[key], value) for key, value in run.read_predictions().items())


def test_largest_keeps_the_classes_with_most_train_rows(tmp_path):
    """Test rows have more of class d, which must not count."""
    names = ["a"] * 60 + ["b"] * 30 + ["c"] * 20 + ["d"] * 10 + ["a", "b", "c", "d"] * 10 + ["d"] * 20 + ["a", "b"] * 30
    run = make(tmp_path / "run", with_probe('columns = ["x"]', "largest = { x = 3 }"), x=names)
    probe(run, progress=False)
    record = linear(run)["x"]
    assert record["classes"] == ["a", "b", "c"]
    assert (record["train_rows"], record["validation_rows"], record["test_rows"]) == (110, 30, 20)
    assert neighbours(run)["x"]["rows"] == 40, "unseen rows have their own classes"


def test_of_equally_large_classes_the_first_by_name_are_kept(tmp_path):
    run = make(tmp_path / "run", with_probe('columns = ["x"]', "largest = { x = 2 }"), x=["d", "c", "b", "a"] * 60)
    probe(run, progress=False)
    assert linear(run)["x"]["classes"] == ["a", "b"]


def test_test_rows_of_a_class_without_train_rows_are_counted(tmp_path):
    run = make(tmp_path / "run", with_probe('columns = ["x"]'), x=["a", "b"] * 80 + ["a", "b", "new", "b"] * 20)
    probe(run, progress=False)
    assert (linear(run)["x"]["dropped_rows"], linear(run)["x"]["test_rows"]) == (10, 30)


def test_neighbours_are_asked_of_the_columns_named(tmp_path):
    run = make(tmp_path / "run", with_probe('neighbours = ["group"]'), group=noise(8))
    probe(run, progress=False)
    assert list(linear(run)) == ["kind"]
    assert list(neighbours(run)) == ["group"]
    assert not neighbours(run)["group"]["trained"]


def test_neighbours_may_be_sought_among_test_rows(tmp_path):
    run = make(tmp_path / "run", with_probe('neighbours_among = "test"', 'columns = ["group"]'), group=noise(4))
    probe(run)
    assert list(neighbours(run)) == ["kind", "group"]
    assert neighbours(run)["kind"]["rows"] == 40 and neighbours(run)["kind"]["precision_at_1"]["value"] == 1
    split, arrays = run.read_rows()["split"].to_numpy(), run.read_predictions()
    assert {*split[arrays["neighbours/0/row"]], *split[arrays["neighbours/1/row"]]} == {"test"}


def test_intervals_draw_the_groups_by_which_rows_were_split(tmp_path):
    products = [f"p{i // 8}" for i in range(240)]
    text = with_probe('columns = ["other"]', "[data]", 'split_by = "product"')
    run = make(tmp_path / "run", text, other=noise(2), product=products)
    probe(run)
    arrays, record, number = run.read_predictions(), linear(run)["other"], 1
    rows, true, predicted = (arrays[f"linear/{number}/{name}"] for name in ("row", "true", "predicted"))
    groups = np.array([int(products[row][1:]) for row in rows])
    right = (true == predicted).astype(float)
    assert record["accuracy"] == interval(right, draws=100, groups=groups).to_json()
    assert record["accuracy"] != interval(right, draws=100).to_json()
    assert record["macro_f1"] == macro_f1_interval(predicted, true, draws=100, groups=groups).to_json()
    hits = arrays["neighbours/0/precision_at_1"].astype(float)
    groups = np.array([int(products[row][1:]) for row in arrays["neighbours/0/row"]])
    assert neighbours(run)["kind"]["precision_at_1"] == interval(hits, draws=100, groups=groups).to_json()


def test_without_unseen_rows_no_neighbours_are_asked(tmp_path):
    run = make(tmp_path / "run")
    run.write_rows(run.read_rows().with_columns(split=pl.col("split").replace("unseen", "train")))
    probe(run, progress=False)
    assert (run.read_probe()["neighbours"], run.read_probe()["skipped"]) == ([], [])
    assert linear(run)["kind"]["train_rows"] == 160


@pytest.mark.parametrize(
    ("cells", "how", "words"),
    [
        (["a"] * 240, "linear", "at least 2 classes among the rows of split train, which has 1"),
        ([None] * 200 + ["a", "b"] * 20, "linear", "at least 2 classes among the rows of split train, which has 0"),
        (["a", "b"] * 60 + ["c"] * 120, "linear", "no row of split test"),
        (["a", "b"] * 100 + [None] * 40, "neighbours", "split unseen has 0 rows with a label"),
        (["a", "b"] * 100 + [f"{i}" for i in range(40)], "neighbours", "two rows of one"),
    ],
)
def test_a_column_that_cannot_be_asked_is_left_out_with_its_reason(tmp_path, cells, how, words, capsys):
    run = make(tmp_path / "run", with_probe('columns = ["x"]', 'neighbours = ["kind", "x"]'), x=cells)
    probe(run, progress=True)
    (skipped,) = [s for s in run.read_probe()["skipped"] if s["probe"] == how]
    assert skipped["column"] == "x"
    assert words in skipped["reason"]
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert "kind" in linear(run)
    assert len(run.read_probe()[how]) == 1


def test_a_column_that_is_not_there_is_named_with_its_neighbours(tmp_path):
    run = make(tmp_path / "run", with_probe('columns = ["famly"]', 'neighbours = ["x"]', "largest = { kidn = 2 }"))
    run.write_rows(run.read_rows().with_columns(family=pl.lit("a")))
    with pytest.raises(RunError, match="famly") as refused:
        probe(run, progress=False)
    message = str(refused.value)
    assert "Did you mean 'family'?" in message
    assert "'x'" in message
    assert "largest names column 'kidn', which is not probed. Did you mean 'kind'?" in message
    assert not run.has_probe


def test_features_of_other_rows_are_refused(tmp_path):
    run = make(tmp_path / "run")
    run.write_rows(run.read_rows().head(200))
    with pytest.raises(RunError, match="features of 240 rows, but 200 rows"):
        probe(run, progress=False)


@pytest.mark.parametrize("name", ["run.json", "inputs.json"])
def test_a_damaged_file_is_refused_though_the_features_are_current(tmp_path, capsys, name):
    run = make(tmp_path / "run")
    run.write_inputs({"width": 5})
    (run.root / name).write_bytes((run.root / name).read_bytes()[:8])
    assert main(["probe", str(run.root)]) == 2
    refused = capsys.readouterr()
    assert f"{name} has changed since mscon wrote it" in refused.err and not refused.out
    assert not run.has_probe


def test_a_folder_in_the_place_of_a_file_is_no_file_that_never_was(tmp_path):
    run = make(tmp_path / "run")
    (run.root / "inputs.json").mkdir()
    with pytest.raises(RunError, match=r"inputs\.json is a folder, where a file should be"):
        run.read_inputs()


def test_uniformity_and_tolerance_are_those_of_test_rows(tmp_path, capsys):
    run = make(tmp_path / "run", names=["Ada", None] * 120)
    main(["probe", str(run.root)])
    record = run.read_probe()["uniformity"]
    rows, features = run.read_rows(), run.read_features()
    tested = (rows["split"] == "test").to_numpy()
    kinds = np.unique(rows["kind"].to_numpy()[tested], return_inverse=True)[1]
    assert record == {
        "rows": 40,
        "score": pytest.approx(uniformity(features[tested])),
        "tolerance": [{"column": "kind", "cosine": pytest.approx(tolerance(features[tested], kinds))}],
    }
    (cosine,) = [one["cosine"] for one in record["tolerance"]]
    assert cosine > 0.8
    out = capsys.readouterr().out
    assert f"uniformity of the features {record['score']:.2f}" in out
    assert f"rows of one class: kind {cosine:.2f}" in out
