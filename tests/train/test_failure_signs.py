"""Signs of failure: each on a planted fault, and none where training goes well."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from mscon.data.batches.training_length import FEW_STEPS
from mscon.data.table.table import read_table
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train.failure_signs import (
    EpochNumbers,
    FailureSign,
    HeadPair,
    epochs_of,
    sign_of_batches,
    signs_of_epochs,
    signs_of_heads,
)
from mscon.train.fit import fit, resume
from mscon.train.log import Log

CLASSES = {"two": 2, "four": 4, "ten": 10}
RECIPE = """
data = { input = "vectors", vectors = "points.npy" }
encoder = { name = "mlp", settings = { units = 32, layers = 1 } }
weighting = { name = "equal" }
train = { epochs = 10, batch_size = 32, precision = "float32", learning_rate = 5e-3, schedule = "constant" }
"""


def numbers(
    *training: Mapping[str, float | None], validation: Sequence[Mapping[str, float | None]] = (), **weight: float
) -> list[EpochNumbers]:
    """Epochs of 100 steps."""
    return [
        EpochNumbers(n + 1, 100 * (n + 1), excess, validation[n] if validation else {}, weight)
        for n, excess in enumerate(training)
    ]


def names(signs: Sequence[FailureSign]) -> list[tuple[str, tuple[str, ...]]]:
    return [(sign.name, sign.columns) for sign in signs]


def signs_of(epochs: Sequence[EpochNumbers], **importance: float) -> list[FailureSign]:
    return list(signs_of_epochs(epochs, importance))


def test_a_head_that_stays_at_chance_beside_others_is_named_with_the_best_of_them():
    (sign,) = signs_of(numbers(*[{"a": 1.01, "b": 0.4, "c": 0.3}] * 4))
    assert (sign.name, sign.columns) == ("chance", ("a",))
    assert "'a' is at chance by its loss: in epochs 1 to 4 its relative excess was 1.01 or more" in sign.sentence
    assert "'c' was down to 0.30" in sign.sentence


def test_where_all_heads_are_at_chance_it_is_one_sign():
    (sign,) = signs_of(numbers(*[{"a": 1.01, "b": 0.99}] * 4))
    assert sign.columns == ("a", "b") and "No similarity has learnt anything so far" in sign.sentence
    assert "0.99 or more" in sign.sentence


@pytest.mark.parametrize(
    "epochs",
    [
        numbers(*[{"a": 1.0, "b": 0.4}] * 3),  # too few
        numbers(*[{"a": 1.0, "b": 0.4}] * 3, {"a": 0.97, "b": 0.4}),  # one of them is better
        numbers(*[{"a": None, "b": 0.4}] * 4),  # absent
        numbers(*[{"a": 1.0, "b": 0.4}] * 4, validation=[{"a": 0.9, "b": 0.4}] * 4),
        [],
    ],
)
def test_what_may_still_learn_is_no_sign(epochs):
    assert signs_of(epochs, a=1.0, b=1.0) == []


def test_of_few_steps_nothing_is_said_since_the_length_of_the_training_is():
    few = [EpochNumbers(n, (FEW_STEPS - 4) // 4 * n, {"a": 1.0, "b": 0.3}) for n in (1, 2, 3, 4)]
    assert signs_of(few) == []


def test_memorised_noise_is_low_on_training_rows_and_at_chance_on_validation_rows():
    training, validation = [{"a": 0.3, "b": 0.3}] * 4, [{"a": 1.05, "b": 0.5}] * 4
    (sign,) = signs_of(numbers(*training, validation=validation))
    assert (sign.name, sign.columns) == ("memorised", ("a",))
    assert "at most 0.30 on training rows but at least 1.05 on validation rows" in sign.sentence
    glitch = [*validation[:3], {"a": 0.5, "b": 0.5}]
    assert signs_of(numbers(*training, validation=glitch)) == []
    assert signs_of(numbers(*[{"a": 0.7}] * 4, validation=[{"a": 0.95}] * 4)) == []


def test_epochs_without_a_validation_are_judged_by_those_with_one():
    epochs = numbers(*[{"a": 0.3}] * 8, validation=[{}, {"a": 1.0}] * 4)
    assert names(signs_of(epochs)) == [("memorised", ("a",))]
    assert signs_of([*epochs, EpochNumbers(9, 900, {"a": 0.3})]) == []  # nothing new since


def test_an_extreme_sigma_is_one_of_the_weighting_and_not_of_the_importance():
    learnt = [{"a": 0.3, "b": 0.3}] * 4
    (sign,) = signs_of(numbers(*learnt, a=0.005, b=1.0), a=1.0, b=1.0)
    assert sign.columns == ("a",) and "'a' hardly counts" in sign.sentence and "at most 0.005" in sign.sentence
    assert names(signs_of(numbers(*learnt, a=150.0, b=1.0), a=1.0, b=1.0)) == [("weight", ("a",))]
    assert signs_of(numbers(*learnt, a=0.005, b=1.0), a=0.005, b=1.0) == []
    assert signs_of(numbers(*learnt, a=0.0, b=1.0), a=0.0, b=1.0) == []
    briefly = [*numbers(*learnt[:3], a=0.005), EpochNumbers(4, 400, {"a": 0.3}, {}, {"a": 0.5})]
    assert signs_of(briefly, a=1.0) == []


def test_heads_of_one_space_are_a_sign_where_labels_differ_and_equal_labels_wherever_heads_are():
    pairs = [
        HeadPair(("a", "b"), 0.97, 0.1),
        HeadPair(("a", "c"), 0.6, 0.95),
        HeadPair(("b", "c"), 0.97, 0.7),
        HeadPair(("a", "d"), 0.9, 0.1),
        HeadPair(("c", "d"), 0.99, None),
    ]
    assert names(list(signs_of_heads(pairs))) == [("same_space", ("a", "b")), ("same_labels", ("a", "c"))]


def test_batches_without_alike_rows_and_batches_of_which_an_objective_can_use_nothing_are_told_apart():
    assert "views of one row only" in sign_of_batches("a", "supcon", True, 6).sentence
    assert "(objective 'dcl')" in sign_of_batches("a", "dcl", False, 6).sentence


def test_the_numbers_of_an_epoch_are_means_of_its_records():
    log = [
        {"kind": "sampler", "epoch": 1, "step": 1, "left_over": 3},
        {
            "kind": "step",
            "epoch": 1,
            "step": 10,
            "relative_excess": {"a": 1.0, "b": None},
            "weight": {"a": 1.0, "b": 0.0},
        },
        {
            "kind": "step",
            "epoch": 1,
            "step": 20,
            "relative_excess": {"a": 0.5, "b": None},
            "weight": {"a": 2.0, "b": 0.0},
        },
        {"kind": "validation", "epoch": 1, "step": 20, "relative_excess": {"a": 0.6}},
        {"kind": "sign", "epoch": 1, "step": 20, "sign": "chance", "columns": ["a"], "sentence": "..."},
        {"kind": "step", "epoch": 2},  # of a stranger
    ]
    assert epochs_of(log) == [EpochNumbers(1, 20, {"a": 0.75, "b": None}, {"a": 0.6}, {"a": 1.5, "b": 0.0})]


def test_loggers_of_numbers_get_no_sign(tmp_path, monkeypatch):
    logged = []
    logger = SimpleNamespace(write=lambda numbers, step: logged.append(numbers), close=lambda: None)
    monkeypatch.setattr("mscon.train.log._OPEN", {"fake": lambda run, step: logger})
    run = Run.create(tmp_path / "run")
    log = Log(run, ["fake"], print)
    log.append({"kind": "sign", "epoch": 1, "step": 20, "sign": "chance", "columns": ["a"], "sentence": "..."})
    log.append({"kind": "step", "epoch": 1, "step": 20, "total": 1.0})
    assert logged == [{"epoch": 1.0, "total": 1.0}]
    assert [record["kind"] for record in run.read_log()] == ["sign", "step"]


# Whole trainings ----------------------------------------------------------------------------------


def table_of(folder: Path, rows: int = 1_000) -> Path:
    """Vectors in which three columns show; "alone" has another value in every row."""
    generator = np.random.default_rng(0)
    vectors, columns = generator.normal(size=(rows, 12)), {}
    for place, (name, count) in enumerate(CLASSES.items()):
        classes = generator.integers(count, size=rows)
        centres = generator.normal(size=(count, 4))
        centres = 2.5 * (centres - centres.mean(axis=0)) / centres.std(axis=0)
        vectors[:, 4 * place : 4 * place + 4] += centres[classes]
        columns[name] = [f"{name}{number}" for number in classes]
    np.save(folder / "points.npy", vectors.astype(np.float32))
    split = ["train" if n < rows * 0.7 else "validation" if n < rows * 0.85 else "test" for n in range(rows)]
    path = folder / "t.csv"
    pl.DataFrame({**columns, "alone": [f"r{n}" for n in range(rows)], "split": split}).write_csv(path)
    return path


def recipe_of(columns: Sequence[str], *overrides: str, derived: str = "") -> recipes.Recipe:
    similarities = ", ".join(f'{{ column = "{column}", name = "categorical" }}' for column in columns)
    return recipes.parse(f"similarity = [{similarities}]\n{derived}\n{RECIPE}", list(overrides))


def signs_in(run: Run) -> set[tuple[str, ...]]:
    return {(record["sign"], *record["columns"]) for record in run.read_log() if record["kind"] == "sign"}


def test_a_clean_training_has_no_sign(tmp_path, capsys):
    run = fit(recipe_of([*CLASSES], "weighting.name=uncertainty"), read_table(table_of(tmp_path)), tmp_path / "run")
    assert signs_in(run) == set()
    assert "warning" not in capsys.readouterr().err
    assert run.read_facts()["trained"]["steps"] >= FEW_STEPS


def test_planted_faults_are_reported_once_in_the_terminal_and_in_the_log_also_after_resume(tmp_path, capsys):
    derived = (
        'derived = [{ column = "shuffled", of = "four", redraw = 1.0, rows = "all" }, '
        '{ column = "copy", of = "four", redraw = 0.0 }]'
    )
    recipe = recipe_of([*CLASSES, "shuffled", "copy", "alone"], "train.epochs=9", derived=derived)
    run = fit(recipe, read_table(table_of(tmp_path)), tmp_path / "run")
    shown = capsys.readouterr().err
    run = resume(run, overrides=["train.epochs=10"])
    resumed = capsys.readouterr().err
    expected = {("nothing_alike", "alone"), ("same_labels", "four", "copy"), ("chance", "shuffled")}
    assert signs_in(run) == expected
    assert len([record for record in run.read_log() if record["kind"] == "sign"]) == len(expected)
    for record in run.read_log():
        if record["kind"] == "sign":
            assert (shown + resumed).count(f"warning: {record['sentence']}") == 1


def test_noise_of_60_percent_that_is_learnt_by_heart_is_memorised(tmp_path):
    noise = 'derived = [{ column = "noisy", of = "ten", redraw = 0.6, rows = "all" }]'
    by_heart = ["encoder.settings={units=256, layers=2}", "views.corrupt=0.0", "views.noise=0.01", "train.epochs=36"]
    table = read_table(table_of(tmp_path, rows=300))
    run = fit(recipe_of(["noisy"], *by_heart, derived=noise), table, tmp_path / "run", progress=False)
    assert signs_in(run) == {("memorised", "noisy")}


def test_a_sigma_that_begins_at_an_extreme_is_reported(tmp_path):
    settings = [
        "weighting={name='uncertainty', initial_log_variance=12.0}",
        "train.weighting_learning_rate=1e-6",
        "train.learning_rate=5e-2",
    ]
    run = fit(recipe_of(["two", "ten"], *settings), read_table(table_of(tmp_path)), tmp_path / "run", progress=False)
    assert {("weight", "two"), ("weight", "ten")} <= signs_in(run)


def test_signs_change_nothing_that_is_trained(tmp_path, monkeypatch):
    table = read_table(table_of(tmp_path, rows=200))
    watched = fit(recipe_of(["two", "alone"], "train.epochs=4"), table, tmp_path / "a", progress=False)
    monkeypatch.setattr("mscon.train.sign_watch.SignWatch.look", lambda *_: iter(()))
    unwatched = fit(recipe_of(["two", "alone"], "train.epochs=4"), table, tmp_path / "b", progress=False)
    ends = [run.read_checkpoint("last")[0] for run in (watched, unwatched)]
    assert all((value == ends[1][name]).all() for name, value in ends[0].items())
    assert [r for r in watched.read_log() if r["kind"] != "sign"] == unwatched.read_log()


def test_a_log_of_a_stranger_stops_no_resume(tmp_path):
    run = fit(recipe_of(["two"], "train.epochs=1"), read_table(table_of(tmp_path, 200)), tmp_path / "a", progress=False)
    path = run.root / "log.jsonl"
    path.write_text(json.dumps({"kind": "sign"}) + "\n" + json.dumps({"kind": "step", "epoch": 1, "step": 1}) + "\n")
    (run.root / "checksums.jsonl").unlink()
    assert resume(run, overrides=["train.epochs=2"], progress=False).read_facts()["trained"]["epochs"] == 2
