"""torchrun: its store, by which processes agree on who prints; what a restart continues; whose the process group is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from mscon.data.table.table import Table
from mscon.errors import MSConError
from mscon.run import folder
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.run.trust import foreign_code
from mscon.train.gather import wait_for_all

_SECONDS_FOR_THE_CAUSE = 4.0
_TO_REACH_THE_STORE = timedelta(seconds=10)

# Whether the process group was made here.
_is_ours = False


def is_started() -> bool:
    """Whether torchrun, or what builds on it, started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_group_of_others() -> bool:
    """Whether another program, such as Ray Train or accelerate, has made a process group: it is used, and stays."""
    return dist.is_available() and dist.is_initialized() and not _is_ours


def claim_group() -> None:
    """Say that the process group was made here, so that `leave` ends it."""
    global _is_ours
    _is_ours = True


def leave() -> None:
    """Part from the other processes when all is done: nobody goes before the first has written its last file."""
    global _is_ours
    if dist.is_available() and dist.is_initialized():
        wait_for_all()
        if _is_ours:
            dist.destroy_process_group()
    _is_ours = False


def launch_of(recipe: Recipe, table: Table) -> dict[str, str]:
    """What tells a training of this start by torchrun, and of its restarts, from all others; empty without torchrun."""
    if not is_started():
        return {}
    parts = (os.environ["TORCHELASTIC_RUN_ID"], recipe.to_toml(), table.sha256)
    return {"launch": hashlib.sha256("\0".join(parts).encode()).hexdigest()}


def run_to_restart(out: Path, recipe: Recipe, table: Table) -> Run | None:
    """The run that these processes began before torchrun started them again, as `--max-restarts` lets it; else None."""
    launch = launch_of(recipe, table)
    if not launch or not folder.is_run(out):
        return None
    try:
        # What the run names may be imported as far as the recipe, which is this user's, names it too.
        run = Run.open(out, trust=True)
        foreign = foreign_code(run.read_recipe_values()) - foreign_code(recipe.to_plain())
        return run if launch.items() <= run.read_facts().items() and not foreign else None
    except MSConError:
        return None


def by_one_process(write: Callable[[], None], *, is_cause: bool) -> None:
    """Have one of the processes that torchrun started write what all of them would: the first that comes.

    The others return once it is written, since torchrun ends all as soon as one fails. They agree by the store that
    torchrun keeps; where it keeps none, or has ended, each process writes.

    Args:
        write: leaves nothing in a buffer.
        is_cause: False where it only says that another process stopped: that is left to the one that knows why, and
            written after some seconds if that one could not.
    """
    store = _store()
    if store is None:
        write()
        return
    start = f"mscon/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    written_key = f"{start}/written"
    if not is_cause or store.add(f"{start}/causes", 1) > 1:
        end = time.monotonic() + _SECONDS_FOR_THE_CAUSE
        with _terminated() as is_terminated:
            while time.monotonic() < end and not is_terminated():
                if store.check([written_key]):
                    return
                time.sleep(0.05)
        if store.add(f"{start}/late", 1) > 1:
            return
    write()
    store.set(written_key, "")


@contextlib.contextmanager
def _terminated() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM came: torchrun sends it once one process has ended, perhaps without a word."""
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: arrived.append(number))
    try:
        yield lambda: bool(arrived)
    finally:
        signal.signal(signal.SIGTERM, before)


def _store() -> dist.Store | None:
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=_TO_REACH_THE_STORE)
    except RuntimeError:
        return None
