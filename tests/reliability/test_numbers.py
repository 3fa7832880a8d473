"""Numbers of a step: mixed precision and low temperatures within stated bounds; a collapsed encoder is told."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mscon.cli import main
from mscon.data.batches.dataset import fit_similarities
from mscon.data.inputs.open import open_inputs
from mscon.data.table.rows import select_rows
from mscon.data.table.table import read_table
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train import assembly, environment
from mscon.train.loop import Training
from reliability.jobs import IMAGES, Job

IS_FULL = os.environ.get("MSCON_RELIABILITY") == "full"

NETWORKS: dict[str, Sequence[str]] = {
    "mlp": (),
    "small_cnn": IMAGES,
    "convnext": ('data={input="image", image_size=32}', 'encoder={name="test_convnext"}'),
    "resnet18": ('data={input="image", image_size=32}', 'encoder={name="resnet18"}'),
}
TEMPERATURES = (0.005, 0.01, 0.02, 0.07, 0.1, 1.0)
SHARE = [("mlp", 0.005), ("small_cnn", 0.1)]
ALL = [(network, temperature) for network in NETWORKS for temperature in TEMPERATURES]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))


def training_of(job: Job, *settings: str) -> Training:
    recipe = recipes.read(job.folder / "r.toml", ["train.batch_size=36", *settings])
    table = read_table(job.folder / "t.csv")
    rows = select_rows(table, recipe.data, recipe.similarities, job.folder)
    similarities = fit_similarities(rows, recipe.similarities)
    inputs = open_inputs(rows, job.folder, recipe.data, table.name, for_views=True)
    with environment.repeatable(0, "cpu"):
        method = assembly.method_of(recipe, similarities, None if recipe.data.input == "image" else inputs)
        dataset = assembly.dataset_of(recipe, rows, similarities, inputs, job.folder, table.name, {})
        return assembly.training_of(recipe, dataset, method, "cpu")


def first_step(training: Training) -> tuple[Tensor, Tensor]:
    """Losses, and the gradient of all parameters."""
    training.method.train()
    (batch,) = training.sampler.epoch(1).batches
    measured = training.learn(batch, training.epoch_views(1))
    return measured.loss, torch.cat([p.grad.flatten() for p in training.method.parameters()])


@pytest.mark.parametrize(("network", "temperature"), ALL if IS_FULL else SHARE)
def test_a_step_in_bfloat16_is_within_bounds_of_float32(job, counts, network, temperature):
    """Losses within 1 %; the gradient at a cosine above 0.97, and within 10 % of the length."""
    settings = [*NETWORKS[network], f"objective.temperature={temperature}"]
    (loss, gradient), (narrow_loss, narrow) = (
        first_step(training_of(job, *settings, f"train.precision={precision}")) for precision in ("float32", "bfloat16")
    )
    torch.testing.assert_close(narrow_loss, loss, rtol=0.01, atol=1e-3)
    assert torch.cosine_similarity(narrow, gradient, dim=0) > 0.97
    assert 0.9 < narrow.norm() / gradient.norm() < 1.1
    assert not torch.equal(narrow, gradient)  # it was another precision
    counts["steps in bfloat16"] += 1


@pytest.mark.parametrize("temperature", TEMPERATURES if IS_FULL else TEMPERATURES[:1])
def test_a_step_in_float32_is_that_of_float64_from_a_temperature_of_0_005_on(job, counts, temperature):
    """Losses within 1e-5, the gradient of all weights within 1e-3 of its length."""
    wide = training_of(job, f"objective.temperature={temperature}")
    wide.method.double()
    expected, gradient = first_step(wide)
    loss, narrow = first_step(training_of(job, f"objective.temperature={temperature}"))
    assert gradient.dtype == torch.float64
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    assert (narrow - gradient).norm() < 1e-3 * gradient.norm()
    counts["steps in float32 against float64"] += 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_at_a_temperature_of_0_005_learns(job, monkeypatch, precision):
    settings = ["--set", "objective.temperature=0.005", "--set", f"train.precision={precision}", "--set"]
    monkeypatch.chdir(job.folder)
    assert main(job.train("run", *settings, "train.epochs=8")) == 0
    steps = [record for record in Run.open(job.folder / "run").read_log() if record["kind"] == "step"]
    first, last = (record["relative_excess"]["kind"] for record in (steps[0], steps[-1]))
    assert last < 0.8 * first


COLLAPSED = """
import torch
from torch import nn
class Network(nn.Module):
    def __init__(self, to: str) -> None:
        super().__init__()
        self.to, self.linear = to, nn.Linear(32, 8)
    def forward(self, vectors):
        features = self.linear(vectors)
        return 50 + 1e-3 * features if self.to == "point" else features[:, :1] * torch.arange(1, 9)
"""


@pytest.mark.parametrize(
    ("to", "words"), [("point", "The encoder has collapsed: "), ("line", "The encoder has nearly collapsed: ")]
)
def test_a_collapsed_encoder_is_told_by_train_probe_and_report(job, tmp_path, monkeypatch, capsys, to, words):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / f"collapsed_{to}.py").write_text(COLLAPSED)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.chdir(job.folder)
    network = f'encoder={{name="collapsed_{to}:Network", settings={{to="{to}"}}}}'
    assert main(job.train("run", "--set", network, "--set", "train.epochs=1")) == 0
    assert capsys.readouterr().err.count(words) == 1
    assert main(["probe", "run"]) == 0
    assert capsys.readouterr().out.count(words) == 1
    assert main(["report", "run", "--no-maps"]) == 0
    assert words in re.sub(r"\s+", " ", Path("run/report.html").read_text("utf-8"))


def test_of_an_encoder_that_has_not_collapsed_nothing_is_said(job, monkeypatch, capsys):
    monkeypatch.chdir(job.folder)
    assert main(job.train("run")) == main(["probe", "run"]) == main(["report", "run", "--no-maps"]) == 0
    texts = capsys.readouterr()
    assert "collapsed" not in texts.err + texts.out + Path("run/report.html").read_text("utf-8")


HUNGRY = """
import numpy as np
import torch
from torch import nn
class Network(nn.Module):
    def __init__(self, of: str) -> None:
        super().__init__()
        self.of, self.linear = of, nn.Linear(32, 8)
    def forward(self, vectors):
        if torch.is_grad_enabled() or self.of == "probe":
            if len(vectors) > 2 and self.of in ("torch", "probe"):
                torch.ones(2**50)
            if self.of == "numpy":
                np.ones(2**50)
            if self.of == "gpu":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return self.linear(vectors)
"""


@pytest.mark.parametrize("of", ["torch", "numpy", "gpu"])
def test_memory_that_runs_out_while_training_is_one_message_with_what_to_lower(job, tmp_path, monkeypatch, capsys, of):
    (tmp_path / "hungry.py").write_text(HUNGRY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(job.folder)
    network = f'encoder={{name="hungry:Network", settings={{of="{of}"}}}}'
    assert main(job.train("run", "--set", network)) == 2
    message = capsys.readouterr().err.partition("mscon: ")[2]
    assert message.startswith("out of memory while training (")
    assert "train.mini_batch_size = 3" in message
    assert "a smaller train.batch_size (it is 12)" in message
    assert "image_size" not in message
    assert "has no checkpoint yet" in message


def test_memory_that_runs_out_elsewhere_is_one_message(job, tmp_path, monkeypatch, capsys):
    (tmp_path / "hungry.py").write_text(HUNGRY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(job.folder)
    network = 'encoder={name="hungry:Network", settings={of="probe"}}'
    assert main(job.train("run", "--set", network, "--set", "train.epochs=0")) == 0
    assert main(["probe", "run"]) == 2
    assert re.search(r"^mscon: out of memory \(.*\n  .*--batch-size", capsys.readouterr().err, re.MULTILINE)
