"""The library as Python meets it: everything from `mscon` itself, paths as texts, columns in place of a recipe."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mscon
from mscon.deploy.packed import pack
from mscon.errors import RecipeError, TableError
from shapes import unchecked_shapes

QUICK = ["train.epochs=1", "train.batch_size=16"]


@pytest.fixture
def cars() -> pl.DataFrame:
    """40 cars as vectors, which tell their make and price; every fifth has no price."""
    generator = np.random.default_rng(0)
    make, price = generator.integers(3, size=40), generator.normal(20_000, 5_000, size=40)
    vectors = np.stack([make == 0, make == 1, make == 2, (price - 20_000) / 5_000], axis=1) + generator.normal(
        scale=0.1, size=(40, 4)
    )
    return pl.DataFrame(
        {
            "vector": vectors.tolist(),
            "make": [["audi", "bmw", "fiat"][i] for i in make],
            "price": [None if n % 5 == 0 else round(float(p), 2) for n, p in enumerate(price)],
        }
    )


def test_columns_are_enough_where_a_table_says_the_rest(cars, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with unchecked_shapes():  # a whole training
        run = mscon.fit(cars, ["make", "price", "same_row"], progress=False)
    assert run.root.parent == Path("runs") and run.root.name.startswith("DataFrame-")
    kinds = [(part.column, part.name) for part in run.read_recipe().similarities]
    assert kinds == [("make", "categorical"), ("price", "continuous"), ("same_row", "same_row")]
    assert (run.read_recipe().data.input, run.read_recipe().data.vectors) == ("vectors", "vector")
    mscon.probe(run, progress=False)
    assert next(iter(mscon.open_index(str(run.root)).search(0, mix={"price": 1}))).scores


def test_images_are_what_columns_are_learnt_from_where_a_table_has_them(table_path, tmp_path):
    dry = mscon.fit(str(table_path), ["shape", "shade"], str(tmp_path / "run"), progress=False, dry_run=True)
    assert dry is None
    assert not (tmp_path / "run").exists()


def test_numbers_and_names_of_a_table_are_encoded_where_it_has_no_images(cars, tmp_path):
    frame = cars.drop("vector").with_columns(power=pl.int_range(40), fuel=pl.Series(["petrol", "diesel"] * 20))
    run = mscon.fit(frame, ["make"], tmp_path / "run", numbers=["power"], categories=["fuel"], progress=False)
    recipe = run.read_recipe()
    assert (recipe.data.input, recipe.data.numbers, recipe.data.categories) == ("columns", ("power",), ("fuel",))
    assert (recipe.encoder.name, recipe.weighting.name) == ("mlp", "equal")
    with pytest.raises(ValueError, match=r"a recipe has them under \[data\]"):
        mscon.fit(frame, recipe, tmp_path / "other", numbers=["power"])
    with pytest.raises(ValueError, match="lists of names"):
        mscon.fit(frame, ["make"], tmp_path / "other", numbers="power")


@pytest.mark.usefixtures("as_users_run_it")
def test_paths_may_be_texts(recipe, table, table_path, tmp_path, capsys):
    (tmp_path / "shapes.toml").write_text(recipe.to_toml())
    read = mscon.recipe.read(str(tmp_path / "shapes.toml"), QUICK)
    run = mscon.fit(read, str(table_path), str(tmp_path / "run"), images=str(table_path.parent), progress=False)
    run = mscon.Run.open(str(run.root))
    mscon.resume(str(run.root), progress=False)
    mscon.probe(str(run.root), progress=False)
    assert mscon.load(str(run.root)).embed([str(next(table_path.parent.glob("*.png")))]).shape[0] == 1
    for runs in ([run], [str(run.root)], str(run.root)):
        assert mscon.build_report(runs, str(tmp_path), with_maps=False) == tmp_path / "report.html"
    with pytest.raises(ValueError, match=r"mix must be text or a dictionary .*, got \['shape'\]"):
        mscon.open_index(str(run.root)).search(0, mix=["shape"])
    assert pack(run, str(tmp_path / "packed.safetensors"))
    assert mscon.load(str(tmp_path / "packed.safetensors")).embed


def test_table_and_recipe_may_come_in_either_order(cars, tmp_path):
    overrides = [*QUICK, "data.input=vectors", "data.vectors=vector", "encoder.name=mlp", "views.corrupt=0.3"]
    recipe = mscon.recipe.of_columns(["make"], overrides)
    one = mscon.fit(recipe, cars, tmp_path / "one", progress=False)
    other = mscon.fit(mscon.read_table(cars), recipe, tmp_path / "other", progress=False)
    assert [r["total"] for r in one.read_log() if "total" in r] == [
        r["total"] for r in other.read_log() if "total" in r
    ]


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("cars.csv", "make"), ValueError, "a recipe or a list of label columns, got str and str"),
        ((["make"], ["price"]), ValueError, "a table is a path, or a polars or pandas DataFrame, not list"),
        (("nowhere.csv", ["make"]), TableError, "table 'nowhere.csv' does not exist"),
        ((None, ["make", 3]), ValueError, r"columns must be a list of names of label columns, got \['make', 3\]"),
        ((None, []), RecipeError, "needs at least one"),
        ((None, ["make", "make"]), RecipeError, "column 'make' is in two"),
        ((None, ["mke"]), TableError, "mke.*Did you mean 'make'"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_writes_nothing(cars, tmp_path, monkeypatch, arguments, error, words):
    monkeypatch.chdir(tmp_path)
    table, columns = arguments
    with pytest.raises(error, match=words):
        mscon.fit(cars if table is None else table, columns, progress=False)
    assert not list(tmp_path.iterdir())


def test_every_name_at_the_top_leads_to_what_it_says():
    for name in mscon.__all__:
        value = getattr(mscon, name)
        modules = {"cores": "mscon.method.cores", "recipe": "mscon.run.recipe"}
        assert value is (importlib.import_module(modules[name]) if name in modules else value)
        assert getattr(value, "__name__", name).rpartition(".")[2] in (name, "UnionType", "Optional", "Union")
    assert {"fit", "load", "open_index", "read_table", "probe", "recipe", "Continuous"} <= set(dir(mscon))


def test_examples_import_from_the_top_only():
    for path in (Path(__file__).parents[2] / "examples").glob("*.py"):
        lines = [line for line in path.read_text("utf-8").splitlines() if "mscon" in line and "import " in line]
        inner = [line for line in lines if line.startswith(("from mscon.", "import mscon."))]
        assert set(inner) <= {"from mscon.testing import check_similarity", "from mscon.deploy import Rows"}, path.name


def test_a_mistyped_name_is_an_attribute_error():
    assert not hasattr(mscon, "fits")
    with pytest.raises(AttributeError, match="fits"):
        _ = mscon.fits
