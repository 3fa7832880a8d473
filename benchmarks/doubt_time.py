"""Time of `mscon doubt` on a large table of vectors, with planted wrong labels: neighbours once, then each column.

    python benchmarks/doubt_time.py                       # 100,000 rows x 256: columns of 2, 4, 10 and 20 classes
    python benchmarks/doubt_time.py --rows 20000 --classes 20

10 % of the labels of each column are another class; precision is among as many labels as are wrong. CPU seconds are of
all threads; set OMP_NUM_THREADS to choose how many. Where other programs use the machine, they are what it takes on as
many free cores.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
from machine import machine
from sklearn.metrics import roc_auc_score

from mscon.evaluate.label_quality.issues import Material, issues_of
from mscon.evaluate.label_quality.out_of_fold import folds_of, groups_of, neighbours_of, space_of
from mscon.evaluate.label_quality.witnesses import inputs_of, others
from mscon.evaluate.targets import ProbeTarget

WRONG = 0.1


def table(rows: int, width: int, classes: list[int], seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Vectors that vary a hundredfold more in some directions than in others, and columns that they tell.

    Each column has a place for each class in ten directions of its own.
    """
    generator = np.random.default_rng(seed)
    columns = [generator.integers(count, size=rows) for count in classes]
    hidden = generator.normal(size=(rows, width))
    for number, (codes, count) in enumerate(zip(columns, classes, strict=True)):
        hidden[:, 10 * number : 10 * number + 10] += 1.5 * generator.normal(size=(count, 10))[codes]
    mix = generator.normal(size=(width, width)) / np.sqrt(width) * np.geomspace(3, 0.03, width)
    return (hidden @ mix).astype(np.float32), columns


def planted(codes: np.ndarray, count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    wrong = generator.random(len(codes)) < WRONG
    return np.where(wrong, (codes + generator.integers(1, count, len(codes))) % count, codes)


class Clock:
    """Seconds, and CPU seconds, since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self.wall:.1f} s, {time.process_time() - self.cpu:.1f} s of CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 4, 10, 20])
    arguments = parser.parse_args()
    vectors, right = table(arguments.rows, arguments.width, arguments.classes)
    labels = [planted(*column, seed) for seed, column in enumerate(zip(right, arguments.classes, strict=True))]
    columns = [
        ProbeTarget(f"{n}: {count}", [f"{code:03d}" for code in codes.tolist()], None, True, None)
        for n, (codes, count) in enumerate(zip(labels, arguments.classes, strict=True))
    ]
    print(machine(), flush=True)
    in_all = clock = Clock()
    groups = groups_of(vectors)
    space, fold = space_of(vectors), folds_of(groups)
    near = neighbours_of(space, groups)
    print(f"neighbours: {clock}", flush=True)
    for column, codes, given in zip(columns, right, labels, strict=True):
        clock = Clock()
        issues = issues_of(column, Material(inputs_of(space, others(column, columns)), near, fold))
        wrong = given != codes
        least = np.argsort(issues.right, kind="stable")[: wrong.sum()]
        print(
            f"column {column.column} classes: {clock}; AUROC {roc_auc_score(wrong, -issues.right):.4f}, precision "
            f"{100 * wrong[least].mean():.1f} %, estimated share {100 * issues.influence.mean():.1f} % of "
            f"{100 * wrong.mean():.1f} %, agreement {100 * issues.agreement:.0f} %",
            flush=True,
        )
    print(f"in all {in_all}; load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
