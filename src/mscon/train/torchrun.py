"""torchrun: the store that it keeps for the processes that it starts, by which they agree on who prints."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import torch.distributed as dist

_SECONDS_FOR_THE_CAUSE = 4.0
_TO_REACH_THE_STORE = timedelta(seconds=10)


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
