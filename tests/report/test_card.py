"""The model card: evidence with intervals, what is left to fill in, and nothing that a name can break."""

from __future__ import annotations

import json
import re
import tomllib

import polars as pl
import pytest

from mscon.cli import main
from mscon.evaluate.report.card import model_card
from mscon.run import recipe as recipes
from mscon.run.run import Run


def make(tmp_path, title="Shoes", column="closure", probed=True):
    text = (
        f"title = {json.dumps(title)}\n[[similarity]]\ncolumn = {json.dumps(column)}\nname = 'categorical'\n"
        "[[similarity]]\nname = 'same_row'"
    )
    run = Run.create(tmp_path / "run")
    run.write_recipe(recipes.parse(text))
    state = {"column": column, "classes": ["b", "secret label"]}
    run.write_similarities(
        [{"name": "categorical", "state": state}, {"name": "same_row", "state": {"column": "same_row"}}]
    )
    run.write_facts(
        {
            "versions": {"mscon": "0.1.0"},
            "images_root": "/secret/place",
            "machine": {"cpu": "secret processor"},
            "table": {"name": "secret.csv", "path": "/secret/place/secret.csv", "rows": {"train": 3, "test": 1}},
            "parameters": {"encoder": 92_896, "heads": 1000},
        }
    )
    cells = ["secret label", None, "b", "b"]
    run.write_rows(
        pl.DataFrame({"line": [2, 3, 4, 5], "split": ["train"] * 3 + ["test"], "image": list("abcd"), column: cells})
    )
    if probed:
        score = {"value": 0.7512, "low": 0.7, "high": 0.8}
        linear = {"column": column, "trained": True, "test_rows": 1234, "accuracy": score, "majority": 0.4}
        near = {"column": column, "trained": True, "rows": 55, "precision_at_1": score, "chance": 0.1}
        r2 = {"value": 0.5, "low": 0.4, "high": 0.6}
        number = {"column": "heel", "trained": False, "test_rows": 900, "r2": r2, "baseline": {"r2": 0.0}}
        run.write_probe({"checkpoint": "last", "draws": 1000, "linear": [linear, number], "neighbours": [near]}, {})
    return run


def test_scores_stand_with_their_intervals_and_their_baselines(tmp_path):
    card = model_card(make(tmp_path))
    assert re.search(
        r"\| closure +\| trained on +\| accuracy % +\| +1,234 \| +75\.1 \| +70\.0 to 80\.0 \| +40\.0 \|", card
    )
    assert re.search(
        r"\| closure +\| trained on +\| precision.* % +\| +55 \| +75\.1 \| +70\.0 to 80\.0 \| +10\.0 \|", card
    )
    assert re.search(r"\| heel +\| not trained on +\| R² +\| +900 \| +0\.500 \| +0\.400 to 0\.600 \| +0\.000 \|", card)
    assert "of one run: they do not cover the choice of the seed" in card


def test_counts_recipe_and_citation_are_there(tmp_path):
    run = make(tmp_path)
    card = model_card(run)
    assert "4 rows: 3 train, 1 test." in card
    assert re.search(r"\| closure +\| categorical \| 2 classes +\| +33\.3% \|", card)
    assert "92,896 of the encoder" in card
    assert "mu2023mscon" in card
    (recipe,) = re.findall(r"```toml\n(.*?)\n```", card, re.DOTALL)
    assert tomllib.loads(recipe) == run.read_recipe_values()


def test_what_mscon_cannot_know_is_left_to_fill_in(tmp_path):
    card = model_card(make(tmp_path))
    assert "\n# license: to be filled in" in card
    assert card.count("To be filled in by whoever publishes this model") == 4
    assert "secret" not in card


def test_without_a_probe_there_is_no_evidence_and_it_says_so(tmp_path):
    card = model_card(make(tmp_path, probed=False))
    assert "None yet: `mscon probe`" in card
    assert "model-index" not in card


def test_the_front_matter_holds_the_scores_for_the_hub(tmp_path):
    card = model_card(make(tmp_path))
    _, front, _ = card.split("---\n", 2)
    (line,) = [line for line in front.splitlines() if line.startswith("model-index: ")]
    (index,) = json.loads(line.removeprefix("model-index: "))
    assert [result["metrics"] for result in index["results"]] == [
        [{"type": "accuracy", "value": 0.7512}],
        [{"type": "r2", "value": 0.5}],
    ]


HOSTILE = "a|b<script>`*_[x](http://y)\n---\nlicense: mit"


def test_names_from_a_table_stay_names(tmp_path):
    card = model_card(make(tmp_path, title=HOSTILE, column=HOSTILE))
    outside = re.sub(r"^(`{3,})\w+\n.*?\n\1$", "", card.split("---\n", 2)[2], flags=re.DOTALL | re.MULTILINE)
    assert "<script>" not in outside
    assert "[x](" not in outside
    assert "\nlicense: mit" not in card
    assert card.count("\n---\n") == 1


def test_no_line_of_a_recipe_closes_its_fence(tmp_path):
    card = model_card(make(tmp_path, title="```` done"))
    assert "\n`````toml\n" in card


def test_the_command_writes_a_card_and_keeps_one_that_was_edited(tmp_path, capsys):
    run = make(tmp_path)
    assert main(["card", str(run.root)]) == 0
    assert capsys.readouterr().out == f"{run.root / 'README.md'}\n"
    run.write_card("edited")
    assert main(["card", str(run.root)]) == 2
    assert "which you may have edited. Choose another --out." in capsys.readouterr().err
    assert run.read_card() == "edited"
    assert main(["card", str(run.root), "--overwrite"]) == 0
    assert run.read_card() == model_card(run)
    out = tmp_path / "card.md"
    assert main(["card", str(run.root), "--out", str(out)]) == 0
    assert out.read_text() == run.read_card()
    assert main(["card", str(run.root), "--out", str(out)]) == 2


@pytest.mark.parametrize(("count", "words"), [(1, "1 similarity:"), (2, "2 similarities:")])
def test_similarities_are_counted_in_english(tmp_path, count, words):
    run = make(tmp_path)
    if count == 1:
        run.write_recipe(recipes.parse("[[similarity]]\ncolumn = 'closure'\nname = 'categorical'"))
    assert words in model_card(run)


@pytest.mark.parametrize(
    ("data", "words"),
    [('input = "vectors"\nvectors = "a.npy"', "model.embed(vectors)"), ("", 'model.embed(["photo.jpg"])')],
)
def test_the_lines_that_show_how_to_use_it_fit_what_is_encoded(tmp_path, data, words):
    run = make(tmp_path)
    run.write_recipe(recipes.parse(f"[[similarity]]\ncolumn = 'closure'\nname = 'categorical'\n[data]\n{data}"))
    assert words in model_card(run)


def test_of_vectors_it_says_how_many_numbers_they_have(tmp_path):
    run = make(tmp_path)
    run.write_recipe(
        recipes.parse(
            "[[similarity]]\ncolumn = 'closure'\nname = 'categorical'\n[data]\ninput = 'vectors'\nvectors = 'a.npy'"
        )
    )
    run.write_inputs({"input": "vectors", "width": 384})
    assert "of vectors of 384 numbers that were made elsewhere" in model_card(run)


def test_a_model_of_foreign_code_says_what_is_imported_and_loads_as_shown(tmp_path):
    assert "trust=True" not in model_card(make(tmp_path))
    run = Run(tmp_path / "run")
    run.write_recipe(
        recipes.parse("[[similarity]]\ncolumn = 'closure'\nname = 'categorical'\n[encoder]\nname = 'theirs.net:Net'")
    )
    card = model_card(run)
    assert 'mscon.load("hf:owner/name", trust=True)' in card
    assert "mscon imports `theirs.net:Net`, code of its publisher that is not here" in card


@pytest.mark.parametrize(("model", "trusted"), [("", False), ("someone/theirs", True)])
def test_a_model_of_sentences_says_what_reads_them(tmp_path, model, trusted):
    run = make(tmp_path)
    data = f"input = 'text'\ntext_model = '{model}'"
    run.write_recipe(recipes.parse(f"[[similarity]]\ncolumn = 'closure'\nname = 'categorical'\n[data]\n{data}"))
    card = model_card(run)
    assert 'pip install "mscon[text]"' in card
    assert ("`someone/theirs`, which is not here" in card) == trusted
    assert ("trust=True" in card) == trusted
