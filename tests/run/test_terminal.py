"""Text of strangers on a terminal is shown, and does not steer it."""

from __future__ import annotations

import io
import json
import sys

import pytest

from mscon.cli import main
from mscon.run.progress import ProgressBar
from mscon.run.terminal import visible
from reliability.jobs import write_job

# Sets the title of the window; clears the screen, also as one letter; overwrites the line; writes from right to left.
HOSTILE = ("\x1b]0;title\x07", "\x1b[2J", "\x9b2J", "\r", "\u202e")


class Screen(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode("utf-8")


def test_text_keeps_what_is_no_control_character():
    text = "Größe\t5\u00a0cm\n👩\u200d🔬 \u05d0"
    assert visible(text) == text
    assert visible("a\x1b[2J\u202e") == "a\\x1b[2J\\u202e"


@pytest.mark.parametrize("letters", HOSTILE, ids=ascii)
def test_verbs_do_not_pass_on_control_characters_of_a_table(letters, tmp_path, monkeypatch):
    job = write_job(tmp_path / "job")
    table, recipe, name = job.folder / "t.csv", job.folder / "r.toml", f"to{letters}ne"
    table.write_bytes(table.read_text().replace("tone", f'"{name}"').replace(",x,", f',"x{letters}",').encode())
    recipe.write_text(recipe.read_text().replace('"tone"', json.dumps(name)))
    out, err = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["check", str(recipe), "--table", str(table)]) == 0
    assert main(["check", str(recipe), "--table", f"no{letters}.csv"]) == 2
    shown = out.text + err.text
    assert visible(name) in shown and "does not exist" in shown
    assert letters not in shown


def test_pipes_get_every_letter_as_it_is(tmp_path, capsys):
    assert main(["check", str(write_job(tmp_path / "job").folder / "r.toml"), "--table", "no\x1b.csv"]) == 2
    assert "no\x1b.csv" in capsys.readouterr().err


def test_a_bar_may_steer_the_terminal_and_what_stands_beside_it_may_not(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with ProgressBar("epochs", 2) as bar:
        bar.update(1, "epochs", "to\x1b]0;title\x07ne")
        bar.say("a\x1b[2Jb")
    assert "\x1b[" in screen.text  # of the bar itself
    assert "\x1b]0;" not in screen.text and "\x1b[2Jb" not in screen.text and "a\\x1b[2Jb" in screen.text
