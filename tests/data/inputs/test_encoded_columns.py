"""`numbers = "*"`: which columns it stands for, and that a run keeps their names."""

from __future__ import annotations

import json

import polars as pl
import pytest

from mscon.cli import main
from mscon.data.inputs.encoded_columns import resolve_encoded
from mscon.data.table.rows import select_rows
from mscon.data.table.table import read_table
from mscon.errors import TableError
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train.fit import fit

FRAME = pl.DataFrame(
    {
        "id": range(100, 160),
        "height": [n * 0.37 % 5 for n in range(60)],
        "doors": [None, 2, 4] * 20,
        "fuel": ["petrol", "diesel", "petrol"] * 20,
        "note": [f"seen on day {n}" for n in range(60)],
        "plant": ["east"] * 60,
        "owner": [f"p{n % 9}" for n in range(60)],
        "make": ["ada", "bob"] * 30,
        "price": [500 + 7 * n % 90 for n in range(60)],
    }
)
RECIPE = """
similarity = [{ column = "make" }]
probe      = { columns = ["price"] }
encoder    = { name = "mlp" }
train      = { epochs = 1 }

[data]
input    = "columns"
split_by = "owner"
"""


def resolved(*overrides: str, frame: pl.DataFrame = FRAME) -> recipes.Data:
    recipe, table = recipes.parse(RECIPE, overrides), read_table(frame)
    rows = select_rows(table, recipe.data, recipe.similarities, probe=recipe.probe, derived=recipe.derived)
    return resolve_encoded(rows, recipe, "t: ")[0].data


def test_a_star_stands_for_what_is_neither_used_otherwise_nor_unique():
    assert resolved("data.numbers=*").numbers == ("height", "doors")
    assert resolved("data.categories=*").categories == ("fuel",)
    both = resolved("data.numbers=*", "data.categories=*")
    assert (both.numbers, both.categories) == (("height", "doors"), ("fuel",))
    named = resolved('data.numbers=["height"]', "data.categories=*")
    assert (named.numbers, named.categories) == (("height",), ("fuel",))
    assert resolved("data.numbers=*", 'data.categories=["doors"]').numbers == ("height",)


def test_a_derived_column_is_not_encoded():
    derived = 'derived=[{column="copied", of="make"}]'
    assert resolved("data.categories=*", derived).categories == ("fuel",)


def test_a_column_with_a_name_of_a_star_is_itself():
    starred = FRAME.rename({"height": "*"})
    assert resolved('data.numbers=["*"]', frame=starred).numbers == ("*",)
    assert resolved("data.numbers=*", frame=starred).numbers == ("*", "doors")


def test_a_star_that_stands_for_nothing_is_refused():
    with pytest.raises(TableError, match=r't: \[data\] "\*" stands for no column'):
        resolved("data.numbers=*", frame=FRAME.drop("height", "doors"))


def test_a_run_keeps_the_names_and_says_them(tmp_path, capsys):
    run = fit(FRAME, ["make"], tmp_path / "run", numbers="*", categories="*")
    data = Run.open(run.root).read_recipe().data
    assert (data.numbers, data.categories) == (("height", "doors", "price"), ("fuel", "owner"))
    err = capsys.readouterr().err
    assert "[data] numbers = \"*\" stands for 'height', 'doors', 'price'." in err


def test_check_takes_a_star_and_counts_the_steps(tmp_path, capsys):
    (tmp_path / "r.toml").write_text(RECIPE.replace("[data]", "[data]\nnumbers = '*'"))
    FRAME.write_csv(tmp_path / "t.csv")
    check = ["check", str(tmp_path / "r.toml"), "--table", str(tmp_path / "t.csv"), "--set", "train.batch_size=8"]
    assert main([*check, "--set", "train.epochs=3"]) == 0
    out = capsys.readouterr().out
    assert "3 numbers made of 'height', 'doors'" in out  # doors with a flag of its own for missing ones
    assert "Training takes 15 steps: 3 epochs of 5 steps." in out
    assert "`mscon train --dry-run` measures how long" in out
    assert main([*check, "--set", "train.epochs=3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 15
