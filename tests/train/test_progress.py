from __future__ import annotations

import pytest

from mscon.train.log import TrainingProgress, merit, sentence, short

RECORD = {
    "epoch": 1,
    "step": 10,
    "total": -0.5,
    "loss": {"kind": 2.345, "heel": None},
    "weight": {"kind": 0.4, "heel": None},
    "positive_share": {"kind": 0.97, "heel": None},
}


def test_a_record_in_words_says_what_is_absent():
    assert sentence(RECORD) == "total -0.500, kind 2.35 x 0.40 (97% with a positive), heel absent"


def test_a_terminal_gets_it_short():
    assert short(RECORD) == "kind 2.35x0.40 (97%) heel -"


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        ({"merit": -0.25, "relative_excess": {}}, "relative excess 0.250"),
        ({"merit": 0.9, "accuracy": {}}, "accuracy 0.900"),
        ({"merit": None}, "has no pair"),
        ({"merit": 0.9, "accuracy": {"a": 0.9, "b": None}, "relative_excess": {"a": 0.1, "b": None}}, "accuracy 0.900"),
        (
            {"merit": -0.5, "accuracy": {"a": 0.9, "b": None}, "relative_excess": {"a": 0.1, "b": 0.9}},
            "relative excess 0.500",
        ),
    ],
)
def test_what_validation_says_depends_on_what_it_measures(validation, words):
    assert merit(validation) == words


def test_a_bar_on_a_terminal_and_no_lines(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with TrainingProgress(2, 20) as progress:
        progress.show(RECORD)
        progress.end_epoch(1, None)
    assert "epoch 1/2: " not in capsys.readouterr().err


def test_names_with_brackets_are_shown_as_they_are(capsys):
    """Column names are the user's; rich would read [red] as a colour."""
    with TrainingProgress(2, 20) as progress:
        progress.show({**RECORD, **{key: {"[red]": None} for key in ("loss", "weight", "positive_share")}})
        progress.end_epoch(1, None)
    assert "[red] absent" in capsys.readouterr().err


def test_after_two_records_it_says_how_long_the_rest_takes(monkeypatch, capsys):
    clock = iter([0.0, 7.0, 8.0])  # the first steps are slow, and do not count
    monkeypatch.setattr("mscon.train.log.time.monotonic", lambda: next(clock))
    progress = TrainingProgress(3, 3_000)
    for step in (10, 20, 30, 40):
        progress.show({**RECORD, "step": step})
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert line == "About 5 minutes on this machine for 2,980 steps, at 0.1 s a step; validation comes on top."


def test_of_a_few_seconds_nothing_is_said(monkeypatch, capsys):
    clock = iter([0.0, 7.0, 8.0])
    monkeypatch.setattr("mscon.train.log.time.monotonic", lambda: next(clock))
    progress = TrainingProgress(1, 50)
    for step in (10, 20):
        progress.show({**RECORD, "step": step})
    assert "About" not in capsys.readouterr().err
