"""mscon embed --all: features and every similarity in one pass and one file, and any mix as one inner product."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mscon
from mscon.cli import main
from mscon.data.table.table import read_table
from mscon.deploy import shards
from mscon.deploy.shards import embed_table
from mscon.deploy.vector_files import read_vectors
from mscon.deploy.vectors import RowVectors, query_vector
from mscon.errors import RunError
from mscon.evaluate.features import extract

DOCUMENT = Path(__file__).parents[2] / "docs" / "vectors.md"

COLUMNS = ["line", "image", "features", "projection_kind", "projection_colour", "mix"]


def read(path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    frame = (pl.read_ipc if path.suffix == ".arrow" else pl.read_parquet)(path)
    return {name: frame.get_column(name).to_numpy() for name in frame.columns}


class OnePass:
    """A model whose batches are counted."""

    def __init__(self, model):
        self.model, self.sizes = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def embed(self, inputs):
        self.sizes.append(len(inputs))
        return self.model.embed(inputs)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npz"])
def test_one_pass_writes_what_each_space_alone_gives(run, pictures, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(shards, "ROWS", 5)
    model, table = mscon.load(run.root), read_table(pictures / "new.csv")
    alone = {
        similarity: read(embed_table(model, table, tmp_path / f"{similarity}{suffix}", similarity=similarity))
        for similarity in (None, "kind", "colour")
    }
    monkeypatch.setattr(model, "model", counted := OnePass(model.model))
    arrays = read(embed_table(model, table, tmp_path / f"all{suffix}", all_spaces=True))
    assert counted.sizes == [5, 5, 2]
    assert list(arrays) == COLUMNS
    assert arrays["line"].tolist() == list(range(2, 14)) and arrays["image"].tolist() == [f"{n}.png" for n in range(12)]
    np.testing.assert_array_equal(arrays["features"], alone[None]["features"])
    for similarity in ("kind", "colour"):
        np.testing.assert_array_equal(arrays[f"projection_{similarity}"], alone[similarity]["projection"])
    np.testing.assert_array_equal(
        arrays["mix"], np.concatenate([arrays["projection_kind"], arrays["projection_colour"]], axis=1)
    )
    assert {arrays[name].dtype for name in COLUMNS[2:]} == {np.dtype(np.float32)}


def test_the_command_leaves_shards_that_an_index_describes(run, pictures, tmp_path, capsys):
    out = tmp_path / "new.parquet"
    arguments = ["embed", str(run.root), "--table", str(pictures / "new.csv"), "--out", str(out), "--all"]
    assert main([*arguments, "--shard-rows", "5"]) == 0
    folder = tmp_path / "new.parquet.shards"
    assert capsys.readouterr().out == f"{folder}\n"
    index = json.loads((folder / "index.json").read_text())
    assert index["columns"] == {"features": 16, "projection_kind": 6, "projection_colour": 6, "mix": 12}
    assert list(read(folder / index["shards"][0]["file"])) == COLUMNS


def test_shards_of_features_alone_are_not_those_of_all_spaces(run, pictures, tmp_path):
    model, table = mscon.load(run.root), read_table(pictures / "new.csv")
    folder = embed_table(model, table, tmp_path / "new.npz", shard_rows=12)
    embed_table(model, table, tmp_path / "new.npz", shard_rows=12, all_spaces=True)
    (shard,) = folder.glob("*.npz")
    assert list(read(shard)) == COLUMNS


def test_all_and_one_similarity_exclude_each_other(run, pictures, tmp_path, capsys):
    out = tmp_path / "new.npz"
    arguments = ["embed", str(run.root), "--table", str(pictures / "new.csv"), "--out", str(out), "--all"]
    assert main([*arguments, "--similarity", "kind"]) == 2
    assert capsys.readouterr().err == "mscon: --all writes every similarity: leave out --similarity 'kind'.\n"
    assert not out.exists()


def test_a_model_embeds_images_into_all_spaces_at_once(run, pictures):
    model = mscon.load(run.root)
    paths = [pictures / f"{n}.png" for n in range(5)]
    vectors = model.embed_all(paths, batch_size=2)
    assert isinstance(vectors, RowVectors) and vectors.uncertainty is None
    assert list(vectors.columns) == COLUMNS[2:]
    np.testing.assert_allclose(vectors.features, model.embed(paths), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vectors.projections[1], model.embed(paths, "colour"), rtol=1e-5, atol=1e-6)
    assert {name: array.shape for name, array in model.embed_all([]).columns.items()} == {
        "features": (0, 16),
        "projection_kind": (0, 6),
        "projection_colour": (0, 6),
        "mix": (0, 12),
    }


# any mix as one inner product ---------------------------------------------------------------------


def test_an_inner_product_is_the_weighted_mean_of_the_cosines():
    generator = np.random.default_rng(0)
    rows, query = generator.normal(size=(2, 7, 4)), dict(zip("ab", generator.normal(size=(2, 4)), strict=True))
    unit = rows / np.linalg.norm(rows, axis=2, keepdims=True)
    vectors = RowVectors(np.zeros((7, 1), np.float32), unit.astype(np.float32), ("a", "b"))
    expected = [
        sum(
            weight * (row @ query[name]) / (np.linalg.norm(row) * np.linalg.norm(query[name]))
            for name, weight, row in zip("ab", (3, 1), (rows[0, n], rows[1, n]), strict=True)
        )
        / 4
        for n in range(7)
    ]
    np.testing.assert_allclose(vectors.mix @ query_vector(query, {"b": 1, "a": 3}), expected, atol=1e-6)
    np.testing.assert_allclose(
        vectors.mix @ query_vector(query, {"a": 1e308, "b": 1e308}),
        vectors.mix @ query_vector(query, {"a": 1, "b": 1}),
        atol=1e-6,
    )
    assert not query_vector(query, {"b": 2})[:4].any()
    assert not query_vector({"a": np.zeros(4), "b": query["b"]}, {"a": 1}).any()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"c": 1}, "no vector of 'c'; there are a, b"),
        ({"a": -1}, "finite and 0 or above"),
        ({"a": float("nan")}, "finite and 0 or above"),
        ({"a": 0}, "one of them above 0"),
    ],
)
def test_weights_that_say_nothing_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        query_vector({"a": np.ones(2), "b": np.ones(2)}, weights)


def test_files_of_other_kinds_are_refused(run, pictures, tmp_path):
    with pytest.raises(RunError, match=r"must end in .parquet, .arrow or .npz"):
        embed_table(mscon.load(run.root), read_table(pictures / "new.csv"), tmp_path / "new.csv", all_spaces=True)


def of_document() -> dict:
    """The functions that docs/vectors.md shows, as they stand there."""
    lines: dict = {}
    for code in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL):
        exec(compile(code, DOCUMENT.name, "exec"), lines)
    return lines


@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_the_lines_of_the_document_read_fewer_bits(run, pictures, tmp_path, precision):
    settings = {"all_spaces": True, "precision": precision}
    out = embed_table(mscon.load(run.root), read_table(pictures / "new.csv"), tmp_path / "new.npz", **settings)
    arrays, expected = of_document()["read"](out), read_vectors(out)
    assert arrays.keys() == expected.keys()
    for name in COLUMNS[2:]:
        np.testing.assert_allclose(arrays[name], expected[name], rtol=1e-6)


def test_the_lines_of_the_document_find_what_a_search_finds(run, pictures, tmp_path):
    lines = of_document()
    out = embed_table(mscon.load(run.root), read_table(pictures / "new.csv"), tmp_path / "new.npz", all_spaces=True)
    extract(run, progress=False)
    hits = mscon.open_index(run.root, dtype="float32").search(4, mix="colour=3,kind=1", k=5)
    rows, scores = lines["nearest"](out, 4, {"colour": 3, "kind": 1}, k=6)
    assert rows.tolist() == [4, *(hit.row for hit in hits)]
    np.testing.assert_allclose(scores, [1.0, *(hit.score for hit in hits)], atol=1e-5)
    vectors = {"kind": np.array([3.0, 4.0]), "colour": np.array([0.0, 0.0])}
    np.testing.assert_allclose(lines["query_vector"](vectors, {"kind": 2}), query_vector(vectors, {"kind": 2}))
