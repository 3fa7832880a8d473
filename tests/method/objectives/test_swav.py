"""SwAV: against its formula by loops; assignments, the queue, prototypes over steps; in a training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mscon import MSConLoss, SameRow
from mscon.method.comparison import Comparison, SampleOrigin
from mscon.method.objectives.base import Losses
from mscon.method.objectives.swav import SwAV
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import Categorical

F64 = torch.float64
KIND = Categorical("a", ("x", "y", "z"))


def comparison_of(z: Tensor, labels: Tensor) -> Comparison:
    """Of vectors [views, rows, dim]."""
    views, rows, _ = z.shape
    codes, ids = labels.repeat(views), torch.arange(views * rows)
    origin = SampleOrigin.of_views(torch.arange(rows), [0] * views)
    pairs = [LazyPairs(KIND.compare, codes, codes, ids, ids, is_partition=True)]
    return Comparison(z.reshape(1, views * rows, -1), None, pairs, origin, origin)


def drawn(views: int = 3, rows: int = 6) -> Tensor:
    return torch.randn(views, rows, 4, dtype=F64, generator=torch.Generator().manual_seed(3))


def ready(**settings: float) -> SwAV:
    objective = SwAV(**{"prototypes": 5, "frozen_steps": 0, **settings})  # type: ignore[arg-type]
    objective.prepare([KIND], 4)
    return objective.double()


def loops(z: Tensor, labels: Tensor, prototypes: Tensor, temperature: float, epsilon: float) -> list[float]:
    views, rows, _ = z.shape
    unit, known = normalize(z, dim=2), [i for i in range(rows) if labels[i] >= 0]
    assigned: dict[tuple[int, int], Tensor] = {}
    for v in range(views):
        plan = (unit[v, known] @ prototypes.T / epsilon).exp()
        for _ in range(3):
            plan = plan / plan.sum(dim=0)
            plan = plan / plan.sum(dim=1, keepdim=True)
        assigned |= {(v, i): plan[n] for n, i in enumerate(known)}
    losses = []
    for v in range(views):
        for i in range(rows):
            others = [(w, j) for w in range(views) for j in known if labels[i] == labels[j] and (w, j) != (v, i)]
            logits = (unit[v, i] @ prototypes.T / temperature).tolist()
            log_sum = math.log(sum(map(math.exp, logits)))
            terms = [sum(float(assigned[o][k]) * (log_sum - s) for k, s in enumerate(logits)) for o in others]
            losses.append(sum(terms) / len(terms) if labels[i] >= 0 and terms else 0.0)
    return losses


@pytest.mark.parametrize("labels", [torch.arange(6), torch.tensor([0, 1, 1, -1, 0, 2])])
def test_it_is_its_formula(labels):
    objective = ready(temperature=0.3, epsilon=0.2)
    losses: Losses = objective(comparison_of(drawn(), labels))
    expected = loops(drawn(), labels, objective.prototypes[0].detach(), 0.3, 0.2)
    torch.testing.assert_close(losses.per_anchor[0], torch.tensor(expected, dtype=F64))
    assert losses.counted[0].tolist() == (labels >= 0).tolist() * 3


def test_no_gradient_goes_through_assignments():
    objective, z = ready(), drawn(2).requires_grad_()
    objective(comparison_of(z, torch.arange(6))).per_anchor[0, 0].backward()
    assert z.grad is not None
    assert (z.grad[0, 0] != 0).any()
    assert (z.grad.reshape(-1, 4)[1:] == 0).all()  # of its other view neither, which says what to predict


def test_predictions_move_towards_assignments():
    objective, z = ready(), drawn(2).requires_grad_()
    optimiser = torch.optim.SGD([z, *objective.parameters()], lr=0.5)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        total = objective(comparison_of(z, torch.arange(6))).per_anchor.mean()
        total.backward()
        optimiser.step()
        with torch.no_grad():
            objective.after_step()
        losses.append(total.item())
    assert losses[-1] < losses[0] / 4
    used = objective(comparison_of(z, torch.arange(6))).floor
    assert losses[-1] >= used.item()
    chosen = (normalize(z[0], dim=1) @ objective.prototypes[0].T).argmax(dim=1)
    assert len(chosen.unique()) >= 4  # no prototype takes all rows


def test_prototypes_learn_only_after_the_frozen_steps_and_stay_at_unit_length():
    objective, z = ready(frozen_steps=2), drawn(2)
    start = objective.prototypes[0].detach().clone()
    optimiser = torch.optim.AdamW(objective.parameters(), lr=0.1, weight_decay=0.5)
    lengths, moved = [], []
    for _ in range(3):
        optimiser.zero_grad()
        total = objective(comparison_of(z.requires_grad_(), torch.arange(6))).per_anchor.mean()
        total.backward()
        optimiser.step()
        with torch.no_grad():
            objective.after_step()
        lengths.append(objective.prototypes[0].norm(dim=1).detach())
        moved.append(not torch.allclose(objective.prototypes[0], start))
    torch.testing.assert_close(torch.stack(lengths), torch.ones(3, 5, dtype=F64))
    assert moved == [False, False, True]
    resumed = ready(frozen_steps=2)
    resumed.load_state_dict(objective.state_dict())
    assert int(resumed.steps) == 3


def test_past_samples_take_part_in_the_assignment():
    """The queue of the paper is the memory."""
    criterion = MSConLoss(
        [SameRow()], weighting="equal", objective=SwAV(5, frozen_steps=0), dim=4, memory_size=12
    ).double()
    past, now = drawn(4).transpose(0, 1).split(2, dim=1)
    alone = criterion(now[None], rows=torch.arange(6)).item()
    criterion(past[None], rows=torch.arange(6, 12))
    assert criterion(now[None], rows=torch.arange(6)).item() != pytest.approx(alone)


def test_it_says_what_it_needs():
    with pytest.raises(ValueError, match="SwAV learns weights of its own: give dim="):
        MSConLoss(["make"], objective="swav")
    for settings, words in (
        ({"prototypes": 1}, "prototypes must be 2 or more"),
        ({"iterations": 0}, "iterations must"),
    ):
        with pytest.raises(ValueError, match=words):
            SwAV(**settings)
