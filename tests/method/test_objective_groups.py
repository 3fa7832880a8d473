"""Several objectives in one: each similarity gets what its own says of it alone, and of its own views alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mscon.method.comparison import SampleOrigin
from mscon.method.objective_groups import ObjectiveGroup, ObjectiveGroups
from mscon.method.objectives import supcon
from mscon.method.objectives.base import Comparison, Losses, Objective
from mscon.method.objectives.cross_entropy import CrossEntropy
from mscon.method.objectives.rank_n_contrast import RankNContrast
from mscon.method.objectives.supcon import SupCon
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import Continuous

F64 = torch.float64
KINDS = (Categorical("a", ("x", "y")), Continuous("price", 1.0, 0.0), Categorical("b", ("p", "q", "r")))
ROWS, VIEWS, DIM = 6, 3, 5


def comparison(projections: Tensor, candidates: Tensor | None = None, **settings: object) -> Comparison:
    """Three views of six rows, one view after the other."""
    generator = torch.Generator().manual_seed(1)
    codes = [
        torch.randint(-1, 2, (ROWS,), generator=generator).repeat(VIEWS),
        torch.rand(ROWS, generator=generator, dtype=F64).repeat(VIEWS),
        torch.randint(-1, 3, (ROWS,), generator=generator).repeat(VIEWS),
    ]
    ids = torch.arange(ROWS * VIEWS)
    pairs = [
        LazyPairs(kind.compare, code, code, ids, ids, kind.is_partition, **settings)
        for kind, code in zip(KINDS, codes, strict=True)
    ]
    rows, views = torch.arange(ROWS).repeat(VIEWS), torch.arange(VIEWS).repeat_interleave(ROWS)
    origin = SampleOrigin(rows, views, torch.zeros_like(rows))
    return Comparison(projections, candidates, pairs, origin, origin)


def drawn() -> Tensor:
    z = torch.randn(3, ROWS * VIEWS, DIM, dtype=F64, generator=torch.Generator().manual_seed(0))
    z[1, :, 3:] = 0  # a narrower head
    return z.requires_grad_()


def alone(objective: Objective, number: int, width: int, samples: slice, z: Tensor) -> Losses:
    """Of one similarity, with the samples of other views deleted."""
    whole = comparison(z)
    pair = whole.pairs[number]
    code, ids = pair.anchors[samples], torch.arange(len(pair.anchors[samples]))
    pairs = [LazyPairs(pair.compare, code, code, ids, ids, pair.is_partition)]
    return objective(Comparison.of(z[number : number + 1, samples, :width], None, pairs))


def test_each_similarity_has_the_losses_of_its_own_objective_width_and_views():
    """The first compares views 0 and 1, which come first; the others view 2."""
    parts = (SupCon(0.1), RankNContrast(), SupCon(0.4, denominator="negatives"))
    views = ((0, 1), (2,), (2,))
    samples = (slice(0, 2 * ROWS), slice(2 * ROWS, None), slice(2 * ROWS, None))
    widths = (DIM, 3, DIM)
    order = (1, 2, 0)
    objective = ObjectiveGroups([ObjectiveGroup(parts[i], (i,), widths[i], views[i]) for i in order])
    z = drawn()
    together = objective(comparison(z))
    (gradient,) = torch.autograd.grad(together.per_anchor.sum(), z)
    for i in range(3):
        other = drawn()
        alone_losses = alone(parts[i], i, widths[i], samples[i], other)
        for field in ("per_anchor", "counted", "has_positive", "labelled"):
            values = getattr(together, field)[i]
            torch.testing.assert_close(values[samples[i]], getattr(alone_losses, field)[0])
            others = values.clone()
            others[samples[i]] = 0
            assert not others.any()
        torch.testing.assert_close(together.floor[i], alone_losses.floor[0])
        torch.testing.assert_close(together.ceiling[i], alone_losses.ceiling[0])
        (expected,) = torch.autograd.grad(alone_losses.per_anchor.sum(), other)
        torch.testing.assert_close(gradient[i], expected[i])
    assert together.correct is None


def test_similarities_of_one_objective_go_through_one_call_of_the_kernels(monkeypatch):
    calls = []
    contrast = supcon.contrast
    monkeypatch.setattr(supcon, "contrast", lambda a, *rest, **more: calls.append(len(a)) or contrast(a, *rest, **more))
    objective = ObjectiveGroups([ObjectiveGroup(SupCon(), (0, 2), DIM), ObjectiveGroup(RankNContrast(), (1,), DIM)])
    assert objective(comparison(drawn())).present.all()
    assert calls == [2]


def test_accuracy_is_known_of_those_alone_whose_objective_has_one():
    objective = ObjectiveGroups(
        [ObjectiveGroup(SupCon(), (1, 2), DIM), ObjectiveGroup(CrossEntropy(), (0,), DIM)]
    ).double()
    objective.prepare(KINDS, 99)
    correct = objective(comparison(drawn())).correct
    assert correct[1:].isnan().all()
    assert correct[0].isfinite().all()


def test_what_is_asked_of_an_objective_is_asked_of_all_of_them():
    class Counted(SupCon):
        steps = 0

        def after_step(self) -> None:
            self.steps += 1

    parts = [Counted(0.1), Counted(0.1)]
    same = ObjectiveGroups([ObjectiveGroup(part, (i,), DIM) for i, part in enumerate(parts)])
    same.after_step()
    assert [part.steps for part in parts] == [1, 1]
    assert same.temperature == 0.1
    assert not same.reads_codes
    mixed = ObjectiveGroups([ObjectiveGroup(SupCon(0.2), (0,), DIM), ObjectiveGroup(CrossEntropy(), (1,), DIM)])
    assert mixed.temperature is None
    assert mixed.compares
    assert mixed.reads_codes
    assert isinstance(mixed.objectives, nn.ModuleList)


@pytest.mark.parametrize("views", [None, (0, 2)])
def test_an_exchange_gives_the_gradient_of_anchors_that_are_candidates_too(views):
    """As of a single process: what it tells of its anchors is told of them as candidates."""
    objective = ObjectiveGroups(
        [ObjectiveGroup(SupCon(), (0, 2), DIM, views), ObjectiveGroup(SupCon(0.3), (1,), DIM, views)]
    )
    gradients = []
    for settings in ({}, {"exchange": lambda numbers: numbers}):
        z = drawn()
        candidates = z.detach().clone() if settings else None
        losses = objective(comparison(z, candidates, **settings))
        gradients.append(torch.autograd.grad((losses.per_anchor * torch.arange(ROWS * VIEWS)).sum(), z)[0])
    assert (gradients[0] != 0).any()
    torch.testing.assert_close(gradients[1], gradients[0])
