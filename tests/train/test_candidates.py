"""Candidates: the batch, all processes' batches, and a memory of past ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mscon.train.candidates import Candidates, Gathered, InBatch, Remembered, Samples


def samples(rows: list[int], first: float = 0.0) -> Samples:
    """Samples of two similarities whose projections tell which they are."""
    count = len(rows)
    projections = (first + torch.arange(2.0 * count)).view(2, count, 1).requires_grad_()
    numbers = torch.tensor(rows)
    return Samples(projections, [numbers % 2, numbers], numbers)


@pytest.mark.parametrize("candidates", [InBatch(), Gathered()])
def test_alone_the_candidates_are_the_anchors_themselves(candidates):
    anchors = samples([4, 5, 4, 5])
    compared = candidates(anchors)
    assert compared.samples is anchors
    assert compared.anchor_ids.tolist() == compared.candidate_ids.tolist() == [0, 1, 2, 3]
    assert candidates.world_size == 1


def test_a_memory_adds_the_past_without_gradient_and_never_the_own_rows():
    memory = Remembered(10)
    memory(samples([1, 2, 3], first=100.0))
    now = samples([3, 4])
    compared = memory(now)
    assert compared.samples.rows.tolist() == [3, 4, 1, 2]
    assert compared.samples.projections[0, :, 0].tolist() == [0, 1, 100, 101]
    assert compared.samples.projections[1, :, 0].tolist() == [2, 3, 103, 104]
    assert [code.tolist() for code in compared.samples.codes] == [[1, 0, 1, 0], [3, 4, 1, 2]]
    assert compared.anchor_ids.tolist() == [0, 1]
    assert len(set(compared.candidate_ids.tolist())) == 4
    compared.samples.projections.sum().backward()
    assert now.projections.grad.tolist() == torch.ones(2, 2, 1).tolist()


def test_a_memory_forgets_the_oldest_first():
    memory = Remembered(3)
    for row in range(5):
        memory(samples([row]))
    assert memory(samples([9])).samples.rows.tolist() == [9, 4, 3, 2]


def test_a_memory_fills_but_is_not_used_while_it_warms_up():
    memory = Remembered(5, warm_up=2)
    assert [len(memory(samples([row])).samples) for row in range(4)] == [1, 1, 3, 4]


def test_a_memory_stands_still_in_evaluation():
    memory = Remembered(5)
    memory(samples([1]))
    memory.eval()
    memory(samples([2]))
    assert memory(samples([3])).samples.rows.tolist() == [3, 1]


def test_a_memory_survives_saving_and_loading():
    memory, again = Remembered(5, warm_up=1), Remembered(5, warm_up=1)
    for row in range(4):
        memory(samples([row], first=float(row)))
    memory.new_rows(7, torch.device("cpu"))
    again.load_state_dict(memory.state_dict())
    one, two = memory(samples([9])), again(samples([9]))
    assert torch.equal(one.samples.projections, two.samples.projections)
    assert one.samples.rows.tolist() == two.samples.rows.tolist()
    assert torch.equal(memory.new_rows(2, torch.device("cpu")), again.new_rows(2, torch.device("cpu")))


def test_rows_of_which_nothing_is_said_are_new_every_time():
    memory = Remembered(5)
    device = torch.device("cpu")
    assert memory.new_rows(3, device).tolist() + memory.new_rows(2, device).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("settings", "words"), [({"size": 0}, "1 sample or more, got 0"), ({"size": 1, "warm_up": -1}, "warm_up")]
)
def test_a_memory_that_cannot_be_meant_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Remembered(**settings)


def test_all_are_candidates():
    assert all(issubclass(kind, Candidates) for kind in (InBatch, Gathered, Remembered))


PROCESS = """
import sys, datetime, torch, torch.distributed as dist
from mscon import MSConLoss
torch.set_num_threads(1)
rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
generator = torch.Generator().manual_seed(0)
inputs = torch.randn(14, 6, dtype=torch.float64, generator=generator)
labels = torch.stack([torch.randint(-1, k, (14,), generator=generator) for k in (2, 3)], dim=1)
torch.manual_seed(0)
network = torch.nn.Linear(6, 8).double()
criterion = MSConLoss(["a", "b", "same_row"], weighting="uncertainty", gather_across_devices=True).double()
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world,
                            timeout=datetime.timedelta(seconds=60))
own = slice(None) if world == 1 else (slice(0, 9), slice(9, 14))[rank]  # unequal on purpose
views = torch.stack([inputs[own], inputs[own].flip(1)], dim=1)
z = network(views)
loss = criterion(torch.stack([z, z * z, z.roll(1, -1)]), labels[own])
loss.backward()
parameters = [*network.parameters(), *criterion.parameters()]
if world > 1:
    for p in parameters:  # what data-parallel training does
        dist.all_reduce(p.grad)
        p.grad /= world
torch.save([loss.detach(), *(p.grad for p in parameters)], f"{folder}/{world}-{rank}.pt")
if world > 1:
    dist.destroy_process_group()
"""


def test_two_processes_equal_one(tmp_path: Path):
    """Value and gradients, with unequal numbers of rows and of anchors with a positive."""

    def start(rank: int, world: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROCESS, str(rank), str(world), str(tmp_path)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    for world in (1, 2):
        running = [start(rank, world) for rank in range(world)]
        errors = [process.communicate(timeout=120)[1] for process in running]
        assert all(process.returncode == 0 for process in running), errors
    alone = torch.load(tmp_path / "1-0.pt", weights_only=True)
    for rank in range(2):
        together = torch.load(tmp_path / f"2-{rank}.pt", weights_only=True)
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(other, one)
