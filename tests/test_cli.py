"""The command line: help at once, one message for a mistake, nothing written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from mscon.cli import main
from mscon.method import catalogue
from mscon.run import recipe
from mscon.run.starting_recipes import recipe_names, recipe_text

VERBS = (
    "demo",
    "prepare",
    "check",
    "train",
    "resume",
    "probe",
    "affinity",
    "report",
    "explore",
    "embed",
    "predict",
    "export",
    "card",
    "push",
    "list",
    "doctor",
)


def test_help_answers_in_well_under_a_second():
    """Of the processor: by the clock it depends on what else runs."""
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "mscon", "--help"], check=True, capture_output=True)
        after = os.times()
        times.append(sum(after[2:4]) - sum(before[2:4]))  # user and system, of ended children
    assert min(times) < 0.5


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_does_with_an_example_and_its_exit_status(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  mscon" in text
    assert "exit status: 0" in text
    assert max(len(line) for line in text.splitlines()) <= 100


@pytest.mark.parametrize(
    "kind", ["similarities", "objectives", "weightings", "heads", "encoders", "sources", "recipes"]
)
def test_list_names_every_part_with_its_settings(kind, capsys):
    assert main(["list", kind]) == 0
    text = capsys.readouterr().out
    singular = {"similarities": "similarity", "objectives": "objective", "weightings": "weighting", "heads": "heads"}
    for name in catalogue.names(singular[kind]) if kind in singular else []:
        assert f"  {name} " in text


def test_list_settings_are_toml_that_a_recipe_takes(capsys):
    main(["list", "objectives"])
    assert "temperature = 0.1" in capsys.readouterr().out


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_that_come_along_are_read(name, capsys):
    assert main(["list", "recipes", name]) == 0
    assert recipe.parse(capsys.readouterr().out) == recipe.parse(recipe_text(name))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "none.toml", "--table", "none.csv"], "recipe 'none.toml' does not exist"),
        (["resume", "nowhere"], "'nowhere' is not a run directory"),
        (["probe", "nowhere"], "'nowhere' is not a run directory"),
        (["report", "nowhere"], "'nowhere' is not a run directory"),
        (["prepare", "glyph", "out"], "Did you mean 'glyphs'"),
        (["list", "recipes", "glyph"], "Did you mean 'glyphs'"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("mscon: ")
    assert words in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["demo", "--seeds", "0"], ["demo", "--jobs", "two"], ["fly"], []])
def test_arguments_that_cannot_be_meant_are_status_2_too(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("trian", "mscon: error: there is no verb 'trian'. Did you mean 'train'?"),
        ("list recipe", "mscon list: error: argument KIND: must be one of .*'recipe'. Did you mean 'recipes'?"),
        ("export r --to onxn --out x", "mscon export: error: argument --to: .* Did you mean 'onnx'?"),
        (
            "train g.toml --table t --out e --epochs 3",
            "unrecognized .*: --epochs 3. Did you mean --set train.epochs=3?",
        ),
        ("train g.toml --table t --out e --batch-size=9", "Did you mean --set train.batch_size=9?"),
        ("train g.toml --table t --out e --seed", "Did you mean --set train.seed=VALUE?"),
        ("train g.toml --table t --out e --overwirte", "mscon train: error: .* Did you mean '--overwrite'?"),
        ("--jsn list", "mscon list: error: unrecognized arguments: --jsn.\n"),
        ("probe r --epochs 3", "mscon probe: error: unrecognized arguments: --epochs 3.\n"),
    ],
)
def test_a_misspelt_verb_choice_or_option_is_told_what_is_near(arguments, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    usage, _, verb = message.partition("error: ")[0].rpartition("\n")
    assert usage.startswith(f"usage: {verb.removesuffix(': ')} [-h]"), "the usage of the verb that it concerns"
    assert re.search(words.replace("?", r"\?").replace("--set train.", r"--set train\."), message)


def test_arguments_that_are_not_utf_8_are_one_message(capsys, tmp_path):
    out = tmp_path / "run"
    assert main(["train", "r.toml", "--table", "t\udcff.csv", "--out", str(out), "--set", "title=\udcff"]) == 2
    assert capsys.readouterr().err == (
        r"mscon: not UTF-8: 't\udcff.csv', 'title=\udcff'. Write it in UTF-8, or rename the file." "\n"
    )
    assert not out.exists()


def test_a_reader_that_has_seen_enough_is_no_fault():
    """As in `mscon list | head -1`: the reader closes the pipe while there is more to say."""
    code = (
        "import os, sys\n"
        "reading, writing = os.pipe()\n"
        "os.dup2(writing, 1)\n"
        "os.close(reading)\n"
        "from mscon.cli import main\n"
        "sys.exit(main(['list']))\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr == ""


def test_a_second_ctrl_c_does_not_break_into_the_end():
    code = (
        "import atexit, sys, time\n"
        "atexit.register(time.sleep, 2)\n"
        "from mscon_paper import demo\n"
        "from mscon.cli import main\n"
        "def stopped(*_, **__): raise KeyboardInterrupt\n"
        "demo.demo = stopped\n"
        "sys.exit(main(['demo']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "mscon: stopped.\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 1
