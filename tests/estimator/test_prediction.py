"""`mscon predict`, from a trained run to a file of predictions, and all that may be wrong with what it is given."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mscon
from mscon.cli import main
from mscon.deploy import shards
from mscon.evaluate.predictors import need_predictors
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train.fit import fit
from vector_table import RECIPE, points

ROWS, TRAIN, VALIDATION = 420, 200, 100
PARTS = """
[[similarity]]
column = "price"
name = "continuous"
[[similarity]]
column = "tags"
name = "multi_label"
[[similarity]]
column = "size"
name = "ordinal"
levels = ["s", "m", "l"]
[[similarity]]
column = "fine"
name = "hierarchical"
under = ["coarse"]
[probe]
columns = ["mood"]
draws = 100
"""


def cells(rows: int = ROWS) -> dict[str, list[str | None]]:
    x, n = points(rows), np.arange(rows)
    columns: dict[str, list[str | None]] = {
        "split": ["train" if k < TRAIN else "validation" if k < TRAIN + VALIDATION else "test" for k in n],
        "kind": [None if k % 5 == 0 else "ab"[k % 2] for k in n],
        "shade": ["xyz"[k // 2 % 3] for k in n],
        "mood": ["gh"[k // 6 % 2] for k in n],
        "price": [None if k % 7 == 0 else f"{10 * v:.2f}" for k, v in zip(n, x[:, 1], strict=True)],
        "tags": [["p", "p;q", "q;r"][k // 2 % 3] for k in n],
        "size": ["sml"[k // 2 % 3] for k in n],
        "coarse": ["one" if k // 2 % 3 else "two" for k in n],
        "fine": [("u", "v", "u")[k // 2 % 3] for k in n],
        "words": [f"note {k}" for k in n],
    }
    return columns


@pytest.fixture(scope="module")
def home(tmp_path_factory, short_probes) -> Path:
    """A run with its predictors, its table, and a table of new rows with labels in it that are wrong."""
    folder = tmp_path_factory.mktemp("home")
    np.save(folder / "points.npy", points(ROWS))
    pl.DataFrame(cells()).write_csv(folder / "things.csv")
    run = fit(recipes.parse(RECIPE + PARTS), folder / "things.csv", folder / "run", progress=False)
    assert run is not None
    need_predictors(run, progress=False)
    (folder / "new").mkdir()
    np.save(folder / "new" / "points.npy", points(ROWS)[TRAIN:])
    pl.DataFrame({"id": list(range(ROWS - TRAIN)), "kind": ["wrong"] * (ROWS - TRAIN)}).write_csv(
        folder / "new/new.csv"
    )
    return folder


@pytest.fixture
def folder(home, tmp_path, monkeypatch, short_probes) -> Path:
    """A copy, in which to write."""
    folder = tmp_path / "home"
    shutil.copytree(home, folder)
    run = Run.open(folder / "run")
    facts = run.read_facts()
    table = {**facts["table"], "path": str(folder / "things.csv")}
    run.write_facts({**facts, "images_root": str(folder), "table": table})
    monkeypatch.chdir(folder)
    return folder


def predict(*arguments: str) -> int:
    return main(["predict", "run", *arguments])


def refusal(capsys, *arguments: str) -> str:
    """The one message of a command that ends with status 2 and writes nothing."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    assert predict(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()} == before
    return said.err


def test_every_column_is_predicted_for_new_rows(folder, capsys):
    assert predict("--table", "new/new.csv", "--out", "out.csv") == 0
    frame = pl.read_csv("out.csv")
    assert frame.columns == [
        *("line", "kind", "kind_confidence", "shade", "shade_confidence", "price", "price_low", "price_high"),
        *("tags", "tags_confidence", "size", "size_confidence", "coarse", "coarse_confidence"),
        *("fine", "fine_confidence", "mood", "mood_confidence"),
    ]
    assert frame.height == ROWS - TRAIN and frame["line"].to_list() == list(range(2, ROWS - TRAIN + 2))
    true = pl.DataFrame(cells())[TRAIN:]
    for name in ("kind", "shade", "coarse", "fine"):
        is_known = true[name].is_not_null()
        right = (frame[name] == true[name]).filter(is_known).mean()
        assert right > 0.75, name
        confidence = frame[f"{name}_confidence"]
        assert confidence.is_between(0, 1).all() and abs(confidence.mean() - right) < 0.12, name
    price = true["price"].cast(pl.Float64)
    inside = ((frame["price_low"] <= price) & (price <= frame["price_high"])).drop_nulls().mean()
    assert 0.8 < inside < 0.98
    assert set(frame["tags"]) <= {"p", "q", "r", "p;q", "q;r", "p;r", "p;q;r"}
    out = capsys.readouterr().out
    assert out.startswith("out.csv: 220 rows\n") and "220 of 220 cells predicted" in out
    assert "calibration error" in out and "intervals of 90 %: +-" in out and "test rows" in out


def test_coarser_columns_are_surer_than_finer_ones_and_agree_with_them(folder):
    frame = mscon.predict("run", Path("new/new.csv"), columns=["fine"], progress=False)
    assert frame.columns == ["line", "coarse", "coarse_confidence", "fine", "fine_confidence"]
    assert (frame["coarse_confidence"] >= frame["fine_confidence"]).all()
    assert set(zip(frame["coarse"], frame["fine"], strict=True)) <= {("two", "u"), ("one", "v"), ("one", "u")}


def test_the_file_and_python_say_the_same_in_any_batches(folder, monkeypatch):
    whole = mscon.predict("run", Path("new/new.csv"), progress=False)
    monkeypatch.setattr(shards, "ROWS", 50)
    monkeypatch.setattr("mscon.deploy.predict.ROWS", 50)
    assert predict("--table", "new/new.csv", "--out", "out.parquet", "--batch-size", "7") == 0
    other = pl.read_parquet("out.parquet")
    assert other.columns == whole.columns
    for name in whole.columns:
        if whole[name].dtype == pl.Float64:
            assert other[name].to_numpy() == pytest.approx(whole[name].to_numpy(), abs=2e-4)
        else:
            assert other[name].to_list() == whole[name].to_list()
    assert not list(Path().glob("out.parquet.*"))


def test_below_the_threshold_cells_stay_empty_and_are_counted(folder, capsys):
    assert predict("--table", "new/new.csv", "--out", "out.csv", "--abstain", "0.9", "--columns", "shade", "price") == 0
    frame = pl.read_csv("out.csv")
    assert frame.columns == ["line", "shade", "shade_confidence", "price", "price_low", "price_high"]
    is_sure = frame["shade_confidence"] >= 0.9
    assert 0 < is_sure.sum() < frame.height
    assert (frame["shade"].is_not_null() == is_sure).all() and frame["price"].null_count() == 0
    out = capsys.readouterr().out
    assert f"{is_sure.sum()} of 220 cells predicted, {(~is_sure).sum()} left empty (confidence below 0.9)" in out
    # The rows are those of validation and test; of these the evidence is from the test rows alone.
    right = (frame["shade"] == pl.Series(cells()["shade"][TRAIN:]))[VALIDATION:].filter(is_sure[VALIDATION:])
    assert f"{100 * right.mean():.1f} % right of {len(right)} test rows that reach it (120 in all)" in out


def test_empty_cells_of_the_training_table_are_filled_and_no_others(folder, capsys):
    assert predict("--missing", "--out", "filled.csv", "--columns", "kind", "price", "shade") == 0
    frame, table = pl.read_csv("filled.csv", infer_schema=False), pl.DataFrame(cells())
    assert "image" not in frame.columns and "shade_confidence" not in frame.columns
    assert frame["words"].to_list() == table["words"].to_list() and frame["split"].to_list() == table["split"].to_list()
    for name, beside in (("kind", "kind_confidence"), ("price", "price_low")):
        was_empty = table[name].is_null()
        assert frame[name].filter(~was_empty).to_list() == table[name].filter(~was_empty).to_list()
        assert frame[name].null_count() == 0
        assert frame[beside].is_null().to_list() == (~was_empty).to_list()
    right = [cell == "ab"[k % 2] for k, cell in enumerate(frame["kind"]) if k % 5 == 0]
    assert np.mean(right) > 0.75
    assert capsys.readouterr().out.startswith("filled.csv: 420 rows, 144 empty cells\n")
    assert pl.read_csv("things.csv", infer_schema=False).equals(table)
    assert predict("--missing", "--out", "some.csv", "--columns", "kind", "--abstain", "0.99") == 0
    some = pl.read_csv("some.csv")
    assert some["kind"].null_count() == (some["kind_confidence"] < 0.99).sum() > 0


def test_the_first_use_fits_and_says_so(folder, capsys):
    os.remove("run/predictors.safetensors")
    assert predict("--table", "new/new.csv", "--out", "out.csv") == 0
    assert "run: predictors of 7 columns fitted and written to the run." in capsys.readouterr().err
    assert predict("--table", "new/new.csv", "--out", "again.csv") == 0
    assert "fitted" not in capsys.readouterr().err
    assert Path("again.csv").read_bytes() == Path("out.csv").read_bytes()


def test_all_mistakes_are_told_at_once(folder, capsys):
    pl.DataFrame({"id": [1]}).write_csv("bare.csv")
    message = refusal(capsys, "--table", "bare.csv", "--out", "out.csv", "--columns", "knd", "colour", "--vectors", "w")
    assert "no label column 'knd'. Did you mean 'kind'?" in message and "no label column 'colour'" in message
    assert "'w'" in message


def test_a_table_without_the_columns_of_the_encoder_is_refused(tmp_path, capsys, monkeypatch, short_probes):
    monkeypatch.chdir(tmp_path)
    frame = pl.DataFrame({**cells(120), "height": points(120)[:, 0]}).select("split", "kind", "height")
    frame = frame.with_columns(pl.Series("split", ["train", "validation", "test"] * 40))
    recipe = RECIPE.replace('input = "vectors"\nvectors = "points.npy"', 'input = "columns"\nnumbers = ["height"]')
    recipe = recipe.replace('[[similarity]]\ncolumn = "shade"\n', "")
    frame.write_csv("t.csv")
    fit(recipes.parse(recipe), "t.csv", tmp_path / "run", progress=False)
    pl.DataFrame({"hight": [1.0, 2.0]}).write_csv("new.csv")
    message = refusal(capsys, "--table", "new.csv", "--out", "out.csv", "--columns", "height")
    assert "no column 'height'. Did you mean 'hight'?" in message
    assert "column 'height' is read by the encoder of run 'run', so it cannot be predicted" in message
    pl.DataFrame({"height": [4.0, 20.0]}).write_csv("new.csv")
    assert predict("--table", "new.csv", "--out", "out.csv") == 0
    assert pl.read_csv("out.csv").columns == ["line", "kind", "kind_confidence"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "out.csv"], "either --table TABLE, for new rows, or --missing"),
        (["--table", "new/new.csv", "--missing", "--out", "out.csv"], "either --table TABLE"),
        (["--table", "new/new.csv", "--out", "out.txt"], "must end in .csv or .parquet"),
        (["--table", "gone.csv", "--out", "out.csv"], "table 'gone.csv' does not exist"),
        (["--table", "new/new.csv", "--out", "new/new.csv", "--overwrite"], "a file that is read here"),
        (["--missing", "--out", "things.csv", "--overwrite"], "a file that is read here"),
        (["--missing", "--out", "run/rows.parquet", "--overwrite"], "a file that is read here, or that a run keeps"),
        (["--missing", "--out", "out.csv", "--columns", "shade"], "no empty cell to fill in 'shade'"),
        (["--missing", "--out", "out.csv", "--columns", "words"], "column 'words' of run 'run' cannot be predicted"),
    ],
)
def test_other_mistakes_are_one_message(folder, capsys, arguments, words):
    assert words in refusal(capsys, *arguments)


def test_where_nothing_is_missing_nothing_is_fitted(folder, capsys, tmp_path):
    shutil.copytree("run", tmp_path / "run")
    (tmp_path / "run" / "predictors.safetensors").unlink(missing_ok=True)
    (tmp_path / "run" / "checksums.jsonl").unlink()  # which knows of predictors
    command = ["predict", str(tmp_path / "run"), "--missing", "--out", str(tmp_path / "out.csv"), "--columns", "shade"]
    assert main(command) == 2
    assert "no empty cell to fill in 'shade'" in capsys.readouterr().err
    assert not (tmp_path / "run" / "predictors.safetensors").exists()


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "nan", "high"])
def test_a_threshold_is_a_probability(folder, capsys, threshold):
    with pytest.raises(SystemExit):
        predict("--missing", "--out", "out.csv", "--abstain", threshold)
    assert "must be a number from 0 to 1" in capsys.readouterr().err
    if threshold == "1.5":
        with pytest.raises(ValueError, match="abstain must be from 0 to 1"):
            mscon.predict("run", abstain=1.5)


def test_an_output_that_exists_is_replaced_only_where_it_is_said(folder, capsys):
    Path("out.csv").write_text("mine")
    assert "'out.csv' exists" in refusal(capsys, "--missing", "--out", "out.csv")
    assert predict("--missing", "--out", "out.csv", "--overwrite") == 0
    assert Path("out.csv").read_text().startswith("line,")


def test_without_validation_rows_there_are_no_confidences_and_no_threshold(tmp_path, capsys, monkeypatch, short_probes):
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", points(ROWS))
    table = pl.DataFrame(cells()).with_columns(pl.col("split").replace("validation", "train"))
    table.write_csv("things.csv")
    fit(recipes.parse(RECIPE + PARTS), "things.csv", tmp_path / "run", progress=False)
    message = refusal_after_fit(capsys, "--missing", "--out", "out.csv", "--abstain", "0.8")
    assert "column 'kind' has no calibrated confidence: run 'run' has 0 validation rows with a label of it" in message
    assert "column 'size'" in message and "Predict without an abstain threshold" in message
    assert predict("--missing", "--out", "out.csv") == 0
    assert not [name for name in pl.read_csv("out.csv").columns if name.endswith(("_confidence", "_low", "_high"))]
    out = capsys.readouterr().out
    assert "no confidence: 0 validation rows with a label, too few" in out
    assert "no interval: 0 validation rows with a number, too few" in out


def refusal_after_fit(capsys, *arguments: str) -> str:
    assert predict(*arguments) == 2
    assert not Path("out.csv").exists()
    return capsys.readouterr().err


def test_names_that_would_be_there_twice_are_refused(tmp_path, capsys, monkeypatch, short_probes):
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", points(ROWS))
    table = pl.DataFrame(cells()).with_columns(pl.col("mood").alias("kind_confidence"))
    table.write_csv("things.csv")
    text = RECIPE + '[probe]\ncolumns = ["kind_confidence"]\n'
    fit(recipes.parse(text), "things.csv", tmp_path / "run", progress=False)
    assert "the same name: 'kind_confidence'" in refusal_after_fit(capsys, "--missing", "--out", "out.csv")
    assert predict("--missing", "--out", "out.csv", "--columns", "kind") == 0


def test_rows_that_have_changed_since_training_are_told(folder, capsys):
    vectors = points(ROWS)
    vectors[[3, 8]] += 1
    np.save("points.npy", vectors)
    assert predict("--table", "things.csv", "--out", "out.csv") == 0
    err = capsys.readouterr().err
    assert "They are predicted as they are now." in err and "lines 5, 10" in err
    # Stored features are those of the rows as they were; where they must be computed anew, changed rows are refused.
    assert predict("--missing", "--out", "filled.csv") == 0
    shutil.rmtree("run/features")
    assert predict("--missing", "--out", "more.csv") == 2 and not Path("more.csv").exists()
    assert "2 rows of 420 have another vector than in training" in capsys.readouterr().err
    assert predict("--missing", "--out", "more.csv", "--accept-changes") == 0
    assert "predictors of 7 columns fitted" in capsys.readouterr().err
    assert predict("--missing", "--out", "again.csv") == 0
    assert "fitted" not in capsys.readouterr().err


def test_a_frame_in_memory_is_a_table(folder):
    frame = pl.read_csv("new/new.csv")
    predicted = mscon.predict(Run.open("run"), frame, images="new", columns=["kind"], progress=False)
    assert predicted.height == frame.height and predicted.columns == ["line", "kind", "kind_confidence"]
    with pytest.raises(ValueError, match="a table is a path, or a polars or pandas DataFrame"):
        mscon.predict("run", 3)
