"""Float64: a training of vectors in double precision, in one process or in several, step by step.

Parameters and buffers are made float64 by `.double()`, the encoder's mean and std among them, so that inputs become
float64 where they are standardised. All else is the library's: sampler, views, step, exchange and optimiser.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mscon.data.batches.dataset import Dataset, fit_similarities
from mscon.data.batches.sampler import part_of
from mscon.data.inputs.open import open_inputs
from mscon.data.table.rows import select_rows
from mscon.data.table.table import read_table
from mscon.run import recipe as recipes
from mscon.train import assembly, environment
from mscon.train.gather import processes
from mscon.train.loop import train_epoch, validate
from mscon.train.torchrun import leave

ROWS, BATCH = 60, 12

_RECIPE = """
[data]
input = "vectors"
vectors = "v.npy"
[encoder]
name = "mlp"
settings = { units = 16, layers = 1 }
[heads]
batch_norm = false
[train]
epochs = 2
batch_size = 12
precision = "float32"
learning_rate = 1e-2
optimiser = "sgd"
"""

CLASSES = 'similarity=[{column="kind", name="categorical"}, {column="rare", name="categorical"}, {name="same_row"}]'


@dataclass(frozen=True, slots=True)
class Result:
    """What a process leaves in its file.

    Attributes:
        losses: of each step, a number a similarity.
        gradients: of each step, after they were averaged over processes.
        weights: at the end, objective and weighting included.
        absent: steps in which this process had no label of column "rare", though the batch had some.
    """

    losses: torch.Tensor
    gradients: torch.Tensor
    weights: torch.Tensor
    absent: int


def write_table(folder: Path) -> None:
    """60 rows: three kinds, a third of them missing; a column of which 8 of 44 training rows know the class; a size; a
    path of two levels."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(ROWS, 24)).astype(np.float32)
    np.save(folder / "v.npy", vectors)
    lines = ["split,kind,rare,size,path"]
    for row in range(ROWS):
        split = "train" if row < 44 else "validation" if row < 54 else "test"
        kind = "" if generator.random() < 1 / 3 else "abc"[generator.integers(3)]
        rare = "xy"[row % 2] if row % 11 in (3, 4) or row >= 44 else ""
        size = "" if generator.random() < 0.2 else f"{generator.normal():.3f}"
        lines.append(f"{split},{kind},{rare},{size},{'pq'[row % 2]}/{row % 6}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    (folder / "r.toml").write_text(_RECIPE)


def train(arguments: tuple[Path, Sequence[str]]) -> int:
    """Two epochs, validation included; the result goes to a file named by the processes and the number of this one."""
    folder, settings = arguments
    torch.set_num_threads(1)
    environment.meet("cpu")
    recipe, table = recipes.read(folder / "r.toml", settings), read_table(folder / "t.csv")
    rows = select_rows(table, recipe.data, recipe.similarities)
    similarities = fit_similarities(rows, recipe.similarities)
    inputs = open_inputs(rows, table.folder, recipe.data, table.name)
    with environment.repeatable(recipe.train.seed, "cpu"):
        method = assembly.method_of(recipe, similarities, inputs).double()
        dataset = assembly.dataset_of(recipe, rows, similarities, inputs, table.folder, table.name, {})
        training = assembly.training_of(recipe, dataset, method, "cpu")
        losses, gradients = [], []

        def keep_gradient(*_: object) -> None:
            gradients.append(torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None]).clone())

        training.optimiser.register_step_pre_hook(keep_gradient)
        method.register_forward_hook(lambda _, __, measured: losses.append(measured.loss))
        step = 0
        for epoch in (1, 2):
            list(train_epoch(training, epoch, step))
            step += training.steps_an_epoch
            validate(training, epoch, step)
    (rank, world), absent = processes(), 0
    if isinstance(dataset, Dataset) and "rare" in recipe.columns:
        known = rows.get_column("rare").is_not_null().to_numpy()
        for epoch in (1, 2):
            for batch in training.sampler.epoch(epoch).batches:
                part = batch[part_of(len(batch), rank, world)]
                absent += bool(known[batch.numpy()].any() and not known[part.numpy()].any())
    assert all(gradient.dtype == torch.float64 for gradient in gradients)
    weights = torch.cat([v.flatten().double() for v in method.state_dict().values()])
    shortest = min(map(len, gradients))
    assert all(len(gradient) == shortest for gradient in gradients)
    result = [torch.stack(losses) if losses else torch.zeros(0), torch.stack(gradients), weights, torch.tensor(absent)]
    torch.save(result, folder / f"{world}-{rank}-{os.environ['CASE']}.pt")
    leave()
    return 0


def result_of(folder: Path, case: str, world: int, rank: int) -> Result:
    losses, gradients, weights, absent = torch.load(folder / f"{world}-{rank}-{case}.pt", weights_only=True)
    return Result(losses, gradients, weights, int(absent))
