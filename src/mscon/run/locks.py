"""Locks: which of several processes works on an open file or folder. They end when it is closed."""

from __future__ import annotations

from typing import Literal

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

Lock = Literal["ours", "another's", "unknown"]
"""Who has it; unknown where the system, or some network disk, knows no locks."""


def lock(handle: int, *, waits: bool = False) -> Lock:
    """Lock an open file or folder until it is closed.

    Args:
        handle: its number.
        waits: for a process that has it.
    """
    if fcntl is None:
        return "unknown"
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "another's"
    except OSError:
        return "unknown"
    return "ours"
