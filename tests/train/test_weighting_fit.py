"""Weightings in a run: those that look at projections, importance, and what a recipe may not ask of them."""

from __future__ import annotations

import pytest
import torch

from mscon.data.table.table import read_table
from mscon.errors import RecipeError
from mscon.method.objective_groups import ObjectiveGroup, ObjectiveGroups
from mscon.method.objectives.cross_entropy import CrossEntropy
from mscon.method.objectives.supcon import SupCon
from mscon.method.pairs import Pairs
from mscon.method.similarities.categorical import Categorical
from mscon.method.weightings.exact import Exact
from mscon.run.run import Run
from mscon.train import epochs
from mscon.train.fit import fit, resume
from mscon.train.gather import InBatch, Samples
from mscon.train.step import measure
from mscon.train.weighting_fit import check_fit

QUIET = {"progress": False}
HELD_OUT, IN_TRAINING = ["weighting.name=exact"], ["weighting.name=exact", "weighting.fit_on=training"]
BY_NEIGHBOURS = ['weighting={name="held_out"}']


def weights(run: Run, epoch: int) -> dict[str, float]:
    """Those of the last record of an epoch."""
    return [r["weight"] for r in run.read_log() if r["kind"] == "step" and r["epoch"] == epoch][-1]


@pytest.mark.parametrize("overrides", [HELD_OUT, BY_NEIGHBOURS], ids=["exact", "held_out"])
def test_held_out_rows_weigh_from_the_second_epoch_on(recipe_with, overrides, table, tmp_path):
    run = fit(recipe_with(*overrides), table, tmp_path / "run", **QUIET)
    assert weights(run, 1) == {"shape": 1.0, "shade": 1.0, "same_row": 1.0}
    later = weights(run, 2)
    assert later["same_row"] == 1.0  # the rows themselves are no labels that could be wrong
    assert later["shape"] + later["shade"] == pytest.approx(2)
    assert later["shape"] != later["shade"]
    state = run.read_checkpoint("last")[0]
    assert state["weighting.judged"].tolist() == [True, True, False]


def test_the_rows_fitted_on_are_those_of_validation_and_all_their_views(recipe_with, table, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(Exact, "fit_to", lambda self, *arguments: calls.append(arguments))
    fit(recipe_with(*HELD_OUT, "train.epochs=1", "train.batch_size=5"), table, tmp_path / "run", **QUIET)
    [(of_validation, temperatures)] = calls
    assert temperatures == [0.1] * 3
    assert sorted(of_validation.rows.tolist()) == sorted([*range(40, 52)] * 2)
    assert of_validation.projections.shape == (3, 24, 32)
    assert not of_validation.projections.requires_grad
    assert of_validation.classes[2].tolist() == of_validation.rows.tolist()


def test_in_training_the_weighting_is_fitted_before_each_step_is_weighed(recipe_with, table, tmp_path, monkeypatch):
    batches = []
    fit_exact = Exact.fit_to
    monkeypatch.setattr(Exact, "fit_to", lambda self, *of: (batches.append(of[0]), fit_exact(self, *of)))
    run = fit(recipe_with(*IN_TRAINING, "train.epochs=1"), table, tmp_path / "run", **QUIET)
    assert len(batches) == run.read_facts()["trained"]["steps"] == 2
    assert all((s.rows < 40).all() for s in batches)
    assert weights(run, 1)["shape"] != 1


@pytest.mark.parametrize(
    "overrides",
    [HELD_OUT, BY_NEIGHBOURS, [*HELD_OUT, "train.precision=bfloat16"], [*IN_TRAINING, "train.mini_batch_size=4"]],
    ids=["validation", "neighbours", "bfloat16", "training"],
)
def test_resuming_gives_what_never_stopping_would_have(recipe_with, overrides, table, tmp_path, monkeypatch):
    recipe = recipe_with("train.epochs=3", *overrides)
    whole = fit(recipe, table, tmp_path / "whole", **QUIET)
    train_epoch = epochs.train_epoch

    def interrupted(training, number, step):
        if number == 3:
            raise KeyboardInterrupt
        yield from train_epoch(training, number, step)

    monkeypatch.setattr(epochs, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, table, tmp_path / "halves", **QUIET)
    monkeypatch.undo()
    halves = resume(Run.open(tmp_path / "halves"), progress=False)
    assert whole.read_log() == halves.read_log()
    one, other = (run.read_checkpoint("last")[0] for run in (whole, halves))
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_without_validation_rows_the_way_out_is_named(recipe_with, table, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(table.path.read_text().replace(",validation,", ",train,"))
    where = {"images": table.path.parent, **QUIET}
    with pytest.raises(RecipeError, match=r't\.csv has none\. Set \[weighting\] fit_on = "training"'):
        fit(recipe_with(*HELD_OUT), read_table(path), tmp_path / "run", **where)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match=r"'held_out' is fitted on validation rows, but t\.csv has none\. Give some"):
        fit(recipe_with(*BY_NEIGHBOURS), read_table(path), tmp_path / "run", **where)
    run = fit(recipe_with(*IN_TRAINING), read_table(path), tmp_path / "run", **where)
    assert weights(run, 2)["shape"] != 1


def test_classes_and_a_temperature_are_needed(recipe_with, table, tmp_path, monkeypatch):
    labelled = 'similarity=[{column="shape", name="categorical"}, {column="shade", name="categorical"}]'
    with pytest.raises(RecipeError, match=r"objective cross_entropy has none\. Use weighting\s+'equal'"):
        fit(recipe_with(*HELD_OUT, labelled, "objective.name=cross_entropy"), table, tmp_path / "run", **QUIET)
    monkeypatch.setattr(Categorical, "is_partition", False)
    with pytest.raises(RecipeError, match=r"similarity 'shape' has no classes.*'relative'"):
        fit(recipe_with(*HELD_OUT, labelled), table, tmp_path / "run", **QUIET)


def test_whoever_builds_a_step_of_their_own_is_told_too():
    class Graded:
        column, is_partition = "height", False

        def compare(self, anchors, candidates):
            return Pairs(torch.ones(len(anchors), len(candidates)), torch.ones(len(anchors), len(candidates)) > 0)

    samples = Samples.of_views(torch.ones(1, 4, 2), [torch.arange(4)], torch.arange(4), [0])
    parts = {"objective": SupCon(), "candidates": InBatch()}
    with pytest.raises(ValueError, match=r"\['height'\] have none"):
        measure(samples, similarities=[Graded()], weighting=Exact(1).eval(), **parts)
    assert measure(samples, similarities=[Graded()], weighting=Exact(1), **parts).samples is None
    with pytest.raises(ValueError, match="CrossEntropy has none"):
        check_fit(CrossEntropy(), [Categorical("c")])


def test_a_similarity_is_fitted_on_the_views_that_it_compares_at_its_own_temperature():
    """As alone, with the samples of other views deleted."""
    rows, labels = torch.arange(30), torch.arange(30) % 3
    projections = torch.eye(3)[labels.repeat(3)] + 0.5 * torch.randn(
        2, 90, 3, generator=torch.Generator().manual_seed(0)
    )
    groups = [ObjectiveGroup(SupCon(0.1), (1,), None, (0, 1)), ObjectiveGroup(SupCon(0.3), (0,), None, (2,))]

    def fitted(projections, similarities, objective, views):
        weighting = Exact(similarities, fit_on="training")
        measure(
            Samples.of_views(projections, [labels] * similarities, rows, [0] * views),
            similarities=[Categorical("a"), Categorical("b")][:similarities],
            objective=objective,
            weighting=weighting,
            candidates=InBatch(),
        )
        return weighting.log_variance

    together = fitted(projections, 2, ObjectiveGroups(groups), 3)
    torch.testing.assert_close(together[1:], fitted(projections[1:, :60], 1, SupCon(0.1), 2))
    torch.testing.assert_close(together[:1], fitted(projections[:1, 60:], 1, SupCon(0.3), 1))
    assert (together != 0).all()


def test_exact_weights_beside_views_and_temperatures_of_a_similarity(recipe_with, table, tmp_path):
    """The views that the one column compares are others than the rest does, and each has its temperature."""
    similarity = 'similarity=[{column="shape", temperature=0.3}, {column="shade", views={hue=0.0}}, {name="same_row"}]'
    run = fit(recipe_with(*HELD_OUT, similarity), table, tmp_path / "run", **QUIET)
    assert run.read_checkpoint("last")[0]["weighting.judged"].tolist() == [True, True, False]


@pytest.mark.parametrize("weighting", ["equal", "uncertainty", "relative", "exact"])
def test_same_row_may_count_double_under_every_weighting(recipe_with, weighting, table, tmp_path):
    def with_importance(value):
        entries = f'[{{column="shape"}}, {{column="shade"}}, {{name="same_row", importance={value}}}]'
        recipe = recipe_with("train.epochs=1", f"weighting.name={weighting}", f"similarity={entries}")
        return fit(recipe, table, tmp_path / f"{weighting}{value}", **QUIET)

    once, twice = (weights(with_importance(value), 1) for value in (1, 2))
    if weighting in ("equal", "exact"):
        assert twice == {"shape": 1.0, "shade": 1.0, "same_row": 2.0}
    assert twice["same_row"] == pytest.approx(2 * once["same_row"], rel=0.05)
    assert twice["shape"] == pytest.approx(once["shape"], rel=0.05)


def test_a_stopped_run_of_an_older_version_goes_on_with_what_it_learned(recipe_with, table, tmp_path):
    """Its checkpoint has another name for the weighting that importances scale."""
    entries = '[{column="shape", importance=2}, {column="shade", name="categorical"}]'
    recipe = recipe_with("train.epochs=1", f"similarity={entries}")
    now, older = (fit(recipe, table, tmp_path / name, **QUIET) for name in ("now", "older"))
    tensors, state = older.read_checkpoint("last")
    older_names = {name.replace("weighting.weighting.", "weighting.own."): value for name, value in tensors.items()}
    assert older_names.keys() != tensors.keys()
    older.write_checkpoint("last", older_names, state)
    learned, again = (
        resume(Run.open(run.root), overrides=["train.epochs=2"], **QUIET).read_checkpoint("last")[0]
        for run in (now, older)
    )
    assert learned.keys() == again.keys()
    assert all(torch.equal(learned[name], again[name]) for name in learned)


@pytest.mark.parametrize("columns", [["shape"], ["shape", "shade"]], ids=["one column", "multi-task"])
def test_cross_entropy_keeps_its_best_epoch_by_validation_accuracy(recipe_with, columns, table, tmp_path):
    entries = ", ".join(f'{{column="{c}"}}' for c in columns)
    run = fit(
        recipe_with(
            "train.epochs=4",
            "train.checkpoint=best",
            "objective.name=cross_entropy",
            "heads.name=identity",
            "weighting.name=equal",
            "views.count=1",
            f"similarity=[{entries}]",
        ),
        table,
        tmp_path / "run",
        **QUIET,
    )
    merits = [sum(r["accuracy"].values()) / len(columns) for r in run.read_log() if r["kind"] == "validation"]
    assert len(merits) == 4
    assert run.read_checkpoint("best")[1]["epoch"] == 1 + merits.index(max(merits))
