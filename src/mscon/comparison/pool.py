"""Runs side by side, each in a process of its own with one thread, and how they end. Knows no recipe and no method."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar, cast

from mscon.comparison.planned import Planned
from mscon.errors import MSConError, RunError
from mscon.run.progress import ProgressBar, duration_text

T = TypeVar("T")

_GUARD = (
    'Each process imports the script that compares: put the call under `if __name__ == "__main__":`, or pass jobs=1.'
)


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
    count = processes(len(planned), jobs)
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
    planned: Sequence[Planned],
    table: Path,
    jobs: int | None,
    work: Callable[[Planned, Path], T],
    shown: bool = True,
) -> list[T]:
    """The same with a bar on standard error, or a line a run where that is no terminal."""
    results: list[T] = []
    began = time.monotonic()
    with ProgressBar("training and probing", len(planned), shown=shown) as bar:
        for result in carry_out(planned, table, jobs, work) if planned else []:
            results.append(result)
            bar.advance()
            if not bar.is_terminal:
                left = (time.monotonic() - began) * (len(planned) / len(results) - 1)
                bar.say(f"{len(results)}/{len(planned)} {result}{f', about {duration_text(left)} left' * (left > 0)}")
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
    main = f"  {_GUARD}\n" if code == 1 and _is_unguarded_script() else ""
    return RunError(
        f"run '{planned.out}': its process ended with {how} before the run was finished.\n{main}"
        "  If the machine ran out of memory, fewer --jobs need less. Finished runs are kept."
    )


def _is_unguarded_script() -> bool:
    """Whether the main module, which each process imports, is a file that does the same when it is imported."""
    main = sys.modules["__main__"]
    try:
        return main.__spec__ is None and "__main__" not in Path(str(main.__file__)).read_text("utf-8")
    except (AttributeError, OSError, ValueError):
        return False


def processes(runs: int, jobs: int | None) -> int:
    """How many of so many runs are worked off at the same time, see `carry_out`."""
    return min(jobs or min(cores(), 8), max(runs, 1))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
