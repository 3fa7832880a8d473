"""The catalogue: a file name is the name in a recipe, and nothing else has to be edited."""

from __future__ import annotations

import pytest

from mscon.errors import RecipeError
from mscon.method import catalogue
from mscon.method.objectives.base import Objective
from mscon.method.objectives.supcon import SupCon


@pytest.mark.parametrize("kind", catalogue.kinds())
def test_every_file_of_a_kind_holds_one_part(kind):
    parts = [catalogue.find(kind, name) for name in catalogue.names(kind)]
    assert len(set(parts)) == len(parts) > 0
    assert all(part.__doc__ for part in parts)


class Mine(Objective):
    """A user's own objective."""

    def forward(self, anchors, candidates, pairs):
        raise AssertionError("not called here")


def test_a_class_of_the_users_own_is_found_by_module_and_name():
    assert catalogue.find("objective", f"{__name__}:Mine") is Mine


@pytest.mark.parametrize("name", ["nowhere.to_be_found:Mine", f"{__name__}:Nothing"])
def test_a_class_that_cannot_be_imported_is_named(name):
    with pytest.raises(RecipeError, match="cannot import objective"):
        catalogue.find("objective", name)


def test_a_class_of_another_kind_is_refused():
    with pytest.raises(RecipeError, match=r"must be a subclass of mscon\.method\.objectives\.base\.Objective"):
        catalogue.find("objective", "pathlib:Path")


def test_a_value_that_a_part_refuses_is_the_recipes_mistake():
    with pytest.raises(RecipeError, match=r"\[objective\] supcon: temperature must be positive and finite, got 0"):
        catalogue.build("objective", "supcon", {"temperature": 0.0})


def test_building_passes_settings_on():
    objective = catalogue.build("objective", "supcon", {"temperature": 0.3})
    assert isinstance(objective, SupCon)
    assert objective.temperature == 0.3
