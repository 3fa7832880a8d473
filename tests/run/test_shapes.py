"""A run without checksums, of an older mscon, whose JSON files are not what mscon writes into them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mscon.errors import RunError
from mscon.run.run import Run

FACTS: dict[str, Any] = {
    "versions": {"mscon": "0.1.0"},
    "machine": {"cores": 4},
    "table": {"name": "t.csv", "path": "/t.csv", "sha256": "0", "rows": {"train": 3}},
    "images_root": "/",
    "parameters": {"encoder": 5, "heads": 2, "others": 0},
    "trained": {"epochs": 2},
}


def changed(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in {**FACTS, **values}.items() if value != "gone"}


@pytest.mark.parametrize(
    ("values", "place"),
    [
        (changed(table="gone"), "`table`"),
        (changed(table=None), r"\$\.table"),
        (changed(table={**FACTS["table"], "name": 5}), r"\$\.table\.name"),
        (changed(table={**FACTS["table"], "rows": []}), r"\$\.table\.rows"),
        (changed(images_root=[]), r"\$\.images_root"),
        (changed(versions="gone"), "`versions`"),
        (changed(parameters=5), r"\$\.parameters"),
        (changed(trained=None), r"\$\.trained"),
        ([], "Expected `object`, got `array`"),
        (None, "Expected `object`, got `null`"),
    ],
)
def test_the_place_that_is_wrong_is_named(tmp_path, values, place):
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "run.json").write_text(json.dumps(values))
    message = rf"run\.json does not hold what mscon writes into it: .*{place}.*\.\n  Restore it from a copy\."
    with pytest.raises(RunError, match=message):
        Run.open(tmp_path).read_facts()


def test_what_older_versions_wrote_is_read(tmp_path):
    older = changed(trained="gone", command="mscon train")
    (tmp_path / "run.json").write_text(json.dumps(older))
    assert Run(tmp_path).read_facts() == older


@pytest.mark.parametrize(
    ("name", "read", "values"),
    [
        ("similarities.json", Run.read_similarities, [{"name": "categorical", "state": 5}]),
        ("similarities.json", Run.read_similarities, [{"state": {}}]),
        ("inputs.json", Run.read_inputs, {}),
        ("probe.json", Run.read_probe, {"linear": [5], "neighbours": [], "skipped": []}),
        ("layers.json", Run.read_layers, {"layers": []}),
    ],
)
def test_so_it_is_in_other_files(tmp_path, name, read, values):
    (tmp_path / name).write_text(json.dumps(values))
    with pytest.raises(RunError, match=f"{name} does not hold what mscon writes into it"):
        read(Run(tmp_path))


@pytest.mark.parametrize("text", ["", "[null]", "similarity = []", "[train]\nepochs = 1"])
def test_half_a_recipe_is_told(tmp_path, text):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(RunError, match=r"recipe\.toml is not a whole recipe\. Restore it from a copy\."):
        Run(tmp_path).read_recipe_values()
