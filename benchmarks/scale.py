"""What 10 million and a billion rows cost in time, memory and disk, by rates that were measured; nothing is simulated.

    python benchmarks/scale.py                    prints the plan of results/scale.json and results/large.json
    python benchmarks/scale.py --write            measures images anew, and a table of 100,000 rows; writes the plan

A verb's time is that of 1,000,000 rows (`benchmarks/large.py`), of all its processors, times rows. Its memory, the
largest resident set, is a straight line through that and 100,000 rows. Disk is what the verbs left for 100,000 rows,
times rows. Images are JPEGs of 256 x 256 pixels, a smooth pattern and some noise, decoded to 112 x 112; seconds are of
all processors. A step of ResNet-18 is that of `benchmarks/step.py`, in bfloat16. The plan is in docs/scale.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from machine import machine
from PIL import Image

from mscon.data.inputs.images import open_store
from mscon.run import atomic
from mscon.run.recipe import Data

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
SMALL, PLANNED = 100_000, (10_000_000, 1_000_000_000)
VERBS = ("check", "train", "probe", "embed", "search")
IMAGES, SIDE, DECODED = 1_000, 256, 112


def jpeg(number: int) -> bytes:
    generator = np.random.default_rng(number)
    smooth = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((SIDE, SIDE))
    noise = generator.normal(scale=8, size=(SIDE, SIDE, 3))
    content = io.BytesIO()
    Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)).save(content, "jpeg", quality=90)
    return content.getvalue()


def measure_images(folder: Path) -> dict[str, float]:
    """Processor's milliseconds an image by where it is read from, and bytes of its file and of its decoded pixels."""
    import fsspec

    contents = [jpeg(number) for number in range(IMAGES)]
    (folder / "files").mkdir()
    for number, content in enumerate(contents):
        (folder / "files" / f"{number}.jpg").write_bytes(content)
    with tarfile.open(folder / "a.tar", "w") as archive:
        archive.add(folder / "files", ".")
    pl.DataFrame({"image": contents}).write_parquet(
        folder / "a.parquet", row_group_size=100, compression="uncompressed"
    )
    fsspec.filesystem("memory").put_file(str(folder / "a.tar"), "/shards/a.tar")
    cells: dict[str, Callable[[int], str]] = {
        "files": lambda n: f"files/{n}.jpg",
        "members of a tar file": lambda n: f"tar://{n}.jpg::a.tar",
        "rows of a Parquet file": lambda n: f"parquet://image/{n}::a.parquet",
        "a remote tar file": lambda n: f"tar://{n}.jpg::memory://shards/a.tar",
    }
    measured: dict[str, float] = {}
    data = Data(image_size=DECODED, remote=("memory://shards/",))
    for source, cell in cells.items():
        rows = pl.DataFrame({"line": range(IMAGES), "image": [cell(number) for number in range(IMAGES)]})
        times = []
        for attempt in range(3):
            os.environ["MSCON_CACHE"] = str(folder / f"cache {source} {attempt}")
            start = time.process_time()
            open_store(rows, folder, data, "t.csv")
            times.append(time.process_time() - start)
        measured[source] = min(times) * 1000 / IMAGES
    (store,) = (folder / "cache files 0").rglob("*.npy")
    of_file = float(np.mean([len(content) for content in contents]))
    return measured | {"bytes of a file": of_file, "bytes decoded": store.stat().st_size / IMAGES}


def measure_table(folder: Path) -> dict[str, Any]:
    """Most memory of the verbs on the small table in MB, and bytes a row of what they leave."""
    command = [sys.executable, str(Path(__file__).with_name("large.py")), "--rows", str(SMALL), "--keep", str(folder)]
    text = subprocess.run([*command, "--only", *VERBS], capture_output=True, text=True, check=True).stdout
    records = re.findall(r"^(\w+): .+ s of the processor, ([\d,]+) MB", text, re.MULTILINE)
    sizes = {
        name: sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()) / SMALL
        for name, path in (("run", folder / "run"), ("vectors", folder / "e.parquet"))
    }
    return {"peak_mb": {verb: number(peak) for verb, peak in records}, "bytes_a_row": sizes}


def number(text: str) -> float:
    return float(text.replace(",", ""))


def line(small: float, large: float, rows: int) -> float:
    """A straight line through what 100,000 and 1,000,000 rows cost."""
    return small + max(0.0, large - small) * (rows - SMALL) / (1_000_000 - SMALL)


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.1f} min"


def size(count: float) -> str:
    unit, per = next(
        (unit, per) for unit, per in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)) if count >= per or per == 1e6
    )
    return f"{count / per:,.1f} {unit}"


def plan(record: Mapping[str, Any], large: Mapping[str, Any], step_ms: float, forward_ms: float) -> str:
    """The tables of docs/scale.md.

    Args:
        record: what `main` measured.
        large: results/large.json.
        step_ms, forward_ms: of a training step of ResNet-18, and of the forward pass in it, a row.
    """
    head = "| " + " | ".join(f"{rows:,} rows" for rows in PLANNED) + " |"
    of_large = {one["verb"]: one for one in large["results"]}
    lines = [f"| verb, table of vectors {head}", f"|---|{'---|' * len(PLANNED)}"]
    for verb, small in record["table"]["peak_mb"].items():
        costs = []
        for rows in PLANNED:
            memory = line(small, of_large[verb]["peak_mb"], rows)
            seconds = of_large[verb]["cpu_seconds"] * rows / large["rows"]
            costs.append(f"{hours(seconds)}, {size(memory * 1e6)} of memory")
        lines.append(f"| `{verb}`{', one epoch' * (verb == 'train')} | {' | '.join(costs)} |")
    for name, count in record["table"]["bytes_a_row"].items():
        what = {"run": "the run, with features and projections", "vectors": "the output of `embed`"}[name]
        lines.append(f"| {what} | {' | '.join(f'{size(count * rows)} of disk' for rows in PLANNED)} |")
    images = dict(record["images"])
    of_file, decoded = images.pop("bytes of a file"), images.pop("bytes decoded")
    lines += ["", f"| images {head}", f"|---|{'---|' * len(PLANNED)}"]
    lines.append(
        f"| files ({size(of_file * 1e3)} a thousand) | {' | '.join(size(of_file * rows) for rows in PLANNED)} |"
    )
    for source, ms in images.items():
        cost = " | ".join(hours(ms * rows / 1000) for rows in PLANNED)
        lines.append(f"| reading and decoding once, from {source} ({ms:.2f} ms each) | {cost} |")
    for what, count in ((f"decoded images, {DECODED} pixels", decoded), ('with `decode = "always"`', 16.0)):
        lines.append(f"| cache: {what} | {' | '.join(f'{size(count * rows)} of disk' for rows in PLANNED)} |")
    for what, ms in (("one epoch of ResNet-18", step_ms), ("embedding by ResNet-18", forward_ms)):
        cost = " | ".join(hours(ms * rows / 1000) for rows in PLANNED)
        lines.append(f"| {what}, two cores ({ms:.2f} ms a row) | {cost} |")
    return "\n".join(lines)


def of_step() -> tuple[float, float]:
    """Milliseconds a row of a step of ResNet-18 in bfloat16, and of one view's way forward through it."""
    page = (RESULTS / "step.md").read_text("utf-8")
    step, forward = (
        number(re.search(rf"^\| {name} \|.*?\| ([\d,.]+) ms", page, re.MULTILINE)[1])  # type: ignore[index]
        for name in ("all", "encoder forward")
    )
    return step / 64, forward / 128


def page_of(page: str, tables: str, where: str) -> str:
    """The page with other tables between its marks."""
    begin, end = "<!-- plan -->", "<!-- /plan -->"
    before, _, rest = page.partition(begin)
    words = f"Measured on: {where}."
    return f"{before}{begin}\n\n{tables}\n\n{words}\n\n{end}{rest.partition(end)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="measure, and write results/scale.json and the plan")
    arguments = parser.parse_args()
    path = RESULTS / "scale.json"
    if arguments.write:
        with tempfile.TemporaryDirectory() as images, tempfile.TemporaryDirectory() as table:
            where = machine()
            record = {"machine": where, "images": measure_images(Path(images)), "table": measure_table(Path(table))}
        atomic.write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
    record = json.loads(path.read_text("utf-8"))
    tables = plan(record, json.loads((RESULTS / "large.json").read_text("utf-8")), *of_step())
    print(tables)
    if arguments.write:
        atomic.write_text(PAGE, page_of(PAGE.read_text("utf-8"), tables, record["machine"]))


if __name__ == "__main__":
    main()
