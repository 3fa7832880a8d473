"""Experiments: what the files say, and the runs that follow from it. Nothing is trained here."""

from __future__ import annotations

import functools
import json
import re
import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from mscon.errors import RecipeError
from mscon.run import recipe
from mscon.run.recipe import Recipe
from mscon.run.starting_recipes import recipe_names, recipe_text
from mscon_paper import experiment, files
from mscon_paper.experiment import KINDS, READINGS, PlannedRun
from mscon_paper.files import names

NAMES = names()
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
# A source whose recipe is not there cannot be planned.
PLANNABLE = [name for name in NAMES if name.partition("/")[0] in recipe_names()]
find = functools.cache(files.find)


@functools.cache
def planned(name: str) -> list[PlannedRun]:
    """The runs of an experiment with one seed."""
    return find(name).plan(1)


def test_every_question_of_the_paper_is_asked_of_every_source():
    for source in ("glyphs", "zappos50k", "medic"):
        names_of = {name.partition("/")[2] for name in NAMES if name.startswith(f"{source}/")}
        assert {"figure3", "figure4_temperature", "figure4_epochs", "batch_size", "views", "ablation"} <= names_of
        assert {"redundant", "transfer", "tuning", "same_row", "table4"} <= names_of
    assert {"glyphs/table1", "glyphs/table2", "glyphs/table3", "zappos50k/table1", "zappos50k/table3"} <= set(NAMES)
    assert {"medic/table2", "medic/table4"} <= set(NAMES)


def test_every_experiment_says_what_it_needs_to():
    for name in NAMES:
        one = find(name)
        assert one.kind in KINDS, name
        assert one.title, name
        assert one.about.endswith("."), name
        assert all(what in READINGS or re.match(r"(accuracy|weight):\w+$", what) for what in one.read), name
        assert one.numbers or one.published or one.reason, f"{name}: a number of the paper, or why there is none"
        assert not one.claims or {m for claim in one.claims for m in claim} <= {m.name for m in one.methods}, name


def test_runs_have_names_of_their_own():
    for name in PLANNABLE:
        runs, recipe_of = planned(name), {}
        for run in runs:
            assert recipe_of.setdefault(run.name, run.recipe) == run.recipe, f"{name}: one name, two recipes"
            assert set(find(name).probed) <= set(run.recipe.probe.columns), name
        assert len({(r.row.title, r.case.name) for r in runs}) == len(runs), name


def test_a_run_has_the_name_it_had_when_it_was_trained():
    """Whatever the defaults of recipes are by now: other names would have finished runs trained again."""
    names_of_runs = {run.name for run in planned("glyphs/table1")}
    assert {
        "mscon-paper-s-weights-seed0-3ac975ec",
        "mscon-equal-weights-seed0-34581355",
        "mscon-relative-weights-seed0-1feedb36",
        "csn-seed0-b5dcbf73",
        "supcon-weight-seed0-e180a569",
    } <= names_of_runs
    assert {run.recipe.similarities[0].name for run in planned("glyphs/table1_category")} == {"categorical", "same_row"}


def test_runs_of_two_seeds_differ_in_the_seed_and_the_name():
    first, both = planned("glyphs/figure3"), find("glyphs/figure3").plan(2)
    second = both[len(first) :]
    assert both[: len(first)] == first
    assert {run.recipe.train.seed for run in first} == {0}
    assert {run.recipe.train.seed for run in second} == {1}
    assert [replace(r.recipe, train=replace(r.recipe.train, seed=0)) for r in second] == [r.recipe for r in first]
    assert not {run.name for run in first} & {run.name for run in second}


def test_what_is_compared_differs_in_what_the_method_says_only():
    """Within a case all methods share rows, encoder, views and budget."""
    for name in PLANNABLE:
        runs = planned(name)
        for case in {run.case.name for run in runs}:
            compared = [run.recipe for run in runs if run.case.name == case]
            for share in ("data", "probe", "derived"):
                assert len({repr(getattr(r, share)) for r in compared}) == 1, (name, share)
            assert len({repr(replace(r.encoder, frozen=False)) for r in compared}) == 1, name
            # A triplet's three images are drawn once each, by the same transformations.
            assert len({repr(replace(r.views, count=2)) for r in compared}) == 1, name
            assert {r.views.count for r in compared if not r.triplets.used} <= {2}, name
            assert len({(r.train.epochs, r.train.batch_size, r.train.optimiser) for r in compared}) == 1, name


def test_on_glyphs_every_method_sees_as_many_images_an_epoch():
    training_rows = 4_392
    settings_of = {
        3 * r.triplets.count * r.views.count if r.triplets.used else training_rows * r.views.count
        for r in (run.recipe for run in planned("glyphs/table1"))
    }
    assert settings_of == {8_784}


@pytest.mark.parametrize("name", ["glyphs/table3", "glyphs/figure4_epochs", "glyphs/batch_size_steps"])
def test_a_quick_plan_is_one_seed_and_two_epochs(name):
    runs = find(name).plan(quick=True)
    assert {r.recipe.train.seed for r in runs} == {0}
    assert {r.recipe.train.epochs for r in runs} == {2}


def test_methods_train_on_what_they_say():
    columns = {run.row.title: run.recipe.columns for run in planned("glyphs/table1")}
    assert columns["XEnt slant"] == ("slant",)
    assert columns["SimCLR"] == ("same_row",)
    assert columns["MSCon, paper's weights"] == ("character", "slant", "weight")
    assert columns["MSCon + same row"] == ("character", "slant", "weight", "same_row")


def test_tables_1_and_3_share_their_runs():
    first, third = ({run.name for run in planned(f"glyphs/{name}")} for name in ("table1", "table3"))
    assert third <= first


def test_figure_3_makes_one_column_noisy_and_drops_it_once():
    runs = planned("glyphs/figure3")
    shares = [case.x for case in find("glyphs/figure3").cases]
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0]
    for run in runs:
        (derived,) = run.recipe.derived
        assert (derived.column, derived.of, derived.redraw) == ("weight_noisy", "weight", run.case.x)
        assert derived.rows == "train"
        assert "weight" not in run.recipe.columns
    dropped = [run for run in runs if run.row.method.name == "mscon_dropped"]
    assert [(run.case.x, run.recipe.columns) for run in dropped] == [(0.0, ("character", "slant"))]


def test_table_4_never_trains_on_the_column_it_asks_about():
    for run in planned("glyphs/table4"):
        assert run.case.name not in run.recipe.columns
        assert run.case.name in run.recipe.probe.columns


def test_a_column_twice_is_a_copy_and_a_likeness_of_it_is_not():
    derived = {run.case.name: run.recipe.derived for run in planned("glyphs/redundant")}
    assert derived["as it is"] == ()
    assert (derived["twice"][0].redraw, derived["twice"][0].rows) == (0.0, "train")
    assert (derived["correlated"][0].redraw, derived["correlated"][0].rows) == (0.3, "all")


def test_batch_sizes_at_the_same_number_of_steps():
    budgets = {r.recipe.train.batch_size * 24 / r.recipe.train.epochs for r in planned("glyphs/batch_size_steps")}
    assert budgets == {64.0}


def test_tuning_gives_every_method_the_same_effort():
    one = find("glyphs/tuning")
    tried = {}
    for run in one.plan():
        tried.setdefault(run.row.title, []).append(run.recipe.train.learning_rate)
    assert len({tuple(rates) for rates in tried.values()}) == 1
    assert {m.name for m in one.methods} >= {m.name for m in find("glyphs/table1").methods}


@pytest.mark.parametrize(
    ("tuning", "table"), [("glyphs/tuning", "glyphs/table1"), ("glyphs/tuning_pretrained", "glyphs/pretrained")]
)
def test_what_tuning_chose_is_what_the_tables_are_run_with(tuning, table):
    tuned = json.loads((EXPERIMENTS / tuning / "results.json").read_text("utf-8"))["chosen"]
    rates = {run.row.method.name: run.recipe.train.learning_rate for run in planned(table)}
    assert {name: rates[name] for name in tuned} == tuned


def test_the_papers_tables_are_whole():
    """As many numbers as the paper's tables 1 to 4 have cells, each an accuracy and a deviation."""
    counts = {"zappos50k/table1": 30, "medic/table2": 48, "zappos50k/table3": 2, "medic/table4": 8}
    for name, count in counts.items():
        cells = [cell for of_row in find(name).numbers.values() for cell in of_row.values()]
        assert len(cells) == count
        assert all(30 < mean < 100 and 0.2 < deviation < 1.6 for mean, deviation in cells)


def test_each_published_row_is_one_of_ours():
    for name in NAMES:
        one = find(name)
        if one.numbers:
            assert set(one.numbers) <= {row.paper for row in one.rows()}, name


def test_every_experiment_has_its_folder_and_its_links_lead_somewhere():
    contents = (EXPERIMENTS / "README.md").read_text("utf-8")
    for name in NAMES:
        readme = EXPERIMENTS / name / "README.md"
        text = readme.read_text("utf-8")
        assert f"mscon reproduce {name}" in text
        assert find(name).title in text, name
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert (readme.parent / target).exists(), f"{name}: {target}"
        assert f"({name})" in contents


def test_an_unknown_experiment_names_the_nearest():
    with pytest.raises(RecipeError, match=r"no experiment 'glyphs/tabel3'. Did you mean 'glyphs/table3'"):
        find("glyphs/tabel3")


def test_the_usual_case_is_one_of_the_cases():
    for name in NAMES:
        one = find(name)
        assert not one.usual or one.usual in {case.name for case in one.cases}, name
        assert one.usual or one.kind != "curve", name


def test_no_file_says_what_nobody_reads():
    known = {"title", "about", "kind", "methods", "read", "claims", "paper", "reason", "sweep", "case", "hold_out"}
    known |= {"seeds", "settings", "transfer", "on", "source", "name", "columns", "out_of_domain", "noisy", "twice"}
    known |= {"numbers", "derived", "tuned_as", "recipe"}
    for file in resources.files("mscon_paper").joinpath("experiments").iterdir():
        if not file.name.endswith(".toml") or file.name in ("methods.toml", "sources.toml"):
            continue
        plain = tomllib.loads(file.read_text("utf-8"))
        assert set(plain) <= known, file.name
        for entry in plain["on"]:
            assert set(entry) <= known, file.name


def test_the_pretrained_encoder_is_fine_tuned_with_the_papers_batches_temperature_and_heads():
    paper = recipe.parse(recipe_text("zappos50k"), where="")
    for run in planned("glyphs/pretrained"):
        settings, frozen = run.recipe, run.row.method.name == "imagenet"
        assert (settings.encoder.pretrained, settings.encoder.frozen) == (True, frozen)
        assert settings.train.batch_size == paper.train.batch_size
        if run.row.method.name.startswith("mscon"):
            assert settings.objective.settings["temperature"] == paper.objective.settings["temperature"]
            assert settings.heads.settings["output_dim"] == paper.heads.settings["output_dim"]


def test_a_run_is_named_by_what_differs_from_the_defaults(monkeypatch):
    """A setting that is added to mscon, and left at its default, renames no run; any that is changed does."""
    one = planned("glyphs/table1")[0]
    name = one.name
    to_toml = Recipe.to_toml
    monkeypatch.setattr(Recipe, "to_toml", lambda self: to_toml(self) + "\n[added]\nsetting = 1\n")
    assert one.name == name
    monkeypatch.undo()
    changed = replace(one.recipe, views=replace(one.recipe.views, crop=(0.5, 1.0)))
    assert replace(one, recipe=changed).name != name


def test_sizes_count_a_shared_run_once():
    runs = planned("glyphs/table3")
    assert experiment.size([*runs, *runs]) == (12, 12 * 24)
