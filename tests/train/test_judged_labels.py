"""Section [doubt] of a recipe: training with labels that `mscon doubt` has judged."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import torch

from mscon import cli
from mscon.data.batches.dataset import Dataset, fit_similarities
from mscon.data.batches.sampler import sampler_of
from mscon.data.table.table import read_table
from mscon.errors import RecipeError, RunError
from mscon.evaluate.targets import probe_columns
from mscon.run import recipe as recipes
from mscon.run.contents import doubt_schema
from mscon.run.run import Run
from mscon.train.breakdown import Capture, diagnose
from mscon.train.fit import fit, resume
from mscon.train.judged_labels import judged_labels
from mscon.train.loop import Training
from mscon.train.reopen import reopen
from mscon.train.within_epoch import derived_seed
from vector_table import RECIPE as INFERRED
from vector_table import TRAIN_ROWS, write_table

RECIPE = INFERRED.replace("[[similarity]]", '[[similarity]]\nname = "categorical"')
QUIET = {"progress": False}
# Of training, validation and test rows; line 2 is the first row.
ISSUES = {"kind": (5, 7, 20, 52, 60), "shade": (4,)}
SHARES = {"kind": 0.4, "shade": 0.1}


def judge(run: Run, issues=ISSUES, shares=SHARES) -> None:
    """What `mscon doubt` writes, with these labels doubted."""
    rows, frames = run.read_rows(), []
    for column, lines in issues.items():
        labels = rows.select("line", given_label=pl.col(column)).drop_nulls()
        is_issue = labels["line"].is_in(lines)
        frames.append(
            labels.select(
                column=pl.lit(column),
                line="line",
                given_label="given_label",
                predicted_label="given_label",
                label_score=pl.when(is_issue).then(0.25).otherwise(1.0),
                confidence=pl.lit(0.5),
                is_label_issue=is_issue,
                neighbours=pl.lit([], dtype=pl.List(pl.Int64)),
            )
        )
    columns = [
        {"column": column, "kind": "class", "rows": 9, "missing": 0, "too_rare": 0, "witnesses": [], "agreement": 0.9}
        | {"issues": len(issues.get(column, ())), "share": {"value": share, "low": share, "high": share}}
        for column, share in shares.items()
    ]
    frame = pl.concat(frames).match_to_schema(pl.Schema(doubt_schema()))
    run.write_doubt(frame, {"features": "x", "columns": columns, "skipped": []}, checkpoint="last")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table, and beside it a run whose labels are judged."""
    folder = tmp_path_factory.mktemp("judged")
    judge(fit(recipes.parse(RECIPE, ["train.epochs=0"]), read_table(write_table(folder)), folder / "judged", **QUIET))
    return folder


def recipe_of(folder, *overrides):
    return recipes.parse(RECIPE, [f"doubt.run={folder / 'judged'}", *overrides])


def trained(folder, out, *overrides):
    return fit(recipe_of(folder, *overrides), read_table(folder / "things.csv"), out, **QUIET)


def tensors(run):
    return run.read_checkpoint("last")[0]


def same(one, other):
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def is_training(line):
    return line - 2 < TRAIN_ROWS


def without_issues(folder):
    """The table in which the label issues of the training rows are empty cells."""
    frame = pl.read_csv(folder / "things.csv", infer_schema=False).with_row_index("line", 2)
    for column, lines in ISSUES.items():
        is_empty = pl.col("line").is_in([line for line in lines if is_training(line)])
        frame = frame.with_columns(pl.when(is_empty).then(None).otherwise(column).alias(column))
    frame.drop("line").write_csv(folder / "emptied.csv")
    return read_table(folder / "emptied.csv")


@pytest.mark.parametrize("more", [(), ("sampler.name=balanced", "sampler.short=keep", "weighting.name=exact")])
def test_dropping_trains_as_empty_cells_do_and_the_run_keeps_all_labels(folder, tmp_path, more):
    run = trained(folder, tmp_path / "run", *more)
    emptied = fit(recipes.parse(RECIPE, more), without_issues(folder), tmp_path / "emptied", **QUIET)
    assert same(run, emptied)
    assert not same(run, fit(recipes.parse(RECIPE, more), read_table(folder / "things.csv"), tmp_path / "all", **QUIET))
    assert run.read_rows()["kind"].null_count() == 0
    cells = probe_columns(run, run.read_recipe(), run.read_rows())["linear"][0].cells
    assert list(cells) == read_table(folder / "things.csv").cells("kind")


def test_the_run_keeps_what_it_used(folder, tmp_path):
    run = trained(folder, tmp_path / "run")
    facts = run.read_facts()
    training = {column: [line for line in lines if is_training(line)] for column, lines in ISSUES.items()}
    assert [facts["doubt"][c]["dropped"] for c in ("kind", "shade")] == [len(training["kind"]), len(training["shade"])]
    assert facts["doubt"]["kind"]["judged"] == TRAIN_ROWS
    assert {"doubt.json", "doubt.parquet"} <= facts["sources"].keys()
    weights = run.read_label_weights(2, run.read_rows().height)
    lines = run.read_rows()["line"].to_numpy()
    assert [lines[row == 0].tolist() for row in weights] == [training["kind"], training["shade"]]


def test_without_a_run_nothing_changes(folder, tmp_path):
    table = read_table(folder / "things.csv")
    plain = fit(recipes.parse(RECIPE), table, tmp_path / "plain", **QUIET)
    other = fit(recipes.parse(RECIPE, ["doubt.weigh_columns=true"]), table, tmp_path / "other", **QUIET)
    assert same(plain, other)
    assert not (plain.root / "label_weights.safetensors").exists()
    assert "doubt" not in plain.read_facts()


def test_weighing_uses_each_label_as_often_as_it_is_right(folder):
    recipe, table = recipe_of(folder, "doubt.labels=weigh"), read_table(folder / "things.csv")
    rows = Run.open(folder / "judged").read_rows()
    similarities = fit_similarities(rows, recipe.similarities)
    judged = judged_labels(recipe, rows, similarities, table.name)
    dataset = Dataset.build(rows, similarities, np.zeros((rows.height, 1), np.float32)).weighed(judged.weights)
    draws = [dataset.drawn(seed) for seed in range(400)]
    for number, (column, lines) in enumerate(ISSUES.items()):
        used = torch.stack([~similarities[number].missing(draw.codes[number]) for draw in draws]).double().mean(dim=0)
        doubted = rows["line"].is_in([line for line in lines if is_training(line)]).to_numpy()
        assert used[doubted].numpy() == pytest.approx(0.25, abs=0.1)  # over 4 standard deviations of the mean of 400
        assert (used[~doubted] == rows[column].is_not_null().to_torch()[~doubted]).all()
    assert judged.facts["kind"]["expected_missing"] == pytest.approx(0.75 * 3)


def test_weighing_differs_by_epoch_and_a_resumed_training_does_the_same_alone(folder, tmp_path, monkeypatch):
    whole = trained(folder, tmp_path / "whole", "doubt.labels=weigh", "train.schedule=constant")
    half = trained(folder, tmp_path / "half", "doubt.labels=weigh", "train.schedule=constant", "train.epochs=1")
    plain = recipes.parse(RECIPE, ["train.schedule=constant"])
    assert not same(whole, fit(plain, read_table(folder / "things.csv"), tmp_path / "plain", **QUIET))
    monkeypatch.delattr("mscon.train.judged_labels.judged_run")  # the other run is no longer there
    assert same(resume(half, False, ["train.epochs=2"]), whole)


def test_the_judged_run_is_not_replaced(folder):
    with pytest.raises(RunError, match="judged"):
        fit(recipe_of(folder), read_table(folder / "things.csv"), folder / "judged", overwrite=True, **QUIET)
    assert Run.open(folder / "judged").has_doubt


def test_odd_label_weights_of_a_run_are_named(folder, tmp_path):
    run = trained(folder, tmp_path / "run", "train.epochs=1")
    for odd in (np.full((2, 72), 1.5), np.full((2, 72), np.nan), np.ones((2, 71))):
        run.write_label_weights(odd.astype(np.float32))
        with pytest.raises(RunError, match=r"label_weights.safetensors does not hold .*a number from 0 to 1 for each"):
            resume(run, False, ["train.epochs=2"])
    (run.root / "label_weights.safetensors").unlink()
    with pytest.raises(RunError, match=r"label_weights.safetensors is gone"):
        resume(run, False, ["train.epochs=2"])


def test_weights_of_columns_are_their_shares_of_right_labels_with_a_mean_of_1(folder, tmp_path):
    settings = ["doubt.labels=all", "doubt.weigh_columns=true"]
    run = trained(folder, tmp_path / "run", *settings, "train.epochs=1")
    importance = (0.6 * 2 / 1.5, 0.9 * 2 / 1.5)
    assert [run.read_facts()["doubt"][c]["factor"] for c in ("kind", "shade")] == pytest.approx(importance)
    by_hand = recipes.parse(RECIPE, ["train.epochs=1"]).to_plain()
    for part, value in zip(by_hand["similarity"], importance, strict=True):
        part["importance"] = value
    table = read_table(folder / "things.csv")
    assert same(run, fit(recipes.of_plain(by_hand), table, tmp_path / "by_hand", **QUIET))
    assert [part.importance for part in run.read_recipe().similarities] == [1, 1]
    resumed = resume(run, False, ["train.epochs=2"])
    assert tensors(resumed)["weighting.importance"].tolist() == pytest.approx(importance)


def test_a_balanced_sampler_does_not_count_dropped_labels(folder):
    rows = Run.open(folder / "judged").read_rows()
    similarities = fit_similarities(rows, recipes.parse(RECIPE).similarities)
    settings = recipes.Sampler("balanced", columns=("shade",))
    weights = torch.ones(2, rows.height)
    weights[1, 1] = 0
    floors = [
        sampler_of(settings, rows, similarities, batch_size=16, label_weights=w).floors[0] for w in (None, weights)
    ]
    assert floors[0][1] >= 0 > floors[1][1]
    assert np.array_equal(np.delete(floors[0], 1), np.delete(floors[1], 1))


def test_other_labels_are_one_message_and_nothing_is_written(folder, tmp_path, capsys):
    frame = pl.read_csv(folder / "things.csv", infer_schema=False)
    changed = frame.with_columns(
        kind=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("a")).otherwise("kind"),
        shade=pl.when(pl.int_range(pl.len()) == 1).then(None).otherwise("shade"),
    )
    np.save(tmp_path / "points.npy", np.load(folder / "points.npy"))
    changed.write_csv(tmp_path / "changed.csv")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    command = ["train", str(tmp_path / "recipe.toml"), "--table", str(tmp_path / "changed.csv")]
    assert cli.main([*command, "--out", str(tmp_path / "run"), "--set", f"doubt.run={folder / 'judged'}"]) == 2
    error = capsys.readouterr().err
    assert (
        "1 of 72 judged labels of column 'kind' differ from those of changed.csv: line 5 (judged 'b', now 'a')" in error
    )
    assert "column 'shade' differ" in error and "line 3 (judged 'x', now empty)" in error
    assert error.count("mscon train: error") <= 1 and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_rows_that_are_gone_are_named(folder, tmp_path):
    np.save(tmp_path / "points.npy", np.load(folder / "points.npy")[:-1])
    pl.read_csv(folder / "things.csv", infer_schema=False).head(-1).write_csv(tmp_path / "fewer.csv")
    with pytest.raises(RecipeError, match=r"line 73 \(judged 'b', now no row\)"):
        fit(recipe_of(folder), read_table(tmp_path / "fewer.csv"), tmp_path / "run", **QUIET)


def test_a_run_that_cannot_be_used_is_refused(folder, tmp_path):
    table = read_table(folder / "things.csv")
    with pytest.raises(RecipeError, match=r"\[doubt\] run: "):
        fit(recipes.parse(RECIPE, [f"doubt.run={tmp_path / 'absent'}"]), table, tmp_path / "run", **QUIET)
    plain = fit(recipes.parse(RECIPE, ["train.epochs=0"]), table, tmp_path / "plain", **QUIET)
    with pytest.raises(RecipeError, match=r"are not judged. Run `mscon doubt "):
        fit(recipes.parse(RECIPE, [f"doubt.run={plain.root}"]), table, tmp_path / "run", **QUIET)
    with pytest.raises(RecipeError, match=r"\[doubt\] run is set, but labels"):
        recipe_of(folder, "doubt.labels=all")
    with pytest.raises(RecipeError, match=r"labels = \"weigh\" is for batches of rows"):
        trained(folder, tmp_path / "run", "doubt.labels=weigh", "triplets.count=30", "objective.name=triplet_margin")
    judge(plain, {"kind": tuple(range(2, 74, 2))})
    with pytest.raises(RecipeError, match="column 'kind': without label issues the training rows have fewer than two"):
        fit(recipes.parse(RECIPE, [f"doubt.run={plain.root}"]), table, tmp_path / "run", **QUIET)
    judge(plain, shares={"mood": 0.5})
    with pytest.raises(RecipeError, match=r"has judged no column of this recipe\. Its judged columns: mood"):
        fit(recipes.parse(RECIPE, [f"doubt.run={plain.root}"]), table, tmp_path / "run", **QUIET)
    judge(plain, shares={"kind": 1.0})
    with pytest.raises(RecipeError, match="all labels of all judged columns look wrong"):
        fit(
            recipes.parse(RECIPE, [f"doubt.run={plain.root}", "doubt.weigh_columns=true"]),
            table,
            tmp_path / "run",
            **QUIET,
        )
    assert not (tmp_path / "run").exists()


def test_weights_must_fit_the_rows(folder):
    rows = Run.open(folder / "judged").read_rows()
    similarities = fit_similarities(rows, recipes.parse(RECIPE).similarities)
    dataset = Dataset.build(rows, similarities, np.zeros((rows.height, 1), np.float32))
    with pytest.raises(ValueError, match=r"must be \[similarities, rows\] = \[2, 72\], got \[2, 3\]"):
        dataset.weighed(torch.ones(2, 3))
    assert dataset.weighed(None) is dataset
    assert (weighed := dataset.weighed(torch.ones(2, 72))).drawn(0) is weighed


KINDS = (
    ("kind", "categorical", {}),
    ("shade", "multi_label", {}),
    ("mood", "hierarchical", {"under": ["kind"]}),
    ("height", "continuous", {}),
    ("kind", "ordinal", {"levels": ["a", "b"]}),
)


@pytest.mark.parametrize(("column", "kind", "settings"), KINDS, ids=[kind for _, kind, _ in KINDS])
def test_a_dropped_label_of_any_kind_is_missing_and_others_stay(folder, column, kind, settings):
    rows = Run.open(folder / "judged").read_rows()
    parts = [recipes.similarity_part(column, kind, settings), recipes.similarity_part("kind", "categorical")]
    parts.append(recipes.similarity_part("same_row", "same_row"))
    similarities = fit_similarities(rows, parts)
    dataset = Dataset.build(rows, similarities, np.zeros((rows.height, 1), np.float32))
    weights = torch.ones(3, rows.height)
    weights[0, 3] = 0
    codes, before = dataset.weighed(weights).codes, dataset.codes
    changed = similarities[0].missing(codes[0]) != similarities[0].missing(before[0])
    assert changed.nonzero().tolist() == [[3]]
    others = torch.arange(rows.height) != 3
    assert torch.equal(codes[0][others].nan_to_num(), before[0][others].nan_to_num())
    assert all(torch.equal(one, other) for one, other in zip(codes[1:], before[1:], strict=True))


def test_a_step_that_is_taken_again_has_the_labels_of_its_epoch(folder, tmp_path, monkeypatch):
    run = trained(folder, tmp_path / "run", "doubt.labels=weigh")
    training = reopen(run, run.read_recipe(), "cpu", False).training
    generators = {"network": torch.get_rng_state(), "views": torch.Generator().get_state()}
    capture = Capture(2, 5, torch.arange(16), generators, training.method.state_dict())
    seen, learn = [], Training.learn

    def watched(self, *batch):
        seen.append(self.dataset.codes)
        return learn(self, *batch)

    monkeypatch.setattr(Training, "learn", watched)
    assert diagnose(training, capture, "line") == ""
    drawn = training.dataset.drawn(derived_seed(0, 2, "labels")).codes
    assert all(torch.equal(one, other) for one, other in zip(seen[0], drawn, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(seen[0], training.dataset.codes, strict=True))


def check(folder, table, *overrides) -> int:
    (folder / "recipe.toml").write_text(RECIPE)
    named = [text for override in overrides for text in ("--set", override)]
    return cli.main(["check", str(folder / "recipe.toml"), "--table", str(table), *named])


def test_check_says_what_a_training_would_leave_out(folder, capsys):
    table, run = folder / "things.csv", f"doubt.run={folder / 'judged'}"
    assert check(folder, table, run) == 0
    assert (
        "Labels that [doubt] has judged, in training rows:\n"
        f"    'kind': {TRAIN_ROWS} judged labels, 3 dropped\n    'shade': "
    ) in capsys.readouterr().out
    assert check(folder, table, run, "doubt.labels=weigh", "doubt.weigh_columns=true") == 0
    out = capsys.readouterr().out
    assert f"'kind': {TRAIN_ROWS} judged labels, 0 dropped, about 2 missing in an epoch, importance times 0.80" in out
    assert check(folder, table, run, "doubt.labels=drop") == cli.main(
        ["check", str(folder / "recipe.toml"), "--table", str(table), "--set", run, "--json"]
    )
    out = capsys.readouterr().out
    facts = json.loads(out[out.index("{\n") :])["doubt"]
    expected = trained(folder, folder / "checked", "train.epochs=0").read_facts()["doubt"]
    assert facts == expected and facts["kind"]["dropped"] == 3
    assert check(folder, table) == 0
    assert "[doubt]" not in capsys.readouterr().out


def test_check_names_a_judged_run_that_is_missing_and_labels_that_differ_from_it(folder, tmp_path, capsys):
    assert check(tmp_path, folder / "things.csv", f"doubt.run={tmp_path / 'absent'}") == 2
    error = capsys.readouterr().err
    assert "[doubt] run: " in error and "absent" in error and "Traceback" not in error
    frame = pl.read_csv(folder / "things.csv", infer_schema=False)
    changed = frame.with_columns(kind=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("a")).otherwise("kind"))
    np.save(tmp_path / "points.npy", np.load(folder / "points.npy"))
    changed.write_csv(tmp_path / "changed.csv")
    assert check(tmp_path, tmp_path / "changed.csv", f"doubt.run={folder / 'judged'}") == 2
    error = capsys.readouterr().err
    assert "1 of 72 judged labels of column 'kind' differ from those of changed.csv: line 5" in error
    assert "Traceback" not in error
