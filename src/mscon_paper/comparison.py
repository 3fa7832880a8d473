"""A comparison: methods and seeds, trained and probed side by side, each in a run directory of its own.

Finished runs of the same recipe are not run again, so a comparison that was stopped goes on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar, cast

from mscon.errors import MSConError, RunError
from mscon.run.progress import ProgressBar
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.run.trust import foreign_code
from mscon_paper.experiment import slug

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Planned:
    """One run to be: its recipe, and where it goes."""

    recipe: Recipe
    out: Path


def plan(recipes: Sequence[Recipe], seeds: int, out: Path) -> list[Planned]:
    """Every recipe under every seed; seed by seed, so that a stopped comparison is still one.

    Args:
        recipes: one a method; their titles name them.
        seeds: seeds 0, 1, ... of each.
        out: folder of the run directories.
    """
    seeded = [(seed, replace(r, train=replace(r.train, seed=seed))) for seed in range(seeds) for r in recipes]
    return [Planned(recipe, out / f"{slug(recipe.title)}-seed{seed}") for seed, recipe in seeded]


def is_finished(planned: Planned, table_hash: str) -> bool:
    """Whether this very run is there, trained and probed."""
    if not (planned.out / "recipe.toml").is_file():
        return False
    try:
        run = Run.open(planned.out)
        # What the run names may be imported as far as the plan, which is this user's, names it too.
        if foreign_code(run.read_recipe_values()) - foreign_code(planned.recipe.to_plain()):
            return False
        run = replace(run, trust=True)
        # The hardware choices were resolved when it was trained; all else must be equal.
        trained, recipe = run.read_recipe(), planned.recipe
        resolved = replace(trained.train, precision=recipe.train.precision, channels_last=recipe.train.channels_last)
        return (
            run.has_probe
            and replace(trained, train=resolved) == recipe
            and run.read_facts()["table"]["sha256"] == table_hash
        )
    except (MSConError, KeyError):
        return False


def train_and_probe(planned: Planned, table: Path) -> str:
    """One run from start to end, in this process, with one thread; its name."""
    import torch

    from mscon.data.table.table import read_table
    from mscon.evaluate.probe import probe
    from mscon.train.fit import fit

    torch.set_num_threads(1)
    run = fit(planned.recipe, read_table(table), planned.out, overwrite=True, progress=False)
    assert run is not None
    probe(run, progress=False, start=False)  # results compare methods with one another
    return planned.out.name


def carry_out(
    planned: Sequence[Planned], table: Path, jobs: int | None, work: Callable[[Planned, Path], T]
) -> Iterator[T]:
    """Work off what is planned, several side by side; yields what each gave as it is finished.

    Whatever else ends it, such as Ctrl-C, kills the runs under way at once: all files are written whole, so what is
    finished stays.

    Args:
        planned: what to run.
        table: the table of all of them.
        jobs: processes; by default one a core, at most 8. With 1 it all happens in this one.
        work: what is done for each, such as `train_and_probe`; found by its name in a new process.

    Raises:
        MSConError: the first mistake of any run, or that its process was killed; those under way are let finish,
            others are not begun.
    """
    count = min(jobs or min(cores(), 8), max(len(planned), 1))
    if count == 1:
        yield from (work(p, table) for p in planned)
        return
    # Spawned: a forked child would inherit torch's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    workers = {ours: context.Process(target=_serve, args=(theirs,), daemon=True) for ours, theirs in pipes}
    waiting, idle = deque(planned), list(workers)
    under_way: dict[Connection, Planned] = {}
    fault: Exception | None = None
    try:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_start, workers.values()).result()
        for _, theirs in pipes:
            theirs.close()  # a pipe ends with its worker only if nobody else holds that side
        while waiting or under_way:
            while waiting and idle:
                connection = idle.pop()
                under_way[connection] = waiting.popleft()
                with suppress(OSError):  # its process has ended, which is noticed below
                    connection.send((work, under_way[connection], table))
            for ready in wait(list(under_way)):
                connection = cast("Connection", ready)
                run = under_way.pop(connection)
                try:
                    result, error = connection.recv()
                except (EOFError, OSError):
                    error = _killed(run, workers[connection])
                if error is None:
                    idle.append(connection)
                    yield result
                else:
                    waiting.clear()
                    fault = fault or error
        if fault:
            raise fault
    finally:
        begun = [worker for worker in workers.values() if worker.pid is not None]
        for worker in begun:
            worker.kill()
        for worker in begun:
            worker.join()


def carry_out_with_bar(
    planned: Sequence[Planned], table: Path, jobs: int | None, work: Callable[[Planned, Path], T]
) -> list[T]:
    """The same with a bar on standard error, or a line a run where that is no terminal."""
    results: list[T] = []
    with ProgressBar("training and probing", len(planned)) as bar:
        for result in carry_out(planned, table, jobs, work) if planned else []:
            results.append(result)
            bar.advance()
            if not bar.is_terminal:
                bar.say(f"{len(results)}/{len(planned)} {result}")
    return results


def _start(workers: Iterable[BaseProcess]) -> None:
    """Start processes that never see Ctrl-C, which a terminal sends to all of them: ending them is for their parent.

    To be called in a thread of its own: new processes inherit its signal mask, and a KeyboardInterrupt, which the main
    thread alone gets, cannot leave one of them half started.
    """
    if hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # else the first start does that, and unblocks SIGINT (Python 3.11)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    for worker in workers:
        worker.start()


def _serve(connection: Connection) -> None:
    """What a worker does: run after run that it is sent, with one thread, until it is killed or its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where there are no signal masks
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):  # the parent has ended
        while True:
            work, planned, table = connection.recv()
            try:
                answer: tuple[Any, Exception | None] = work(planned, table), None
            except Exception as error:
                if not isinstance(error, MSConError):
                    error.add_note(traceback.format_exc())  # it would not travel otherwise
                answer = None, error
            connection.send(answer)


def _end_with_parent() -> None:
    """End this process with its parent, also a killed one: two comparisons must not write one run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _killed(planned: Planned, worker: BaseProcess) -> RunError:
    worker.join()
    code = worker.exitcode or 0
    how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit status {code}"
    return RunError(
        f"run '{planned.out}': its process ended with {how} before the run was finished.\n"
        "  If the machine ran out of memory, fewer --jobs need less. Finished runs are kept."
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_titles(base: str, methods: Mapping[str, Sequence[str]], overrides: Sequence[str] = ()) -> list[Recipe]:
    """The recipes of a comparison: one base, and what each method changes in it."""
    from mscon.run import recipe

    return [
        replace(recipe.parse(base, [*changes, *overrides], where=f"{title}: "), title=title)
        for title, changes in methods.items()
    ]
