"""The explorer's page: how large it is, and how long a slider takes, in chromium.

    python benchmarks/explorer.py                prints the table, about two minutes
    python benchmarks/explorer.py --rows 1000    faster
    python benchmarks/explorer.py --write        also writes benchmarks/results/explorer.md and explorer.json

Random rows: four spaces of 32 numbers, four label columns, and photographs' worth of colour noise, smoothed, at 96
pixels, which is harder to write small than most pictures. A slider is moved as a hand would, one event a frame, and
timed by the page's own clock: the handler (rank all rows, rewrite the results), and the handler with the style and
layout that the browser owes before it can paint. Painting itself needs a screen, and is not in it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from machine import machine
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from mscon.data.batches.dataset import fit_similarities
from mscon.run import atomic
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.search.explorer.page import build_explorer

RESULTS = Path(__file__).parent / "results"
SPACES, DIM = ("category", "colour", "closure", "gender"), 32
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run"]

TIMED = """async (moves) => {
  const sliders = [...document.querySelectorAll('.slider input')], handler = [], laidOut = [];
  for (let i = 0; i < moves; i++) {
    const slider = sliders[i % sliders.length], start = performance.now();
    slider.value = (i * 37) % 101;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    const done = performance.now();
    document.body.offsetHeight;
    laidOut.push(performance.now() - start);
    handler.push(done - start);
    await new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
  }
  return { handler, laidOut };
}"""


def make_run(root: Path, rows: int) -> Run:
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 6, size=(len(SPACES), rows))
    centres = generator.normal(size=(len(SPACES), 6, DIM))
    vectors = np.stack([c[k] for c, k in zip(centres, codes, strict=True)])
    vectors += 0.6 * generator.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    run = Run.create(root / "run")
    recipe = recipes.parse(
        "title = 'Benchmark'\n" + "".join(f"[[similarity]]\ncolumn = '{c}'\nname = 'categorical'\n" for c in SPACES)
    )
    run.write_recipe(recipe)
    names = [f"{i:05d}.jpg" for i in range(rows)]
    columns = {name: [f"{name} {k}" for k in classes] for name, classes in zip(SPACES, codes, strict=True)}
    split = ["test" if i % 5 == 0 else "train" for i in range(rows)]
    table = pl.DataFrame({"line": np.arange(2, rows + 2), "split": split, "image": names, **columns})
    run.write_rows(table)
    run.write_facts({"table": {"name": "benchmark.csv"}, "images_root": str(root)})
    fitted = fit_similarities(table, recipe.similarities)
    run.write_similarities([{"name": "categorical", "state": similarity.to_json()} for similarity in fitted])
    run.write_features(vectors[0].astype(np.float32), vectors.astype(np.float32))
    for name in names:
        coarse = Image.fromarray(generator.integers(0, 255, size=(12, 12, 3), dtype=np.uint8))
        coarse.resize((96, 96), Image.Resampling.BICUBIC).save(root / name, quality=90)
    return run


def measure(browser: Browser, rows: int, moves: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), rows)
        start = time.process_time()
        page_file = build_explorer(run, run.root)
        building = time.process_time() - start
        size = page_file.stat().st_size
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        start = time.monotonic()
        page.goto(page_file.as_uri())
        page.locator("#grid .take").first.click()
        opened = time.monotonic() - start
        page.evaluate(TIMED, 40)  # warms up
        times = page.evaluate(TIMED, moves)
        page.close()
    return {
        **{"rows": rows, "bytes": size, "building": building, "opened": opened, "chromium": browser.version},
        **times,
    }


def table(records: Sequence[Mapping[str, Any]], moves: int) -> list[str]:
    lines = [
        "# Explorer: a slider, and the size of the page",
        "",
        "| rows | page, MB | opened and first query, s | handler, ms | with style and layout, ms |",
        "|---|---|---|---|---|",
    ]
    for record in records:
        spans = [
            f"{statistics.median(times):.1f} (95 % below {np.quantile(times, 0.95):.1f})"
            for times in (record["handler"], record["laidOut"])
        ]
        lines.append(
            f"| {record['rows']:,} | {record['bytes'] / 1e6:.2f} | {record['opened']:.1f} | {' | '.join(spans)} |"
        )
    lines += [
        "",
        f"{moves} moves each: medians. Four spaces of 32 numbers, pictures of 96 pixels before they are written small.",
        f"chromium {records[0]['chromium']} without a GPU; {machine()}.",
        "",
        "Made by `python benchmarks/explorer.py --write`.",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--moves", type=int, default=200, help="of a slider, to take medians over (default: 200)")
    parser.add_argument("--write", action="store_true", help="write the table under benchmarks/results")
    arguments = parser.parse_args()

    with sync_playwright() as driver:
        binary = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=binary, args=FLAGS)
        records = [measure(browser, rows, arguments.moves) for rows in arguments.rows]
        browser.close()
    lines = table(records, arguments.moves)
    print("\n".join(lines))
    if arguments.write:
        atomic.write_text(RESULTS / "explorer.md", "\n".join(lines) + "\n")
        atomic.write_text(RESULTS / "explorer.json", json.dumps(records) + "\n")


if __name__ == "__main__":
    main()
