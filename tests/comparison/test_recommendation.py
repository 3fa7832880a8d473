"""The recommendation: by validation rows alone, and only of methods that were scored everywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from comparison.recipes import recipe, similarities
from mscon.comparison.methods import Method, methods_of
from mscon.comparison.plan import Group, Plan, plan
from mscon.comparison.recommendation import Validation, lead_text, recommended_toml, validations
from mscon.run import recipe as recipes

BASE = recipe(
    similarities("colour", "make"), "encoder.settings={units=9}", 'probe.columns=["season"]', "probe.kinds={}"
)


def leave(group: Group, scores: Mapping[str, float | None], kind: str = "class") -> None:
    """What probes would have left of the runs of a method; test scores are all 0."""
    for run in group.runs:
        records = [
            {
                "column": c,
                "kind": kind,
                "classes": ["a", "b", "c"],
                "accuracy": {"value": 0.0, "low": 0.0, "high": 0.0},
                "validation_score": s,
            }
            for c, s in scores.items()
        ]
        run.out.mkdir(parents=True, exist_ok=True)
        (run.out / "probe.json").write_text(json.dumps({"linear": records}))


@pytest.fixture
def whole(tmp_path: Path) -> Plan:
    labels = {part.column: part for part in BASE.similarities}
    of_all = plan(methods_of(BASE, (), 4)[0], labels, BASE.probe, ("colour", "make"), 2, tmp_path)
    for title, group in of_all.groups.items():
        leave(group, {"colour": 0.5, "make": 0.5, "season": 0.5 if title.startswith("MSCon") else 0.6})
    for column, groups in of_all.held_out.items():
        for title, group in groups.items():
            if group is not of_all.groups[title]:
                leave(group, {"colour": 0.9, "make": 0.9, "season": 0.0, column: 0.3})
    return of_all


def test_methods_are_ranked_by_the_mean_over_columns_trained_on_held_out_and_never_trained_on(whole):
    ranked = {v.title: v for v in validations(whole, ["colour", "make"])}
    mscon, simclr = ranked["MSCon (this recipe)"], ranked["SimCLR"]
    assert mscon.trained == pytest.approx(0.5)
    assert mscon.unseen == pytest.approx((0.3 + 0.3 + 0.5) / 3)
    assert mscon.mean == pytest.approx((0.5 + 0.5 + 0.3 + 0.3 + 0.5) / 5)
    assert simclr.mean == pytest.approx((0.5 + 0.5 + 0.5 + 0.5 + 0.6) / 5)  # its only runs serve for all
    assert next(iter(ranked)) in ("frozen start", "SimCLR")
    assert not [title for title in ranked if title.startswith("SupCon")]


def test_a_method_that_broke_down_or_lacks_a_score_is_not_ranked(whole):
    (whole.held_out["make"]["MSCon + same row"].runs[1].out / "probe.json").unlink()
    leave(whole.groups["SimCLR"], {"colour": None, "make": 0.9, "season": 0.9})
    titles = [v.title for v in validations(whole, ["colour", "make"])]
    assert "MSCon + same row" not in titles and "SimCLR" not in titles
    assert "MSCon (this recipe)" in titles


def test_an_error_in_levels_counts_as_in_the_means(whole):
    leave(whole.groups["SimCLR"], {"colour": 0.5, "make": 0.5, "season": 1.5}, kind="rank")
    (simclr,) = [v for v in validations(whole, ["colour", "make"]) if v.title == "SimCLR"]
    assert simclr.trained == pytest.approx(1 - 0.5 / 2)
    assert simclr.unseen == pytest.approx((0.75 + 0.75 + 1 - 1.5 / 2) / 3)


def test_the_file_is_the_recipe_with_the_reason_and_the_users_own_probes(whole):
    best, second = (v for v in validations(whole, ["colour", "make"]) if v.title in ("SimCLR", "MSCon (this recipe)"))
    toml = recommended_toml(whole, best, second, BASE.probe, "mine")
    comment = [line for line in toml.splitlines() if line.startswith("#")]
    assert comment[0] == "# Recommended by `mscon compare`: the method “SimCLR”."
    assert "52.0 (label columns 50.0, unseen columns 53.3)" in comment[1]
    assert "“MSCon (this recipe)”: 42.0" in comment[2]
    assert comment[3] == "# 2 seeds. Test rows played no part in this choice."
    read = recipes.parse(toml)
    assert read.title == "SimCLR" and read.probe == BASE.probe
    assert read.columns == ("same_row",)


def test_the_users_recipe_keeps_its_title_and_any_other_method_has_its_own(whole):
    titles = {
        v.title: recipes.parse(recommended_toml(whole, v, None, BASE.probe, "mine")).title
        for v in validations(whole, ["colour", "make"])
    }
    assert titles.pop("MSCon (this recipe)") == "mine"
    assert {"frozen start", "XEnt + same row", "SimCLR"} <= titles.keys()
    assert all(title == method for method, title in titles.items())


SHIPPED = sorted((Path(recipes.__file__).parent / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_file_has_no_line_that_a_default_says_and_reads_as_the_same_recipe(path):
    recipe = recipes.read(path)
    method, best = Method("recipe", recipe), Validation(recipe.title, 0.5, None, 0.5)
    toml = recommended_toml(Plan((method,), {}, {}, 1), best, None, recipe.probe, recipe.title)
    assert recipes.parse(toml) == recipe
    assert "importance" not in toml and "split_seed" not in toml


@pytest.mark.parametrize("objective", ["himulcon", "cross_entropy", "rank_n_contrast"])
def test_a_part_of_another_name_is_written_whole(objective):
    recipe = recipes.of_columns(["colour"], [f"objective.name={objective}"])
    method, best = Method("recipe", recipe), Validation(recipe.title, 0.5, None, 0.5)
    toml = recommended_toml(Plan((method,), {}, {}, 1), best, None, recipe.probe, "")
    assert recipes.parse(toml) == recipe


ARBITRARY = "; so few rows make the choice nearly arbitrary"


def test_fewer_than_100_validation_rows_make_the_choice_nearly_arbitrary():
    ranked = [Validation(title, mean, None, mean) for title, mean in (("A", 0.8), ("B", 0.7))]
    assert lead_text(ranked, 99).endswith(f" on 99 validation rows{ARBITRARY}")
    assert lead_text(ranked, 100).endswith(" on 100 validation rows")


def test_a_lead_of_less_than_one_validation_row_is_one_by_a_hair():
    first, second = (Validation(title, mean, None, mean) for title, mean in (("A", 0.766), ("B", 0.764)))
    assert lead_text([first, second], 28) == ", by a hair: 76.6 against 76.4 of “B” on 28 validation rows" + ARBITRARY
    assert lead_text([first, second], 1000) == ", 76.6 against 76.4 of “B” on 1,000 validation rows"
    assert lead_text([first], 28) == ""


def test_a_title_cannot_leave_its_comment(whole):
    best = next(v for v in validations(whole, ["colour", "make"]) if v.title == "MSCon (this recipe)")
    hostile = "a\nb = 1"
    titled = Plan(whole.methods, whole.groups, whole.held_out, 1)
    renamed = type(best)(best.title, best.trained, best.unseen, best.mean)
    other = type(best)(hostile, 0.1, None, 0.1)
    toml = recommended_toml(titled, renamed, other, BASE.probe, hostile)
    assert "\nb = 1" not in toml
    assert recipes.parse(toml).title == hostile
