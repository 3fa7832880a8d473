"""TOML and JSON of strangers: one ValueError for whatever is wrong."""

from __future__ import annotations

import pytest

from mscon.errors import RecipeError
from mscon.run import recipe
from mscon.run.parsing import DEEPEST, check_depth, parse_json, parse_toml


@pytest.mark.parametrize("text", ["a = " + "[" * 5_000, "a = " + "{b=" * 2_000, "a." * 2_000 + "b = 1"])
def test_toml_that_is_nested_too_deeply_is_one_error(text):
    with pytest.raises(ValueError, match=r"nested more than 64 deep"):
        parse_toml(text)
    with pytest.raises(RecipeError, match=r"^r.toml: not .*: nested more than 64 deep"):
        recipe.parse(text, where="r.toml: ")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 65 + "]" * 65])
def test_json_that_is_nested_too_deeply_is_one_error(text):
    with pytest.raises(ValueError, match=r"nested more than 64 deep"):
        parse_json(text)


def test_what_is_nested_as_deeply_as_it_may_be_is_read():
    assert parse_json("[" * (DEEPEST - 1) + "1" + "]" * (DEEPEST - 1))
    check_depth([[1], {"a": [2]}])


@pytest.mark.parametrize("text", ["1" * 5_000, b"\xff", "{'a': 1}", "", "[NaN"])
def test_other_faults_are_value_errors_too(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_a_number_of_too_many_digits_is_no_toml():
    with pytest.raises(RecipeError, match=r"not valid TOML"):
        recipe.parse("a = " + "9" * 5_000)


def test_a_recipe_in_python_may_not_be_nested_deeper_either():
    value: list = []
    for _ in range(5_000):
        value = [value]
    with pytest.raises(RecipeError, match=r"nested more than 64 deep"):
        recipe.of_plain({"similarity": value})


def test_of_thousands_of_mistakes_the_first_are_shown_and_the_others_counted():
    with pytest.raises(RecipeError) as error:
        recipe.parse("[[similarity]]\n" * 5_000)
    assert len(error.value.messages) == 5_000
    assert str(error.value).endswith("and 4,960 more mistakes.") and len(str(error.value)) < 10_000


def test_a_long_value_is_shown_by_its_beginning():
    with pytest.raises(RecipeError) as error:
        recipe.of_plain({"similarity": [{"column": "a"}], "train": {"epochs": "x" * 10_000}})
    assert "[train] epochs must be" in str(error.value) and len(str(error.value)) < 400
