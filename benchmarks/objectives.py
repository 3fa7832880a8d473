"""Time and memory of every objective on three columns of classes, forward and backward, beside `supcon`.

    python benchmarks/objectives.py             16,384 samples with kernels, 4,096 without; 5 CPU-minutes
    python benchmarks/objectives.py --write     also writes benchmarks/results/objectives.md

The columns, vectors and dims are those of `benchmarks/loss.py`, two views a row. Objectives of one size take turns with
`supcon` in one process, and the ratio is the median over rounds of their processor times. Extra memory is the growth of
the peak resident set in a process of its own. Objectives that refuse classes are named below the table with the reason.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from loss import CLASSES, Problem, extra_megabytes
from machine import machine
from torch import Tensor

from mscon.errors import MSConError
from mscon.method import catalogue
from mscon.method.comparison import Comparison, SampleOrigin
from mscon.method.objectives.base import Objective
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import Categorical
from mscon.run import atomic

RESULTS = Path(__file__).parent / "results"
BALANCED = "supcon, classes alike"
STREAMING = ("supcon", BALANCED, "dcl", "sincere", "himulcon")
TOO_SLOW = {"triplet_margin": "looks at triplets, whose number grows with the third power"}


def objective_of(name: str, dim: int) -> Objective:
    torch.manual_seed(0)
    part, settings = ("supcon", {"balance": "classes"}) if name == BALANCED else (name, {})
    objective: Objective = catalogue.build("objective", part, settings)
    objective.prepare([Categorical(f"column {k}", k) for k in CLASSES], dim)
    return objective


def step(objective: Objective, problem: Problem) -> Tensor:
    """The sum of the mean losses of a batch of two views a row."""
    labels, samples = problem.labels, problem.labels.shape[1]
    ids = torch.arange(samples)
    kinds = [Categorical(f"column {k}", k) for k in CLASSES]
    pairs = [LazyPairs(s.compare, y, y, ids, ids, is_partition=True) for s, y in zip(kinds, labels, strict=True)]
    origin = SampleOrigin.of_views(torch.arange(samples // 2), [0, 0])
    losses = objective(Comparison(problem.vectors, None, pairs, origin, origin))
    return (losses.per_anchor.sum(dim=1) / losses.counted.sum(dim=1)).sum()


def ratios(names: list[str], rows: int, dim: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Of each objective its processor seconds, and how many times those of `supcon` in the same round."""
    problem = Problem.draw(rows, dim)
    objectives = {name: objective_of(name, dim) for name in ("supcon", *names)}
    times: dict[str, list[float]] = {name: [] for name in objectives}
    for _ in range(rounds):
        for name, objective in objectives.items():
            start = time.process_time()
            step(objective, problem).backward()
            times[name].append(time.process_time() - start)
    return {
        name: (statistics.median(own), statistics.median(a / b for a, b in zip(own, times["supcon"], strict=True)))
        for name, own in times.items()
    }


def extra_memory(name: str, rows: int, dim: int) -> float:
    """Megabytes, in a process of its own."""
    command = [sys.executable, __file__, "--child", name, str(rows), str(dim)]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def measured_here(name: str, rows: int, dim: int) -> float:
    objective, problem = objective_of(name, dim), Problem.draw(rows, dim)
    # More pairs than are written out at once: what torch imports for its checkpoints is none of the loss's memory.
    step(objective, Problem.draw(1_200, dim)).backward()
    return extra_megabytes(lambda: step(objective, problem).backward(), problem)


def usable(names: list[str]) -> tuple[list[str], dict[str, str]]:
    """Objectives that take classes; and why the others do not."""
    refused = {name: TOO_SLOW[name] for name in names if name in TOO_SLOW}
    for name in names:
        if name not in refused:
            try:
                step(objective_of(name, 8), Problem.draw(32, 8))
            except (MSConError, ValueError) as error:
                refused[name] = str(error)
    return [name for name in names if name not in refused], refused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=2, default=[16_384, 4_096], help="samples: with kernels, without")
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 32])
    parser.add_argument("--names", nargs="+", default=[BALANCED, *catalogue.names("objective")])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/objectives.md")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.child:
        name, rows, dim = arguments.child
        print(json.dumps(measured_here(name, int(rows), int(dim))))
        return
    names, refused = usable([name for name in arguments.names if name != "supcon"])
    lines = [
        "# Every objective beside supcon\n",
        "| objective | samples | dim | seconds | times supcon | extra MB | extra MB of supcon |",
        "|---|---|---|---|---|---|---|",
    ]
    streaming, others = ([n for n in names if (n in STREAMING) == is_in] for is_in in (True, False))
    (many, few), dims = arguments.sizes, arguments.dims
    for rows, some, some_dims in ((many, streaming, dims), (few, others, dims[-1:])):
        for dim in some_dims:
            of_supcon = extra_memory("supcon", rows, dim)
            for name, (seconds, ratio) in ratios(some, rows, dim, arguments.rounds).items():
                extra = of_supcon if name == "supcon" else extra_memory(name, rows, dim)
                cells = f"{rows:,} | {dim} | {seconds:.3g} | {ratio:.2f} | {extra:,.0f} | {of_supcon:,.0f}"
                lines.append(f"| `{name}` | {cells} |")
                print(lines[-1], flush=True)
    lines += ["", *(f"`{name}`: {reason}" for name, reason in refused.items())]
    lines += [
        "",
        f"{machine()}; one thread, {arguments.rounds} rounds.",
        "",
        "Made by `python benchmarks/objectives.py --write`.",
    ]
    print("\n" + "\n".join(lines))
    if arguments.write:
        atomic.write_text(RESULTS / "objectives.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
