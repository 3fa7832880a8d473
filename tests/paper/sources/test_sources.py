"""Sources: what the command line says and takes for each of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence

import pytest
import timm

from mscon.cli import main
from mscon.run import recipe, validate
from mscon.run.starting_recipes import recipe_text
from mscon_paper import sources
from mscon_paper.sources import glyphs


@pytest.mark.parametrize("name", sources.names())
def test_help_and_list_name_every_setting(name, capsys):
    known = [p for p in inspect.signature(sources.find(name)).parameters if p != "root"]
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    body = capsys.readouterr().out
    assert main(["list", "sources"]) == 0
    listed = capsys.readouterr().out
    for setting in known:
        assert re.search(rf"\b{setting}\b", body), setting
        assert re.search(rf"\b{setting}\b", listed.partition(f"  {name} ")[2]), setting


def test_settings_reach_a_source_as_what_they_are(tmp_path, monkeypatch, capsys):
    settings: dict[str, object] = {}

    def prepare(root, *, size: int = 24, families: Sequence[str] | None = None):
        settings.update(size=size, families=families)
        return root / "glyphs.csv"

    monkeypatch.setattr(glyphs, "prepare", prepare)
    assert main(["prepare", "glyphs", str(tmp_path), "--set", 'families=["lato"]', "--set", "size=32"]) == 0
    assert settings == {"size": 32, "families": ("lato",)}
    assert main(["prepare", "glyphs", str(tmp_path), "--set", "size=large"]) == 2
    assert main(["prepare", "glyphs", str(tmp_path), "--set", "size"]) == 2
    assert "write KEY=VALUE" in capsys.readouterr().err


def test_an_assignment_is_toml_or_else_text():
    assert validate.assignment("a = [1, 2]") == ("a", [1, 2])
    assert validate.assignment("table=/data/x.csv") == ("table", "/data/x.csv")
    assert validate.assignment("a=b=c") == ("a", "b=c")


@pytest.mark.parametrize(
    ("name", "encoder", "size", "width", "columns", "probed"),
    [
        ("zappos50k", "resnet18", 112, 32, ("category", "closure", "gender"), ("brand",)),
        ("medic", "resnet50", 224, 64, ("damage_severity", "disaster_types", "humanitarian", "informative"), None),
    ],
)
def test_the_recipes_hold_the_settings_of_the_paper(name, encoder, size, width, columns, probed):
    parsed = recipe.parse(recipe_text(name))
    assert parsed.encoder.name.partition(".")[0] == encoder
    assert parsed.encoder.pretrained
    assert timm.get_pretrained_cfg(parsed.encoder.name).has_weights
    assert parsed.data.image_size == size
    assert parsed.heads.settings["output_dim"] == width
    assert parsed.columns == columns
    assert parsed.probe.columns == (probed or columns)
    assert parsed.probe.draws == 1000
    assert parsed.views.count == 2
    train = parsed.train
    assert (train.optimiser, train.epochs, train.batch_size, train.learning_rate) == ("sgd", 200, 64, 0.05)
    assert parsed.objective.settings["temperature"] == 0.1
    assert parsed.weighting.name == "uncertainty"


@pytest.mark.parametrize("name", ["zappos50k", "medic"])
def test_every_value_of_these_recipes_says_where_it_comes_from(name):
    values = recipe_text(name).partition("[data]")[2].splitlines()
    assert all("# " in line for line in values if "=" in line)
