"""Section [keep] of a recipe: what may be set, and that nothing is set by default."""

from __future__ import annotations

import pytest

from mscon.errors import RecipeError
from mscon.run import recipe as recipes
from mscon.run.recipe import Keep

SIMILARITY = '[[similarity]]\ncolumn = "kind"\n'


def test_all_is_off_by_default():
    keep = recipes.parse(SIMILARITY).keep
    assert keep == Keep(beside=0, width=0, interpolate=1.0, average=0.0)
    assert not keep.at_the_end and not keep.transforms and not keep.interpolates


def test_settings_are_read_and_written_again():
    recipe = recipes.parse(SIMILARITY + '[keep]\nbeside = "all"\nwidth = 300\ninterpolate = "auto"\naverage = 0.99\n')
    assert recipe.keep == Keep(beside="all", width=300, interpolate="auto", average=0.99)
    assert recipes.parse(recipe.to_toml()) == recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("beside=-1", r'beside must be 0 \(none\) or a larger whole number \(components\) or one of "all", got -1'),
        ("beside=some", r"beside must be .*, got 'some'"),
        ("width=-2", r"width must be 0 \(all learned features\) or a larger whole number, got -2"),
        ("interpolate=1.5", r'interpolate must be a share from 0 to 1 or one of "auto", got 1.5'),
        ("interpolate=best", "interpolate must be .*, got 'best'"),
        ("average=1", r"average must be 0 \(none\) or a decay below 1, got 1"),
        ("besides=4", r"\[keep\] has no setting 'besides'. Did you mean 'beside'"),
    ],
)
def test_other_values_are_one_message(setting, message):
    with pytest.raises(RecipeError, match=message):
        recipes.parse(SIMILARITY, [f"keep.{setting}"])


def test_a_width_without_room_for_learned_features_is_refused():
    with pytest.raises(RecipeError, match="width is 64, which leaves no room for learned features beside 64 starting"):
        recipes.parse(SIMILARITY, ["keep.beside=64", "keep.width=64"])
