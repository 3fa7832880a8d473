"""A step with a loss or a gradient that is not finite: which rows, what is kept, and that it can be repeated."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mscon.cli import main
from mscon.data.table.table import read_table
from mscon.errors import RunError
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train import loop
from mscon.train.breakdown import CAPTURE, ON_GPU, Capture, diagnose
from mscon.train.fit import fit
from mscon.train.reopen import reopen
from process import together
from reliability.content import tree
from reliability.jobs import IMAGES, Job, write_job

# A network, an objective and a weighting that break down for a row whose last number is by far the largest.
BROKEN = """
from dataclasses import replace
import torch
from torch import nn
from mscon.method.objectives.supcon import SupCon
from mscon.method.weightings.equal import Equal

class Network(nn.Module):
    def __init__(self, what: str = "") -> None:
        super().__init__()
        self.what, self.linear, self.dropout = what, nn.Linear(32, 8), nn.Dropout(0.2)
    def forward(self, vectors):
        marked = (vectors[:, -1] > 3)[:, None]
        features = self.dropout(self.linear(vectors))
        if self.what == "features":
            return torch.where(marked, torch.nan, features)
        if self.what == "gradient" and features.requires_grad:
            features.register_hook(lambda gradient: torch.where(marked, torch.inf, gradient))
        return features

class Objective(SupCon):
    def forward(self, comparison):
        losses = super().forward(comparison)
        per_anchor = losses.per_anchor.clone()
        per_anchor[1, comparison.anchor_origin.rows == 7] = torch.nan
        return replace(losses, per_anchor=per_anchor)

class Weighting(Equal):
    def forward(self, losses):
        weighted = super().forward(losses)
        return replace(weighted, total=weighted.total * torch.inf)
"""

NETWORK = 'encoder={name="broken:Network", settings={what="%s"}}'
STILL = "views={corrupt=0.0, noise=0.0}"
PLAIN = ("heads.batch_norm=false", STILL)


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    """Row 7, line 9, is marked."""
    job = write_job(tmp_path / "job")
    vectors = np.load(job.folder / "v.npy")
    vectors[7, -1] = 1_000
    np.save(job.folder / "v.npy", vectors)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"), prepend=":")
    return job


def trained(job: Job, *settings: str) -> Run:
    run = fit(
        recipes.read(job.folder / "r.toml", settings),
        read_table(job.folder / "t.csv"),
        job.folder / "run",
        progress=False,
    )
    assert run is not None
    return run


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ([NETWORK % "features"], r"the feature vector is not finite in 1 of 12 rows \(line 9\)"),
        ([NETWORK % "gradient"], r"the gradient of the features is not finite in 1 of 12 rows \(line 9\)"),
        (
            ["objective.name=broken:Objective"],
            r"the loss of similarity 'tone' is not finite in 1 of 12 rows \(line 9\)",
        ),
        (
            ["weighting.name=broken:Weighting"],
            "the total is inf, though every loss is finite: the weighting is at fault",
        ),
        (
            ["train.learning_rate=1e38", "train.optimiser=sgd"],
            "is finite in no row, so the weights are at fault and not a row",
        ),
    ],
    ids=["features", "gradient", "loss", "total", "rate"],
)
@pytest.mark.parametrize("mini_batch", [0, 5])
def test_the_first_number_that_is_not_finite_is_named_with_its_rows(job, capsys, settings, what, mini_batch):
    """And `mscon replay` says the same."""
    with pytest.raises(RunError, match=what) as raised:
        trained(job, *PLAIN, *settings, f"train.mini_batch_size={mini_batch}")
    message = str(raised.value)
    assert re.search(r"^epoch 1, step [1-3]: training broke down: ", message)
    assert f"`mscon replay {job.folder / 'run'}` takes it again" in message
    before = tree(job.folder)
    assert main(["replay", str(job.folder / "run")]) == 0
    assert tree(job.folder) == before
    assert re.search(what, capsys.readouterr().out)


VARIANTS = {
    "plain": (),
    "dropout": (NETWORK % "",),
    "memory, learned weights": ("candidates.memory_size=24", "weighting.name=uncertainty"),
    "relative, cached": ("weighting.name=relative", "train.mini_batch_size=5", NETWORK % ""),
    "exact, balanced": (
        'weighting={name="exact", fit_on="training"}',
        "sampler.name=balanced",
        "candidates.memory_size=30",
    ),
    "views of images": IMAGES,
    "triplets": ("triplets.count=30", "objective.name=triplet_margin"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_captured_step_is_repeated_bit_for_bit(job, monkeypatch, variant):
    """Its gradient, from the run's files alone."""
    gradients: list[dict[str, torch.Tensor]] = []
    is_finite = loop.is_finite

    def finite_for_four_steps(measured, parameters) -> bool:
        learned = list(parameters)
        gradients.append([p.grad.clone() for p in learned if p.grad is not None])
        return is_finite(measured, learned) and len(gradients) < 5

    monkeypatch.setattr(loop, "is_finite", finite_for_four_steps)
    with pytest.raises(RunError, match="a loss or a gradient is not finite"):
        trained(job, *VARIANTS[variant])
    run = Run.open(job.folder / "run")
    training = reopen(run, run.read_recipe(), "cpu", False).training
    assert diagnose(training, Capture.of_checkpoint(*run.read_checkpoint(CAPTURE))) == ""
    again = [p.grad for p in training.method.parameters() if p.grad is not None]
    assert len(again) == len(gradients[-1]) > 0
    assert all(torch.equal(one, other) for one, other in zip(again, gradients[-1], strict=True))
    assert any(gradient.any() for gradient in again)


def test_a_run_that_has_not_broken_down_has_nothing_to_repeat(job, capsys):
    run = trained(job, "train.epochs=1")
    assert main(["replay", str(run.root)]) == 2
    assert "has no captured step: its training has not broken down" in capsys.readouterr().err


def test_a_step_of_a_gpu_is_not_repeated_without_one(job, capsys):
    """Its random numbers are others there."""
    run = trained(job, "train.epochs=1")
    weights = run.read_checkpoint("last")[0]
    state = torch.zeros(16, dtype=torch.uint8)
    capture = Capture(1, 1, torch.arange(3), {"views": state, "network": state, ON_GPU: state}, weights)
    run.write_checkpoint(CAPTURE, *capture.to_checkpoint())
    assert main(["replay", str(run.root)]) == 2
    assert "was taken with a GPU, so it can be repeated only there" in capsys.readouterr().err


def test_of_several_processes_one_message_names_the_batch_and_one_process_repeats_the_step(job, capsys):
    (job.folder / "r.toml").write_text(
        (job.folder / "r.toml").read_text().replace('name = "mlp"', 'name = "broken:Network"')
    )
    settings = ["--set", 'encoder.settings={what="features"}', "--set", STILL, "--set", "heads.batch_norm=false"]
    outcome = together(*job.train("run"), *settings, cwd=job.folder)
    assert outcome.is_one_message, outcome
    assert re.search(r"Rows of the batch: lines .*\bmore\.\n.*`mscon replay run`", outcome.err), outcome
    assert main(["replay", str(job.folder / "run")]) == 0
    assert "the feature vector is not finite in 1 of 12 rows (line 9)" in capsys.readouterr().out


def test_what_was_to_replace_a_run_keeps_no_step_and_changes_nothing(job):
    run = trained(job, "train.epochs=1")
    before = {path: path.read_bytes() for path in Path(run.root).rglob("*") if path.is_file()}
    recipe = recipes.read(job.folder / "r.toml", [*PLAIN, NETWORK % "gradient"])
    with pytest.raises(RunError, match="line 9") as raised:
        fit(recipe, read_table(job.folder / "t.csv"), run.root, overwrite=True, progress=False)
    assert "mscon replay" not in str(raised.value)
    assert {path: path.read_bytes() for path in Path(run.root).rglob("*") if path.is_file()} == before
