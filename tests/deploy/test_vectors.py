"""Models of vectors, columns and sentences leave training as models of images do."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import mscon
from exports import needs_onnx
from mscon.data.table.table import read_table
from mscon.deploy import inputs as deploy_inputs
from mscon.deploy.inputs import open_table
from mscon.deploy.onnx import export_onnx
from mscon.deploy.packed import pack
from mscon.deploy.shards import embed_table
from mscon.deploy.transformer import EmbeddingTransformer
from mscon.errors import RunError, TableError
from mscon.evaluate.features import extract
from mscon.run import recipe as recipes
from mscon.train.fit import fit
from reliability.jobs import write_job

RECIPE = """
[[similarity]]
column = "kind"
name = "categorical"
[encoder]
name = "mlp"
settings = { units = 8, layers = 1 }
[train]
epochs = 1
batch_size = 8
precision = "float32"
"""
VECTORS = '\n[data]\ninput = "vectors"\nvectors = "clip.npy"\n'
COLUMNS = '\n[data]\ninput = "columns"\nnumbers = ["height"]\ncategories = ["make"]\n'


@pytest.fixture
def table(tmp_path):
    generator = np.random.default_rng(0)
    np.save(tmp_path / "clip.npy", generator.standard_normal((20, 6)).astype(np.float32))
    lines = ["kind,split,height,make"]
    for n in range(20):
        lines.append(f"{'ab'[n % 2]},{'train' if n < 14 else 'test'},{n * 0.5},{'xyz'[n % 3]}")
    path = tmp_path / "new.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(params=[VECTORS, COLUMNS], ids=["vectors", "columns"])
def run(request, table, tmp_path):
    run = fit(recipes.parse(RECIPE + request.param), read_table(table), tmp_path / "run", progress=False)
    extract(run, progress=False)
    return run


def inputs(run, table):
    """The rows as a caller in Python has them."""
    if run.read_recipe().data.input == "vectors":
        return np.load(table.parent / "clip.npy")
    return read_table(table).frame


def test_vectors_are_those_that_the_probes_saw(run, table):
    model = mscon.load(run.root)
    np.testing.assert_allclose(model.embed(inputs(run, table), batch_size=7), run.read_features(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.embed(inputs(run, table), "kind"), run.read_projections()[0], rtol=1e-5, atol=1e-6)


def test_a_table_is_embedded_in_shards_without_an_image_column(run, table, tmp_path):
    folder = embed_table(mscon.load(run.root), read_table(table), tmp_path / "out.parquet", shard_rows=7)
    frame = pl.read_parquet(folder / "*.parquet")
    assert frame.columns == ["line", "features"]
    assert frame.get_column("line").to_list() == list(range(2, 22))
    np.testing.assert_allclose(frame.get_column("features").to_numpy(), run.read_features(), rtol=1e-5, atol=1e-6)
    out = embed_table(mscon.load(run.root), read_table(table), tmp_path / "out.npz")
    with np.load(out) as file:
        assert set(file) == {"line", "features"}


def test_packed_they_need_no_run(run, table, tmp_path):
    pack(run, tmp_path / "model.safetensors")
    features = run.read_features()
    run.root.rename(tmp_path / "gone")
    model = mscon.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(model.embed(inputs_of(model, table)), features, rtol=1e-5, atol=1e-6)


def inputs_of(model, table):
    return np.load(table.parent / "clip.npy") if model.recipe.data.input == "vectors" else read_table(table).frame


@needs_onnx
def test_they_are_exported_too(run, tmp_path):
    import onnxruntime

    exported = export_onnx(run, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    (model_input,) = session.get_inputs()
    assert model_input.name == "vectors" and model_input.type == "tensor(float)"
    assert not exported.real


def test_vectors_of_another_width_are_refused(table, tmp_path):
    run = fit(recipes.parse(RECIPE + VECTORS), read_table(table), tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match=r"takes vectors \[rows, 6\], got \[2, 5\]"):
        mscon.load(run.root).embed(np.zeros((2, 5)))
    np.save(tmp_path / "clip.npy", np.zeros((20, 5), dtype=np.float32))
    with pytest.raises(TableError, match="5 numbers"):
        embed_table(mscon.load(run.root), read_table(table), tmp_path / "out.npz")


def test_what_is_no_text_is_refused_before_it_is_read(table, tmp_path):
    run = fit(recipes.parse(RECIPE + VECTORS), read_table(table), tmp_path / "run", progress=False)
    model = mscon.load(run.root)
    model.recipe = replace(model.recipe, data=replace(model.recipe.data, input="text"))
    with pytest.raises(ValueError, match=r"takes texts, but of 3 2 are something else: rows 0, 2.* first is None"):
        model.embed([None, "a", 3])


def test_a_frame_as_it_was_read_needs_no_preparation(table, tmp_path):
    run = fit(recipes.parse(RECIPE + COLUMNS), read_table(table), tmp_path / "run", progress=False)
    model = mscon.load(run.root)
    expected = model.embed(read_table(table).frame)
    for source in (pl.read_csv(table), pl.read_csv(table, infer_schema=False), table):
        np.testing.assert_array_equal(model.embed(source), expected)
    empty = pl.read_csv(table, infer_schema=False).with_columns(make=pl.lit(" "))
    np.testing.assert_array_equal(model.embed(empty), model.embed(empty.with_columns(make=pl.lit(None, pl.String))))


def test_columns_at_fault_are_told_as_of_any_table(table, tmp_path):
    run = fit(recipes.parse(RECIPE + COLUMNS), read_table(table), tmp_path / "run", progress=False)
    model = mscon.load(run.root)
    frame = read_table(table).frame
    with pytest.raises(TableError, match=r"row 1: 'tall' in column 'height' is no finite number"):
        model.embed(frame.with_columns(height=pl.lit("tall")))
    with pytest.raises(TableError, match="there is no column 'make'"):
        model.embed(frame.drop("make"))
    with pytest.raises(ValueError, match="a table is a path, or a polars or pandas DataFrame, not list"):
        model.embed([1.0, 2.0])


def test_a_step_of_a_pipeline_takes_the_frame_whole(run, table):
    vectors = inputs(run, table)
    step = EmbeddingTransformer(run.root).fit(None)
    np.testing.assert_array_equal(step.transform(vectors), mscon.load(run.root).embed(vectors))


def test_vectors_that_are_not_finite_are_told_before_the_model_is_blamed(table, tmp_path):
    run = fit(recipes.parse(RECIPE + VECTORS), read_table(table), tmp_path / "run", progress=False)
    vectors = np.load(table.parent / "clip.npy").astype(np.float64)
    vectors[3, 1], vectors[7, 0] = np.nan, 1e300
    with pytest.raises(ValueError, match=r"of 20 vectors 2 .* rows 3, 7, counted from 0"):
        mscon.load(run.root).embed(vectors)


def test_the_vectors_of_a_new_table_may_be_called_otherwise(run, table, tmp_path):
    np.save(tmp_path / "new.npy", np.load(tmp_path / "clip.npy"))
    if run.read_recipe().data.input == "vectors":
        (tmp_path / "clip.npy").unlink()
        out = embed_table(mscon.load(run.root), read_table(table), tmp_path / "out.npz", vectors="new.npy")
        with np.load(out) as file:
            np.testing.assert_allclose(file["features"], run.read_features(), rtol=1e-5, atol=1e-6)
        return
    with pytest.raises(RunError, match=r"encodes columns, not vectors. Leave out --vectors 'new\.npy'"):
        embed_table(mscon.load(run.root), read_table(table), tmp_path / "out.npz", vectors="new.npy")


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (None, "new.csv has 20 rows, but 'clip.npy' has 30 vectors."),
        ("none.npy", "the file of vectors '{folder}/none.npy' does not exist."),
        ("z.npz", "vectors are not read from 'z.npz', but from files whose names end in .npy or .safetensors."),
    ],
)
def test_vectors_that_do_not_fit_a_new_table_are_told_how_to_name_others(table, tmp_path, vectors, words):
    data = replace(recipes.parse(RECIPE + VECTORS).data, vectors=vectors or "clip.npy")
    np.save(tmp_path / "clip.npy", np.ones((30, 6), np.float32))
    np.savez(tmp_path / "z.npz", np.ones((20, 6), np.float32))
    with pytest.raises(TableError) as caught:
        open_table(read_table(table), data, None, None, drops=False)
    message = str(caught.value)
    assert words.format(folder=tmp_path) in message
    assert "If it moved" not in message and "no column" not in message
    assert "pass --vectors new.npy, a path relative to the folder of the table" in message or vectors == "z.npz"


def test_stamps_of_vectors_are_hashes_of_each_row_whatever_is_read_at_once(tmp_path, monkeypatch):
    """Finished shards are known by them, also those of older versions."""
    job = write_job(tmp_path / "job")
    data = recipes.read(job.folder / "r.toml").data
    inputs = open_table(read_table(job.folder / "t.csv"), data, None, None, drops=False)
    expected = [[hashlib.sha256(vector.tobytes()).hexdigest()] for vector in np.load(job.folder / "v.npy")]
    monkeypatch.setattr(deploy_inputs, "_HASHED", 7)
    assert list(inputs.stamps(range(3, 31))) == expected[3:31]
    assert list(inputs.stamps(range(60))) == expected
