"""Runs that only sleep, and a command that works them off: python sleepers.py OUT RUNS SECONDS.

It is the command line's `demo` with nothing to train, to be stopped at any moment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from mscon.cli import main
from mscon.comparison.planned import Planned
from mscon.comparison.pool import carry_out_with_bar
from mscon.errors import RunError
from mscon.run import recipe
from mscon_paper import demo


def plan(out: Path, runs: int, seconds: float) -> tuple[list[Planned], Path]:
    """Runs, and their "table": how long each of them takes, in seconds."""
    table = out / "seconds.txt"
    table.write_text(str(seconds))
    nothing = recipe.Recipe((recipe.SimilarityPart("a", "auto"),))  # not parsed, for which torch would be imported
    return [Planned(nothing, out / f"run{i}") for i in range(runs)], table


def sleep(planned: Planned, table: Path) -> str:
    is_blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    (planned.out.parent / f"{planned.out.name}-mask").write_text("SIGINT" if is_blocked else "")
    (planned.out.parent / f"{planned.out.name}-begun").touch()
    time.sleep(float(table.read_text()))
    (planned.out.parent / f"{planned.out.name}-finished").touch()
    return planned.out.name


def sleep_through_signals(planned: Planned, table: Path) -> str:
    """Like compiled code, which Python's handlers wait for."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    return sleep(planned, table)


def sleep_longest_first(planned: Planned, table: Path) -> str:
    time.sleep(2 * (planned.out.name == "run0"))
    return planned.out.name


def make_a_mistake_in_the_second(planned: Planned, table: Path) -> str:
    if planned.out.name == "run1":
        raise RunError("line 3, column 'a': two words.\n  Use one.")
    return sleep(planned, table)


def fail_in_the_second(planned: Planned, table: Path) -> str:
    if planned.out.name == "run1":
        raise ZeroDivisionError("for no reason")
    return sleep(planned, table)


def be_killed_in_the_second(planned: Planned, table: Path) -> str:
    if planned.out.name == "run1":
        os.kill(os.getpid(), signal.SIGKILL)
    return sleep(planned, table)


def count_threads(planned: Planned, table: Path) -> int:
    import numpy  # noqa: F401, it brings the threads
    from threadpoolctl import threadpool_info

    return max(pool["num_threads"] for pool in threadpool_info())


if __name__ == "__main__":
    out, runs, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])

    def sleepers(*_: object, **__: object) -> None:
        planned, table = plan(out, runs, seconds)
        (out / "starting").touch()
        carry_out_with_bar(planned, table, 2, sleep_through_signals)

    demo.demo = sleepers
    sys.exit(main(["demo"]))
