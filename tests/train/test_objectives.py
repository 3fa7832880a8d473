"""What objectives get to see of a training, and when."""

from __future__ import annotations

import contextlib
import math

import torch

from mscon.data.table.table import read_table
from mscon.method.objectives.base import Comparison, Losses
from mscon.method.objectives.supcon import SupCon
from mscon.method.similarities.categorical import Categorical
from mscon.method.weightings.equal import Equal
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train import epochs
from mscon.train.fit import fit, resume
from mscon.train.gather import Samples
from mscon.train.memory_bank import MemoryBank
from mscon.train.step import measure
from vector_table import write_table

QUIET = {"progress": False}


def test_an_objective_sees_the_row_and_the_view_of_each_sample_also_of_remembered_ones():
    comparisons = []

    class Watched(SupCon):
        def forward(self, comparison: Comparison) -> Losses:
            comparisons.append(comparison)
            return super().forward(comparison)

    memory = MemoryBank(20)
    for first in (0, 3):
        projections = torch.randn(1, 6, 2, generator=torch.Generator().manual_seed(first))
        measure(
            Samples.of_views(projections, [torch.tensor([0, 1, 0])], torch.arange(first, first + 3), [0, 0]),
            similarities=[Categorical("c", ("x", "y"))],
            objective=Watched(),
            weighting=Equal(1),
            candidates=memory,
        )
    alone, with_past = comparisons
    assert alone.candidates is None
    assert with_past.anchor_origin.rows.tolist() == [3, 4, 5, 3, 4, 5]
    assert with_past.anchor_origin.views.tolist() == [0, 0, 0, 1, 1, 1]
    assert with_past.candidate_origin.rows.tolist() == [3, 4, 5, 3, 4, 5, 0, 0, 1, 1, 2, 2]
    assert with_past.candidate_origin.views.tolist() == [0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1]


def test_a_memory_of_before_views_had_numbers_is_read():
    memory, again = MemoryBank(9), MemoryBank(9)
    memory.remember(memory(Samples.of_views(torch.ones(1, 2, 3), [torch.arange(2)], torch.arange(2), [0])))
    again.load_state_dict({key: value for key, value in memory.state_dict().items() if key != "views"})
    assert again.get_buffer("views").tolist() == [0, 0]


def test_an_objective_is_called_after_each_step_of_the_optimiser(recipe, table, tmp_path, monkeypatch):
    graphs = []
    monkeypatch.setattr(SupCon, "after_step", lambda self: graphs.append(torch.is_grad_enabled()))
    fit(recipe, table, tmp_path / "run", **QUIET)
    assert graphs == [False] * 4


def test_a_similarity_that_an_objective_finds_nothing_to_compare_by_is_told_once(recipe_with, table, tmp_path, capsys):
    """Under `continuous` no weight is 0, and a decoupled loss compares with nothing else."""
    path = table.path.with_name("sized.csv")
    header, *lines = table.path.read_text().splitlines()
    path.write_text("\n".join([f"{header},size", *(f"{line},{n}" for n, line in enumerate(lines))]) + "\n")
    similarity = 'similarity=[{column="shape", name="categorical"}, {column="size", name="continuous", width=100.0}]'
    fit(recipe_with(similarity, "objective.name=decoupled:DCL"), read_table(path), tmp_path / "run")
    text = capsys.readouterr().err
    assert text.count("warning: None of the 2 batches of the first epoch holds anything to compare") == 1
    assert "by 'size' (objective 'decoupled:DCL')" in text


MIXED = """
[[similarity]]
column = "kind"
objective = "l_spread"
[[similarity]]
column = "shade"
objective = { name = "hard_contrastive", hardest = 0.5 }
[[similarity]]
column = "mood"
objective = "cacr"
[[similarity]]
name = "same_row"
objective = { name = "mv_infonce", same_view = false }
[[similarity]]
name = "same_row"
column = "energy"
objective = "mv_dhel"
[[similarity]]
name = "same_row"
column = "clusters"
objective = { name = "swav", prototypes = 12, frozen_steps = 2 }
[[similarity]]
name = "same_row"
column = "near"
objective = { name = "beclr", neighbours = 2, clusters = 4, warm_up = 2 }

[views]
count = 3

[candidates]
memory_size = 60

[data]
input = "vectors"
vectors = "points.npy"

[encoder]
name = "mlp"
settings = { units = 16, layers = 1 }

[train]
vicreg = 1.0
sigreg = 0.1
epochs = 3
batch_size = 16
precision = "float32"
channels_last = "no"
"""


def test_losses_of_views_prototypes_and_memory_train_together_and_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    mixed = recipes.parse(MIXED, ["weighting.name=equal"])
    table = write_table(tmp_path)
    whole = fit(mixed, table, tmp_path / "whole", **QUIET)
    losses = [record["loss"] for record in whole.read_log() if "loss" in record]
    assert all(math.isfinite(value) for loss in losses for value in loss.values())
    assert len(losses[0]) == 7
    state = whole.read_checkpoint("last")[0]
    prototypes = next(value for name, value in state.items() if "prototypes" in name)
    torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(12))

    train_epoch = epochs.train_epoch

    def interrupted(training, number, step):
        yield from train_epoch(training, number, step)
        if number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(epochs, "train_epoch", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        fit(mixed, table, tmp_path / "parts", **QUIET)
    monkeypatch.undo()
    resumed = resume(Run(tmp_path / "parts"), **QUIET).read_checkpoint("last")[0]
    assert resumed.keys() == state.keys()
    assert [name for name, value in state.items() if not torch.equal(value, resumed[name])] == []
