"""Time of linear probes of a large table, and their distance from the exact solution where that can be computed.

    python benchmarks/probe.py                              # 100,000 rows x 384: 1,208, 10 and 2 classes, and a number
    python benchmarks/probe.py --rows 12000 --exact         # and scikit-learn's solution, with the difference in points

CPU seconds are of all threads; set OMP_NUM_THREADS to choose how many.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from machine import machine

from mscon.evaluate import estimators
from mscon.evaluate.column_probes import FrozenFeatures
from mscon.evaluate.linear import LinearResult, linear_probe
from mscon.evaluate.metrics.bootstrap import macro_f1_interval
from mscon.method.similarities.base import TargetKind

COLUMNS: dict[str, tuple[TargetKind, int]] = {
    "product": ("class", 1_208),
    "category": ("class", 10),
    "season": ("class", 2),
    "price": ("number", 0),
}


def table(rows: int, width: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features whose directions differ a hundredfold in variance, as those of networks do, and columns they tell."""
    generator = np.random.default_rng(seed)
    product = generator.choice(1_208, size=rows, p=(p := 1 / np.arange(10, 1_218)) / p.sum())
    centres = 0.25 * generator.normal(size=(1_208, width))
    mix = generator.normal(size=(width, width)) / np.sqrt(width) * np.geomspace(3, 0.03, width)[:, None]
    hidden = centres[product] + generator.normal(size=(rows, width))
    features = hidden @ mix + 0.1 * generator.normal(size=(rows, width))
    targets = {
        "product": product,
        "category": (product % 10),
        "season": (hidden[:, 0] + generator.normal(size=rows) > 0).astype(np.int64),
        "price": hidden[:, 1] + 0.5 * generator.normal(size=rows),
    }
    return features.astype(np.float32), targets


def probed(column: str, features: np.ndarray, y: np.ndarray) -> LinearResult:
    """One column, split 70 / 10 / 20."""
    kind, classes = COLUMNS[column]
    first, second = int(0.7 * len(y)), int(0.8 * len(y))
    parts = [
        part for rows in (slice(first), slice(first, second), slice(second, None)) for part in (features[rows], y[rows])
    ]
    return linear_probe(kind, *parts, [f"{n:04d}" for n in range(classes)])


def timed(work: Callable[[], LinearResult]) -> tuple[LinearResult, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--columns", nargs="*", default=list(COLUMNS), choices=list(COLUMNS))
    parser.add_argument("--exact", action="store_true", help="also scikit-learn's solution, which takes far longer")
    arguments = parser.parse_args()
    print(machine())
    features, targets = table(arguments.rows, arguments.width)
    seconds = np.zeros(2)
    for column in arguments.columns:

        def scored(column: str = column) -> LinearResult:
            result = probed(column, features, targets[column])
            FrozenFeatures(features, {}, 1_000).intervals(result.scores, result.rows)
            if COLUMNS[column][0] == "class":
                macro_f1_interval(result.predicted, result.true)
            return result

        if arguments.exact:  # so that both go their way however large the problem is
            estimators.is_large = lambda rows, width, outputs: True
        result, wall, cpu = timed(scored)
        seconds += wall, cpu
        measure, values = next(iter(result.scores.items()))
        line = (
            f"{column:<10} {measure} {values.mean():.4f} at {result.regularisation:g}: {wall:.1f} s, {cpu:.1f} s of CPU"
        )
        if arguments.exact:
            estimators.is_large = lambda rows, width, outputs: False
            exact, wall, cpu = timed(scored)
            gap = 100 * (values.mean() - exact.scores[measure].mean())
            line += (
                f"; exact {exact.scores[measure].mean():.4f} at {exact.regularisation:g}, {gap:+.2f} points: "
                f"{wall:.1f} s, {cpu:.1f} s of CPU"
            )
        print(line, flush=True)
    print(f"in all {seconds[0]:.1f} s, {seconds[1]:.1f} s of CPU")


if __name__ == "__main__":
    main()
