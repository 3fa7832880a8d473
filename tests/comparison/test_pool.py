"""The pool: several runs side by side, and how it ends when it is stopped, or when one of them is at fault.

Whoever is stopped here is a process of its own. Its standard error ends when the last process that holds it has ended,
so that reading it to its end is also the proof that no worker was left behind.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import sleepers
from mscon.comparison.pool import carry_out, carry_out_with_bar
from mscon.errors import MSConError, RunError
from mscon_paper import reproduce
from mscon_paper.sources import glyphs

LIMIT = 10  # seconds from the signal to the end of the last process


def begin(*command: str | Path) -> subprocess.Popen[str]:
    """A command as a terminal starts it: in a group of its own, which Ctrl-C goes to as a whole."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not is_so():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.01)


def end_of(process: subprocess.Popen[str]) -> str:
    """What it wrote to standard error, once it and all its processes have ended; they are killed if that takes long."""
    try:
        return process.communicate(timeout=LIMIT)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise


def files(out: Path, kind: str) -> list[Path]:
    return list(out.glob(f"*-{kind}"))


# Stopped ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "kind", "number", "delay"),
    [
        *((60, "starting", 1, delay) for delay in (0, 0.1, 0.4)),
        (0.2, "finished", 4, 0.1),
    ],
)
def test_ctrl_c_ends_a_comparison_at_any_moment(tmp_path, seconds, kind, number, delay):
    process = begin(sleepers.__file__, tmp_path, 40, seconds)
    wait_until(lambda: len(list(tmp_path.glob(f"*{kind}"))) >= number, process)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    errors = end_of(process)
    assert process.returncode == 1
    assert errors.endswith("mscon: stopped.\n")
    assert "Traceback" not in errors


def test_workers_never_see_ctrl_c_however_often_it_comes(tmp_path):
    process = begin(sleepers.__file__, tmp_path, 4, 60)
    wait_until(lambda: len(files(tmp_path, "begun")) == 2, process)
    assert [path.read_text() for path in files(tmp_path, "mask")] == ["SIGINT", "SIGINT"]
    while process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)
    errors = end_of(process)
    assert process.returncode == 1
    assert errors.endswith("mscon: stopped.\n")
    assert "Traceback" not in errors


@pytest.mark.parametrize("kind", ["starting", "begun"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_no_worker_outlives_its_parent(tmp_path, number, kind):
    process = begin(sleepers.__file__, tmp_path, 4, 60)
    wait_until(lambda: bool(list(tmp_path.glob(f"*{kind}"))), process)
    process.send_signal(number)
    errors = end_of(process)
    assert process.returncode == (1 if number == signal.SIGTERM else -number)
    assert errors.endswith("mscon: stopped.\n") == (number == signal.SIGTERM)
    assert "Traceback" not in errors


def test_a_scheduler_may_terminate_all_processes_at_once(tmp_path):
    process = begin(sleepers.__file__, tmp_path, 4, 60)
    wait_until(lambda: len(files(tmp_path, "begun")) == 2, process)
    os.killpg(process.pid, signal.SIGTERM)
    errors = end_of(process)
    assert process.returncode == 1
    assert errors.endswith("mscon: stopped.\n")
    assert "Traceback" not in errors


def test_a_stopped_reproduction_goes_on_to_the_same_results(tmp_path, monkeypatch):
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    families = ("abeezee", "fira-code", "bitter", "caveat", "lora", "space-mono")
    table = glyphs.prepare(tmp_path / "glyphs", characters="abcd", families=families, unseen_families=2)
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    runs = stopped / "glyphs" / "runs"
    brief = ["encoder.width=4", "train.epochs=1"]
    command = ["-m", "mscon", "reproduce", "glyphs/ablation", "--quick", "--data", table, "--jobs", "2"]
    command += [part for override in brief for part in ("--set", override)]

    process = begin(*command, "--out", stopped)
    wait_until(lambda: len(list(runs.glob("*/log.jsonl"))) > len(list(runs.glob("*/probe.json"))) > 0, process)
    os.killpg(process.pid, signal.SIGINT)
    assert end_of(process).endswith("mscon: stopped.\n")
    assert process.returncode == 1
    finished = {path: path.stat().st_mtime_ns for path in runs.glob("*/probe.json")}
    assert 0 < len(finished) < 5

    monkeypatch.setattr("mscon_paper.figures.draw", lambda result: {})  # pages and figures have tests of their own
    monkeypatch.setattr("mscon_paper.figures.draw_training", lambda logs, changed: {})
    monkeypatch.setattr("mscon.evaluate.report.page.build_report", lambda *arguments, **settings: None)
    for out in (stopped, whole):
        reproduce.reproduce("glyphs/ablation", quick=True, data=table, jobs=1, out=out, overrides=brief)
    assert finished.items() <= {path: path.stat().st_mtime_ns for path in runs.glob("*/probe.json")}.items()
    results = [json.loads((out / "glyphs/ablation-quick/results.json").read_text()) for out in (stopped, whole)]
    assert results[0] == results[1]


# Runs at fault ------------------------------------------------------------------------------------


def carry_out_all(out: Path, work: Callable[..., object], runs: int = 6, seconds: float = 1) -> Sequence[object]:
    return list(carry_out(*sleepers.plan(out, runs, seconds), 2, work))


def test_results_come_as_they_are_finished(tmp_path):
    assert carry_out_all(tmp_path, sleepers.sleep_longest_first, runs=3) == ["run1", "run2", "run0"]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("work", "error", "words"),
    [
        (sleepers.make_a_mistake_in_the_second, MSConError, ["line 3, column 'a': two words.\n  Use one."]),
        (
            sleepers.be_killed_in_the_second,
            RunError,
            ["run1'", "signal 9 (Killed)", "memory", "Finished runs are kept"],
        ),
        (sleepers.fail_in_the_second, ZeroDivisionError, ["for no reason"]),
    ],
)
def test_after_a_fault_those_under_way_are_finished_and_others_not_begun(tmp_path, work, error, words):
    with pytest.raises(error) as raised:
        carry_out_all(tmp_path, work)
    for word in words:
        assert word in str(raised.value)
    begun = {path.name.removesuffix("-begun") for path in files(tmp_path, "begun")}
    assert begun == {path.name.removesuffix("-finished") for path in files(tmp_path, "finished")}
    assert begun <= {"run0", "run2"}
    assert not multiprocessing.active_children()


def test_an_error_that_is_no_users_mistake_says_where_in_the_run_it_happened(tmp_path):
    with pytest.raises(ZeroDivisionError) as raised:
        carry_out_all(tmp_path, sleepers.fail_in_the_second)
    assert "sleepers.py" in "".join(raised.value.__notes__)


def test_a_run_has_one_thread(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    assert carry_out_all(tmp_path, sleepers.count_threads, runs=2) == [1, 1]


def test_a_script_without_its_guard_is_told_of_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(sleepers.__file__).parent)!r}); import pathlib, sleepers\n"
        "from mscon.comparison.pool import carry_out\n"
        f"list(carry_out(*sleepers.plan(pathlib.Path({str(tmp_path)!r}), 2, 0), 2, sleepers.sleep))\n"
    )
    errors = subprocess.run([sys.executable, script], capture_output=True, text=True).stderr
    message = errors[errors.index("mscon.errors.RunError") :]
    assert "exit status 1" in message
    assert 0 < message.index('under `if __name__ == "__main__":`, or pass jobs=1') < message.index("memory")


def test_lines_of_a_bar_say_how_long_is_left(tmp_path, capsys):
    carry_out_with_bar(*sleepers.plan(tmp_path, 2, 0.1), 1, sleepers.sleep)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("1/2 run0, about ") and first.endswith(" left") and last == "2/2 run1"
