"""Candidates: the batch, all processes' batches, and a memory of past ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from batches import LARGE_NAMINGS
from mscon.method.objectives.supcon import SupCon
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.same_row import SameRow
from mscon.method.weightings.exact import Exact
from mscon.model.encoder import Encoder
from mscon.model.heads.identity import Identity
from mscon.model.model import Model
from mscon.train.gather import AcrossProcesses, CandidateSet, CandidateSource, InBatch, Samples
from mscon.train.memory_bank import MemoryBank
from mscon.train.step import step
from process import script, wait_for


def samples(rows: list[int], first: float = 0.0) -> Samples:
    """Samples of two similarities whose projections tell which they are."""
    count = len(rows)
    projections = (first + torch.arange(2.0 * count)).view(2, count, 1).requires_grad_()
    numbers = torch.tensor(rows)
    return Samples.of_views(projections, [numbers % 2, numbers], numbers, [0])


def after(memory: MemoryBank, anchors: Samples) -> CandidateSet:
    """What a step is compared with, once the step is done."""
    compared = memory(anchors)
    memory.remember(compared)
    return compared


@pytest.mark.parametrize("candidates", [InBatch(), AcrossProcesses()])
def test_alone_the_candidates_are_the_anchors_themselves(candidates):
    anchors = samples([4, 5, 4, 5])
    compared = candidates(anchors)
    assert compared.samples is anchors
    assert compared.anchor_ids.tolist() == compared.candidate_ids.tolist() == [0, 1, 2, 3]
    assert candidates.world_size == 1


def test_a_memory_adds_the_past_without_gradient_and_never_the_own_rows():
    memory = MemoryBank(10)
    after(memory, samples([1, 2, 3], first=100.0))
    now = samples([3, 4])
    compared = after(memory, now)
    assert compared.samples.origin.rows.tolist() == [3, 4, 1, 2]
    assert compared.samples.projections[0, :, 0].tolist() == [0, 1, 100, 101]
    assert compared.samples.projections[1, :, 0].tolist() == [2, 3, 103, 104]
    assert [code.tolist() for code in compared.samples.codes] == [[1, 0, 1, 0], [3, 4, 1, 2]]
    assert compared.anchor_ids.tolist() == [0, 1]
    assert len(set(compared.candidate_ids.tolist())) == 4
    compared.samples.projections.sum().backward()
    assert now.projections.grad.tolist() == torch.ones(2, 2, 1).tolist()


def test_a_memory_forgets_the_oldest_first():
    memory = MemoryBank(3)
    for row in range(5):
        after(memory, samples([row]))
    assert after(memory, samples([9])).samples.origin.rows.tolist() == [9, 4, 3, 2]


def test_what_a_memory_keeps_does_not_depend_on_who_has_which_rows():
    """All views of a row come together: two processes with rows 7, 3 and 5 gather what one with all has in blocks."""
    remembered = []
    for rows in ([7, 3, 5, 7, 3, 5], [7, 3, 7, 3, 5, 5]):
        memory = MemoryBank(5)
        after(memory, samples(rows))
        remembered.append(after(memory, samples([9])).samples.origin.rows.tolist())
    assert remembered[0] == remembered[1] == [9, 7, 7, 3, 3, 5]


def test_a_memory_fills_but_is_not_used_while_it_warms_up():
    memory = MemoryBank(5, warm_up=2)
    assert [len(after(memory, samples([row])).samples) for row in range(4)] == [1, 1, 3, 4]


def test_a_memory_stands_still_in_evaluation():
    memory = MemoryBank(5)
    after(memory, samples([1]))
    memory.eval()
    after(memory, samples([2]))
    assert after(memory, samples([3])).samples.origin.rows.tolist() == [3, 1]


def test_a_memory_survives_saving_and_loading():
    memory, again = MemoryBank(5, warm_up=1), MemoryBank(5, warm_up=1)
    for row in range(4):
        after(memory, samples([row], first=float(row)))
    again.load_state_dict(memory.state_dict())
    one, two = after(memory, samples([9])), after(again, samples([9]))
    assert torch.equal(one.samples.projections, two.samples.projections)
    assert one.samples.origin.rows.tolist() == two.samples.origin.rows.tolist()
    assert torch.equal(memory.new_rows(2, torch.device("cpu")), again.new_rows(2, torch.device("cpu")))


def test_rows_of_which_nothing_is_said_are_new_every_time():
    memory, device = MemoryBank(99), torch.device("cpu")
    numbers: list[int] = []
    for count in (3, 2, 4):
        new = memory.new_rows(count, device).tolist()
        compared = after(memory, samples([*new, *new]))  # two views of each
        assert len(compared.samples) == 2 * count + 2 * len(numbers)  # none was taken for one of before
        numbers += new
    assert len(set(numbers)) == 9


@pytest.mark.parametrize("naming", LARGE_NAMINGS)
def test_a_memory_tells_large_rows_and_codes_apart(naming):
    memory = MemoryBank(10)
    past, now = (
        replace(s, codes=[naming(c) for c in s.codes], origin=s.origin._replace(rows=naming(s.origin.rows)))
        for s in map(samples, ([1, 2, 3, 1], [3, 4]))
    )
    after(memory, past)
    compared = after(memory, now)
    expected = torch.tensor([3, 4, 1, 1, 2])
    assert torch.equal(compared.samples.origin.rows, naming(expected))
    assert torch.equal(compared.samples.codes[1], naming(expected))


def test_a_memory_narrows_no_code_of_the_past():
    memory = MemoryBank(10, warm_up=2)
    codes = (torch.tensor([2**53 + 1]), torch.tensor([5], dtype=torch.int8), torch.tensor([6]))
    for row, code in enumerate(codes):
        compared = after(memory, replace(samples([row]), codes=[code]))
    assert compared.samples.codes[0].tolist() == [6, 5, 2**53 + 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_step_whose_projections_are_refused_leaves_no_trace(value):
    model = Model(Encoder(nn.Flatten(), 3, [0.0], [1.0]), Identity(2, 3))
    memory, weighting, codes = MemoryBank(9), Exact(2, fit_on="training"), torch.tensor([0, 1, 0, 1])

    def one(inputs: Tensor, rows: Tensor) -> Tensor:
        return step(
            model,
            inputs,
            [codes, rows],
            rows,
            similarities=(Categorical("a", ("x", "y")), SameRow()),
            objective=SupCon(),
            weighting=weighting,
            candidates=memory,
            make_views=[lambda x: x] * 2,
            penalty=model.heads.penalty,
        ).total

    generator = torch.Generator().manual_seed(0)
    good = torch.randn(4, 1, 1, 3, generator=generator)
    bad = torch.randn(4, 1, 1, 3, generator=generator)
    bad[2] = value
    one(good, torch.arange(4))
    before = {key: tensor.clone() for part in (memory, weighting) for key, tensor in part.state_dict().items()}
    assert before["filled"] == 8
    assert before["steps"] == 1
    with pytest.raises(ValueError, match=r"finite|zero"):
        one(bad, torch.arange(4, 8))
    state = {key: tensor for part in (memory, weighting) for key, tensor in part.state_dict().items()}
    assert before.keys() == state.keys()
    assert all(torch.equal(state[key], before[key]) for key in state)
    assert one(good, torch.arange(4, 8)).isfinite()


@pytest.mark.parametrize(
    ("settings", "words"), [({"size": 0}, "1 sample or more, got 0"), ({"size": 1, "warm_up": -1}, "warm_up")]
)
def test_a_memory_that_cannot_be_meant_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        MemoryBank(**settings)


def test_all_are_candidates():
    assert all(issubclass(kind, CandidateSource) for kind in (InBatch, AcrossProcesses, MemoryBank))


PROCESS = """
import sys, json, datetime, torch, torch.distributed as dist
from mscon import MSConLoss
torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), sys.argv[2]
sizes, settings = json.loads(sys.argv[3])
world, rows = len(sizes), sum(sizes)
generator = torch.Generator().manual_seed(0)
inputs = torch.randn(rows, 6, dtype=torch.float64, generator=generator)
labels = torch.stack([torch.randint(-1, k, (rows,), generator=generator) for k in (2, 3)], dim=1)
labels[rows // 2 :: 2, 0] = -1  # many more anchors in the first process than in the last
far = 2**53 if world > 1 else 0  # several processes have names that no float tells apart, one has small numbers
labels = torch.where(labels < 0, -1, labels + far)
torch.manual_seed(0)
network = torch.nn.Linear(6, 8).double()
criterion = MSConLoss(["a", "b", "same_row"], weighting="uncertainty", gather_across_devices=True, **settings).double()
with torch.no_grad():
    criterion.weighting.log_variance.copy_(torch.tensor([-0.5, 0.2, 1.0]))
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting{world}", rank=rank, world_size=world,
                            timeout=datetime.timedelta(seconds=60))
moved = []
def counting(name, tensors):
    own = getattr(dist, name)
    def call(*arguments):
        moved.append(sum(t.numel() for t in tensors(*arguments)))
        return own(*arguments)
    setattr(dist, name, call)
counting("all_reduce", lambda tensor: [tensor])
counting("all_gather", lambda parts, tensor: parts)
own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
for step in range(2):  # the second with a memory of the first, where there is one
    criterion.zero_grad(), network.zero_grad()
    views = torch.stack([inputs[own], inputs[own].flip(1)], dim=1) + step
    z = network(views)
    loss = criterion(torch.stack([z, z * z, z.roll(1, -1)]), labels[own], far + torch.arange(rows)[own] + rows * step)
    moved.clear()
    loss.backward()
moved_backward = torch.tensor(moved)
parameters = [*network.parameters(), *criterion.parameters()]
if world > 1:
    for p in parameters:  # what data-parallel training does
        dist.all_reduce(p.grad)
        p.grad /= world
torch.save([moved_backward, loss.detach(), *(p.grad for p in parameters)], f"{folder}/{world}-{rank}.pt")
if world > 1:
    dist.destroy_process_group()
"""


def together(folder: Path, sizes: list[int], settings: dict[str, object]) -> list[list[torch.Tensor]]:
    """What processes with so many rows each find: numbers moved backward, value, gradients."""

    parts = [(rank, sizes) for rank in range(len(sizes))] + [(0, [sum(sizes)])]
    ends = wait_for(script(PROCESS, rank, folder, json.dumps([of, settings]), cwd=folder) for rank, of in parts)
    assert [end.status for end in ends] == [0] * len(parts), ends
    names = [f"{len(sizes)}-{rank}.pt" for rank in range(len(sizes))]
    return [torch.load(folder / name, weights_only=True) for name in [*names, "1-0.pt"]]


@pytest.mark.parametrize(
    ("sizes", "settings", "numbers"),
    [
        ([9, 5], {}, 2),
        ([6, 0, 5], {"positives": "inside"}, 2),  # a process without rows
        ([9, 5], {"temperature": 0.005}, 3),  # in blocks, with a running maximum
        ([9, 5], {"memory_size": 20}, 2),
        ([190, 120], {}, 2),  # in tiles: 3 * 620^2 pairs
    ],
    ids=["dense", "an empty part", "online", "memory", "tiles"],
)
def test_several_processes_equal_one(tmp_path: Path, sizes, settings, numbers):
    """Value and gradients, with unequal numbers of rows and of anchors with a positive, and a few numbers moved.

    Labels and rows of the processes are large, those of the one are small: all that matters is who is equal.
    """
    *processes, alone = together(tmp_path, sizes, settings)
    for errors in processes:
        for one, other in zip(alone[1:], errors[1:], strict=True):
            torch.testing.assert_close(other, one)
        samples, similarities = 2 * max(sizes) * len(sizes), 3
        assert errors[0].tolist() == [numbers * similarities * samples]  # and not 8 a sample, as the projections have
    assert alone[0].tolist() == []


OWN_LOSS = """
import sys, datetime, torch, torch.distributed as dist
from mscon.method.comparison import SampleOrigin
from mscon.train.gather import AcrossProcesses, Samples
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2,
                        timeout=datetime.timedelta(seconds=60))
z = torch.arange(12.0, dtype=torch.float64).view(2, 3, 2)
own = (slice(0, 2), slice(2, 3))[rank]
mine = z[:, own].clone().requires_grad_()
codes, rows = [torch.arange(3)[own] > 1, torch.rand(3, 2)[own]], torch.arange(3)[own] + 7
origin = SampleOrigin(rows, torch.tensor([0, 1, 1])[own], torch.tensor([1, 0, 1])[own])
gathered = AcrossProcesses()(Samples(mine, codes, origin))
samples = gathered.samples
assert torch.equal(samples.projections, z) and samples.origin.rows.tolist() == [7, 8, 9]
assert samples.origin.views.tolist() == [0, 1, 1]
assert samples.origin.inputs.tolist() == [1, 0, 1]
assert samples.codes[0].tolist() == [False, False, True] and samples.codes[1].shape == (3, 2)
assert gathered.anchor_ids.tolist() == [[0, 1], [2]][rank]
((rank + 1) * samples.projections.square()).sum().backward()
torch.testing.assert_close(mine.grad, 2 * 3 * z[:, own])
dist.destroy_process_group()
"""


def test_a_loss_of_ones_own_finds_candidates_that_carry_a_gradient(tmp_path: Path):
    ends = wait_for(script(OWN_LOSS, rank, tmp_path, cwd=tmp_path) for rank in range(2))
    assert [end.status for end in ends] == [0, 0], ends
