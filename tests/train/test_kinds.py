"""Training on columns of every kind, with holes, some of them told from the cells."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from mscon.data.check.check import describe
from mscon.data.table.table import Table, read_table
from mscon.errors import RecipeError, TableError
from mscon.method.objectives.supcon import SupCon
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.same_row import SameRow
from mscon.method.weightings.equal import Equal
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train import epochs
from mscon.train.fit import fit, resume
from mscon.train.gather import InBatch, Samples
from mscon.train.step import measure
from selected import selected

SIMILARITIES = """
similarity = [
  { column = "closure", name = "auto" },
  { column = "heel", name = "auto" },
  { column = "path", name = "auto" },
  { column = "fine", name = "hierarchical", under = ["coarse"] },
  { column = "stars", name = "ordinal" },
  { column = "same_row", name = "same_row" },
]
"""
REST = """
[data]
image_size = 16
channels = 1
[encoder]
width = 8
[train]
epochs = 2
batch_size = 16
precision = "float32"
channels_last = "no"
[weighting]
name = "relative"
"""


@pytest.fixture
def wide(table_path, tmp_path) -> Table:
    """The images of `table` with a column of each kind, a hole here and there."""
    lines = ["image,split,closure,heel,path,coarse,fine,stars"]
    for number in range(64):
        split = "train" if number < 40 else "validation" if number < 52 else "test"
        closure = ("zip", "zip;buckle", "laced", "")[number % 4]
        heel = "" if number % 7 == 0 else f"{(number * 37 % 64) / 4}"
        path = ("boots/ankle", "boots/knee", "sandals", "boots")[number % 4]
        fine = ("a", "b", "")[number % 3]
        lines.append(f"{number}.png,{split},{closure},{heel},{path},{'xy'[number % 2]},{fine},{number % 5 or ''}")
    path = table_path.parent / "wide.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_table(path)


def recipe_with(similarities: str = SIMILARITIES, *overrides: str) -> Recipe:
    return recipes.parse(similarities + REST, overrides)


def test_rows_without_any_label_still_learn_from_their_own_views():
    kinds = (Categorical("c", ("a", "b")), SameRow())
    codes = [kind.encode(cells) for kind, cells in zip(kinds, (["a", None, "a", "b"], [None] * 4), strict=True)]
    projections = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    measured = measure(
        Samples.of_views(projections, codes, torch.arange(4), [0, 0]),
        similarities=kinds,
        objective=SupCon(),
        weighting=Equal(2),
        candidates=InBatch(),
    )
    measured.total.backward()
    of_the_unlabelled = projections.grad[:, [1, 5]].norm(dim=(1, 2))
    assert of_the_unlabelled[0] == 0
    assert of_the_unlabelled[1] > 0


def test_a_run_of_all_kinds_holds_the_kinds_that_were_told_from_the_cells(wide, tmp_path, capsys):
    run = fit(recipe_with(), wide, tmp_path / "run", progress=True)
    errors = capsys.readouterr().err
    assert "wide.csv: column 'heel' is taken as continuous: " in errors
    assert [s.name for s in run.read_recipe().similarities] == [
        "multi_label", "continuous", "hierarchical", "hierarchical", "ordinal", "same_row",
    ]  # fmt: skip
    assert [s["name"] for s in run.read_similarities()] == [s.name for s in run.read_recipe().similarities]
    assert run.read_similarities()[1]["state"]["width"] > 0
    assert all(math.isfinite(loss) for record in run.read_log() for loss in record["loss"].values())


def test_a_run_of_all_kinds_is_resumed_from_what_it_holds(wide, tmp_path, monkeypatch):
    def interrupted(training, number, step):
        yield from train_epoch(training, number, step)
        if number == 2:
            raise KeyboardInterrupt

    train_epoch = epochs.train_epoch
    with monkeypatch.context() as patched:
        patched.setattr(epochs, "train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe_with(), wide, tmp_path / "run", progress=False)
    again = resume(Run(tmp_path / "run"), progress=False)
    whole = fit(recipe_with(), wide, tmp_path / "whole", progress=False)
    one, other = (run.read_checkpoint("last")[0] for run in (again, whole))
    assert all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize("columns", [["closure", "heel", "path"], ["heel", "stars"]])
def test_rank_n_contrast_and_a_memory_take_every_kind(wide, tmp_path, columns):
    parts = ", ".join(f'{{ column = "{c}", name = "auto" }}' for c in columns)
    recipe = recipe_with(f"similarity = [{parts}]", "objective.name=rank_n_contrast", "candidates.memory_size=32")
    run = fit(recipe, wide, tmp_path / "run", progress=False)
    assert run.read_facts()["trained"]["steps"] == 4


def test_himulcon_trains_on_levels_and_refuses_numbers(wide, tmp_path):
    parts = '{ column = "path", name = "auto" }, { column = "same_row", name = "same_row" }'
    run = fit(recipe_with(f"similarity = [{parts}]", "objective.name=himulcon"), wide, tmp_path / "run", progress=False)
    assert run.read_facts()["trained"]["steps"] == 4
    heel = 'similarity = [{ column = "heel", name = "auto" }]'
    with pytest.raises(RecipeError, match="needs levels or classes, but similarity 'heel' is of kind Continuous"):
        fit(recipe_with(heel, "objective.name=himulcon"), wide, tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()


def test_check_tells_what_columns_look_like_and_why(wide):
    recipe = recipe_with('similarity = [{ column = "heel", name = "auto" }]')
    description = describe(selected(wide, recipe, Path(wide.path.parent)), recipe, wide)
    assert description.columns[0].kind == "continuous"
    text = description.to_text()
    assert "column 'heel' is taken as continuous: " in text
    assert "'closure': multi_label, separator = \";\": " in text
    assert "'coarse': categorical: 2 different values" in text


def test_a_coarser_column_that_is_not_there_is_named(wide):
    recipe = recipe_with('similarity = [{ column = "fine", name = "hierarchical", under = ["course"] }]')
    with pytest.raises(TableError, match=r"there is no column 'course'\. Did you mean 'coarse'"):
        selected(wide, recipe, Path(wide.path.parent))
