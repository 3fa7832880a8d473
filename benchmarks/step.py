"""Where the time of a training step goes on a CPU: the encoder, and everything but the encoder.

    python benchmarks/step.py                    prints the tables
    python benchmarks/step.py --write            also writes benchmarks/results/step.md and step.json
    python benchmarks/step.py --quick            a few steps of each case

Real trainings, by `mscon.train.fit.fit`: a table of image files that are made for it, batches of 64 rows of
two views, three label columns of 4, 5 and 20 classes, heads of 32, learned weights, a log on disk. ResNet-18 with
SGD, as the paper trains it; the small CNN with AdamW, as our recipes do.

A CPU does one thing after the other, so a clock that is read wherever one part ends and the next begins
(forward hooks of encoder and heads, a hook on the gradient of the features, calls wrapped from outside)
splits a step without a gap. That the parts add up to the time of the epoch, taken by itself, is checked.
Nothing is read ahead by other processes: what the step waits for its rows is the part "rows". The first
epoch finds nothing of the images in memory, the others find all.

    rows                copying the images of the batch out of the mapped file, and its codes
    views               two random views of each row, joined
    encoder             forward, its preprocessing included; and backward
    heads               forward
    loss                pairs, loss, weighting and what is measured for the log
    backward of both    of loss, weighting and heads, down to the gradient of the features
    optimiser           its step for all parameters, and the schedule's
    log                 records, their file, progress, and which rows come next
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from machine import machine
from PIL import Image
from torch import Tensor

from mscon.data.batches.dataset import Batch, Dataset
from mscon.data.table.table import read_table
from mscon.model.encoder import build_encoder
from mscon.run import atomic
from mscon.run import recipe as recipes
from mscon.train import environment
from mscon.train import epochs as training_epochs
from mscon.train import fit as fitting
from mscon.train.log import Record
from mscon.train.loop import LOG_EVERY, Training, train_epoch

RESULTS = Path(__file__).parent / "results"
CLASSES = (4, 5, 20)
BATCH = 64
GOAL = 0.05
ENCODER = ("encoder forward", "encoder backward")
PARTS = ("rows", "views", ENCODER[0], "heads", "loss", "backward of both", ENCODER[1], "optimiser", "log")


@dataclass(frozen=True)
class Case:
    title: str
    encoder: str
    side: int
    precision: str
    optimiser: str
    epochs: int


CASES = (
    Case("ResNet-18, 112 px", "resnet18", 112, "float32", "sgd", 2),
    Case("ResNet-18, 112 px", "resnet18", 112, "auto", "sgd", 2),
    Case("small CNN, 32 px", "small_cnn", 32, "float32", "adamw", 11),
    Case("small CNN, 32 px", "small_cnn", 32, "auto", "adamw", 11),
)


@dataclass
class Clock:
    """Seconds of each part in each step of each epoch.

    Attributes:
        epochs: for each the steps, for each the parts.
        walls: of each epoch, taken without looking at the parts.
        major_faults: of each epoch, times that it had to wait for the disk (major page faults).
    """

    epochs: list[list[dict[str, float]]] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    major_faults: list[int] = field(default_factory=list)
    _last: float = 0.0

    def end(self, part: str) -> None:
        """All since the last call was this part."""
        now = time.perf_counter()
        step = self.epochs[-1][-1]
        step[part] = step.get(part, 0.0) + now - self._last
        self._last = now

    def train_epoch(self, training: Training, epoch: int, step: int) -> Iterator[Record]:
        """The library's, read at every border of two parts."""
        if not self.epochs:
            self._watch(training)
        self.epochs.append([{}])
        began, faults = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        self._last = began
        yield from train_epoch(training, epoch, step)
        self.end("log")
        self.walls.append(time.perf_counter() - began)
        self.major_faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults)

    def batch(self, dataset: Dataset, rows: Tensor, read: Callable[[Dataset, Tensor], Batch]) -> Batch:
        """`Dataset.batch`, before which the step before ends."""
        if self.epochs[-1][-1]:
            self.end("log")
            self.epochs[-1].append({})
        batch = read(dataset, rows)
        self.end("rows")
        return batch

    def _watch(self, training: Training) -> None:
        model = training.method.model

        def features_made(_module: object, _arguments: object, features: Tensor) -> None:
            self.end(ENCODER[0])
            features.register_hook(lambda _gradient: self.end("backward of both"))

        model.encoder.register_forward_pre_hook(lambda *_: self.end("views"))
        model.encoder.register_forward_hook(features_made)
        model.heads.register_forward_hook(lambda *_: self.end("heads"))
        around(training.fabric, "backward", lambda: self.end("loss"), lambda: self.end(ENCODER[1]))
        around(training.schedule, "step", lambda: None, lambda: self.end("optimiser"))


def around(owner: object, name: str, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Have something done before and after each call of a method of this one object."""
    method = getattr(owner, name)

    def wrapped(*arguments: object, **named: object) -> Any:
        before()
        result = method(*arguments, **named)
        after()
        return result

    setattr(owner, name, wrapped)


def write_table(folder: Path, side: int, rows: int) -> Path:
    """Blurred noise as image files, and labels by chance."""
    generator = np.random.default_rng(0)
    lines = ["image,split," + ",".join(f"label_{count}" for count in CLASSES)]
    for number in range(rows + 1):  # a table must have a row to be tested on
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{number}.png", compress_level=1)
        labels = ",".join(f"c{generator.integers(count)}" for count in CLASSES)
        lines.append(f"{number}.png,{'train' if number < rows else 'test'},{labels}")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def recipe_of(case: Case, epochs: int) -> recipes.Recipe:
    columns = "\n".join(f'[[similarity]]\ncolumn = "label_{count}"\nname = "categorical"' for count in CLASSES)
    return recipes.parse(
        f"""{columns}
        [data]
        image_size = {case.side}
        [encoder]
        name = "{case.encoder}"
        [heads]
        output_dim = 32
        [weighting]
        name = "uncertainty"
        [train]
        epochs = {epochs}
        batch_size = {BATCH}
        learning_rate = 1e-3
        optimiser = "{case.optimiser}"
        precision = "{case.precision}"
        """
    )


def forget(folder: Path) -> None:
    """Have the system drop the stored images from memory, as if the machine had just been started."""
    for path in folder.glob("**/*.npy"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(case: Case, epochs: int, steps: int, folder: Path) -> dict[str, Any] | None:
    """A record of one training; None if "auto" is float32 here, which is a case of its own."""
    recipe, clock, read = recipe_of(case, epochs), Clock(), Dataset.batch
    encoder = build_encoder(recipe.encoder, recipe.data.channels, recipe.data.image_size)
    settings = environment.resolve(recipe.train, encoder, "cpu")
    if case.precision == "auto" and settings.precision == "float32":
        return None
    table = read_table(write_table(folder, case.side, steps * BATCH))
    with mock.patch.dict(os.environ, MSCON_CACHE=str(folder / "cache")):
        fitting.fit(recipe, table, folder / "run", dry_run=True)  # decodes the images
        forget(folder / "cache")
        with (
            mock.patch.object(Dataset, "batch", lambda dataset, rows: clock.batch(dataset, rows, read)),
            mock.patch.object(training_epochs, "train_epoch", clock.train_epoch),
        ):
            fitting.fit(recipe, table, folder / "run", progress=False)
    for made, wall in zip(clock.epochs, clock.walls, strict=True):
        assert len(made) == steps
        assert all(set(step) == set(PARTS) for step in made), "a border was missed"
        summed = sum(sum(step.values()) for step in made)
        assert abs(summed - wall) < 1e-3 * wall, f"parts of {summed:.3f} s in an epoch of {wall:.3f} s"
    return {
        "case": case.title,
        "precision": settings.precision,
        "channels_last": settings.channels_last,
        "epochs": clock.epochs,
        "walls": clock.walls,
        "major_faults": clock.major_faults,
    }


def milliseconds(record: dict[str, Any]) -> dict[str, float]:
    """Of each part, per step: the mean over the steps of all epochs but the first. Means, since those add up."""
    steps = [step for epoch in record["epochs"][1:] for step in epoch]
    return {part: 1e3 * statistics.fmean(step[part] for step in steps) for part in PARTS}


def share_besides(record: dict[str, Any]) -> float:
    """Of everything but the encoder in the step."""
    parts = milliseconds(record)
    return 1 - sum(parts[part] for part in ENCODER) / sum(parts.values())


def table_of(records: list[dict[str, Any]]) -> str:
    """Parts by case, in milliseconds and as shares."""
    titles = [f"{r['case']}, {r['precision']}" for r in records]
    columns = [milliseconds(r) for r in records]
    totals = [sum(column.values()) for column in columns]
    lines = ["| part of the step | " + " | ".join(titles) + " |", "|---|" + "---|" * len(records)]
    for part in PARTS:
        cells = [f"{c[part]:,.2f} ms ({c[part] / total:.1%})" for c, total in zip(columns, totals, strict=True)]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    lines.append("| all | " + " | ".join(f"{total:,.1f} ms" for total in totals) + " |")
    lines.append("| **all but the encoder** | " + " | ".join(f"**{share_besides(r):.1%}**" for r in records) + " |")
    return "\n".join(lines)


def waits_of(records: list[dict[str, Any]]) -> str:
    """How long a step waits for its rows."""
    lines = [
        "| case | first epoch, ms: mean, longest | reads from disk | later epochs, ms: mean, longest | of the step |",
        "|---|---|---|---|---|",
    ]
    for record in records:
        first = [1e3 * step["rows"] for step in record["epochs"][0]]
        later = [1e3 * step["rows"] for epoch in record["epochs"][1:] for step in epoch]
        parts = milliseconds(record)
        lines.append(
            f"| {record['case']}, {record['precision']} | {statistics.fmean(first):.2f}, {max(first):.2f} | "
            f"{record['major_faults'][0]:,} | {statistics.fmean(later):.2f}, {max(later):.2f} | "
            f"{parts['rows'] / sum(parts.values()):.2%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="cases whose title holds this, for example 32")
    parser.add_argument("--quick", action="store_true", help="two epochs of two steps")
    parser.add_argument("--write", action="store_true", help="write the tables under benchmarks/results")
    arguments = parser.parse_args()
    if environment.device_type() != "cpu":
        sys.exit("A GPU does not keep the time of a clock on the CPU. Hide it: CUDA_VISIBLE_DEVICES= python ...")
    torch.set_num_threads(arguments.threads)
    where, records = machine(), []
    for case in CASES:
        if arguments.only not in case.title:
            continue
        epochs, steps = (2, 2) if arguments.quick else (case.epochs, LOG_EVERY)
        with tempfile.TemporaryDirectory() as folder:
            record = measure(case, epochs, steps, Path(folder))
        if record is None:
            print(f"{case.title}: no units for bfloat16 here.", flush=True)
            continue
        records.append(record)
        print(f"{case.title}, {record['precision']}: {share_besides(record):.1%} besides the encoder", flush=True)
    goal = [r for r in records if r["case"].startswith("ResNet")]
    met = "; ".join(f"{'met' if share_besides(r) <= GOAL else 'not met'} in {r['precision']}" for r in goal)
    text = (
        f"# A training step and its parts\n\n{table_of(records)}\n\nMeans over the steps of all epochs but the "
        f"first, of {BATCH} rows in two views; parts add up to the step.\n"
        + (f"The goal, at most {GOAL:.0%} besides the encoder for ResNet-18: {met}.\n" if goal else "")
        + f"\n## Waiting for rows\n\n{waits_of(records)}\n\nThe first epoch began with no image in memory. "
        "Nothing else reads ahead: this is all the waiting there is.\n"
        f"\n{where}.\n\nMade by `python benchmarks/step.py --write`; what the parts are is said there.\n"
    )
    print("\n" + text)
    if arguments.write:
        atomic.write_text(RESULTS / "step.md", text)
        plain = {"machine": where, "batch": BATCH, "classes": CLASSES, "results": records}
        atomic.write_text(RESULTS / "step.json", json.dumps(plain, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
