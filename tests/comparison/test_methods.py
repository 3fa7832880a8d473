"""Methods: what each changes in a recipe, what it leaves alone, and what of it is left without a column."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comparison.recipes import TEXT, recipe, similarities
from mscon.comparison.methods import Method, methods_of, without
from mscon.comparison.plan import plan
from mscon.comparison.planned import slug
from mscon.errors import RecipeError
from mscon.run.recipe import Keep, Recipe

PRETRAINED = ("data.input=image", "encoder.name=efficientnet_lite0", "encoder.pretrained=true")


def by_title(base: Recipe, *also: Recipe, width: int = 0) -> dict[str, Method]:
    return {method.title: method for method in methods_of(base, also, width)[0]}


def trained_on(method: Method) -> list[str]:
    return [part.column for part in method.recipe.similarities]


def test_a_recipe_with_several_kinds_is_compared_with_all_that_can_read_them():
    methods = by_title(recipe(), width=8)
    assert {title: trained_on(method) for title, method in methods.items() if method.is_trained} == {
        "XEnt multi-task": ["colour"],
        "XEnt + same row": ["colour", "same_row"],
        "SupCon, colour": ["colour"],
        "SupCon, price": ["price"],
        "SupCon, size": ["size"],
        "SimCLR": ["same_row"],
        "MSCon": ["colour", "price", "size"],
        "MSCon + same row": ["colour", "price", "size", "same_row"],
        "this recipe (mine)": ["colour", "price", "size", "same_row"],
    }
    (said,) = methods_of(recipe())[1]
    assert said == (
        "Cross-entropy is trained without 'price' (continuous), 'size' (ordinal), since it needs columns of classes."
    )


def test_nothing_is_said_of_methods_that_were_not_asked_for():
    methods, notes = methods_of(recipe(), names=("start", "mscon"))
    assert [method.title for method in methods] == ["frozen start", "MSCon", "this recipe (mine)"]
    assert not notes
    assert methods_of(recipe(), names=("cross_entropy",))[1]


def test_all_methods_share_data_views_encoder_and_budget():
    base = recipe("train.epochs=7", "train.seed=5", "views.corrupt=0.2", "candidates.memory_size=64")
    for title, method in by_title(base).items():
        assert (method.recipe.data, method.recipe.views) == (base.data, base.views)
        if method.is_trained:
            assert (method.recipe.encoder, method.recipe.train) == (base.encoder, base.train), title
    assert by_title(base)["XEnt multi-task"].recipe.candidates.memory_size == 0  # classifiers compare no rows
    assert by_title(base)["XEnt + same row"].recipe.candidates.memory_size == 64


def test_similarities_keep_their_settings_views_and_importance_but_not_another_objective():
    colour, price, size, same_row = by_title(recipe())["MSCon + same row"].recipe.similarities
    assert colour.importance == 2.0
    assert price.settings["width"] == 5.0
    assert price.objective is None
    assert size.views.corrupt == 0.1
    assert same_row.objective.settings["temperature"] == 0.5  # of the same objective
    assert by_title(recipe())["this recipe (mine)"].recipe.similarities == recipe().similarities


def test_a_recipe_that_is_one_of_the_methods_is_run_once():
    base = recipe(similarities("colour", "make", "same_row"))
    methods = by_title(base)
    assert "MSCon + same row (this recipe)" in methods
    assert not any("mine" in title for title in methods)
    assert methods["MSCon + same row (this recipe)"].name == "recipe"


def test_of_one_column_supcon_is_mscon():
    assert [*by_title(recipe(similarities("colour")))] == [
        "frozen start",
        "XEnt multi-task",
        "XEnt + same row",
        "SupCon, colour (this recipe)",
        "SimCLR",
        "MSCon + same row",
    ]


@pytest.mark.parametrize(
    ("overrides", "encoder"),
    [
        ((), "identity"),
        (("encoder.start_from=runs/other",), "mlp"),
        ((*PRETRAINED, "encoder.frozen=true", "encoder.adapter={units=4}"), "efficientnet_lite0"),
        (("data.input=image", "encoder.name=small_cnn"), None),
        (PRETRAINED, "efficientnet_lite0"),
    ],
)
def test_the_start_is_the_inputs_or_the_encoder_that_begins_with_weights(overrides, encoder):
    methods, said = methods_of(recipe(similarities("colour", "make"), *overrides))
    starts = [method.recipe for method in methods if method.name == "start"]
    assert [(start.train.epochs, start.encoder.name) for start in starts] == ([] if encoder is None else [(0, encoder)])
    assert not any(start.encoder.adapter for start in starts)  # its weights would be random
    assert ("There is no frozen start" in " ".join(said)) == (encoder is None)


def test_the_start_is_compared_at_the_width_of_the_features_too():
    methods = by_title(recipe("keep.beside=8"), width=16)
    assert methods["frozen start"].recipe.keep == Keep()
    assert methods["frozen start, 16 components"].recipe.keep == Keep(width=16)


def test_ways_to_keep_the_start_and_teachers_belong_to_the_recipe_alone():
    text = TEXT + '[[similarity]]\nname = "teacher"\nof = "start"\n[keep]\nbeside = 8\n'
    methods = by_title(recipe(text=text))
    ours = methods.pop("this recipe (mine)")
    assert "teacher" in trained_on(ours) and ours.recipe.keep.beside == 8
    for method in methods.values():
        assert "teacher" not in trained_on(method) and method.recipe.keep == Keep()
    assert "teacher" in trained_on(without(ours, "colour"))


def test_without_two_different_views_nothing_learns_from_them():
    base = recipe(similarities("colour", "make"), "views.corrupt=0")
    titles = [*by_title(base)]
    assert not [title for title in titles if "same row" in title or title == "SimCLR"]
    assert any("compare views of a row" in sentence for sentence in methods_of(base)[1])


def test_recipes_of_also_are_there_by_their_titles_which_must_differ():
    other = replace(recipe("train.epochs=3"), title="short")
    assert by_title(recipe(), other)["short"].recipe == other
    with pytest.raises(RecipeError, match="two methods are titled 'MSCon'"):
        methods_of(recipe(), [replace(other, title="MSCon")])


# Without a column ---------------------------------------------------------------------------------


def test_a_method_without_a_column_reads_nothing_of_it():
    text = """
[[similarity]]
column = "kind"
name = "hierarchical"
under = ["colour"]
[[similarity]]
column = "noisy"
name = "categorical"
[[similarity]]
column = "make"
name = "categorical"
[[derived]]
column = "noisy"
of = "colour"
redraw = 0.5
[sampler]
name = "balanced"
columns = ["noisy", "make"]
"""
    method = Method("recipe", recipe(text=text))
    for column in ("colour", "noisy"):  # one is made from the other
        rest = without(method, column)
        assert trained_on(rest) == ["make"]
        assert rest.recipe.sampler.columns == ("make",)
    assert trained_on(without(method, "make")) == ["kind", "noisy"]
    assert without(method, "make").recipe.sampler.columns == ("noisy",)


def test_a_method_that_never_reads_the_column_is_not_run_again():
    methods = by_title(recipe(), width=4)
    for title in ("SimCLR", "SupCon, price", "frozen start", "frozen start, 4 components"):
        assert without(methods[title], "colour") is methods[title]
    assert without(methods["SupCon, colour"], "colour") is None
    assert trained_on(without(methods["MSCon + same row"], "colour")) == ["price", "size", "same_row"]


def test_a_balanced_sampler_without_any_of_its_columns_draws_by_chance():
    base = recipe(similarities("colour", "make"), "sampler.name=balanced", 'sampler.columns=["colour"]')
    assert by_title(base)["SimCLR"].recipe.sampler.name == "shuffled"
    assert by_title(base)["SupCon, colour"].recipe.sampler == base.sampler
    assert without(by_title(base)["MSCon (this recipe)"], "colour").recipe.sampler.name == "shuffled"


# The plan -----------------------------------------------------------------------------------------


def planned(base: Recipe, out, held_out=("colour", "price", "size"), seeds=2):
    labels = {part.column: part for part in base.similarities if part.reads}
    return plan(methods_of(base, (), 4)[0], labels, base.probe, held_out, seeds, out)


def test_no_run_for_a_column_that_is_held_out_was_trained_on_it(tmp_path):
    whole = planned(recipe(), tmp_path)
    for column, groups in whole.held_out.items():
        assert "MSCon" in groups and "SimCLR" in groups and f"SupCon, {column}" not in groups
        for title, group in groups.items():
            for run in group.runs:
                reads = {read for part in run.recipe.similarities for read in part.reads}
                assert column not in reads or not run.recipe.train.epochs, title
                assert column in run.recipe.probe.columns


def scored_by(group) -> set[str]:
    recipe = group.runs[0].recipe
    return {*recipe.columns, *recipe.probe.columns} - {*recipe.keep.unscored, "same_row"}


def test_a_share_is_chosen_by_the_users_columns_and_never_by_those_held_out(tmp_path):
    base = recipe("encoder.start_from=run", "keep.interpolate=auto", 'probe.columns=["season", "weight", "price"]')
    whole = planned(base, tmp_path)
    title = "this recipe (mine)"
    assert scored_by(whole.groups[title]) == {"colour", "price", "size", "season", "weight"}
    assert scored_by(whole.held_out["colour"][title]) == {"price", "size", "season", "weight"}
    assert scored_by(whole.held_out["price"][title]) == {"colour", "size", "season", "weight"}
    assert "price" in whole.held_out["price"][title].recipe.probe.columns
    assert not whole.groups["MSCon"].recipe.keep.unscored


def test_a_share_is_not_chosen_by_columns_of_other_recipes(tmp_path):
    base = recipe(similarities("colour", "make"), "probe.columns=[]", "probe.kinds={}")
    settings = ("probe.columns=[]", "probe.kinds={}", "encoder.start_from=run", "keep.interpolate=auto", "title=other")
    other = recipe(similarities("colour", "same_row"), *settings)
    labels = {part.column: part for part in base.similarities}
    whole = plan(methods_of(base, [other])[0], labels, base.probe, ("colour", "make"), 1, tmp_path)
    assert scored_by(whole.groups["other"]) == scored_by(whole.held_out["make"]["other"]) == {"colour"}
    assert "other" not in whole.held_out["colour"]  # nothing is left to choose by


def test_every_run_is_probed_for_every_column_by_its_kind(tmp_path):
    for run in planned(recipe(), tmp_path).runs:
        assert run.recipe.probe.columns == ("colour", "price", "size", "season", "weight")
        assert run.recipe.probe_complaints() == []
        kinds = dict(run.recipe.probe.kinds)
        assert kinds["weight"] == "continuous"
        if "size" not in run.recipe.columns:
            assert kinds["size"] == {"name": "ordinal", "levels": ["small", "large"]}


def test_runs_are_planned_once_seed_by_seed_and_untrained_ones_under_one_seed(tmp_path):
    whole = planned(recipe(), tmp_path)
    outs = [run.out for run in whole.runs]
    assert len(outs) == len(set(outs))
    seeds = [run.recipe.train.seed for run in whole.runs]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1}
    assert {title: len(group.runs) for title, group in whole.groups.items()} == {
        title: 1 if title.startswith("frozen") else 2 for title in whole.groups
    }
    # 9 trained methods, and without each column: 4 methods but for XEnt, which reads colour alone.
    without_columns = 2 * 3 * 3 + 2  # MSCon, MSCon + same row, the recipe; XEnt + same row without colour
    assert len(outs) == 2 + 2 * 9 + without_columns


def test_the_names_of_runs_tell_what_they_were_trained_on(tmp_path):
    first = planned(recipe(), tmp_path).groups["MSCon"].runs[0]
    apart = planned(recipe(), tmp_path).held_out["colour"]["MSCon"].runs[0]
    other = planned(recipe("train.epochs=3"), tmp_path).groups["MSCon"].runs[0]
    assert len({first.out, apart.out, other.out}) == 3
    assert first.out.name.startswith("mscon-seed0-")


def test_the_name_of_a_run_is_never_too_long_or_without_its_title():
    assert slug("SupCon, colour") == "supcon-colour"
    assert slug("日本") == "run"
    assert len(slug("x" * 300)) == 60
    assert slug("x" * 59 + "/y") == "x" * 59
