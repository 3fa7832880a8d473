"""What `mscon doubt` says to runs and tables that have faults: it names them, and shows no traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.planted_labels import cells, trained

import mscon
from mscon import cli
from mscon.data.inputs import text
from mscon.run import recipe as recipes
from mscon.run.run import Run

ROWS = 120


def columns() -> tuple[np.ndarray, dict[str, list[str | None]]]:
    vectors, _, noisy = cells()
    return vectors[:ROWS], {name: list(noisy[name][:ROWS]) for name in ("kind", "grade")}


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Run:
    vectors, labels = columns()
    run = trained(tmp_path_factory.mktemp("judged"), labels, vectors, epochs=0)
    mscon.probe(run, progress=False, start=False)
    mscon.doubt(run, progress=False)
    return run


@pytest.fixture
def copied(judged, tmp_path) -> Run:
    return Run(Path(shutil.copytree(judged.root, tmp_path / "run")))


@pytest.mark.parametrize("name", ["doubt.parquet", "doubt.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_judgement_is_named_and_judging_again_mends_it(copied, capsys, name, damage):
    path = copied.root / name
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "other": b"[1, 2]"}[damage])
    assert cli.main(["report", str(copied.root), "--out", str(copied.root.parent / "page.html")]) == 2
    message = capsys.readouterr().err
    assert name in message and "Traceback" not in message
    assert not (copied.root.parent / "page.html").exists()
    assert cli.main(["doubt", str(copied.root)]) == 0
    assert path.read_bytes() == content


def test_a_table_that_lacks_a_column_is_not_corrected(copied, judged, capsys, tmp_path):
    original = pl.read_csv(judged.root.parent / "things.csv", infer_schema=False)
    original.drop("kind").write_csv(tmp_path / "lacks.csv")
    command = ["doubt", str(copied.root), "--corrected", str(tmp_path / "corrected.csv")]
    assert cli.main([*command, "--table", str(tmp_path / "lacks.csv")]) == 2
    message = capsys.readouterr().err
    assert "lacks.csv has no column 'kind'. Pass --table with the table of the run." in message
    assert not (tmp_path / "corrected.csv").exists()


def test_a_run_with_one_row_that_was_held_out_is_judged(tmp_path):
    """Labels are judged out of fold, also those of training rows. Without any such row nothing is trained."""
    vectors, labels = columns()
    np.save(tmp_path / "points.npy", vectors)
    pl.DataFrame({"split": ["test", *["train"] * (ROWS - 1)], **labels}).write_csv(tmp_path / "things.csv")
    recipe = recipes.Recipe(
        similarities=(recipes.similarity_part("kind", "categorical"),),
        data=recipes.Data(input="vectors", vectors="points.npy"),
        encoder=recipes.Encoder(name="identity"),
        train=recipes.Train(epochs=0),
    )
    run = mscon.fit(recipe, tmp_path / "things.csv", tmp_path / "run", progress=False)
    assert mscon.doubt(run, progress=False).height == ROWS


def test_a_kind_of_ones_own_is_judged_by_what_it_predicts(tmp_path):
    vectors, labels = columns()
    angle = np.arctan2(vectors[:, 0], vectors[:, 1])
    hours = [f"{value:.2f}" for value in (angle / np.pi * 12) % 24]
    np.save(tmp_path / "points.npy", vectors)
    table = pl.DataFrame({"split": ["train", "test"] * (ROWS // 2), "hour": hours, **labels})
    table.write_csv(tmp_path / "things.csv")
    recipe = recipes.Recipe(
        similarities=(
            recipes.similarity_part("hour", "tests.cyclic:Cyclic"),
            recipes.similarity_part("kind", "categorical"),
        ),
        data=recipes.Data(input="vectors", vectors="points.npy"),
        encoder=recipes.Encoder(name="identity"),
        train=recipes.Train(epochs=0),
    )
    run = mscon.fit(recipe, tmp_path / "things.csv", tmp_path / "run", progress=False)
    judged = mscon.doubt(run, progress=False)
    assert set(judged["column"]) == {"hour", "kind"}
    assert judged.filter(pl.col("column") == "hour").height == ROWS


def test_labels_of_texts_are_judged(tmp_path, monkeypatch):
    vectors, labels = columns()
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(text, "_place", lambda model: model or "packaged")
    monkeypatch.setattr(text, "_encode", lambda texts, place: vectors[[int(t.split()[1]) for t in texts]])
    notes = [f"note {row}" for row in range(ROWS)]
    pl.DataFrame({"split": ["train", "test"] * (ROWS // 2), "note": notes, **labels}).write_csv(tmp_path / "notes.csv")
    recipe = recipes.Recipe(
        similarities=(recipes.similarity_part("kind", "categorical"),),
        data=recipes.Data(input="text", text="note"),
        encoder=recipes.Encoder(name="identity"),
        train=recipes.Train(epochs=0),
    )
    run = mscon.fit(recipe, tmp_path / "notes.csv", tmp_path / "run", progress=False)
    judged = mscon.doubt(run, progress=False)
    _, right, _ = cells()
    wrong = {row + 2 for row in range(ROWS) if labels["kind"][row] != right["kind"][row]}
    assert len(wrong & set(judged["line"].head(len(wrong)))) >= 0.7 * len(wrong)
