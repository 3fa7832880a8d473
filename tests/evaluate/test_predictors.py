"""The predictors of a run are its probes, calibrated; they are fitted anew exactly when what they come from changes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from evaluate.test_probe_kinds import CELLS, PARTS, SPLIT, X, make
from mscon.errors import RunError
from mscon.evaluate.predictors import _calibrated, need_predictors
from mscon.evaluate.probe import probe
from mscon.model.linear_map import LinearMap, Standardisation
from mscon.model.predictors.classes import ClassPredictor
from mscon.model.predictors.stored import StoredPredictor, stored_predictors
from mscon.run import checksums
from mscon.run.run import Run

# Columns that nothing was said of.
GROUP = [("s", "t")[int(x > 0)] for x in X[:, 3]]
KIND = [("u", "v")[int(x > 0)] for x in X[:, 4]]


@pytest.fixture(autouse=True)
def short(short_probes):
    pass


@pytest.fixture(scope="module")
def run(tmp_path_factory, short_probes) -> Run:
    run = make(tmp_path_factory.mktemp("runs") / "run", PARTS, group=GROUP, kind=KIND)
    assert need_predictors(run, progress=False)
    return run


def stored(run: Run) -> dict[str, StoredPredictor]:
    predictors = run.read_predictors(lambda about, arrays: stored_predictors(about["predictors"], arrays))
    return {one.column: one for one in predictors}


def test_a_predictor_predicts_what_the_probe_predicts(run):
    probe(run, progress=False)
    record, arrays = run.read_probe(), run.read_predictions()
    predictors = stored(run)
    assert set(predictors) == {"price", "size", "tags", "path"}
    for number, scores in enumerate(record["linear"]):
        if scores.get("level", 2) == 1:
            continue
        one, rows = predictors[scores["column"]], arrays[f"linear/{number}/row"]
        (column,) = one.predictor.predict(X[rows])
        predicted = arrays[f"linear/{number}/predicted"]
        if scores["kind"] == "number":
            assert column.cells == pytest.approx(predicted, rel=1e-5)
        elif scores["kind"] == "labels":
            for cell, has in zip(column.cells, predicted, strict=True):
                labels = {name for name, is_there in zip(scores["classes"], has, strict=True) if is_there}
                assert set(cell.split(";")) == labels or not labels
        else:
            assert column.cells.tolist() == [scores["classes"][code] for code in predicted]
        assert one.record["test_rows"] == len(rows)


def test_each_kind_is_calibrated_by_validation_rows(run):
    for column, one in stored(run).items():
        assert one.predictor.calibration is not None and one.record["validation_rows"] == (
            39 if CELLS[column][121:160].count(None) else 40
        )
        if column == "price":
            assert one.record["coverage"] == one.is_right.mean() > 0.7
        else:
            assert {"accuracy", "before", "after", "by_chance"} == one.record["levels"][-1].keys()


def test_classes_have_a_temperature_and_each_level_a_scaling(run):
    calibrations = {name: one.predictor.calibration for name, one in stored(run).items()}
    assert {name: len(numbers) for name, numbers in calibrations.items()} == {
        "path": 5,
        "size": 2,
        "tags": 2,
        "price": 1,
    }


def test_few_validation_rows_hardly_change_what_the_temperature_says():
    """Rows that are right the less often the larger their logits: the temperature leaves equal shares, of which more
    are right than these say."""
    logits = np.concatenate([np.tile([6.0, 0.0, 0.0], (15, 1)), np.tile([0.1, 0.0, 0.0], (15, 1))])
    true = np.repeat([1, 0], 15)
    linear_map = LinearMap(Standardisation(np.zeros(3), np.ones(3), 9.0), np.eye(3), np.zeros(3))
    model = ClassPredictor(("a",), (("x", "y", "z"),), linear_map, None)
    by_few, by_many = (_calibrated(model, np.tile(logits, (n, 1)), np.tile(true, n)).decide(logits) for n in (1, 200))
    assert 1 / 3 < by_few.confidence.mean() < 0.4 < 0.48 < by_many.confidence.mean() < 0.52


def test_labels_of_test_rows_change_no_predictor(run, tmp_path):
    """They are only measured."""
    at = np.flatnonzero(SPLIT == "test")
    changed = {name: list(cells) for name, cells in CELLS.items()}
    for cells in changed.values():
        texts = [cells[row] for row in at][::-1]
        for row, text in zip(at, texts, strict=True):
            cells[row] = text
    other = make(tmp_path / "run", PARTS, group=GROUP, kind=KIND, **changed)
    need_predictors(other, progress=False)
    before, after = stored(run), stored(other)
    for column, one in before.items():
        assert one.predictor.calibration == after[column].predictor.calibration
        assert np.array_equal(one.predictor.linear_map.weights, after[column].predictor.linear_map.weights)


def test_the_second_time_nothing_is_fitted_until_features_change(tmp_path, capsys):
    run = make(tmp_path / "run", PARTS, group=GROUP, kind=KIND)
    assert need_predictors(run) and "predictors of 4 columns fitted and written" in capsys.readouterr().err
    content = (run.root / "predictors.safetensors").read_bytes()
    assert not need_predictors(run) and (run.root / "predictors.safetensors").read_bytes() == content
    run.write_features(run.read_features(), np.ones((4, 240, 1), np.float32), inputs=np.arange(240, dtype=np.uint64))
    assert not need_predictors(run)  # the same features, in a file with other metadata
    run.write_features(-X.astype(np.float32), np.ones((4, 240, 1), np.float32))
    assert need_predictors(run, progress=False) and (run.root / "predictors.safetensors").read_bytes() != content


def test_a_column_that_was_asked_for_is_fitted_once_and_stays(tmp_path):
    run = make(tmp_path / "run", PARTS, group=GROUP, kind=KIND)
    assert need_predictors(run, ["group"], progress=False) and "group" in stored(run)
    assert not need_predictors(run, ["group"], progress=False)
    assert not need_predictors(run, progress=False)
    weights = stored(run)["price"].predictor.linear_map.weights
    assert need_predictors(run, ["kind"], progress=False)
    assert {"group", "kind", "price"} <= stored(run).keys()
    assert np.array_equal(stored(run)["price"].predictor.linear_map.weights, weights)


def test_all_unknown_columns_are_told_at_once_before_anything_is_fitted(tmp_path):
    run = make(tmp_path / "run", PARTS, group=GROUP, kind=KIND, code=[str(n) for n in range(240)])
    with pytest.raises(RunError) as error:
        need_predictors(run, ["gruop", "price", "line", "code"], progress=False)
    message = str(error.value)
    assert "no label column 'gruop'. Did you mean 'group'?" in message and "no label column 'line'" in message
    assert "column 'code'" in message and "cannot be predicted" in message
    assert not run.has_predictors


def test_a_column_of_one_class_is_told_with_the_reason(tmp_path, capsys):
    train_only = ["a" if split == "train" else "ab"[n % 2] for n, split in enumerate(SPLIT)]
    text = PARTS + 'columns = ["one"]\n'
    run = make(tmp_path / "run", text, one=train_only)
    assert need_predictors(run)
    assert "note: column 'one' is not predicted: a classifier needs at least 2 classes" in capsys.readouterr().err
    assert "one" not in stored(run)
    with pytest.raises(RunError, match="column 'one' cannot be predicted: a classifier needs at least 2 classes"):
        need_predictors(run, ["one"], progress=False)


def test_without_enough_validation_rows_nothing_is_calibrated(tmp_path):
    run = make(tmp_path / "run", PARTS)
    split = pl.Series("split", np.where(SPLIT == "validation", "train", SPLIT))
    run.write_rows(run.read_rows().with_columns(split))
    need_predictors(run, progress=False)
    for one in stored(run).values():
        assert one.predictor.calibration is None and "coverage" not in one.record
        assert all("after" not in level for level in one.record.get("levels", []))
        assert not any(column.beside for column in one.predictor.predict(X[:3]))


def test_features_of_other_rows_are_refused(tmp_path):
    run = make(tmp_path / "run", PARTS)
    run.write_features(X[:200].astype(np.float32), np.ones((4, 200, 1), np.float32))
    with pytest.raises(RunError, match=r"has features of 200 rows, but 240 rows\. Delete its folder 'features'"):
        need_predictors(run, progress=False)


def test_a_damaged_file_is_refused_by_name(tmp_path):
    run = make(tmp_path / "run", PARTS)
    need_predictors(run, progress=False)
    path = run.root / "predictors.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"predictors.safetensors has changed since mscon wrote it"):
        need_predictors(run, progress=False)
    for odd in (b"", b"x" * 200):
        path.write_bytes(odd)
        checksums.record(run.root, path.name)
        with pytest.raises(RunError, match=r"predictors.safetensors does not hold what mscon writes into it"):
            need_predictors(run, progress=False)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda about: about.pop("predictors"),
        lambda about: about["predictors"][0].update(calibration=["x"]),
        lambda about: about["predictors"][0].update(cells=[["a"]]),
        lambda about: about["predictors"][0].update(kind="__import__('os')"),
        lambda about: about["predictors"][0].pop("record"),
        lambda about: about["predictors"].append(about["predictors"][0]),
    ],
)
def test_odd_contents_are_refused_by_name(tmp_path, run, break_it):
    other = make(tmp_path / "run", PARTS)
    about, arrays = run.read_predictors(lambda about, arrays: (about, dict(arrays)))
    break_it(about)
    other.write_predictors(about, arrays)
    with pytest.raises(RunError, match=r"predictors.safetensors does not hold what mscon writes into it"):
        stored(other)
