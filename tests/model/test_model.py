from __future__ import annotations

import pytest
import torch

from mscon.errors import RecipeError, RunError
from mscon.model.model import build_model, load_model
from mscon.run import recipe as recipes
from mscon.run.run import Run

RECIPE = """
[[similarity]]
column = "kind"
name = "categorical"
[[similarity]]
column = "heel"
name = "categorical"
[data]
image_size = 16
channels = 1
[encoder]
width = 4
[heads]
output_dim = 5
"""


@pytest.fixture
def recipe():
    return recipes.parse(RECIPE)


@pytest.fixture
def run(recipe, tmp_path):
    """A run directory as training leaves it, with one checkpoint."""
    run = Run.create(tmp_path / "run")
    run.write_recipe(recipe)
    return run


def save(run, model, name="last"):
    run.write_checkpoint(name, {f"model.{k}": v for k, v in model.state_dict().items()}, {"epoch": 1})


def test_a_projection_for_each_similarity_and_one_vector_of_features(recipe):
    features, projections = build_model(recipe, recipe.similarities)(torch.rand(6, 1, 16, 16))
    assert features.shape == (6, 16)
    assert projections.shape == (2, 6, 5)


def test_similarities_may_be_given_as_a_number(recipe):
    assert build_model(recipe, 3)(torch.rand(2, 1, 16, 16))[1].shape[0] == 3


def test_the_same_seed_gives_the_same_model(recipe):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_model(recipe, 2).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))


def test_settings_that_the_heads_refuse_are_the_recipes_fault():
    with pytest.raises(RecipeError, match="output_dim"):
        build_model(recipes.parse(RECIPE, ["heads.output_dim=0"]), 2)


def test_a_loaded_model_computes_what_the_trained_one_did(run, recipe):
    trained = build_model(recipe, 2)
    trained(torch.rand(8, 1, 16, 16))  # moves the running means
    save(run, trained)
    images = torch.rand(4, 1, 16, 16)
    loaded = load_model(run)
    assert not loaded.training
    for actual, expected in zip(loaded(images), trained.eval()(images), strict=True):
        assert torch.equal(actual, expected)


def test_the_recipe_says_which_checkpoint_is_meant(run, recipe):
    last, best = build_model(recipe, 2), build_model(recipe, 2)
    save(run, last, "last")
    save(run, best, "best")
    run.write_recipe(recipes.parse(RECIPE, ["train.checkpoint=best"]))
    loaded_heads = load_model(run).heads.state_dict()
    assert all(torch.equal(v, loaded_heads[k]) for k, v in best.heads.state_dict().items())
    other = load_model(run, "last").heads.state_dict()
    assert all(torch.equal(v, other[k]) for k, v in last.heads.state_dict().items())


def test_published_weights_are_not_fetched_to_load_a_run(run, recipe):
    text = RECIPE.replace("width = 4", 'name = "efficientnet_lite0"\npretrained = true').replace("= 16", "= 32")
    bare = recipes.parse(text, ["encoder.pretrained=false"])
    save(run, build_model(bare, 2))
    run.write_recipe(recipes.parse(text.replace("efficientnet_lite0", "tf_efficientnet_lite0")))
    load_model(run)  # the suite is offline: a fetch would fail


def test_a_run_without_checkpoint_says_which_verb_makes_one(run):
    with pytest.raises(RunError, match="mscon train"):
        load_model(run)


def test_a_checkpoint_of_another_model_is_refused(run, recipe):
    save(run, build_model(recipe, 3))
    with pytest.raises(RunError, match="not of the model that its recipe describes"):
        load_model(run)
