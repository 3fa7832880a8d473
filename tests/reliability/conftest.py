"""What reliability tests share: how many of them, where jobs lie, and what is counted on the way."""

from __future__ import annotations

import os
import sys
from collections import Counter

import pytest

from reliability.jobs import Job, write_job

# What files are open is read from /proc, and processes are forked.
collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]

_COUNTS: Counter[str] = Counter()


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether this is the long run of `make test-reliability`, and not a share of about a minute."""
    return os.environ.get("MSCON_RELIABILITY") == "full"


@pytest.fixture(scope="session")
def counts() -> Counter[str]:
    """Outcomes by name, told at the end."""
    return _COUNTS


@pytest.fixture
def job(tmp_path) -> Job:
    """A table and a recipe with vectors, in the folder "job"."""
    return write_job(tmp_path / "job")


def pytest_terminal_summary(terminalreporter) -> None:
    if _COUNTS:
        summary = ", ".join(f"{name} {count:,}" for name, count in sorted(_COUNTS.items()))
        terminalreporter.write_line(f"reliability: {summary}")
