"""What may stand in one report, and what is refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mscon.errors import RunError
from mscon.evaluate.report.compare import compare
from mscon.evaluate.report.gather import gather
from mscon.run.run import Run


def test_runs_of_one_title_are_seeds_of_one_method(a_run):
    runs = [a_run(f"r{seed}", seed=seed) for seed in (2, 0, 1)] + [a_run("other", title="SupCon")]
    methods = gather(runs).methods
    assert [(m.title, [x.seed for x in m.members]) for m in methods] == [("MSCon", [0, 1, 2]), ("SupCon", [0])]


def test_values_are_per_seed_and_row_in_the_order_of_the_rows(a_run):
    runs = [a_run(f"r{seed}", seed=seed) for seed in range(3)]
    first = gather(runs).questions[0]
    values = first.values[0]
    assert values.shape == (3, len(first.rows))
    assert (np.diff(first.rows) > 0).all()
    for seed, run in enumerate(runs):
        assert values[seed].mean() == pytest.approx(run.read_probe()["linear"][0]["accuracy"]["value"])


def test_rows_in_another_order_are_the_same_rows(a_run):
    one, two = a_run("one", seed=0), a_run("two", seed=1)
    arrays = {
        key: value[::-1].copy() if key.startswith("linear/0/") else value
        for key, value in two.read_predictions().items()
    }
    two.write_probe(two.read_probe(), arrays)
    assert gather([one, two]).questions[0].values[0][1].mean() == pytest.approx(
        two.read_probe()["linear"][0]["accuracy"]["value"]
    )


def test_a_column_is_in_domain_where_any_method_trained_on_it(a_run):
    runs = [a_run("a"), a_run("b", title="SupCon", train_on=("character",))]
    questions = {(q.column, q.measure): q for q in gather(runs).questions}
    assert questions["slant", "accuracy"].trained == (True, False)
    assert questions["slant", "accuracy"].in_domain
    assert not questions["family", "accuracy"].in_domain
    # Only SupCon was asked to retrieve slant, but it stays a column that another method trained on.
    assert questions["slant", "precision_at_1"].values[0] is None
    assert questions["slant", "precision_at_1"].in_domain


def test_rows_are_in_the_groups_by_which_they_were_split(a_run):
    split_by = ("data.split_by=family",)
    (gathered, by_rows) = (gather([a_run("one", settings=split_by)]), gather([a_run("two")]))
    assert (gathered.grouped_by, by_rows.grouped_by) == ("family", "")
    question = gathered.questions[0]
    families = gathered.rows["family"].to_list()
    for row, group in zip(question.rows, question.groups, strict=True):
        alike = [other for other, its in zip(question.rows, question.groups, strict=True) if its == group]
        assert alike == ([r for r in question.rows if families[r] == families[row]] if families[row] else [row])
    assert None in [families[row] for row in question.rows]
    assert by_rows.questions[0].groups is None
    assert compare(gathered).grouped_by == "family"
    (score, of_rows) = (compare(g).columns[0].cells[0].score for g in (gathered, by_rows))
    assert score.value == of_rows.value and score != of_rows


def test_no_run_is_a_mistake():
    with pytest.raises(RunError, match="no run to report"):
        gather([])


def test_a_run_that_was_not_probed_names_the_verb(a_run):
    with pytest.raises(RunError, match=r"probe\.json: `mscon probe` writes it"):
        gather([a_run("r", probed=False)])


def test_a_run_without_features_names_the_verb(a_run):
    run = a_run("r")
    (run.root / "features" / "features.safetensors").unlink()
    with pytest.raises(RunError, match=r"features\.safetensors is gone: `mscon probe`"):
        gather([run])


def test_all_runs_that_were_not_probed_are_named_at_once(a_run):
    runs = [a_run("one", probed=False), a_run("two", seed=1, probed=False)]
    with pytest.raises(RunError, match=r"(?s)one.*two"):
        gather(runs)


def test_other_rows_are_refused(a_run, rows):
    with pytest.raises(RunError, match=r"'a' and 'b' saw different rows \(102 rows against 101\)"):
        gather([a_run("a"), a_run("b", rows[:-1], title="SupCon")])


def test_another_split_of_the_same_rows_is_refused(a_run, rows):
    turned = rows.with_columns(pl.col("split").reverse())
    with pytest.raises(RunError, match=r"the same number of rows, but other values of split"):
        gather([a_run("a"), a_run("b", turned, title="SupCon")])


def test_other_test_rows_of_one_column_are_refused(a_run):
    one, two = a_run("one"), a_run("two", title="SupCon")
    arrays = {key: value[1:] if key.startswith("linear/2/") else value for key, value in two.read_predictions().items()}
    two.write_probe(two.read_probe(), arrays)
    with pytest.raises(RunError, match=r"column 'family' was scored on .* not the same ones, in run 'two'"):
        gather([one, two])


def test_runs_of_one_title_and_of_other_settings_are_told_apart_by_their_folders(a_run):
    runs = [
        a_run("a"),
        a_run("b", seed=1, settings=["weighting.name=relative"]),
        a_run("c", seed=1),
        a_run("other", title="SupCon"),
    ]
    methods = {m.title: [member.run.name for member in m.members] for m in gather(runs).methods}
    assert methods == {"MSCon (a, c)": ["a", "c"], "MSCon (b)": ["b"], "SupCon": ["other"]}


def test_two_runs_of_one_recipe_are_two_methods(a_run):
    """A repeated seed is no second measurement, so they are no seeds of one method."""
    assert [m.title for m in gather([a_run("a"), a_run("b")]).methods] == ["MSCon (a)", "MSCon (b)"]


def test_folders_of_one_name_are_told_apart_by_those_above(a_run):
    runs = [a_run("monday/shoes"), a_run("tuesday/shoes"), a_run("tuesday/boots")]
    names = [m.title for m in gather(runs).methods]
    assert names == ["MSCon (monday/shoes)", "MSCon (tuesday/shoes)", "MSCon (tuesday/boots)"]


def test_a_run_that_is_given_twice_is_refused(a_run):
    run = a_run("a")
    with pytest.raises(RunError, match="a' is given twice"):
        gather([run, Run(run.root / ".." / "a")])


def test_what_the_hardware_decided_does_not_part_the_seeds_of_a_method(a_run):
    runs = [a_run("a"), a_run("b", seed=1, settings=["train.precision=bfloat16", "probe.draws=200"])]
    assert len(gather(runs).methods) == 1


def test_a_recipe_from_before_a_setting_was_there_is_of_the_same_method(a_run):
    old, new = a_run("a"), a_run("b", seed=1)
    path = old.root / "recipe.toml"
    text = path.read_text("utf-8")
    assert "[sampler]" in text
    head, _, tail = text.partition("[sampler]")
    path.write_text(head + "[" + tail.partition("\n[")[2], "utf-8")
    (old.root / "checksums.jsonl").unlink()  # it kept none either
    assert len(gather([old, new]).methods) == 1
    other = a_run("c", seed=2, settings=["sampler.name=balanced"])
    assert len(gather([old, other]).methods) == 2


def test_predictions_of_another_probe_are_refused(a_run):
    run = a_run("r")
    run.write_probe(run.read_probe(), {"linear/0/row": np.arange(3)})
    with pytest.raises(RunError, match="do not belong together"):
        gather([run])


def test_a_recipe_is_read_but_never_built(a_run, tmp_path, monkeypatch):
    """A recipe may name a class of the user's own; a report on it must not import that."""
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    run = a_run("r")
    path = run.root / "recipe.toml"
    path.write_text(path.read_text("utf-8").replace('name = "supcon"', 'name = "trap:Loss"'), "utf-8")
    (run.root / "checksums.jsonl").unlink()
    assert "trap:Loss" in run.read_recipe_text()
    assert gather([run]).methods[0].members[0].recipe["objective"]["name"] == "trap:Loss"
