"""What the benchmark for a GPU measures, and how one call is timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long at most, in seconds for the whole."""

    device: str
    rows: tuple[int, ...]
    dims: tuple[int, ...]
    most_float64: int
    views: tuple[tuple[int, int], ...]  # images, side
    steps: tuple[tuple[str, int, int], ...]  # encoder, side, rows of a batch
    seconds: float


GPU = Plan(
    "cuda",
    (1_024, 4_096, 16_384, 32_768, 65_536, 131_072, 262_144),
    (32, 128),
    4_096,
    ((1_024, 32), (1_024, 112), (256, 224)),
    (("small_cnn", 32, 256), ("resnet18", 112, 256), ("resnet50", 224, 128)),
    420.0,
)
DRY = Plan("cpu", (32,), (16,), 32, ((8, 32),), (("small_cnn", 16, 16),), 60.0)


def timed(call: Callable[[], Any], device: str, end: float, most: int = 20) -> tuple[float, float]:
    """Median seconds of calls, the first left out, and megabytes that torch allocated beyond what there was."""
    import torch

    is_gpu = device == "cuda"
    base = 0
    if is_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        base = torch.cuda.memory_allocated()
    times: list[float] = []
    while len(times) < 3 or (len(times) < most and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        if is_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if times[0] > 20:
            break
    peak = (torch.cuda.max_memory_allocated() - base) / 1e6 if is_gpu else 0.0
    return statistics.median(times[1:] or times), peak
