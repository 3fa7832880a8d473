"""What `mscon.fit` returns is a model: it embeds, searches, predicts and is probed."""

from __future__ import annotations

import inspect

import numpy as np
import polars as pl
import pytest

import mscon
from mscon.errors import RunError, TableError
from shapes import unchecked_shapes


@pytest.fixture(autouse=True)
def as_users_run_it(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: None)
    with unchecked_shapes():
        yield


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """60 things with two measures, a name, and two labels that follow from the measures."""
    generator = np.random.default_rng(0)
    length, weight = generator.normal(size=60), generator.normal(size=60)
    return pl.DataFrame(
        {
            "length": length,
            "weight": weight,
            "maker": ["ada", "bob", "cyd"] * 20,
            "category": np.where(length > 0, "long", "short"),
            "colour": np.where(weight > 0, "red", "blue"),
        }
    )


@pytest.fixture(scope="module")
def run(frame, tmp_path_factory) -> mscon.TrainedRun:
    with unchecked_shapes(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        return mscon.fit(frame, ["category", "colour"], tmp_path_factory.mktemp("runs") / "run", progress=False)


def test_one_line_trains_on_a_frame_of_numbers_and_labels(run):
    recipe = run.read_recipe()
    assert (recipe.data.input, recipe.data.numbers, recipe.data.categories) == ("columns", ("length", "weight"), ())
    assert recipe.columns == ("category", "colour")


def test_a_run_does_what_the_functions_do(run, frame):
    scores = run.probe(progress=False)
    linear = {record["column"]: record["accuracy"]["value"] for record in run.read_probe()["linear"]}
    assert scores == linear and set(scores) == {"category", "colour"}
    np.testing.assert_array_equal(run.embed(frame, "colour"), mscon.load(run.root).embed(frame, "colour"))
    expected = mscon.open_index(run.root).search(0, mix={"colour": 1}, k=3)
    assert [hit.row for hit in run.search(0, mix={"colour": 1}, k=3)] == [hit.row for hit in expected]
    assert run.predict(frame, progress=False).equals(mscon.predict(run, frame, progress=False))


def test_a_search_needs_no_probe_before(frame, tmp_path):
    run = mscon.fit(frame, ["category"], tmp_path / "run", numbers=["length"], progress=False)
    assert len(list(run.search("category=long", k=4))) == 4
    with pytest.raises(RunError, match="colour"):
        run.search(0, mix={"colour": 1})


def test_whoever_trains_or_opens_gets_the_methods(run, tmp_path):
    opened = mscon.TrainedRun.open(str(run.root))
    assert opened.trust is False and run.trust is True
    resumed = mscon.resume(opened, progress=False)
    assert isinstance(resumed, mscon.TrainedRun) and resumed.root == run.root
    assert list(inspect.signature(mscon.fit).parameters)[:3] == ["recipe", "table", "out"]
    assert mscon.fit.__doc__ and "Raises" in mscon.fit.__doc__


def test_without_a_recipe_the_encoder_reads_what_init_would_choose(frame, tmp_path):
    pictures = frame.with_columns(photo=pl.Series([f"p/{n}.png" for n in range(60)])).drop("length", "weight")
    with pytest.raises(TableError, match=r"image 'p/0.png' does not exist"):
        mscon.fit(pictures, ["category"], tmp_path / "run", progress=False)
    names = frame.select("maker", "category")
    with pytest.raises(TableError, match=r"mscon\.fit\(table, labels, numbers="):
        mscon.fit(names, ["category"], tmp_path / "run", progress=False)
    several = names.with_columns(a=pl.Series([[1.0, 2.0]] * 60), b=pl.Series([[1.0, 2.0]] * 60))
    assert mscon.fit(several, ["category"], dry_run=True, progress=False) is None
    assert not list(tmp_path.iterdir())
