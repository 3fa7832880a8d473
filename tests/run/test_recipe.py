"""Recipes: TOML to value and back, and every mistake named."""

from __future__ import annotations

import pytest

from mscon.errors import RecipeError
from mscon.run import recipe

LEAST = '[[similarity]]\ncolumn = "kind"\n'


def test_a_resolved_recipe_reads_back_as_itself():
    made = recipe.parse(
        'title = "mine"\n'
        + LEAST
        + '[[similarity]]\nname = "same_row"\n[weighting]\nname = "fixed"\nweights = [1, 2]\n'
        "[probe]\nlargest = { family = 20 }\ncolumns = ['family']"
    )
    assert recipe.parse(made.to_toml()) == made


def test_defaults_are_written_out():
    assert "temperature = 0.1" in recipe.parse(LEAST).to_toml()


def test_overrides_are_applied_and_typed():
    made = recipe.parse(
        LEAST, ["train.epochs=3", "train.learning_rate=1", "title=short one", "objective.temperature=0.2"]
    )
    assert (made.train.epochs, made.train.learning_rate, made.title) == (3, 1.0, "short one")
    assert made.objective.settings["temperature"] == 0.2


def test_same_row_may_count_double_in_one_line():
    made = recipe.parse(LEAST, ['similarity=[{column="kind"}, {name="same_row", importance=2}]'])
    assert [s.importance for s in made.similarities] == [1.0, 2.0]
    assert recipe.parse(made.to_toml()) == made


def test_a_part_named_anew_drops_the_settings_of_the_old():
    made = recipe.parse(LEAST + '[weighting]\nname = "relative"\nsoftening = 0.2', ["weighting.name=equal"])
    assert made.weighting == recipe.Part("equal", {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"needs at least one \[\[similarity\]\]"),
        ("x =", "not valid TOML"),
        (LEAST + "[objectiv]", "no section 'objectiv'. Did you mean 'objective'"),
        (LEAST + "[train]\nepoch = 3", "no setting 'epoch'. Did you mean 'epochs'"),
        (LEAST + "[objective]\nname = 'supcon'\ntemprature = 1", "no setting 'temprature'. Did you mean 'temperature'"),
        (LEAST + "[objective]\nname = 'supcom'", "no objective 'supcom'. Did you mean 'supcon'"),
        (LEAST + "[objective]\nname = 'supcon'\ntemperature = 'warm'", "temperature must be a number, got 'warm'"),
        (LEAST + "[objective]\nname = 'supcon'\naverage_over = 'all'", "average_over must be one of"),
        (LEAST + "[objective]\nname = 'os:path'", "is not a objective|cannot import|must be a subclass"),
        (LEAST + "[objective]\nname = 'nowhere.at_all:Thing'", "cannot import objective"),
        (LEAST + "[train]\nepochs = 0", "epochs must be at least 1"),
        (LEAST + "[train]\nepochs = 2.5", "epochs must be a whole number"),
        (LEAST + "[train]\nepochs = true", "epochs must be a whole number"),
        (LEAST + "[train]\noptimiser = 'lion'", 'must be one of "adamw", "sgd"'),
        (LEAST + "[data]\nsplit_shares = [0.5, 0.1, 0.1]", "sum to 1"),
        (LEAST + "[views]\ncrop = [0.5, 0.2]", "crop must be two shares"),
        (LEAST + "[views]\ncrop = [nan, 1.0]", "crop must be two shares"),
        (LEAST + LEAST, "stands in two similarities"),
        (LEAST + "importance = -1", "'kind' importance must be 0 or above, got -1"),
        (LEAST + "importance = nan", "importance must be 0 or above, got nan"),
        (LEAST + "importance = 'much'", "importance must be a number, got 'much'"),
        (LEAST + "importance = 0", "every similarity has importance 0"),
        ("[[similarity]]\nname = 'categorical'", "needs a column"),
        (LEAST + "[weighting]\nname = 'fixed'", "needs a value for 'weights'"),
        ("version = 2\n" + LEAST, "version is 2"),
        ("title = 3\n" + LEAST, "title must be text"),
        (LEAST + "[probe]\nlargest = 20", "must be a table"),
    ],
)
def test_a_mistake_is_named(text, words):
    with pytest.raises(RecipeError, match=words):
        recipe.parse(text)


@pytest.mark.parametrize("override", ["epochs", "=3", "title.x.y=3"])
def test_an_override_that_cannot_be_meant_is_refused(override):
    with pytest.raises(RecipeError, match="--set"):
        recipe.parse("title = 'a'\n" + LEAST, [override])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match="does not exist"):
        recipe.read(tmp_path / "none.toml")


def test_messages_begin_with_the_file(tmp_path):
    path = tmp_path / "shoes.toml"
    path.write_text(LEAST + "[trian]\n")
    with pytest.raises(RecipeError, match=r"shoes\.toml: there is no section 'trian'"):
        recipe.read(path)


def test_plain_values_are_read_as_text_is_and_left_as_they_are():
    plain = {"similarity": [{"column": "kind"}], "train": {"epochs": 3}}
    made = recipe.of_plain(plain, ["train.epochs=5", "views.crop=[0.5, 1.0]"])
    assert plain == {"similarity": [{"column": "kind"}], "train": {"epochs": 3}}
    assert made == recipe.parse(made.to_toml()) == recipe.of_plain(made.to_plain())
    assert made.train.epochs == 5
