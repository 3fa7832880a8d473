"""Weightings in a run: those that look at projections, importance, and what a recipe may not ask of them."""

from __future__ import annotations

import pytest
import torch

from mscon.data.table.table import read_table
from mscon.errors import RecipeError
from mscon.method.similarities.categorical import Categorical
from mscon.method.weightings.exact import Exact
from mscon.run.run import Run
from mscon.train import epochs
from mscon.train.fit import fit, resume
from mscon.train.seen import look, seen_by

QUIET = {"progress": False}
HELD_OUT, IN_TRAINING = ["weighting.name=exact"], ["weighting.name=exact", "weighting.fit_on=training"]


def weights(run: Run, epoch: int) -> dict[str, float]:
    """Those of the last record of an epoch."""
    return [r["weight"] for r in run.read_log() if r["kind"] == "step" and r["epoch"] == epoch][-1]


def test_held_out_rows_weigh_from_the_second_epoch_on(asked, table, tmp_path):
    run = fit(asked(*HELD_OUT), table, tmp_path / "run", **QUIET)
    assert weights(run, 1) == {"shape": 1.0, "shade": 1.0, "same_row": 1.0}
    later = weights(run, 2)
    assert later["same_row"] == 1.0  # the rows themselves are no labels that could be wrong
    assert later["shape"] + later["shade"] == pytest.approx(2)
    assert later["shape"] != later["shade"]
    state = run.read_checkpoint("last")[0]
    assert state["weighting.judged"].tolist() == [True, True, False]


def test_the_rows_looked_at_are_those_of_validation_and_all_their_views(asked, table, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Exact, "look", lambda self, *given: seen.append(given))
    fit(asked(*HELD_OUT, "train.epochs=1", "train.batch_size=5"), table, tmp_path / "run", **QUIET)
    [(of_validation, temperature)] = seen
    assert temperature == 0.1
    assert sorted(of_validation.rows.tolist()) == sorted([*range(40, 52)] * 2)
    assert of_validation.projections.shape == (3, 24, 32)
    assert not of_validation.projections.requires_grad
    assert of_validation.classes[2].tolist() == of_validation.rows.tolist()


def test_in_training_each_step_is_looked_at_before_it_is_weighed(asked, table, tmp_path, monkeypatch):
    seen = []
    own = Exact.look
    monkeypatch.setattr(Exact, "look", lambda self, *given: (seen.append(given[0]), own(self, *given)))
    run = fit(asked(*IN_TRAINING, "train.epochs=1"), table, tmp_path / "run", **QUIET)
    assert len(seen) == run.read_facts()["trained"]["steps"] == 2
    assert all((s.rows < 40).all() for s in seen)
    assert weights(run, 1)["shape"] != 1


@pytest.mark.parametrize(
    "overrides",
    [HELD_OUT, [*HELD_OUT, "train.precision=bfloat16"], [*IN_TRAINING, "train.mini_batch_size=4"]],
    ids=["validation", "bfloat16", "training"],
)
def test_resuming_gives_what_never_stopping_would_have(asked, overrides, table, tmp_path, monkeypatch):
    recipe = asked("train.epochs=3", *overrides)
    whole = fit(recipe, table, tmp_path / "whole", **QUIET)
    own = epochs.train_epoch

    def interrupted(training, number, step):
        if number == 3:
            raise KeyboardInterrupt
        yield from own(training, number, step)

    monkeypatch.setattr(epochs, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, table, tmp_path / "halves", **QUIET)
    monkeypatch.undo()
    halves = resume(Run.open(tmp_path / "halves"), progress=False)
    assert whole.read_log() == halves.read_log()
    one, other = (run.read_checkpoint("last")[0] for run in (whole, halves))
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_without_validation_rows_the_way_out_is_named(asked, table, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(table.path.read_text().replace(",validation,", ",train,"))
    where = {"images": table.path.parent, **QUIET}
    with pytest.raises(RecipeError, match=r't\.csv has none\. Set \[weighting\] fit_on = "training"'):
        fit(asked(*HELD_OUT), read_table(path), tmp_path / "run", **where)
    assert not (tmp_path / "run").exists()
    run = fit(asked(*IN_TRAINING), read_table(path), tmp_path / "run", **where)
    assert weights(run, 2)["shape"] != 1


def test_classes_and_a_temperature_are_needed(asked, table, tmp_path, monkeypatch):
    labelled = 'similarity=[{column="shape"}, {column="shade"}]'
    with pytest.raises(RecipeError, match=r"of objective cross_entropy there is none.*Use weighting 'equal'"):
        fit(asked(*HELD_OUT, labelled, "objective.name=cross_entropy"), table, tmp_path / "run", **QUIET)
    monkeypatch.setattr(Categorical, "is_partition", False)
    with pytest.raises(RecipeError, match=r"similarity 'shape' has no classes.*'relative'"):
        fit(asked(*HELD_OUT, labelled), table, tmp_path / "run", **QUIET)


def test_whoever_builds_a_step_of_their_own_is_told_too():
    from mscon.method.objectives.cross_entropy import CrossEntropy
    from mscon.method.weightings.base import Seen
    from mscon.train.gather import Samples

    class Graded:
        column, is_partition = "height", False

        def compare(self, anchors, candidates): ...

    samples = Samples.of_views(torch.ones(1, 4, 2), [torch.arange(4)], torch.arange(4), 1)
    with pytest.raises(ValueError, match=r"\['height'\] have none"):
        seen_by(Exact(1).eval(), samples, [Graded()])
    assert seen_by(Exact(1), samples, [Graded()]) is None
    with pytest.raises(ValueError, match="CrossEntropy has none"):
        look(Exact(1), CrossEntropy(), [Seen(torch.ones(1, 4, 2), torch.zeros(1, 4).long(), torch.arange(4))])


@pytest.mark.parametrize("weighting", ["equal", "uncertainty", "relative", "exact"])
def test_same_row_may_count_double_under_every_weighting(asked, weighting, table, tmp_path):
    def with_importance(value):
        entries = f'[{{column="shape"}}, {{column="shade"}}, {{name="same_row", importance={value}}}]'
        made = asked("train.epochs=1", f"weighting.name={weighting}", f"similarity={entries}")
        return fit(made, table, tmp_path / f"{weighting}{value}", **QUIET)

    once, twice = (weights(with_importance(value), 1) for value in (1, 2))
    if weighting in ("equal", "exact"):
        assert twice == {"shape": 1.0, "shade": 1.0, "same_row": 2.0}
    assert twice["same_row"] == pytest.approx(2 * once["same_row"], rel=0.05)
    assert twice["shape"] == pytest.approx(once["shape"], rel=0.05)


@pytest.mark.parametrize("columns", [["shape"], ["shape", "shade"]], ids=["one column", "multi-task"])
def test_cross_entropy_keeps_its_best_epoch_by_validation_accuracy(asked, columns, table, tmp_path):
    entries = ", ".join(f'{{column="{c}"}}' for c in columns)
    run = fit(
        asked(
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
