"""A large table through every verb: seconds, processor time and the most memory of each.

    python benchmarks/large.py                    1,000,000 rows
    python benchmarks/large.py --rows 100000      fewer
    python benchmarks/large.py --write            also writes benchmarks/results/large.md and large.json
    python benchmarks/large.py --keep DIR --only probe --write      one verb again, in a folder that another call left

The table is a CSV file with columns of 20 and of 5 classes, a number, a tenth of the cells missing, and a name for each
row. The rows are vectors of 64 numbers in a .npy file beside it. Training is one epoch of batches of 4,096 rows in two
views, on both columns of classes; the number is probed. Each verb is a process of its own. Memory is the largest
resident set of that process, as the system counts it, with pages of mapped files. Times include the start of Python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from machine import machine

from mscon.run import atomic

RESULTS = Path(__file__).parent / "results"
WIDTH, CLASSES, LEVELS = 64, 20, 5

RECIPE = """
[[similarity]]
column = "kind"
name = "categorical"
[[similarity]]
column = "grade"
name = "categorical"
[probe]
columns = ["price"]
kinds = { price = "continuous" }
[data]
input = "vectors"
vectors = "vectors.npy"
[encoder]
name = "mlp"
settings = { units = 64, layers = 1 }
[train]
epochs = 1
batch_size = 4096
"""

VERBS = {
    "check": ["check", "r.toml", "--table", "t.csv"],
    "train": ["train", "r.toml", "--table", "t.csv", "--out", "run", "--no-probe"],
    "probe": ["probe", "run", "--no-start"],
    "embed": ["embed", "run", "--table", "t.csv", "--out", "e.parquet"],
    "embed --all": ["embed", "run", "--table", "t.csv", "--out", "a.parquet", "--all"],
    "embed --no-uncertainty": ["embed", "run", "--table", "t.csv", "--out", "n.parquet", "--no-uncertainty"],
    "search": ["search", "run", "--query", "2", "--json"],
    "explore": ["explore", "run", "--no-open"],
}


@dataclass(frozen=True)
class Measured:
    """What a verb took.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of all its threads.
        peak_mb: its largest resident set, in millions of bytes.
        status: with which it ended.
        words: the last line that it wrote.
        machine: on which it ran, and how busy that was before the first verb of the same call.
    """

    verb: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    status: int
    words: str
    machine: str


def write_table(folder: Path, rows: int) -> None:
    generator = np.random.default_rng(0)
    kinds, grades = generator.integers(CLASSES, size=rows), generator.integers(LEVELS, size=rows)
    prices = 50 * grades + generator.normal(scale=20, size=rows)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (rows, WIDTH))
    step = 50_000
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        block = generator.normal(size=(part.stop - start, WIDTH)).astype(np.float32)
        block[np.arange(len(block)), kinds[part]] += 3
        block[:, CLASSES] += grades[part]
        vectors[part] = block
    vectors.flush()
    missing = generator.random((3, rows)) < 0.1
    with (folder / "t.csv").open("w") as file:
        file.write("name,kind,grade,price\n")
        for row in range(rows):
            kind = "" if missing[0, row] else f"k{kinds[row]}"
            grade = "" if missing[1, row] else "edcba"[grades[row]]
            price = "" if missing[2, row] else f"{prices[row]:.2f}"
            file.write(f"row {row},{kind},{grade},{price}\n")
    (folder / "r.toml").write_text(RECIPE)


def measure(verb: str, folder: Path, where: str) -> Measured:
    output = folder / "output.txt"
    start = time.perf_counter()
    with output.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", "mscon", *VERBS[verb]], cwd=folder, stdout=file, stderr=file)
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    lines = output.read_text("utf-8", "replace").strip().splitlines()
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6
    status = os.waitstatus_to_exitcode(status)
    return Measured(verb, seconds, cpu, peak, status, lines[-1][:300] if lines else "", where)


def page_of(records: list[Measured], rows: int, megabytes: float) -> str:
    """Markdown of what was measured; verbs of another call are told apart by their machine and its load."""
    lines = [
        f"# {rows:,} rows through every verb",
        "",
        "| verb | seconds | processor, s | most memory, MB | status |",
        "|---|---|---|---|---|",
        *(f"| {r.verb} | {r.seconds:,.1f} | {r.cpu_seconds:,.1f} | {r.peak_mb:,.0f} | {r.status} |" for r in records),
        "",
        f"Table and vectors have {megabytes:,.0f} MB on the disk. Where the load average is above the number of",
        "processors, other programs ran beside: the processor's seconds then say more than the clock.",
    ]
    for machine_of_call in dict.fromkeys(one.machine for one in records):
        verbs = ", ".join(one.verb for one in records if one.machine == machine_of_call)
        lines += ["", f"{verbs}: {machine_of_call}."]
    lines += ["", "Made by `python benchmarks/large.py --write`; what is measured is said there.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", choices=VERBS, default=list(VERBS), help="these verbs")
    parser.add_argument("--keep", type=Path, help="use this folder, and the table in it, and leave it")
    parser.add_argument("--write", action="store_true", help="write the table under benchmarks/results")
    arguments = parser.parse_args()
    where, records = machine(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        if not (folder / "r.toml").exists():
            write_table(folder, arguments.rows)
        size = sum(path.stat().st_size for path in (folder / "t.csv", folder / "vectors.npy")) / 1e6
        for verb in arguments.only:
            records.append(one := measure(verb, folder, where))
            words = f"{one.seconds:.1f} s, {one.cpu_seconds:.1f} s of the processor, {one.peak_mb:,.0f} MB"
            print(f"{verb}: {words}, status {one.status}: {one.words}", flush=True)
    if arguments.write:  # of verbs that were not called now, what was measured before
        path = RESULTS / "large.json"
        before = json.loads(path.read_text("utf-8")) if path.exists() else {"rows": 0, "results": []}
        others = [Measured(**one) for one in before["results"] if before["rows"] == arguments.rows]
        known = {one.verb: one for one in [*others, *records]}
        records = [known[verb] for verb in VERBS if verb in known]
    page = page_of(records, arguments.rows, size)
    print("\n" + page)
    if arguments.write:
        atomic.write_text(RESULTS / "large.md", page)
        record = {"rows": arguments.rows, "megabytes": size, "results": [asdict(one) for one in records]}
        atomic.write_text(RESULTS / "large.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    sys.exit(max(abs(one.status) for one in records))


if __name__ == "__main__":
    main()
