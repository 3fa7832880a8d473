"""Training on the stored features of a frozen encoder: time and memory, beside a plain loop and beside images.

    python benchmarks/frozen.py                  prints the tables: 100,000 rows, 3 columns, 20 epochs
    python benchmarks/frozen.py --write          also writes benchmarks/results/frozen.md and frozen.json
    python benchmarks/frozen.py --quick          5,000 rows, 2 epochs

A real training, by `mscon.train.fit.fit`, in a process of its own: 100,000 rows of images, 3 label columns of 4, 5 and
20 classes and `same_row`, batches of 64 rows of two views out of 8 stored ones, an adapter of two layers of 256, heads
of 32. Features are as wide as those of EfficientNet-Lite0 (1,280), but a backbone that looks them up in a table makes
them: Lite0 would take hours here for so many images, and training does not see which backbone it was.

The plain loop is what one writes oneself over the same files: the same views by chance, batch, adapter, loss and
optimiser, linear heads; no log, no validation, no checkpoint. Without stored features every step encodes its views:
measured over some steps of the frozen EfficientNet-Lite0 at 112 pixels, and extrapolated, as is the one pass of the
encoder. Beside the time on the clock stands that of the processor, which a busy machine makes longer by less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from machine import machine
from PIL import Image
from torch import Tensor, nn

from mscon import MSConLoss
from mscon.errors import counted
from mscon.model.vector_encoder import mlp
from mscon.run import atomic
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train import fit as fitting
from mscon.train.fit import fit

RESULTS = Path(__file__).parent / "results"
CLASSES = (4, 5, 20)
BATCH, STORED, WIDTH, SIDE = 64, 8, 1_280, 8
FILES = 500  # different images, which rows share
ROWS, EPOCHS, GOAL_SECONDS = 100_000, 20, 300


class Lookup(nn.Module):
    """Images to one of some random vectors, as wide as those of EfficientNet-Lite0 and nearly for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4_096, WIDTH, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return self.weight[(images.sum(dim=(1, 2, 3)) * 1_000).long() % len(self.weight)]


def write_table(folder: Path, rows: int, side: int = SIDE) -> Path:
    """Images of noise, and labels by chance; 1 row in 20 is for validation."""
    generator = np.random.default_rng(0)
    for number in range(FILES):
        Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"file{number}.png")
    lines = ["image,split," + ",".join(f"label_{count}" for count in CLASSES)]
    for number in range(rows + rows // 20 + 1):
        os.link(folder / f"file{number % FILES}.png", folder / f"{number}.png")  # a row must have an image of its own
        labels = ",".join(f"c{generator.integers(count)}" for count in CLASSES)
        split = "train" if number < rows else "validation" if number < rows + rows // 20 else "test"
        lines.append(f"{number}.png,{split},{labels}")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def recipe_of(epochs: int, *, stored: int, encoder: str, side: int) -> Recipe:
    columns = "\n".join(f'[[similarity]]\ncolumn = "label_{count}"' for count in CLASSES)
    return recipes.parse(
        f"""{columns}
        [[similarity]]
        name = "same_row"
        [data]
        image_size = {side}
        [encoder]
        name = "{encoder}"
        frozen = true
        stored_views = {stored}
        adapter = {{ units = 256, layers = 2 }}
        [heads]
        output_dim = 32
        [weighting]
        name = "equal"
        [train]
        epochs = {epochs}
        batch_size = {BATCH}
        learning_rate = 1e-3
        precision = "float32"
        """
    )


def anonymous_mb() -> float:
    """Memory of this process that is no mapped file, which the system takes back when it needs it."""
    status = Path("/proc/self/status").read_text("utf-8")
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))) / 1024


def train(folder: Path, epochs: int) -> dict[str, Any]:
    """One training, with how long its parts took and the most memory that it had."""
    most, is_over = [0.0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.2):
            most[-1] = max(most[-1], anonymous_mb())

    began = anonymous_mb()
    recipe = recipe_of(epochs, stored=STORED, encoder="frozen:Lookup", side=SIDE)
    fit(recipe, folder / "table.csv", folder / "dry", dry_run=True, progress=False)  # decodes the images
    threading.Thread(target=watch).start()
    try:
        timed = timed_fit(recipe, folder / "table.csv", folder / "run", lambda: most.append(0.0))
    finally:
        is_over.set()
    return {
        **timed,
        "start_mb": began,
        "before_mb": most[0],
        "training_mb": most[-1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "stored_mb": sum(path.stat().st_size for path in folder.glob("cache/features/*.npy")) / 1e6,
    }


def plain_loop(folder: Path, rows: int, steps: int) -> dict[str, float]:
    """A loop over the same stored views; milliseconds a step."""
    run = Run.open(folder / "run", trust=True)
    features = np.load(
        folder / "cache" / "features" / run.read_facts()["frozen_features"]["of_views"][0], mmap_mode="r"
    )
    labels = {f"label_{count}": torch.randint(count, (rows,)) for count in CLASSES}
    adapter, width = mlp(WIDTH)
    heads = nn.ModuleDict({name: nn.Linear(width, 32) for name in (*labels, "same_row")})
    criterion = MSConLoss([*labels, "same_row"], weighting="equal")
    optimiser = torch.optim.AdamW([*adapter.parameters(), *heads.parameters()], lr=1e-3, fused=True)

    def step() -> None:
        batch = np.random.randint(rows, size=BATCH)
        first, second = np.random.rand(BATCH, STORED).argsort(axis=1)[:, :2].T
        views = torch.from_numpy(np.concatenate([features[batch, first], features[batch, second]])).float()
        embedded = adapter(views)
        projections = {n: head(embedded).view(2, BATCH, -1).transpose(0, 1) for n, head in heads.items()}
        loss = criterion(projections, {name: values[batch] for name, values in labels.items()})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    for _ in range(20):
        step()
    began, processor = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    return {
        "step_ms": 1e3 * (time.perf_counter() - began) / steps,
        "processor_ms": 1e3 * (time.process_time() - processor) / steps,
    }


def on_images(folder: Path, steps: int) -> dict[str, float]:
    """A step that encodes its views, and the one pass, by the frozen EfficientNet-Lite0 at 112 pixels."""
    timed = {}
    for stored in (0, STORED):
        recipe = recipe_of(1, stored=stored, encoder="efficientnet_lite0", side=112)
        fit(recipe, folder / "table.csv", folder / "dry", dry_run=True, progress=False)  # decodes the images
        timed[stored] = timed_fit(recipe, folder / "table.csv", folder / f"stored{stored}")
    rows = steps * BATCH + steps * BATCH // 20
    on_images, passed = timed[0], timed[STORED]
    encoded = rows * STORED  # the images as they are were encoded by the first of the two
    return {
        "step_ms": 1e3 * on_images["seconds"] / on_images["steps"],
        "processor_ms": 1e3 * on_images["processor_seconds"] / on_images["steps"],
        "pass_ms": 1e3 * passed["before_seconds"] / encoded,
        "pass_processor_ms": 1e3 * passed["before_processor_seconds"] / encoded,
    }


def timed_fit(
    recipe: Recipe, table: Path, out: Path, at_first_epoch: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Seconds of a training, and of what comes before its first epoch."""
    borders: list[tuple[float, float]] = []
    train_run = fitting.train

    def timed(*arguments: Any) -> Run:
        borders.append((time.perf_counter(), time.process_time()))
        at_first_epoch()
        return train_run(*arguments)

    borders.append((time.perf_counter(), time.process_time()))
    with mock.patch.object(fitting, "train", timed):
        run = fit(recipe, table, out, progress=False)
    assert run is not None
    (start, start_processor), (middle, middle_processor) = borders
    return {
        "steps": run.read_facts()["trained"]["steps"],
        "before_seconds": middle - start,
        "before_processor_seconds": middle_processor - start_processor,
        "seconds": time.perf_counter() - middle,
        "processor_seconds": time.process_time() - middle_processor,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--quick", action="store_true", help="5,000 rows, 2 epochs")
    parser.add_argument("--write", action="store_true", help="write the tables under benchmarks/results")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.train is not None:
        print(json.dumps(train(arguments.train, arguments.epochs)))
        return
    rows, epochs = (5_000, 2) if arguments.quick else (arguments.rows, arguments.epochs)
    where = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MSCON_CACHE"] = str(folder / "cache")
        write_table(folder, rows)
        here = str(Path(__file__).parent)
        path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
        command = [
            sys.executable,
            __file__,
            "--train",
            name,
            "--epochs",
            str(epochs),
            "--threads",
            str(arguments.threads),
        ]
        output = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, check=True, stdout=subprocess.PIPE, text=True
        )
        stored = json.loads(output.stdout.splitlines()[-1])
        print(stored, flush=True)
        plain = plain_loop(folder, rows, 50 if arguments.quick else 500)
        print(plain, flush=True)
    with tempfile.TemporaryDirectory() as name:
        os.environ["MSCON_CACHE"] = str(Path(name) / "cache")
        steps = 2 if arguments.quick else 4
        write_table(Path(name), steps * BATCH, 112)
        images = on_images(Path(name), steps)
    text = report(rows, epochs, stored, plain, images) + f"\n{where}.\n"
    print("\n" + text)
    if arguments.write:
        record = {"machine": where, "rows": rows, "epochs": epochs, "stored": stored, "plain": plain, "images": images}
        atomic.write_text(RESULTS / "frozen.md", text + "\nMade by `python benchmarks/frozen.py --write`.\n")
        atomic.write_json(RESULTS / "frozen.json", record)


def report(rows: int, epochs: int, stored: dict[str, float], plain: dict[str, float], images: dict[str, float]) -> str:
    steps = int(stored["steps"])
    goal, encoded = GOAL_SECONDS * steps / (EPOCHS * ROWS // BATCH), (rows + rows // 20) * (STORED + 1)
    of_stored = [1e3 * stored[key] / steps for key in ("seconds", "processor_seconds")]
    ways = [
        ("mscon on stored features, with log, validation and checkpoints", *of_stored, ""),
        ("plain loop over the same files, without these", plain["step_ms"], plain["processor_ms"], ", extrapolated"),
        (
            "mscon on images, frozen EfficientNet-Lite0 at 112 px",
            images["step_ms"],
            images["processor_ms"],
            ", extrapolated",
        ),
    ]
    lines = [
        "# Training on the stored features of a frozen encoder",
        "",
        f"{rows:,} rows, {len(CLASSES)} columns and same_row, {counted(epochs, 'epoch')} of batches of {BATCH} "
        f"({steps:,} steps).",
        "",
        "| | a step: clock, processor | all steps: clock, processor |",
        "|---|---|---|",
        *(
            f"| {title} | {clock:.2f}, {processor:.2f} ms | "
            f"{clock * steps / 1e3:,.0f}, {processor * steps / 1e3:,.0f} s{how} |"
            for title, clock, processor, how in ways
        ),
        "",
        f"The goal, {GOAL_SECONDS // 60} minutes for {ROWS:,} rows and {EPOCHS} epochs, is {goal:.0f} s here: "
        f"{'met' if stored['seconds'] <= goal else 'not met'} ({stored['seconds']:.0f} s).",
        f"The one pass of EfficientNet-Lite0 over images and {STORED} views of each takes {images['pass_ms']:.1f} ms "
        f"an image (processor {images['pass_processor_ms']:.1f} ms), for these rows "
        f"{images['pass_ms'] * encoded / 3.6e6:.1f} h, extrapolated.",
        "",
        f"Memory besides mapped files: {stored['start_mb']:.0f} MB at the start, at most {stored['before_mb']:.0f} MB "
        f"before the first epoch and {stored['training_mb']:.0f} MB in the epochs "
        f"({stored['stored_mb']:,.0f} MB of features on disk). Peak RSS is {stored['peak_mb']:,.0f} MB, "
        "with the parts of mapped files that the system keeps in memory while there is room.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
