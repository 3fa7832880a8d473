"""mscon.deploy.Rows: a model that engines can send to their workers."""

from __future__ import annotations

import pickle

import numpy as np
import polars as pl
import pytest

import mscon
from mscon.deploy import Rows
from mscon.errors import RunError, TableError

TINY = """
similarity = [{{ column = "kind" }}]
[encoder]
name = "mlp"
settings = {{ units = 8, layers = 1 }}
[train]
epochs = 1
[data]
{data}
"""


def test_columns_in_columns_of_vectors_out(run, pictures):
    paths = [str(pictures / f"{n}.png") for n in range(12)]
    expected = mscon.load(run.root).embed_all(paths)
    vectors = Rows(run.root)({"image": np.array(paths), "key": np.arange(12)})
    assert list(vectors) == ["features", "projection_kind", "projection_colour", "mix"]
    for name, column in expected.columns.items():
        assert vectors[name].dtype == np.float32
        assert np.array_equal(vectors[name], column)
    contents = np.array([(pictures / f"{n}.png").read_bytes() for n in range(12)], dtype=object)
    rows = Rows(str(run.root), column="photo", spaces=["mix"], with_columns=["key"], batch_size=5)
    of_bytes = rows({"photo": contents, "key": np.arange(12)[::-1]})
    assert list(of_bytes) == ["key", "mix"]
    assert of_bytes["key"].tolist() == list(range(11, -1, -1))
    np.testing.assert_allclose(of_bytes["mix"], expected.mix, atol=1e-6)
    assert rows({"photo": [], "key": []})["mix"].shape == (0, 12)


def test_it_is_sent_without_the_model_which_each_process_loads_once(run, pictures, monkeypatch):
    rows = Rows(run.root, spaces=("features",))
    batch = {"image": [str(pictures / "0.png")]}
    here = rows(batch)["features"]
    sent = pickle.dumps(rows)
    assert len(sent) < 1_000
    there, loads = pickle.loads(sent), []  # noqa: S301 of the line above
    load = mscon.deploy.rows.load
    monkeypatch.setattr(mscon.deploy.rows, "load", lambda *a, **k: (loads.append(a), load(*a, **k))[1])
    for _ in range(2):
        assert np.array_equal(there(batch)["features"], here)
    assert loads == [(run.root,)]


def test_a_model_of_columns_takes_its_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    frame = pl.DataFrame({"x": generator.normal(size=40), "kind": ["a", "b"] * 20, "make": ["u", "v", "w", "u"] * 10})
    columns = 'input = "columns"\nnumbers = ["x"]\ncategories = ["make"]'
    mscon.fit(mscon.recipe.parse(TINY.format(data=columns)), frame, "run", progress=False)
    batch = {name: frame[name].to_numpy() for name in ("make", "x")}
    assert np.array_equal(Rows("run")(batch)["features"], mscon.load("run").embed(frame))
    with pytest.raises(TableError, match=r"the batch has no column 'x'\. It has make\."):
        Rows("run")({"make": batch["make"]})


def test_mistakes_are_told(run, pictures):
    image = [str(pictures / "0.png")]
    with pytest.raises(TableError, match=r"the batch has no column 'image'\. Did you mean 'imag'\? It has imag\."):
        Rows(run.root)({"imag": image})
    with pytest.raises(TableError, match="no column 'key'"):
        Rows(run.root, with_columns=["key"])({"image": image})
    with pytest.raises(
        RunError, match=r"has no space 'shape'\. Its spaces: features, projection_kind, projection_colour, mix"
    ):
        Rows(run.root, spaces=["shape"])({"image": image})
    with pytest.raises(RunError):
        Rows("nowhere")({"image": image})
