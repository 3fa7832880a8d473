"""Process: the command line, or a script, in a process of its own, forked from one that has done the long imports."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import re
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from reliability.events import Act, Event, watch

# Imported, not used: what has threads of its own must not have started them before the fork.
_PRELOADED = [
    "matplotlib.figure",
    "mscon.cli",
    "mscon.deploy.load",
    "mscon.deploy.shards",
    "mscon.evaluate.probe",
    "mscon.evaluate.report.card",
    "mscon.evaluate.report.page",
    "mscon.search.explorer.page",
    "mscon.search.index",
    "mscon.train.fit",
    "mscon_paper.reproduce",
    "sklearn.decomposition",
    "sklearn.linear_model",
]


# Processes may look for their store until they end.
_STORES: list[Any] = []


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended.

    Attributes:
        status: exit status, or minus the signal that ended it.
        seconds: of the processor; 0 if it was killed.
        events: what it did to the files that were watched; empty if it was killed.
    """

    status: int
    out: str
    err: str
    seconds: float = 0.0
    events: tuple[Event, ...] = ()

    @property
    def is_one_message(self) -> bool:
        """Whether it refused as the house does: status 2 and one message."""
        messages = re.findall(r"^mscon: ", self.err, re.MULTILINE)
        return self.status == 2 and len(messages) == 1 and "Traceback" not in self.err

    def __str__(self) -> str:
        return f"status {self.status}: {self.err.strip()[-600:] or '(no word)'}"


@dataclass(frozen=True, slots=True)
class Started:
    """A process that may still be at work."""

    process: BaseProcess
    folder: tempfile.TemporaryDirectory[str]

    def wait(self, seconds: float = 120.0) -> Outcome:
        """Its end.

        Raises:
            TimeoutError: if it does not end within so many seconds.
        """
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"a process did not end within {seconds:g} s")
        with self.folder as name:
            out, err, rest = (Path(name) / part for part in ("out", "err", "rest.json"))
            seconds, events = json.loads(rest.read_text("utf-8")) if rest.exists() else (0.0, [])
            watched = tuple(Event(*event) for event in events)
            return Outcome(self.process.exitcode, _text(out), _text(err), seconds, watched)

    def wait_until(self, path: Path) -> None:
        """Until a file is there.

        Raises:
            AssertionError: if the process has ended before.
        """
        while not path.exists():
            assert self.process.is_alive(), f"ended too early: {self.wait()}"
            time.sleep(0.01)


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def mscon(*arguments: str | Path, cwd: Path, **how: Any) -> Outcome:
    """Run one verb to its end; see `start`."""
    return start(*arguments, cwd=cwd, **how).wait()


def start(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    watched: Path | None = None,
    act: Act | None = None,
    killed_after: float = 0.0,
) -> Started:
    """Start one verb.

    Args:
        arguments: of the command line.
        cwd: where it is started.
        env: is added to the variables of this process.
        watched: tell events of files under this folder.
        act: called at each of them.
        killed_after: seconds of the processor after which it ends as by kill -9, wherever it is; 0 for never.
    """
    words = [str(argument) for argument in arguments]
    return call(verb, words, cwd=cwd, env=env, watched=watched, act=act, killed_after=killed_after)


def together(*arguments: object, cwd: Path, processes: int = 2) -> Outcome:
    """Run one verb in several processes to their end, as `torchrun --nproc-per-node` does.

    The status is the first that is not 0; output is one process after the other. Unlike torchrun it ends no process
    because another has failed.
    """
    return all_of(wait_for(start_together(verb, [str(argument) for argument in arguments], cwd, processes)))


def start_together(do: Callable[[Any], Any], argument: Any, cwd: Path, processes: int) -> list[Started]:
    """Call `do(argument)` in several processes that find one another as those of torchrun do."""
    import torch.distributed

    # Of torchrun itself, where processes meet.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    _STORES.append(store)
    torchrun = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    return [
        call(do, argument, cwd=cwd, env=torchrun | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]


def torchrun(*arguments: object, cwd: Path, nodes: int = 1, max_restarts: int = 0) -> Outcome:
    """As `together`, by agents of torchrun, which end both processes once one has failed, and may start them again.

    One agent has both processes; two agents, as on two machines, have one each.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = [str(argument) for argument in arguments], nodes, max_restarts, port
    return all_of(wait_for([call(_launch, job, cwd=cwd) for _ in range(nodes)]))


def _launch(job: tuple[Sequence[str], int, int, int]) -> int:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    multiprocessing.current_process().daemon = False  # a daemon may start none
    arguments, nodes, max_restarts, port = job
    meeting = {"rdzv_backend": "c10d", "rdzv_endpoint": f"127.0.0.1:{port}", "run_id": "test", "start_method": "fork"}
    config = LaunchConfig(nodes, nodes, 2 // nodes, max_restarts=max_restarts, monitor_interval=0.1, **meeting)
    try:
        elastic_launch(config, _exit)(arguments)
    except ChildFailedError:
        return 1
    return 0


def _exit(arguments: Sequence[str]) -> None:
    sys.exit(verb(arguments))


def all_of(ends: Sequence[Outcome]) -> Outcome:
    """Several ends as one."""
    return Outcome(
        next((end.status for end in ends if end.status), 0),
        "".join(end.out for end in ends),
        "".join(end.err for end in ends),
    )


def script(code: str, *arguments: object, cwd: Path) -> Started:
    """Start a script, as `python -c code arguments` does."""
    return call(_execute, (code, [str(argument) for argument in arguments]), cwd=cwd)


def wait_for(processes: Iterable[Started]) -> list[Outcome]:
    """The ends of processes that need one another: all are started first."""
    return [process.wait() for process in list(processes)]


def call(
    do: Callable[[Any], Any],
    argument: Any,
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    watched: Path | None = None,
    act: Act | None = None,
    killed_after: float = 0.0,
) -> Started:
    """Call `do(argument)` in a process of its own, which ends with the status that it returns.

    `env` is added to the variables of this process.
    """
    folder = tempfile.TemporaryDirectory(prefix="mscon-")
    arguments = (do, argument, {**os.environ, **(env or {})}, cwd, Path(folder.name), watched, act, killed_after)
    process = _server().Process(target=_child, args=arguments, daemon=True)  # none outlives a test that failed
    process.start()
    return Started(process, folder)


def forked(do: Callable[[Connection, Any], Any], argument: Any) -> tuple[BaseProcess, Connection]:
    """Start `do(connection, argument)` in a process of its own; and the other end of its connection."""
    here, there = _server().Pipe()
    process = _server().Process(target=do, args=(there, argument), daemon=True)
    process.start()
    there.close()
    return process, here


@functools.cache
def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def verb(arguments: Sequence[str]) -> int:
    """The command line, for `call` and `start_together`."""
    from mscon.cli import main

    return main(arguments)


def _execute(script: tuple[str, Sequence[str]]) -> int:
    code, arguments = script
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})
    return 0


def _child(
    do: Callable[[Any], Any],
    argument: Any,
    env: Mapping[str, str],
    cwd: Path,
    folder: Path,
    watched: Path | None,
    act: Act | None,
    killed_after: float,
) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    # In pytest's place: streams of the process itself.
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    events: list[Event] = []
    if watched is not None:

        def each(number: int, event: Event) -> None:
            events.append(event)
            if act is not None:
                act(number, event)

        watch(watched, each)
    if killed_after:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, killed_after)
    try:
        status = do(argument)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        plain = [(e.kind, e.path, e.to) for e in events]
        (folder / "rest.json").write_text(json.dumps([time.process_time(), plain]))
    sys.exit(status)
