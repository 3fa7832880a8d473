"""What the numbers of a benchmark belong to."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

import mscon


def machine() -> str:
    """Processor, threads, memory, versions and how busy the machine was, in a sentence."""
    threads = torch.get_num_threads()
    return (
        f"{_first('/proc/cpuinfo', 'model name') or platform.machine()} ({torch.backends.cpu.get_cpu_capability()}), "
        f"{threads} thread{'s' if threads > 1 else ''} of {os.cpu_count()}, {memory_gb():.0f} GB, load average "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"mscon {mscon.__version__}"
    )


def memory_gb(which: str = "MemTotal") -> float:
    """Memory of the machine; "MemAvailable" for what is free of it."""
    return float(_first("/proc/meminfo", which).split()[0] or 0) / 1024**2


def _first(path: str, key: str) -> str:
    lines = Path(path).read_text("utf-8", "replace").splitlines() if Path(path).is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith(key)), "0")
