"""What a GPU does with mscon, in one command of at most 8 minutes: the loss, views, a training step, bfloat16, nccl.

    python benchmarks/gpu.py --write        writes benchmarks/results/gpu.md and gpu.json, to be committed
    python benchmarks/gpu.py --dry-run      tiny sizes on the CPU, the kernels by Triton's interpreter; a minute

Loss: three columns of 4, 5 and 20 classes, two views a row, temperature 0.1, forward and backward. `mscon` is the
Triton kernels; its errors of value and gradient are against float64 on the same numbers (up to 4,096 rows). PML is
pytorch-metric-learning's SupConLoss, a call for each column; plain is masks, `log_softmax` and one `bmm`. TFLOP/s count
5 N^2 d C operations: a forward pass that uses symmetry, and a backward pass in which each row gathers its own gradient.
Memory is the growth of what torch has allocated, at its peak. Times are medians of calls, each waited for.

Step: `Training.learn` and the optimiser of real trainings, images in memory, three columns, SGD; the same step in
float32 and bfloat16 from the same weights, with the cosine of the two gradients and the ratio of their lengths. nccl: a
training under torchrun with one process against the same without.

Every part ends when its share of the time is spent, and what a part could not do is a line of the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpu_plan import DRY, GPU, Plan, timed

RESULTS = Path(__file__).parent / "results"
PARTS = ("loss", "views", "step", "nccl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU, by Triton's interpreter")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts")
    parser.add_argument("--write", action="store_true", help="write the tables under benchmarks/results")
    arguments = parser.parse_args()
    if arguments.dry_run:  # before triton is imported
        os.environ.update(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")
    import torch
    from gpu_loss import losses

    if not arguments.dry_run and not torch.cuda.is_available():
        sys.exit("There is no GPU that torch can use. `--dry-run` tries the benchmark without one.")
    plan = DRY if arguments.dry_run else GPU
    parts: list[tuple[str, float, Callable[[Plan, float], Iterator[dict[str, Any]]]]] = [
        ("loss", 0.5, losses),
        ("views", 0.1, views),
        ("step", 0.25, steps),
        ("nccl", 0.15, one_process),
    ]
    start, records = time.perf_counter(), {}
    for name, share, part in [part for part in parts if part[0] in arguments.only]:
        end = time.perf_counter() + share * plan.seconds
        records[name] = []
        for record in part(plan, end):
            records[name].append(record)
            print(name, json.dumps(record), flush=True)
    spent = time.perf_counter() - start
    text = text_of(records, where(plan), spent)
    print("\n" + text)
    if arguments.write and not arguments.dry_run:
        from mscon.run import atomic

        atomic.write_text(RESULTS / "gpu.md", text)
        plain = {"machine": where(plan), "seconds": spent, "results": records}
        atomic.write_text(RESULTS / "gpu.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")


def where(plan: Plan) -> str:
    import torch
    from machine import machine

    gpu = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, " if plan.device == "cuda" else ""
    return gpu + machine()


# Views, steps -------------------------------------------------------------------------------------


def views(plan: Plan, end: float) -> Iterator[dict[str, Any]]:
    import torch

    from mscon.data.inputs.views import augment
    from mscon.run.recipe import Views

    generator = torch.Generator(plan.device).manual_seed(0)
    for images, side in plan.views:
        stored = torch.randint(0, 256, (images, 3, side, side), dtype=torch.uint8, device=plan.device)
        spent, peak = timed(lambda s=stored: augment(s, Views(blur=0.5), generator), plan.device, end)
        yield {"images": images, "side": side, "images_a_second": images / spent, "mb": peak}


def steps(plan: Plan, end: float) -> Iterator[dict[str, Any]]:
    import torch

    for encoder, side, rows in plan.steps:
        gradients = {}
        record: dict[str, Any] = {"encoder": encoder, "side": side, "rows": rows}
        for precision in ("float32", "bfloat16"):
            with tempfile.TemporaryDirectory() as folder:
                training = training_of(Path(folder), encoder, side, rows, precision, plan.device)
                batch = training.sampler.epoch(1).batches[0]
                training.method.train()
                measured = training.learn(batch, training.epoch_views(1))
                gradients[precision] = torch.cat([p.grad.flatten() for p in training.method.parameters()])
                record[f"{precision}_loss"] = float(measured.total.detach())

                def step(training: Any = training, batch: Any = batch) -> None:
                    training.learn(batch, training.epoch_views(1))
                    training.optimiser.step()
                    training.optimiser.zero_grad()

                spent, peak = timed(step, plan.device, end)
                record |= {f"{precision}_ms": 1e3 * spent, f"{precision}_mb": peak}
        wide, narrow = gradients["float32"], gradients["bfloat16"]
        record["cosine"] = float(torch.cosine_similarity(wide, narrow, dim=0))
        record["length"] = float(narrow.norm() / wide.norm())
        yield record


def training_of(folder: Path, encoder: str, side: int, rows: int, precision: str, device: str) -> Any:
    """Of random pictures and labels, put together as `mscon train` does."""
    from step import Case, recipe_of, write_table

    from mscon.data.batches.dataset import fit_similarities
    from mscon.data.inputs.open import open_inputs
    from mscon.data.table.rows import select_rows
    from mscon.data.table.table import read_table
    from mscon.run import recipe as recipes
    from mscon.train import assembly, environment

    os.environ["MSCON_CACHE"] = str(folder / "cache")
    case = Case("", encoder, side, precision, "sgd", 1)
    recipe = recipes.parse(recipe_of(case, 1).to_toml(), [f"train.batch_size={rows}"])
    table = read_table(write_table(folder, side, rows))
    selected = select_rows(table, recipe.data, recipe.similarities, folder)
    similarities = fit_similarities(selected, recipe.similarities)
    inputs = open_inputs(selected, folder, recipe.data, table.name, for_views=True)
    with environment.repeatable(0, device):
        method = assembly.method_of(recipe, similarities)
        dataset = assembly.dataset_of(recipe, selected, similarities, inputs, folder, table.name, {})
        return assembly.training_of(recipe, dataset, method, device)


# Processes ----------------------------------------------------------------------------------------


def one_process(plan: Plan, end: float) -> Iterator[dict[str, Any]]:
    """A training under torchrun with one process, by nccl on a GPU, against the same without torchrun."""
    from step import Case, recipe_of, write_table

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = write_table(folder, 16, 128)
        (folder / "r.toml").write_text(recipe_of(Case("", "small_cnn", 16, "float32", "sgd", 1), 1).to_toml())
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "mscon"]
        ends, weights = list[int | None](), list[bytes]()
        for out, command in (("shared", launch), ("alone", [sys.executable, "-m", "mscon"])):
            arguments = ["train", "r.toml", "--table", table.name, "--out", out, "--no-probe"]
            environment = os.environ | {"MSCON_CACHE": str(folder / "cache")}
            left = max(30.0, end - time.perf_counter())
            try:
                ended = subprocess.run(
                    [*command, *arguments], cwd=folder, env=environment, capture_output=True, timeout=left
                )
                ends.append(ended.returncode)
            except subprocess.TimeoutExpired:
                ends.append(None)
            path = folder / out / "checkpoints" / "last.safetensors"
            weights.append(path.read_bytes() if path.is_file() else b"")
        yield {
            "backend": "nccl" if plan.device == "cuda" else "gloo",
            "statuses": ends,
            "bytes_of_weights": len(weights[0]),
            "equal": _tensors(weights[0]) == _tensors(weights[1]),
        }


def _tensors(checkpoint: bytes) -> bytes:
    """A checkpoint without its header, which holds times."""
    return checkpoint[8 + int.from_bytes(checkpoint[:8], "little") :]


# The page -----------------------------------------------------------------------------------------


def text_of(records: dict[str, list[dict[str, Any]]], machine: str, seconds: float) -> str:
    titles = {"loss": "The loss of three columns", "views": "Views", "step": "A training step", "nccl": "One process"}
    sections = [f"## {titles[name]}\n\n{table_of(rows)}" for name, rows in records.items()]
    return (
        "# On a GPU\n\n" + "\n\n".join(sections) + f"\n\n{machine}; {seconds:.0f} s in all.\n\nMade by `python "
        "benchmarks/gpu.py --write`; what the columns mean is said there.\n"
    )


def table_of(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "No time was left."
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[shown(row.get(column, "")) for column in columns] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(value: Any) -> str:
    if isinstance(value, bool | str | list):
        return str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return "out of memory" if value is None else f"{value:,}"


if __name__ == "__main__":
    main()
