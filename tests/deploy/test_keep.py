"""Features beside which starting ones stand are the same wherever a model goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import mscon
from exports import needs_onnx
from mscon.cli import main
from mscon.data.inputs import text
from mscon.data.table.table import read_table
from mscon.deploy import hub, packed
from mscon.deploy.onnx import export_onnx
from mscon.deploy.transformer import EmbeddingTransformer
from mscon.errors import RunError
from mscon.evaluate.features import extract
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train.fit import fit
from reliability.jobs import write_job

RECIPE = """
[[similarity]]
column = "kind"
[[similarity]]
column = "tone"
[encoder]
name = "mlp"
settings = { units = 16, layers = 1 }
[train]
epochs = 1
batch_size = 12
precision = "float32"
channels_last = "no"
[keep]
beside = 5
width = 12
"""
IMAGES = ["data={image_size=16, channels=1}", 'encoder={name="small_cnn", width=4}']
VECTORS = ['data={input="vectors", vectors="v.npy"}']
COLUMNS = ['data={input="columns", numbers=["size"], categories=["make"]}', "keep.beside=3"]
TEXT = ['data={input="text", text="make"}']


def letters(texts, name):
    """In place of a sentence encoder: six numbers of each text."""
    return np.array([[hash_of(each, k) for k in range(6)] for each in texts], dtype=np.float32)


def hash_of(word: str, seed: int) -> float:
    return float(np.random.default_rng([seed, *word.encode()]).normal())


@pytest.fixture(scope="module", autouse=True)
def sentences():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "embed", letters)
        yield


@pytest.fixture(scope="module", params=["encoder", "features", "adapter", "inputs", "standardised", "text", "width"])
def run(request, tmp_path_factory):
    """One for each kind of starting features, and one without any; its files stay, others may come."""
    tmp_path = tmp_path_factory.mktemp(request.param)
    settings = {"inputs": VECTORS, "standardised": COLUMNS, "text": TEXT, "width": [*IMAGES, "keep.beside=0"]}
    table = read_table(write_job(tmp_path / "job").folder / "t.csv")
    overrides = settings.get(request.param, IMAGES)
    from_weights = request.param in ("encoder", "features", "adapter")
    if from_weights:
        start = fit(recipes.parse(RECIPE, [*IMAGES, "keep.beside=0", "keep.width=0"]), table, tmp_path / "start")
        frozen = "false" if request.param == "encoder" else "true"
        overrides = [*IMAGES, f"encoder.start_from={start.root}", f"encoder.frozen={frozen}"]
        overrides += ["encoder.adapter={units=9, layers=1}"] if request.param == "adapter" else []
    run = fit(recipes.parse(RECIPE, overrides), table, tmp_path / "run", progress=False)
    if from_weights:
        start.root.rename(tmp_path / "gone")
    extract(run, progress=False)
    return run


def inputs_of(run: Run):
    """All rows as a caller in Python has them."""
    folder = run.root.parent / "job"
    frame = pl.read_csv(folder / "t.csv")
    return {
        "image": lambda: [folder / name for name in frame["image"]],
        "vectors": lambda: np.load(folder / "v.npy"),
        "columns": lambda: frame,
        "text": lambda: frame["make"].to_list(),
    }[run.read_recipe().data.input]()


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_every_way_out_gives_the_features_that_are_probed(run, tmp_path, capsys):
    features = run.read_features()
    assert features.shape == (60, 12)
    inputs = inputs_of(run)
    loaded = mscon.load(run.root)
    assert loaded.width() == 12
    close(loaded.embed(inputs), features)
    packed.pack(run, tmp_path / "model.safetensors")
    hub.lay_out(run, "# Card\n", tmp_path / "repository")
    for source in (tmp_path / "model.safetensors", tmp_path / "repository"):
        model = mscon.load(source)
        close(model.embed(inputs), features)
        close(model.embed(inputs, "kind"), loaded.embed(inputs, "kind"))
        assert model.digest == loaded.digest
        assert "features=12" in repr(model)
    assert packed.load_packed(tmp_path / "model.safetensors").model.width == 12
    close(EmbeddingTransformer(run.root).fit(None).transform(inputs), features)
    table = str(run.root.parent / "job" / "t.csv")
    assert main(["embed", str(run.root), "--table", table, "--out", str(tmp_path / "vectors.parquet")]) == 0
    vectors = pl.read_parquet(tmp_path / "vectors.parquet")
    close(np.array(vectors[vectors.columns[-1]].to_list()), features)
    capsys.readouterr()


@needs_onnx
def test_onnx_computes_them_too(run, tmp_path):
    import onnxruntime

    exported = export_onnx(run, tmp_path / "model.onnx", projections=True)
    assert exported.difference <= 1e-5
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    model, data = mscon.load(run.root), run.read_recipe().data
    generator = np.random.default_rng(0)
    if data.input == "image":
        name, inputs = "images", generator.integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    else:
        name, inputs = "vectors", generator.normal(size=(3, run.input_width)).astype(np.float32)
    features, projections = session.run(["features", "projections"], {name: inputs})
    close(features, model.encode(inputs))
    close(projections[:, 0], model.encode(inputs, "kind"))


def test_probe_search_report_card_and_explorer_take_them(run, capsys):
    root = str(run.root)
    for verb in (["probe", root], ["report", root], ["card", root], ["explore", root]):
        assert main(verb) == 0, capsys.readouterr().err
    assert main(["search", root, "--query", "3"]) == 0, capsys.readouterr().err
    assert {score["column"] for score in run.read_probe()["linear"]} == {"kind", "tone"}
    components = run.read_recipe().keep.beside
    sentence = f"Of the features {components} are principal components of those before training."
    assert (sentence in (run.root / "README.md").read_text()) == (components > 0)


def test_components_are_those_of_images_as_the_encoder_gets_them(tmp_path):
    """Each part has a total variance of 1 over the training rows, also where larger images are stored."""
    table = read_table(write_job(tmp_path / "job").folder / "t.csv")
    run = fit(recipes.parse(RECIPE, [*IMAGES, "keep.beside=0", "data.store_size=24"]), table, tmp_path / "run")
    extract(run, progress=False)
    rows = (run.read_rows()["split"] == "train").to_numpy()
    features = run.read_features()[rows]
    close(features.mean(axis=0), np.zeros(12))


def test_a_file_that_does_not_say_what_they_are_is_refused(tmp_path):
    table = read_table(write_job(tmp_path / "job").folder / "t.csv")
    run = fit(recipes.parse(RECIPE, VECTORS), table, tmp_path / "run", progress=False)
    packed.pack(run, tmp_path / "model.safetensors")
    contents = packed.load_packed(tmp_path / "model.safetensors")
    contents.model.beside.start = "other"
    config = packed.describe(contents.recipe, contents.model, "last", contents.inputs)
    with pytest.raises(RunError, match="does not describe what its starting features are"):
        packed._start(config, contents.recipe, tmp_path / "model.safetensors")


def test_a_model_without_keep_is_described_as_before(tmp_path):
    table = read_table(write_job(tmp_path / "job").folder / "t.csv")
    recipe = recipes.parse(RECIPE, [*VECTORS, "keep.beside=0", "keep.width=0"])
    run = fit(replace(recipe), table, tmp_path / "run", progress=False)
    config = packed.pack(run, tmp_path / "model.safetensors")
    assert set(config["recipe"]) == {"encoder", "data", "heads"}
    assert "start" not in config and "lora" not in config["recipe"]["encoder"]
