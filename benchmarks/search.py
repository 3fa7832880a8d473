"""Exact search of many rows by any mix, against the plain matrix product.

    python benchmarks/search.py              prints the table; under a minute, 1.5 GB of memory
    python benchmarks/search.py --write      also writes benchmarks/results/search.md and search.json

Rows are unit vectors of 32 numbers in 3 spaces, stored as float16. In each space a row lies about one of 200 centres,
chosen for each space by itself, as labels that have nothing to do with one another would place it; `random` has no
centres. Queries are rows. The rivals take turns, and ratios are of the same round.

    product, float16    the stored matrix times the query, nothing else: what the machine can do
    product, float32    the same of a float32 copy, which is twice the memory
    search              the best 20 with their scores in each space, exactly
    filtered            the same with a mask that keeps half of the rows
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import machine

from mscon.run import atomic
from mscon.search.spaces import Spaces, unit

RESULTS = Path(__file__).parent / "results"
SPACES, DIM, K = 3, 32, 20
CENTRES = 200
SIZES = (10_000, 100_000, 1_000_000)


def drawn(rows: int, centres: int) -> np.ndarray:
    """[spaces, rows, dim], of unit length; about so many centres, or none."""
    generator = np.random.default_rng(0)
    vectors = np.empty((SPACES, rows, DIM), dtype=np.float32)
    for space in vectors:
        space[:] = generator.standard_normal((rows, DIM), dtype=np.float32)
        if centres:
            middles = 2 * unit(generator.standard_normal((centres, DIM))) * DIM**0.5
            space += middles[generator.integers(0, centres, rows)].astype(np.float32)
        space /= np.linalg.norm(space, axis=1, keepdims=True)
    return vectors


def in_turns(rivals: dict[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each rival in each round; the first warms up."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for round_ in range(-2, rounds):
        for name, call in rivals.items():
            start = time.perf_counter()
            call(abs(round_))
            if round_ >= 0:
                times[name].append(time.perf_counter() - start)
    return times


def exact(rows: int, centres: int, rounds: int) -> dict:
    """A record of the table."""
    spaces = Spaces(drawn(rows, centres))
    shares = np.array([0.5, 0.3, 0.2])
    queries = spaces.vectors(np.arange(0, rows, rows // 64)).transpose(1, 0, 2)
    rescaled = torch.from_numpy((queries * shares[:, None]).reshape(len(queries), -1))
    halves, singles, wide = rescaled.half(), rescaled.float(), spaces.stored.float()
    keep = np.random.default_rng(1).random(rows) < 0.5
    times = in_turns(
        {
            "product, float16": lambda n: torch.mv(spaces.stored, halves[n % 64]),
            "product, float32": lambda n: torch.mv(wide, singles[n % 64]),
            "search": lambda n: spaces.nearest(queries[n % 64], shares, K),
            "filtered": lambda n: spaces.nearest(queries[n % 64], shares, K, keep),
        },
        rounds,
    )
    against = {
        f"{own} / {other}": [a / b for a, b in zip(times[own], times[other], strict=True)]
        for own in ("search", "filtered")
        for other in ("product, float16", "product, float32")
    }
    return {
        "rows": rows,
        "centres": centres,
        "seconds": times,
        "ratios": against,
        "megabytes": spaces.stored.nbytes / 1e6,
    }


def ms(times: list[float]) -> str:
    return f"{1e3 * statistics.median(times):,.3g}"


def spread(ratios: list[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def table(records: list[dict]) -> list[str]:
    names = list(records[0]["seconds"])
    lines = [
        "| rows | stored, MB | " + " | ".join(f"{name}, ms" for name in names) + " | "
        "search to float16 product | search to float32 product |",
        "|" + "---|" * (len(names) + 4),
    ]
    for r in records:
        size = f"{r['rows']:,}" + ("" if r["centres"] else ", random")
        cells = " | ".join(ms(r["seconds"][name]) for name in names)
        ratios = " | ".join(spread(r["ratios"][f"search / {other}"]) for other in names[:2])
        lines.append(f"| {size} | {r['megabytes']:,.0f} | {cells} | {ratios} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table under benchmarks/results")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="rows")
    parser.add_argument("--rounds", type=int, default=25, help="rounds to take medians over (default: 25)")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    where = machine()
    records = [exact(rows, CENTRES, arguments.rounds) for rows in arguments.sizes]
    records.append(exact(max(arguments.sizes), 0, arguments.rounds))
    text = "\n".join(
        [
            f"# Exact search in {SPACES} spaces of {DIM} numbers, the best {K}, against the plain matrix product\n",
            *table(records),
            f"\nMedians of {arguments.rounds} rounds in turns; ratios with their quartiles.\n{where}.\n",
            "Made by `python benchmarks/search.py --write`; what the columns mean is said there.\n",
        ]
    )
    print(text, end="")
    if arguments.write:
        atomic.write_text(RESULTS / "search.md", text)
        record = {"machine": where, "exact": records}
        atomic.write_text(RESULTS / "search.json", json.dumps(record, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
