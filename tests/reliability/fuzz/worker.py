"""Worker: a process that tries hostile inputs one after the other, and is watched while it does.

It is judged by what can be seen from outside: what was raised, how long it took, how much memory it took at its peak,
which files are another now, and which of the interpreter's audit events it caused.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Set
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from process import forked
from reliability.content import tree
from reliability.fuzz.surface import Surface

# Memory that a worker may map beyond what it had when it started: what asks for more gets none, before the machine has
# none left. The bound that is tested is that of the surface, by the peak of what was really in memory.
_MAPPED = 6 * 2**30

# Seconds after which a worker that does not even hear its own alarm is killed.
_DEAF = 20.0

# What no input may cause. "import" and "open" are looked at more closely.
_FORBIDDEN = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system",
    "pickle.find_class", "pty.spawn", "socket.connect", "subprocess.Popen", "webbrowser.open",
}  # fmt: skip

_READY = "ready"

EVIL = "evilmod"
"""A module that can be imported, and that leaves a mark when it is."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an input.

    Attributes:
        outcome: "accepted", "refused", or the kind of fault.
        detail: of a fault, for people.
        seconds: that it took.
        megabytes: by which the memory of the process grew at its peak.
    """

    outcome: str
    detail: str
    seconds: float
    megabytes: float

    @property
    def is_fault(self) -> bool:
        return self.outcome not in ("accepted", "refused")


class Worker:
    """Tries inputs of one surface in a process of its own; another is started when one has died."""

    def __init__(self, surface: Surface, folder: Path) -> None:
        self._surface, self._folder = surface, folder
        for name in ("work", "state", "cache", "around", "modules"):
            (folder / name).mkdir()
        (folder / "around" / "precious.txt").write_text("not to be touched")
        (folder / "modules" / f"{EVIL}.py").write_text(f"open({str(folder / 'around' / 'imported')!r}, 'w').close()\n")
        surface.write(folder / "around")
        self._start()

    def _start(self) -> None:
        self._process, self._connection = forked(_serve, (self._surface, self._folder))
        assert self._answer(120.0) == _READY, "it ended before the first input"

    def attempt(self, case: Any) -> Result:
        """Try an input, to its end or to the limits."""
        self._connection.send(case)
        if (result := self._answer(self._surface.seconds + _DEAF)) is not None:
            return result
        self._process.kill()
        self._process.join()
        self._start()
        return Result("the process died", f"exit code {self._process.exitcode}", 0.0, 0.0)

    def _answer(self, seconds: float) -> Any:
        with contextlib.suppress(EOFError, ConnectionError):
            if self._connection.poll(seconds):
                return self._connection.recv()
        return None

    def close(self) -> None:
        self._process.kill()
        self._process.join()


class TooLong(BaseException):
    """The alarm."""


def _serve(connection: Connection, argument: tuple[Surface, Path]) -> None:
    surface, folder = argument
    os.environ |= {"XDG_STATE_HOME": str(folder / "state"), "MSCON_CACHE": str(folder / "cache")}
    os.chdir(folder / "work")
    sys.path.insert(0, str(folder / "modules"))
    sys.dont_write_bytecode = True  # what is written is watched, and modules of mscon are imported late
    scene = surface.prepare(folder)
    for stream in (1, 2):  # of what panics in Rust and decoders in C print
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    audit = _Audit(folder, _FORBIDDEN - surface.causes)
    signal.signal(signal.SIGALRM, _alarm)
    limit = _status("VmSize") + _MAPPED
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    connection.send(_READY)
    while True:
        connection.send(_attempt(surface, scene, connection.recv(), folder, audit))


def _alarm(number: int, frame: object) -> None:
    raise TooLong


def _attempt(surface: Surface, scene: Any, case: Any, folder: Path, audit: _Audit) -> Result:
    around = tree(folder / "around")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what it is now
    before, begin = _status("VmRSS"), time.perf_counter()
    outcome, detail = "accepted", ""
    signal.setitimer(signal.ITIMER_REAL, surface.seconds)
    try:
        with audit.watching():
            surface.attempt(scene, case, folder / "work")
    except surface.refusals as error:
        outcome, detail = _judged(error)
    except TooLong:
        outcome, detail = "takes too long", traceback.format_exc()[-1500:]
    except BaseException as error:
        outcome, detail = f"{type(error).__name__} at {_place(error)}", traceback.format_exc()[-1500:]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds, megabytes = time.perf_counter() - begin, (_status("VmHWM") - before) / 2**20
    if audit.events:
        outcome, detail = f"does {audit.events[0]}", "\n".join(audit.events[:5])
    elif tree(folder / "around") != around:
        outcome, detail = "touches files around", str(sorted(tree(folder / "around")))
    elif megabytes > surface.megabytes and outcome in ("accepted", "refused"):
        outcome = f"more than {surface.megabytes} MB"
    return Result(outcome, detail, seconds, megabytes)


def _judged(error: BaseException) -> tuple[str, str]:
    """A refusal: a message that can be printed, and read."""
    text = str(error)
    place = _place(error)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return f"message that is no UTF-8 at {place}", ascii(text[:500])
    if not text.strip() or len(text) > 20_000:
        return f"message too long, or empty, at {place}", f"{len(text):,} letters: {text[:500]}"
    return "refused", text[:500]


def _place(error: BaseException) -> str:
    """The deepest line of mscon that raised it: what tells one fault from another."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/mscon" in f.filename]
    return f"{frames[-1].filename.partition('/src/')[2]}:{frames[-1].lineno}" if frames else "nowhere of mscon"


def _status(name: str) -> int:
    """Bytes, of a line of /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


class _Audit:
    """Audit events that no input may cause (PEP 578)."""

    def __init__(self, folder: Path, forbidden: Set[str]) -> None:
        self.events: list[str] = []
        self._is_on, self._folder, self._forbidden = False, str(folder.resolve()), forbidden
        sys.addaudithook(self._hear)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self.events.clear()
        self._is_on = True
        try:
            yield
        finally:
            self._is_on = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on:
            return
        if event in self._forbidden or (event == "import" and str(arguments[0]).partition(".")[0] == EVIL):
            self.events.append(f"{event} {arguments[:1]!r:.200}")
        elif event == "open" and isinstance(arguments[0], str | bytes) and self._is_write(arguments):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith((self._folder, "/dev/", "/proc/self/", "/tmp/mscon")):
                self.events.append(f"open {path} for writing")

    @staticmethod
    def _is_write(arguments: tuple[Any, ...]) -> bool:
        mode, flags = arguments[1], arguments[2]
        return bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool(flags & (os.O_WRONLY | os.O_RDWR))
