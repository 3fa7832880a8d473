"""What objectives get to see of a training, and when."""

from __future__ import annotations

import torch

from mscon.data.table.table import read_table
from mscon.method.objectives.base import Comparison, Losses
from mscon.method.objectives.supcon import SupCon
from mscon.method.similarities.categorical import Categorical
from mscon.method.weightings.equal import Equal
from mscon.train.fit import fit
from mscon.train.gather import Samples
from mscon.train.memory_bank import MemoryBank
from mscon.train.step import measure

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
