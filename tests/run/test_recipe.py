"""Recipes: TOML to value and back, and every mistake named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mscon.errors import RecipeError
from mscon.method.objectives.base import Objective
from mscon.run import recipe

LEAST = '[[similarity]]\ncolumn = "kind"\n'


def test_a_resolved_recipe_reads_back_as_itself():
    parsed = recipe.parse(
        'title = "mine"\n'
        + LEAST
        + '[[similarity]]\nname = "same_row"\n[weighting]\nname = "relative"\nsoftening = 0.2\n'
        "[probe]\nlargest = { family = 20 }\ncolumns = ['family']"
    )
    assert recipe.parse(parsed.to_toml()) == parsed


def test_defaults_are_written_out():
    assert "temperature = 0.1" in recipe.parse(LEAST).to_toml()


def test_without_a_word_of_it_weights_are_equal_and_kinds_inferred():
    parsed = recipe.parse(LEAST)
    assert parsed.weighting == recipe.Part("equal") == recipe.Recipe(parsed.similarities).weighting
    assert parsed.similarities[0].name == recipe.AUTO


@pytest.mark.parametrize("setting", ["numbers", "categories"])
def test_a_star_stands_for_all_columns_that_are_left(setting):
    parsed = recipe.parse(LEAST, [f"data.{setting}=*"])
    assert getattr(parsed.data, setting) == recipe.ALL
    assert recipe.parse(parsed.to_toml()) == parsed
    assert recipe.parse(LEAST, [f'data.{setting}=["*"]']).data != parsed.data  # the column of this name
    with pytest.raises(RecipeError, match=rf'{setting} must be a list of names of columns, or "\*" for all that are'):
        recipe.parse(LEAST, [f"data.{setting}=height"])


def test_overrides_are_applied_and_typed():
    parsed = recipe.parse(
        LEAST, ["train.epochs=3", "train.learning_rate=1", "title=short one", "objective.temperature=0.2"]
    )
    assert (parsed.train.epochs, parsed.train.learning_rate, parsed.title) == (3, 1.0, "short one")
    assert parsed.objective.settings["temperature"] == 0.2


def test_the_last_of_several_overrides_of_one_key_counts():
    assert recipe.parse(LEAST, ["train.epochs=3", "train.epochs=4", "train.epochs=3"]).train.epochs == 3


def test_the_data_of_another_version_is_read_without_what_is_not_known_here():
    plain = {"data": {"image": "photo", "channels": 4, "smell": "roses", "numbers": ["height"]}}
    assert recipe.data_of(plain) == recipe.Data(image="photo", numbers=("height",))


def test_same_row_may_count_double_in_one_line():
    parsed = recipe.parse(LEAST, ['similarity=[{column="kind"}, {name="same_row", importance=2}]'])
    assert [s.importance for s in parsed.similarities] == [1.0, 2.0]
    assert recipe.parse(parsed.to_toml()) == parsed


def test_a_part_named_anew_drops_the_settings_of_the_old():
    parsed = recipe.parse(LEAST + '[weighting]\nname = "relative"\nsoftening = 0.2', ["weighting.name=equal"])
    assert parsed.weighting == recipe.Part("equal", {})


OWN_PARTS = """
[[similarity]]
column = "price"
name = "continuous"
objective = "rank_n_contrast"
heads = { output_dim = 8 }
[[similarity]]
column = "make"
objective = { name = "supcon", positives = "inside" }
[[similarity]]
column = "colour"
views = { hue = 0.0 }
[[similarity]]
column = "stamp"
name = "auto"
temperature = 0.4
[[similarity]]
name = "same_row"
temperature = 0.2
[objective]
temperature = 0.3
[views]
flip = 0.1
"""


def test_a_similarity_may_have_its_own_objective_temperature_heads_and_views():
    parsed = recipe.parse(OWN_PARTS)
    price, make, colour, stamp, same_row = parsed.similarities
    assert price.objective == recipe.Part("rank_n_contrast", {"temperature": 2.0})
    assert price.heads == recipe.Part("mlp", {**parsed.heads.settings, "output_dim": 8})
    assert make.objective.settings == {**parsed.objective.settings, "positives": "inside"}
    assert (colour.objective, colour.heads) == (None, None)
    assert (colour.views.hue, colour.views.flip, colour.views.count) == (0.0, 0.1, 1)
    assert [s.objective.settings["temperature"] for s in (make, stamp, same_row)] == [0.3, 0.4, 0.2]
    assert recipe.parse(parsed.to_toml()) == parsed
    assert [numbers for _, numbers in parsed.grouped("objective")] == [(0,), (1,), (2,), (3,), (4,)]
    assert [numbers for _, numbers in parsed.grouped("heads")] == [(0,), (1, 2, 3, 4)]


def test_views_of_its_own_cost_one_more_view_each_kind():
    parsed = recipe.parse(OWN_PARTS + "[encoder]\nwidth = 8")
    assert [views.hue for views in parsed.drawn_views] == [0.1, 0.1, 0.0]
    assert parsed.compared_views == ((0, 1), (0, 1), (2,), (0, 1), (0, 1))
    alike = recipe.parse(LEAST + "[views]\ncount = 3")
    assert (len(alike.drawn_views), alike.compared_views) == (3, (None,))
    alone = recipe.parse(LEAST + "views = { hue = 0.0, count = 2 }")
    assert ([views.hue for views in alone.drawn_views], alone.compared_views) == ([0.0, 0.0], (None,))


def test_what_a_similarity_says_again_is_not_its_own():
    parsed = recipe.parse(LEAST + "objective = 'supcon'\ntemperature = 0.1\nheads = 'mlp'")
    assert parsed == recipe.parse(LEAST)


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
        (LEAST + "[train]\nepochs = -1", "epochs must be 0 .nothing is trained. or a larger whole number"),
        (LEAST + "[train]\nepochs = 2.5", "epochs must be 0 .nothing is trained. or a larger whole number"),
        (LEAST + "[train]\nepochs = true", "epochs must be 0 .nothing is trained. or a larger whole number"),
        (LEAST + "[train]\noptimiser = 'lion'", 'must be one of "adamw", "sgd"'),
        (LEAST + "[data]\nsplit_shares = [0.5, 0.1, 0.1]", "sum to 1"),
        (LEAST + "[views]\ncrop = [0.5, 0.2]", "crop must be two shares"),
        (LEAST + "[views]\ncrop = [nan, 1.0]", "crop must be two shares"),
        (LEAST + LEAST, "is in two"),
        (LEAST + "importance = -1", "'kind': importance must be a number from 0 to 1,000,000, got -1"),
        (LEAST + "importance = nan", "importance must be a number from 0 to 1,000,000, got nan"),
        (LEAST + "importance = 'much'", "importance must be a number from 0 to 1,000,000, got 'much'"),
        (LEAST + "importance = 1e308", "importance must be a number from 0 to 1,000,000, got 1e.308"),
        (LEAST + "importance = 0", "every similarity has importance 0"),
        ("[[similarity]]\nname = 'categorical'", "needs a column"),
        (LEAST + "[weighting]\nname = 'fixed'", r"no weighting 'fixed'.*\n  Known: equal, exact, excess_mtl"),
        (LEAST + "[weighting]\nname = 'mscon.method.weightings.base:ScaledWeighting'", "needs a value for 'weighting'"),
        ("version = 2\n" + LEAST, "version is 2"),
        (LEAST + "objective = 'supcom'", r"'kind': there is no objective 'supcom'. Did you mean 'supcon'"),
        (LEAST + "objective = 3", "'kind': objective must be a name, or a table such as"),
        (LEAST + "objective = { temprature = 1 }", "'kind': .* no setting 'temprature'. Did you mean 'temperature'"),
        (LEAST + "objective = 'triplet_margin'\ntemperature = 0.1", "'kind': .* no setting 'temperature'"),
        (LEAST + "temperature = 'warm'", "'kind': .*temperature must be a number, got 'warm'"),
        (LEAST + "temperature = 1\nobjective = { temperature = 1 }", "'kind': temperature is set twice"),
        (LEAST + "views = 'mild'", r"'kind': views must be a table such as"),
        (LEAST + "views = { hew = 0 }", "'kind': .* no setting 'hew'. Did you mean 'hue'"),
        (LEAST + "heads = { output_dim = 'wide' }", "'kind': .*output_dim must be a whole number"),
        ("title = 3\n" + LEAST, "title must be text"),
        (LEAST + "[probe]\nlargest = 20", "must be a table"),
    ],
)
def test_a_mistake_is_named(text, words):
    with pytest.raises(RecipeError, match=words):
        recipe.parse(text)


def test_all_mistakes_are_named_at_once_each_with_the_file():
    text = """
        [[similarity]]
        column = "kind"
        objective = "supcom"
        importance = -1
        [[similarity]]
        column = "price"
        name = "continuous"
        widht = 5
        [[derived]]
        column = "noisy"
        [trian]
        [train]
        epoch = 3
        batch = 2
        seed = -1
        [views]
        crop = [0.5, 0.2]
        hue = 0.7
        [encoder]
        std = [0.0]
        [weighting]
        name = "fixed"
        """
    with pytest.raises(RecipeError) as caught:
        recipe.parse(text, ["epochs"], where="mine.toml: ")
    words = [
        "--set epochs: write KEY=VALUE",
        "there is no section 'trian'. Did you mean 'train'?",
        "[encoder] std must be a list, each a number above 0, got [0.0].",
        "[views] hue must be a number from 0 to 0.5, got 0.7.",
        "[train] has no setting 'epoch'. Did you mean 'epochs'?",
        "[train] has no setting 'batch'. Did you mean 'batch_size'?",
        "[train] seed must be a whole number from 0 to 2^32 - 1, got -1.",
        "there is no weighting 'fixed'.",
        "[[derived]] needs a value for 'of'.",
        "[[similarity]] 'kind': importance must be a number from 0 to 1,000,000, got -1.",
        "[[similarity]] 'kind': there is no objective 'supcom'. Did you mean 'supcon'?",
        "[[similarity]] 'price': [similarity] has no setting 'widht'. Did you mean 'width'?",
    ]
    assert len(caught.value.messages) == len(words)
    for message, beginning in zip(caught.value.messages, words, strict=True):
        assert message.startswith(f"mine.toml: {beginning}")
    assert str(caught.value) == "\n".join(caught.value.messages)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.batch_size=1", "must be a whole number of at least 2: one row has nothing to be compared with, got 1"),
        ("train.layer_decay=0", "must be a number above 0, at most 1, got 0"),
        ("train.momentum=1", "must be a number from 0 to below 1, got 1"),
        ("train.learning_rate=inf", "must be a number above 0, got inf"),
        ("train.weight_decay=nan", "must be a number of 0 or above, got nan"),
        ("views.noise=inf", "must be a number of 0 or above, got inf"),
        ("views.flip=1.5", "must be a probability from 0 to 1, got 1.5"),
        ("views.blur_sigma=[0.1, 0.6]", "must be two shares with 0 < first <= second <= 0.5"),
        ("views.crop=[1]", r"must be a list of 2 values, each a number, got \[1\]"),
        ("data.channels=2", "must be one of 1, 3, got 2"),
        ("data.image_size=4", "must be a whole number from 8 to 2048"),
        ("probe.columns=height", "must be a list, each text, got 'height'"),
        ("data.split_shares=[0.0, 0.5, 0.5]", "the first above 0"),
        ("data.split_shares=[1.5, -0.5, 0.0]", "three shares"),
        ("data.split_shares=[nan, 0.5, 0.5]", "three shares"),
        ("encoder.mean=[2]", "must be a list, each a number from 0 .* to 1"),
        ("encoder.settings=3", "must be a table such as"),
        ("log.to=['paper']", 'must be a list, each one of "tensorboard", "wandb"'),
        ("probe.largest={a = 1}", "each value a whole number of at least 2"),
        ("probe.kinds={a = {width = 1}}", "kinds.a must be a name, or a table"),
        ("probe.kinds={a = 3}", "kinds must be a table .* each value text or a table"),
        ("derived=[{column = '', of = 'kind'}]", "must be the name of a column, got ''"),
        ("derived=[{column = 'a', of = 'kind', redraw = 2}]", "must be a share from 0 to 1, got 2"),
    ],
)
def test_what_a_setting_may_be_is_said_with_the_value_that_it_has(setting, words):
    with pytest.raises(RecipeError, match=words):
        recipe.parse(LEAST, [setting])


def test_values_that_do_not_fit_one_another_are_refused_in_python_too():
    with pytest.raises(ValueError, match="crop must be two shares"):
        recipe.Views(crop=(0.5, 0.2))


class Untyped(Objective):
    """An objective with a parameter without a type, and one of a type that msgspec does not know."""

    def __init__(self, strength=1.0, scale: list[int] | set[int] = ()):
        super().__init__()

    def forward(self, anchors, candidates, pairs):
        raise NotImplementedError


def test_settings_without_a_type_are_left_to_the_class_that_has_them():
    name = f"{__name__}:Untyped"
    parsed = recipe.parse(LEAST + f"[objective]\nname = '{name}'\nstrength = [1]\nscale = [2]")
    assert parsed.objective == recipe.Part(name, {"strength": [1], "scale": [2]})


def test_recipes_of_before_are_read_to_equal_values():
    golden = Path(__file__).with_name("golden_recipe.toml")
    parsed = recipe.read(golden)
    assert json.loads(json.dumps(parsed.to_plain())) == json.loads(golden.with_suffix(".json").read_text("utf-8"))
    assert parsed == recipe.parse(parsed.to_toml())
    assert parsed.similarities[2].settings["levels"] == ("small", "large")
    assert parsed.encoder.settings["extra"] == [1, 2.5, "a"]


@pytest.mark.parametrize("override", ["epochs", "=3", "title.x.y=3"])
def test_an_override_that_cannot_be_meant_is_refused(override):
    with pytest.raises(RecipeError, match="--set"):
        recipe.parse("title = 'a'\n" + LEAST, [override])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match="does not exist"):
        recipe.read(tmp_path / "none.toml")


def test_a_file_without_end_is_no_recipe():
    with pytest.raises(RecipeError, match="more than 1,000,000 characters"):
        recipe.read("/dev/zero")


def test_messages_begin_with_the_file(tmp_path):
    path = tmp_path / "shoes.toml"
    path.write_text(LEAST + "[trian]\n")
    with pytest.raises(RecipeError, match=r"shoes\.toml: there is no section 'trian'"):
        recipe.read(path)


def test_plain_values_are_read_as_text_is_and_left_as_they_are():
    plain = {"similarity": [{"column": "kind"}], "train": {"epochs": 3}}
    parsed = recipe.of_plain(plain, ["train.epochs=5", "views.crop=[0.5, 1.0]"])
    assert plain == {"similarity": [{"column": "kind"}], "train": {"epochs": 3}}
    assert parsed == recipe.parse(parsed.to_toml()) == recipe.of_plain(parsed.to_plain())
    assert parsed.train.epochs == 5


def test_a_number_of_more_than_64_bits_is_refused():
    with pytest.raises(RecipeError, match=r"epochs must be 0 .* or a larger whole number, got a whole number of more"):
        recipe.parse('similarity = [{ column = "a" }]', [f"train.epochs={'9' * 40}"])


@pytest.mark.parametrize("name", [":", "..:x", "a b:C", "pkg.mod:", "pkg:1"])
def test_a_name_that_no_class_can_have_is_refused(name):
    with pytest.raises(RecipeError, match=r"a similarity of your own is written 'pkg\.mod:Class', got"):
        recipe.parse(f'similarity = [{{ column = "a", name = "{name}" }}]')


def test_what_is_wrong_with_probed_columns_is_known_before_training():
    parsed = recipe.parse("""
        similarity = [{ column = "a" }]
        [probe]
        columns = ["size"]
        largest = { siez = 2 }
        kinds = { a = "ordinal", szie = "ordinal", size = { name = "ordinal", level = ["S", "L"] } }
    """)
    trained, not_probed, setting, largest = parsed.probe_complaints()
    assert trained == "[probe] kinds names column 'a', but its kind is that of its [[similarity]]. Take it out."
    assert not_probed.startswith("[probe] kinds names column 'szie', which is not probed. Did you mean 'size'?")
    assert setting.startswith("[probe] kinds.size: [similarity] has no setting 'level'. Did you mean 'levels'?")
    assert largest.startswith("[probe] largest names column 'siez', which is not probed. Did you mean 'size'?")
