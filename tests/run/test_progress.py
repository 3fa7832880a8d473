"""The bar that all long jobs show."""

from __future__ import annotations

import pytest

from mscon.run.progress import ProgressBar, duration_text


def test_without_a_terminal_there_are_lines_and_no_bar(capsys):
    with ProgressBar("decoding", 3) as bar:
        bar.advance()
        bar.advance(2)
        bar.say("a [bold] line")
    assert not bar.is_terminal
    assert capsys.readouterr() == ("", "a [bold] line\n")


def test_on_a_terminal_the_bar_shows_title_units_and_note(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressBar("decoding", 3) as bar:
        bar.update(2, "de[red]coding", "[kind] 0.5")
    shown = capsys.readouterr().err
    assert all(word in shown for word in ("de[red]coding", "2/3", "[kind] 0.5"))


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_bar_that_is_not_shown_writes_nothing(monkeypatch, capsys, is_terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)
    with ProgressBar("decoding", 3, shown=False) as bar:
        bar.advance()
        bar.say("a line")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (1.4, "1 second"),
        (41.2, "41 seconds"),
        (89.0, "89 seconds"),
        (300.0, "5 minutes"),
        (5_300.0, "88 minutes"),
        (9_000.0, "2.5 hours"),
        (345_600.0, "4 days"),
    ],
)
def test_a_length_of_time_in_words(seconds, words):
    assert duration_text(seconds) == words


def test_units_that_take_minutes_have_a_time_left():
    from mscon.run.progress import ProgressBar

    bar = ProgressBar("runs", 4)
    bar._bar.get_time = iter(range(0, 100_000, 600)).__next__
    with bar:
        for _ in range(3):
            bar.advance()
        assert bar._bar.tasks[0].time_remaining
