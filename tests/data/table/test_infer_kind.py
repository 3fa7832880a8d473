"""Kinds: what a column looks like, and a recipe that leaves it to be told."""

from __future__ import annotations

import polars as pl
import pytest

from mscon.data.batches.dataset import fit_similarities
from mscon.data.table.infer_kind import infer, resolve, unnamed
from mscon.errors import RecipeError, TableError
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe

COLOURS = ["red", "green", "blue"] * 10
WORDS = [f"{a} {b}" for a in "abcdef" for b in "uvwxyz"]


@pytest.mark.parametrize(
    ("cells", "kind", "words"),
    [
        ([None, None], None, "every cell is empty"),
        (["a", "a", None], None, "one value only, 'a'"),
        (COLOURS, "categorical", "3 different values, each on 10 cells"),
        (WORDS, None, "36 of 36 cells with a value that no other row has"),
        ([str(i % 5) for i in range(30)], "categorical", "5 different numbers"),
        ([f"{i * 0.37:.2f}" for i in range(40)], "continuous", "40 different numbers from 0 to 14.43"),
        (["4.5", "3", None, "2.25"], "continuous", "3 different numbers"),
        ([f"{i * 0.37:.2f}" for i in range(40)] + ["?"], "continuous", "1 cell of 41 with something else"),
        ([str(i) for i in range(1, 41)], None, "as row numbers are"),
        ([str(i * 100) for i in range(1, 41)], "continuous", "40 different numbers"),
        ([f"{i},5" for i in range(40)], None, "decimal comma"),
        (["boots/ankle", "boots/knee", "sandals/flat"] * 5, "hierarchical", "paths, of 2 levels"),
        ([f"photos/{i:04}.jpg" for i in range(40)], None, "text"),
        (["https://a/b", "https://a/c"] * 20, "categorical", "2 different values"),
        (["zip;buckle", "zip", "buckle", "laced"] * 5, "multi_label", "25% of the cells hold several of 3 labels"),
        (["zip, buckle", "zip", "buckle", "laced"] * 5, "multi_label", "with ',' between them"),
        (["Boston, MA", "Salem, OR", "Austin, TX"] * 9, "categorical", "3 different values"),
        (["it was late, and it rained all of the night"] * 9 + COLOURS, "categorical", "different values"),
        (["km/h", "m/s"] * 20, "categorical", "2 different values"),
        (["n/a", *COLOURS], "categorical", "4 different values"),
    ],
)
def test_a_kind_is_told_from_the_cells_with_the_reason(cells, kind, words):
    inferred = infer(cells)
    assert inferred.kind == kind
    assert words in inferred.reason
    assert str(inferred).startswith(kind or "no label")


def test_the_order_of_rows_tells_nothing():
    cells = ["zip;buckle", "zip", "buckle", "laced", None] * 5
    assert infer(cells) == infer(sorted(cells, key=str))


def rows(**columns: list[str | None]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    fixed = {"line": range(2, count + 2), "split": ["train"] * (count - 1) + ["test"], "image": ["i"] * count}
    return pl.DataFrame({**fixed, **columns}, schema_overrides=dict.fromkeys(columns, pl.String))


def recipe(text: str) -> Recipe:
    return recipes.parse(text)


def test_a_recipe_that_leaves_a_kind_open_gets_it_from_the_training_rows_with_every_default():
    parsed, sentences = resolve(
        rows(closure=["zip;buckle", "zip", "buckle", "laced"] * 5, colour=["red", "green"] * 10, heel=["1", "2"] * 10),
        recipe(
            'similarity = [{column="closure", name="auto", importance=2}, {column="colour"}, '
            '{column="heel", name="categorical"}]'
        ).similarities,
        where="shoes.csv: ",
    )
    assert [p.name for p in parsed] == ["multi_label", "categorical", "categorical"]
    assert parsed[0].settings == {"separator": ";", "alike": "jaccard"}
    assert parsed[0].importance == 2
    assert len(sentences) == 2
    assert "column 'colour' is taken as categorical" in sentences[1]
    assert sentences[0].startswith("shoes.csv: column 'closure' is taken as multi_label, separator = \";\": ")
    assert recipes.parse(Recipe(parsed).to_toml()).similarities == parsed  # what a run's recipe holds


def test_what_looks_like_no_label_is_refused_for_all_columns_at_once():
    with pytest.raises(TableError) as raised:
        resolve(
            rows(note=[*WORDS], number=[str(i) for i in range(36)]),
            recipe('similarity = [{column="note", name="auto"}, {column="number", name="auto"}]').similarities,
        )
    assert "column 'note' looks like no label" in str(raised.value)
    assert "column 'number' looks like no label" in str(raised.value)
    assert "name its kind yourself" in str(raised.value)


@pytest.mark.parametrize("name", ['name="auto", ', ""])
def test_a_kind_that_is_open_takes_no_settings(name):
    with pytest.raises(RecipeError, match=r"'heel': setting 'width' needs a kind, which is inferred where name is"):
        recipe(f'similarity = [{{column="heel", {name}width=2.0}}]')


def test_columns_that_a_recipe_does_not_name_are_told_of():
    table = rows(colour=["red", "green"] * 10, fine=["a", "b"] * 10, heel=[f"{i / 7:.2f}" for i in range(20)])
    parsed = recipe('similarity = [{column="fine", name="hierarchical", under=["colour"]}]')
    assert {
        name: inferred.kind for name, inferred in unnamed(table, parsed.data, parsed.similarities, parsed.probe).items()
    } == {"heel": "continuous"}


def test_malformed_cells_of_every_split_and_column_are_told_at_once():
    table = rows(
        heel=["1", "tall", *["2.5"] * 7, "?"],
        closure=["zip", "buckle", *["zip"] * 7, ";"],
        kind=["a/b", "a//b", *["a/c"] * 8],
        damage=["low", "high", *["lo"] * 8],
    )
    parsed = recipe(
        """
        [[similarity]]
        column = "heel"
        name = "continuous"
        [[similarity]]
        column = "closure"
        name = "multi_label"
        [[similarity]]
        column = "kind"
        name = "hierarchical"
        [[similarity]]
        column = "damage"
        name = "ordinal"
        levels = ["low", "high"]
        """
    )
    with pytest.raises(TableError) as raised:
        fit_similarities(table, parsed.similarities, where="shoes.csv: ")
    message = str(raised.value)
    for words in (
        "column 'heel': 2 of 10 cells are not numbers: line 3 'tall', line 11 '?'.",  # line 11 is a test row
        "column 'closure': 1 of 10 cells is without a label: line 11 ';'.",
        "column 'kind': 1 of 10 cells is a path with an empty part: line 3 'a//b'.",
        "column 'damage': 8 of 10 cells are not levels: line 4 'lo', line 5 'lo'",
    ):
        assert f"shoes.csv: {words}" in message


def test_a_hierarchy_of_several_columns_is_read_from_all_of_them():
    table = rows(coarse=["a", "a", "b", "b"], fine=["x", "y", "x", None])
    (kind,) = fit_similarities(
        table, recipe('similarity = [{column="fine", name="hierarchical", under=["coarse"]}]').similarities
    )
    assert kind.columns == ("coarse", "fine")
    with pytest.raises(TableError, match="there is no column 'coarsest'"):
        fit_similarities(
            table, recipe('similarity = [{column="fine", name="hierarchical", under=["coarsest"]}]').similarities
        )


def test_malformed_cells_are_told_by_line_of_text_files_and_by_row_of_others():
    table = pl.DataFrame({"line": [2, 3, 4], "split": ["train"] * 3, "heel": ["4.5", "tall", "3"]})
    parsed = recipe('similarity = [{column="heel", name="continuous"}]')
    for unit in ("line", "row"):
        with pytest.raises(TableError, match=f"is not a number: {unit} 3 'tall'"):
            fit_similarities(table, parsed.similarities, unit=unit)


def test_numbers_that_are_written_in_several_ways_are_several_classes():
    assert (
        "2 different numbers, written in 4 ways of which each is a class"
        in infer(["007", "07", "7", "0012"] * 20).reason
    )
    assert "3 different numbers, written in 6 ways" in infer(["0", "1", "2", "0.0", "1.0", "2.0"] * 10).reason
    assert "ways" not in infer(["1", "2", "3"] * 20).reason


def test_lists_as_python_writes_them_are_no_labels():
    looks = infer(["['a', 'b']", "['a']", "['b']", "[]"] * 20)
    assert looks.kind is None
    assert "80 cells of 80 with a list as Python writes it, such as ['a', 'b']; written as a;b" in looks.reason
    assert infer(["[draft]", "[final]"] * 20).kind == "categorical"
