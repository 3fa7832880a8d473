"""Training with a teacher: from a column, a file, or what training starts from; what is told of bad vectors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn.functional import normalize

from mscon.cli import main
from mscon.data.table.table import read_table
from mscon.errors import RecipeError, RunError
from mscon.evaluate.features import extract
from mscon.evaluate.probe import probe
from mscon.model.model import load_model
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train.fit import fit, resume
from process import together

ROWS, TRAIN = 60, 40
RECIPE = """
[[similarity]]
column = "kind"
[[similarity]]
column = "clip"
name = "teacher"
of = "clip.npy"

[data]
input = "vectors"
vectors = "points.npy"

[encoder]
name = "mlp"
settings = { units = 16, layers = 1 }

[weighting]
name = "equal"

[train]
epochs = 2
batch_size = 16
precision = "float32"
channels_last = "no"
schedule = "constant"
"""
FROM_START = 'similarity=[{column="kind"}, {name="teacher", of="start"}]'
FROM_COLUMN = 'similarity=[{column="kind"}, {column="clip", name="teacher"}]'


def teacher_recipe(*overrides: str) -> Recipe:
    return recipes.parse(RECIPE, overrides)


def clip() -> np.ndarray:
    """Some rows are missing, a training row among them; no vector is near zero."""
    vectors = np.random.default_rng(1).normal(size=(ROWS, 5)).astype(np.float32) + 3
    vectors[[4, 50]] = np.nan
    return vectors


def cell(vector: np.ndarray) -> str | None:
    return None if np.isnan(vector).any() else str(vector.tolist())


@pytest.fixture
def folder(tmp_path) -> Path:
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32))
    np.save(tmp_path / "clip.npy", clip())
    split = ["train" if n < TRAIN else "validation" if n < 48 else "test" for n in range(ROWS)]
    frame = pl.DataFrame({"split": split, "kind": ["ab"[n % 2] for n in range(ROWS)]})
    frame.write_csv(tmp_path / "t.csv")
    frame.with_columns(pl.Series("clip", map(cell, clip()))).write_csv(tmp_path / "texts.csv")
    lists = [None if np.isnan(vector).any() else vector.tolist() for vector in clip()]
    frame.with_columns(pl.Series("clip", lists)).write_ndjson(tmp_path / "lists.jsonl")
    (tmp_path / "r.toml").write_text(RECIPE)
    return tmp_path


def trained(folder: Path, *overrides: str, table: str = "t.csv", out: str = "run") -> Run:
    run = fit(teacher_recipe(*overrides), read_table(folder / table), folder / out, progress=False)
    assert run is not None
    return run


def assert_codes(codes: np.ndarray, vectors: np.ndarray, is_train: np.ndarray) -> None:
    """Those of the vectors, less the mean of the training rows."""
    apart = torch.from_numpy(vectors.astype(np.float64) - np.nanmean(vectors[is_train].astype(np.float64), axis=0))
    expected = normalize(apart, dim=1)
    torch.testing.assert_close(torch.from_numpy(codes).double(), expected, rtol=0, atol=3e-4, equal_nan=True)


def test_the_vectors_of_a_file_a_list_column_or_texts_teach_alike(folder):
    """And the texts of the vectors are no label column."""
    runs = [
        trained(folder),
        trained(folder, FROM_COLUMN, table="lists.jsonl", out="lists"),
        trained(folder, FROM_COLUMN, table="texts.csv", out="texts"),
    ]
    for run in runs:
        codes = run.read_teachers()["clip"]
        assert codes.dtype == np.float16
        assert_codes(codes, clip(), np.arange(ROWS) < TRAIN)
        assert run.read_rows().columns == ["line", "split", "image", "kind"]
        assert run.read_similarities()[1]["state"] == {"column": "clip", "target_temperature": 0.1}
        assert [record["loss"] for record in run.read_log()] == [record["loss"] for record in runs[0].read_log()]


@pytest.mark.usefixtures("as_users_run_it")
def test_what_is_learnt_comes_near_to_the_teacher(folder):
    """The teacher is the start; the space of its similarity has the same neighbours only if it was trained on."""
    nearest = []
    for importance in (1.0, 0.0):
        similarity = f'similarity=[{{column="kind"}}, {{name="teacher", of="start", importance={importance}}}]'
        run = trained(folder, similarity, "train.epochs=60", "views.corrupt=0.1", out=f"run{importance}")
        codes = torch.from_numpy(run.read_teachers()["teacher"].astype(np.float32))[:TRAIN]
        extract(run, progress=False)
        space = torch.from_numpy(run.read_projections()[1].copy())[:TRAIN]
        asked, answered = (
            (unit @ unit.T).fill_diagonal_(-2).argmax(dim=1) for unit in (codes, normalize(space, dim=1))
        )
        nearest.append((asked == answered).double().mean().item())
    assert nearest[0] > nearest[1] + 0.2, nearest


def test_a_run_without_a_teacher_has_no_file_of_it(folder):
    run = trained(folder, 'similarity=[{column="kind"}]')
    assert not (run.root / "teachers.safetensors").exists()


def test_a_memory_holds_codes_of_a_teacher_in_bfloat16(folder):
    recipe = teacher_recipe("train.precision=bfloat16", "candidates.memory_size=24", "train.epochs=1")
    run = fit(recipe, read_table(folder / "t.csv"), folder / "run", progress=False)
    codes = run.read_checkpoint("last")[0]["candidates.codes_1"]
    assert codes.dtype == torch.float16 and len(codes) == 24


def test_a_stopped_run_goes_on_to_the_bit_without_the_vectors(folder):
    whole = trained(folder, FROM_COLUMN, table="texts.csv", out="whole")
    part = trained(folder, FROM_COLUMN, "train.epochs=1", table="texts.csv", out="part")
    (folder / "texts.csv").unlink()
    resume(part, progress=False, overrides=["train.epochs=2"])
    ours, theirs = (run.read_checkpoint("last")[0] for run in (part, whole))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_run_that_has_lost_its_teachers_does_not_go_on(folder):
    part = trained(folder, "train.epochs=1")
    (part.root / "teachers.safetensors").unlink()
    with pytest.raises(RunError, match=r"teachers\.safetensors is gone"):
        resume(part, progress=False, overrides=["train.epochs=2"])


def test_two_processes_train_what_one_does(folder):
    """Each has the vectors of its rows, and meets those of the other's."""
    overrides = ["heads.batch_norm=false", "train.batch_size=11", "train.mini_batch_size=4", FROM_START]
    recipe = teacher_recipe(*overrides)
    (folder / "two.toml").write_text(recipe.to_toml())
    alone = trained(folder, *overrides, out="alone")
    outcome = together("train", folder / "two.toml", "--table", folder / "t.csv", "--out", folder / "two", cwd=folder)
    assert outcome.status == 0, outcome
    two = Run.open(folder / "two")
    assert all(
        np.array_equal(code, two.read_teachers()[name], equal_nan=True) for name, code in alone.read_teachers().items()
    )
    for record, same in zip(alone.read_log(), two.read_log(), strict=True):
        assert same["loss"] == pytest.approx(record["loss"], abs=1e-4)
        assert same["floor"] == pytest.approx(record["floor"], abs=1e-4)


def test_a_run_that_holds_the_vectors_is_not_replaced(folder):
    run = trained(folder)
    (folder / "clip.npy").rename(run.root / "clip.npy")
    recipe = teacher_recipe('similarity=[{column="kind"}, {name="teacher", of="run/clip.npy"}]')
    with pytest.raises(RunError, match=r"clip\.npy"):
        fit(recipe, read_table(folder / "t.csv"), run.root, overwrite=True, progress=False)
    assert (run.root / "clip.npy").is_file()


def test_no_output_replaces_the_vectors(folder, capsys):
    run = trained(folder)
    before = (folder / "clip.npy").read_bytes()
    assert (
        main(
            ["embed", str(run.root), "--table", str(folder / "t.csv"), "--out", str(folder / "clip.npy"), "--overwrite"]
        )
        == 2
    )
    assert (folder / "clip.npy").read_bytes() == before
    assert folder / "clip.npy" in run.files


# What training starts from -------------------------------------------------------------------------


def test_the_start_of_vectors_is_the_vectors(folder):
    run = trained(folder, FROM_START)
    points = np.load(folder / "points.npy")
    points[48:] = np.nan  # test rows teach nobody
    assert_codes(run.read_teachers()["teacher"], points, np.arange(ROWS) < TRAIN)


def test_columns_of_different_units_teach_alike(folder):
    """A number in thousands counts no more than one in ones."""
    codes = []
    for factor in (1, 1000):
        frame = pl.DataFrame(
            {"kind": ["ab"[n % 2] for n in range(ROWS)], "x": [n % 7 for n in range(ROWS)]}
        ).with_columns(y=pl.Series([factor * (n % 5) for n in range(ROWS)]))
        run = fit(
            teacher_recipe(FROM_START, 'data={input="columns", numbers=["x", "y"]}'),
            frame,
            folder / f"columns{factor}",
            progress=False,
        )
        assert run is not None
        codes.append(run.read_teachers()["teacher"])
    np.testing.assert_allclose(codes[0].astype(float), codes[1].astype(float), atol=1e-3)


def image_recipe(recipe_with, *overrides: str) -> Recipe:
    return recipe_with('similarity=[{column="shape"}, {name="teacher", of="start"}]', *overrides)


def test_the_start_of_images_is_the_features_of_the_encoder_that_training_starts_from(recipe_with, table, tmp_path):
    """Of training and validation rows, without views; and they stay when the encoder learns."""
    first = fit(recipe_with("train.epochs=1"), table, tmp_path / "first", progress=False)
    run = fit(image_recipe(recipe_with, f"encoder.start_from={first.root}"), table, tmp_path / "run", progress=False)
    probe(first)
    features = first.read_features().copy()
    split = run.read_rows().get_column("split").to_numpy()
    features[split == "test"] = np.nan
    assert_codes(run.read_teachers()["teacher"], features, split == "train")
    assert not torch.equal(*(load_model(r).encoder.state_dict()["backbone.stages.0.0.weight"] for r in (first, run)))


def test_the_teacher_sees_images_as_the_encoder_does_where_larger_ones_are_stored(recipe_with, table, tmp_path):
    first = fit(recipe_with("train.epochs=1"), table, tmp_path / "first", progress=False)
    start = [f"encoder.start_from={first.root}", "train.epochs=1"]
    runs = [
        fit(
            image_recipe(recipe_with, *start, f"data.store_size={size}"), table, tmp_path / f"run{size}", progress=False
        )
        for size in (0, 24)
    ]
    codes = [run.read_teachers()["teacher"] for run in runs]
    assert np.array_equal(*codes, equal_nan=True)


def test_random_weights_are_no_teacher(recipe_with, table, tmp_path):
    with pytest.raises(RecipeError, match=r"the encoder starts from random weights\. Set \[encoder\] pretrained"):
        fit(image_recipe(recipe_with), table, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


# Mistakes ------------------------------------------------------------------------------------------


def complaint(folder: Path, capsys, *overrides: str, table: str = "t.csv", verb: str = "check") -> str:
    """What a verb says, which writes nothing."""
    arguments = [verb, str(folder / "r.toml"), "--table", str(folder / table)]
    arguments += [word for text in overrides for word in ("--set", text)]
    arguments += ["--out", str(folder / "run")] if verb == "train" else []
    assert main(arguments) == 2
    assert not (folder / "run").exists()
    return capsys.readouterr().err


@pytest.mark.parametrize("verb", ["check", "train"])
def test_vectors_at_fault_are_told_at_once_with_their_lines(folder, capsys, verb):
    vectors = clip()
    vectors[3, 1], vectors[7, 0], vectors[9] = np.nan, np.inf, 0
    np.save(folder / "clip.npy", vectors)
    message = complaint(folder, capsys, 'probe.columns=["nobody"]', verb=verb)
    assert (
        "t.csv, line 5: the vector of this row in 'clip.npy' has a number that is NaN, infinite or too large."
        in message
    )
    assert "2 of 60 rows have this problem: lines 5, 9." in message
    assert "t.csv, line 11: the vector of this row in 'clip.npy' is zero." in message
    assert "there is no column 'nobody'" in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((FROM_COLUMN,), "there is no column 'clip' of vectors, which similarity 'clip' of kind 'teacher' reads."),
        (('similarity=[{name="teacher"}]',), 'or of = "start" for the features that training starts from.'),
        (('similarity=[{name="teacher", of="gone.npy"}]',), "gone.npy' does not exist."),
        (('similarity=[{name="teacher", of="../clip.npy"}]',), "lies outside the folder"),
        (
            ('similarity=[{column="kind", name="teacher", of="clip.npy"}]',),
            "column 'kind' is the name of a similarity of kind 'teacher', but the table has a column of that name.",
        ),
        (('similarity=[{name="teacher", of="start", target_temperature=0.001}]',), "at least 0.02, got 0.001"),
    ],
)
def test_a_teacher_that_is_not_there_is_told(folder, capsys, overrides, message):
    assert message in complaint(folder, capsys, *overrides)


def test_as_many_vectors_as_rows_are_needed(folder, capsys):
    np.save(folder / "clip.npy", clip()[:50])
    assert "t.csv has 60 rows, but 'clip.npy' has 50 vectors." in complaint(folder, capsys)


@pytest.mark.parametrize(("vectors", "message"), [
    (np.full((ROWS, 3), np.nan), "the vectors in 'clip.npy' are missing in all training rows."),
    (np.full((ROWS, 3), 0.1), "the vectors in 'clip.npy' are the same in all training rows"),
    (np.arange(1.0, ROWS + 1)[:, None], "the vectors in 'clip.npy' have one number each"),
])  # fmt: skip
def test_vectors_that_tell_nothing_apart_are_told(folder, capsys, vectors, message):
    np.save(folder / "clip.npy", vectors)
    for verb in ("check", "train"):
        assert message in complaint(folder, capsys, verb=verb)


def test_texts_that_are_no_vectors_are_told_with_their_lines(folder, capsys):
    frame = pl.read_csv(folder / "texts.csv")
    cells = frame["clip"].to_list()
    cells[2], cells[8] = "shoe", "[1, 2]"
    frame.with_columns(pl.Series("clip", cells)).write_csv(folder / "texts.csv")
    message = complaint(folder, capsys, FROM_COLUMN, table="texts.csv")
    assert "texts.csv: column 'clip': 1 of 58 cells is not a list of numbers: line 4 'shoe'." in message
    cells[2] = cells[3]
    frame.with_columns(pl.Series("clip", cells)).write_csv(folder / "texts.csv")
    message = complaint(folder, capsys, FROM_COLUMN, table="texts.csv")
    assert "1 of 58 cells is not of 5 numbers, as most are: line 10 '[1, 2]'." in message


# What is said of it ----------------------------------------------------------------------------------


def test_check_says_what_the_vectors_are_like(folder, capsys):
    assert main(["check", str(folder / "r.toml"), "--table", str(folder / "t.csv"), "--json"]) == 0
    _, of_clip = json.loads(capsys.readouterr().out)["columns"]
    vectors = clip()[:TRAIN]
    known = vectors[~np.isnan(vectors).any(axis=1)].astype(np.float64)
    unit = known - known.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    others = ~np.eye(len(unit), dtype=bool)
    summary = of_clip["vectors"]
    assert summary["width"] == 5
    assert summary["missing_share"] == of_clip["missing_share"] == pytest.approx(1 / TRAIN)
    np.testing.assert_allclose(summary["cosines"], np.quantile(cosines[others], [0.05, 0.5, 0.95]), atol=0.05)
    # Batches of 16 rows out of 39: the entropy of targets over 15 others, the mean of many batches.
    generator, entropies = np.random.default_rng(0), []
    for _ in range(300):
        some = generator.permutation(len(unit))[:16]
        targets = np.exp((cosines[np.ix_(some, some)] - 1) / 0.1)
        np.fill_diagonal(targets, 0)
        targets /= targets.sum(axis=1, keepdims=True)
        entropies.append(-(targets * np.log(targets + 1e-300)).sum(axis=1).mean())
    assert summary["target_rows"] == pytest.approx(math.exp(np.mean(entropies)), rel=0.15)
    assert main(["check", str(folder / "r.toml"), "--table", str(folder / "t.csv")]) == 0
    text = capsys.readouterr().out
    assert "'clip' (teacher): vectors of 5 numbers, 2.5% missing among the training rows; cosines of two rows:" in text
    assert "the targets of a row are spread over" in text


def test_check_says_that_features_are_computed_later(recipe_with, table, tmp_path, capsys):
    first = fit(recipe_with("train.epochs=1"), table, tmp_path / "first", progress=False)
    path = tmp_path / "r.toml"
    path.write_text(image_recipe(recipe_with, f"encoder.start_from={first.root}").to_toml())
    assert main(["check", str(path), "--table", str(table.path)]) == 0
    assert "'teacher' (teacher): the features that training starts from; they are computed" in capsys.readouterr().out


def test_every_verb_takes_a_run_with_a_teacher(folder, capsys):
    """It has a space, and no labels: it can be mixed, and is neither probed nor listed as a column."""
    run = trained(folder, FROM_COLUMN, table="texts.csv")
    root = str(run.root)
    for arguments in (
        ["probe", root], ["report", root], ["explore", root], ["card", root],
        ["search", root, "--query", "3", "--mix", "clip=1,kind=0.5"],
        ["embed", root, "--table", str(folder / "texts.csv"), "--out", str(folder / "out.parquet")],
        ["export", root, "--to", "safetensors", "--out", str(folder / "m.safetensors")],
    ):  # fmt: skip
        assert main(arguments) == 0, capsys.readouterr().err
    assert {record["column"] for record in run.read_probe()["linear"]} == {"kind"}
    assert run.read_probe()["skipped"] == []
    assert "sobal2024xclr" in (run.root / "report.html").read_text()
