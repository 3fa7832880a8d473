"""Losses between the two inputs of a row, such as an image and a text, against slow loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from mscon import Continuous, HiMulCon, MSConLoss, NTXentLoss, SupCon
from mscon.errors import RecipeError
from mscon.method import catalogue
from mscon.method.comparison import Comparison, Losses, SampleOrigin
from mscon.method.cores.across_inputs import AcrossInputs
from mscon.method.cores.clip import clip
from mscon.method.cores.cross_correlation import barlip
from mscon.method.cores.mixed_inputs import m3col, mix, mixed_targets, mixing_shares, soft_clip
from mscon.method.cores.rocket import cl2l, siamlip, swalip
from mscon.method.objectives.amcl import AMCL
from mscon.method.objectives.cross_entropy import CrossEntropy
from mscon.method.objectives.dcl import DCL
from mscon.method.objectives.sincere import SINCERE
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class
from mscon.method.sinkhorn import sinkhorn

F64 = torch.float64


def drawn(rows: int = 5, seed: int = 0, dim: int = 3) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=F64)


def cosines(one: Tensor, other: Tensor) -> list[list[float]]:
    lengths = [[math.sqrt(math.fsum(x * x for x in v.tolist())) for v in z] for z in (one, other)]
    return [
        [math.fsum((a * b).tolist()) / lengths[0][i] / lengths[1][j] for j, b in enumerate(other)]
        for i, a in enumerate(one)
    ]


def clip_by_loops(first: Tensor, second: Tensor, targets: Tensor, temperature: float) -> list[float]:
    """Cross-entropy with the targets of each first input, and with those of each second one."""
    losses = [0.0] * len(first)
    for anchors, candidates, shares in ((first, second, targets), (second, first, targets.T)):
        for i, row in enumerate(cosines(anchors, candidates)):
            logits = [s / temperature for s in row]
            log_sum = math.log(math.fsum(map(math.exp, logits)))
            losses[i] += math.fsum(shares[i, j].item() * (log_sum - s) for j, s in enumerate(logits)) / 2
    return losses


def test_clip_is_that_of_the_loops_and_of_cross_entropy():
    first, second = drawn(), drawn(seed=1)
    loss = clip(first, second, temperature=0.3)
    assert loss.tolist() == pytest.approx(clip_by_loops(first, second, torch.eye(5), 0.3))
    logits, own = normalize(first, dim=1) @ normalize(second, dim=1).T / 0.3, torch.arange(5)
    torch.testing.assert_close(loss.mean(), (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2)
    smoothed = clip(first, second, temperature=0.3, smoothing=0.1).mean()
    ways = [cross_entropy(z, own, label_smoothing=0.1) for z in (logits, logits.T)]
    torch.testing.assert_close(smoothed, sum(ways) / 2)


def test_clip_at_its_ends():
    torch.testing.assert_close(clip(torch.ones(4, 3), torch.ones(4, 3)), torch.full((4,), math.log(4)))
    assert clip(torch.eye(4), torch.eye(4), temperature=0.01).max() < 1e-6
    first, second = drawn(), drawn(seed=1)
    torch.testing.assert_close(clip(first, second), clip(second, first))
    with pytest.raises(ValueError, match=r"smoothing must be at least 0 and below 1, got 1\."):
        clip(first, second, smoothing=1.0)


@pytest.mark.usefixtures("as_users_run_it")
def test_inputs_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="first and second must be the two inputs of the same rows, got 4 and 5 rows"):
        clip(drawn(4), drawn(5))
    with pytest.raises(ValueError, match=r"inputs must be floating-point numbers to be mixed, got torch\.uint8"):
        mix(torch.ones(3, 2, dtype=torch.uint8), torch.tensor([1, 2, 0]), torch.ones(3))


def test_clip_has_the_gradient_of_finite_differences():
    inputs = (drawn(4).requires_grad_(), drawn(4, 1).requires_grad_(), torch.tensor(0.3, dtype=F64, requires_grad=True))
    assert torch.autograd.gradcheck(lambda a, b, t: clip(a, b, temperature=t, smoothing=0.1), inputs)


# AcrossInputs


def test_supcon_across_inputs_is_clip():
    images, texts = drawn(), drawn(seed=1)
    criterion = MSConLoss(["same_row"], objective=AcrossInputs(SupCon(0.3)))
    z = torch.stack([images, texts], dim=1)[None].requires_grad_()
    loss = criterion(z, inputs=[0, 1])
    torch.testing.assert_close(loss, clip(images, texts, temperature=0.3).mean())
    assert criterion.summary()[0].ceiling == pytest.approx(math.log(5))
    (gradient,) = torch.autograd.grad(loss, z)
    one, other = images.clone().requires_grad_(), texts.clone().requires_grad_()
    expected = torch.autograd.grad(clip(one, other, temperature=0.3).mean(), (one, other))
    torch.testing.assert_close(gradient[0], torch.stack(expected, dim=1))


def test_other_objectives_across_inputs():
    """With one positive an anchor SINCERE is CLIP too; DCL leaves it out of the denominator."""
    images, texts = drawn(), drawn(seed=1)
    z = torch.stack([images, texts], dim=1)[None]
    sincere = MSConLoss(["same_row"], objective=AcrossInputs(SINCERE(0.3)))(z, inputs=[0, 1])
    torch.testing.assert_close(sincere, clip(images, texts, temperature=0.3).mean())
    decoupled = MSConLoss(["same_row"], objective=AcrossInputs(DCL(0.3)))(z, inputs=[0, 1]).item()
    ways = [torch.tensor(cosines(*pair)) / 0.3 for pair in ((images, texts), (texts, images))]
    others = ~torch.eye(5, dtype=torch.bool)
    losses = [way.masked_fill(~others, -torch.inf).logsumexp(dim=1) - way.diagonal() for way in ways]
    assert decoupled == pytest.approx(torch.stack(losses).mean().item(), rel=1e-6)


def test_what_an_objective_learns_is_prepared_across_inputs():
    z = torch.stack([drawn(), drawn(seed=1)], dim=1)[None].float()
    criterion = MSConLoss(["same_row"], objective=AcrossInputs(AMCL()), dim=3)
    assert criterion(z, inputs=[0, 1]).isfinite() and list(criterion.parameters())
    with pytest.raises(ValueError, match="give dim="):
        MSConLoss(["same_row"], objective=AcrossInputs(AMCL()))


def test_a_column_of_classes_across_inputs_is_unicl():
    """Texts of a class belong to all of its images; a missing label to none."""
    images, texts = drawn(), drawn(seed=1)
    labels = torch.tensor([0, 0, 1, 1, -1])
    criterion = MSConLoss(["kind"], objective=AcrossInputs(SupCon(0.3)))
    loss = criterion(torch.stack([images, texts], dim=1)[None], {"kind": labels}, inputs=[0, 1])
    alike = (labels[:4, None] == labels[:4]).to(F64) / 2
    assert loss.item() == pytest.approx(sum(clip_by_loops(images[:4], texts[:4], alike, 0.3)) / 4)


def test_it_goes_with_memory_and_with_numbers_and_beside_other_objectives():
    images, texts = drawn(), drawn(seed=1)
    z = torch.stack([images, texts], dim=1)
    price = torch.tensor([1.0, 1.5, 7.0, 9.0, math.nan])
    criterion = MSConLoss(
        ["same_row", Continuous("price", width=1.0)],
        objective={"same_row": AcrossInputs(SupCon(0.3)), "price": AcrossInputs(SupCon(0.3))},
        memory_size=20,
    )
    assert criterion(z.expand(2, -1, -1, -1), {"price": price}, inputs=[0, 1]).isfinite()
    assert criterion(z.flip(0).expand(2, -1, -1, -1), {"price": price}, inputs=[0, 1]).isfinite()
    assert criterion.summary()[0].ceiling == pytest.approx(math.log(10))  # five texts now, and five remembered


def test_pairs_are_the_same_from_both_sides_and_keep_what_processes_exchange():
    comparisons = []

    class Watched(SupCon):
        def forward(self, comparison: Comparison) -> Losses:
            comparisons.append(comparison)
            return super().forward(comparison)

    codes, others = torch.tensor([0, 1, 1, -1]), torch.tensor([1, 0, 1, 0, 2])
    ids, other_ids = torch.arange(4), torch.arange(2, 7)
    anchor_origin = SampleOrigin(ids, torch.zeros_like(ids), torch.tensor([0, 0, 1, 1]))
    candidate_origin = SampleOrigin(other_ids, torch.zeros_like(other_ids), torch.tensor([1, 0, 1, 0, 0]))
    lazy = LazyPairs(same_class, codes, others, ids, other_ids, True, lambda numbers: numbers)
    AcrossInputs(Watched())(Comparison(drawn(4)[None], drawn(5, 1)[None], [lazy], anchor_origin, candidate_origin))
    (across,) = comparisons[0].pairs
    expected = [
        [
            bool(codes[i] >= 0 and anchor_origin.inputs[i] != candidate_origin.inputs[j] and ids[i] != other_ids[j])
            for j in range(5)
        ]
        for i in range(4)
    ]
    assert across.dense().known.tolist() == expected
    for one, other in (
        (across.reversed().dense().known.T, across.dense().known),
        (across.reversed().dense().weight.T * 1.0, across.dense().weight * 1.0),
    ):
        assert torch.equal(one, other)
    some, few = torch.tensor([2, 0]), torch.tensor([4, 1, 0])
    assert torch.equal(across.select(some, few).dense().known, across.dense().known[some][:, few])
    assert across.exchange is lazy.exchange


def test_rows_of_one_input_have_nothing_to_be_compared_with():
    z = torch.stack([drawn(), drawn(seed=1)], dim=1)[None].requires_grad_()
    criterion = MSConLoss(["same_row"], objective=AcrossInputs(SupCon(0.3)))
    loss = criterion(z)
    assert loss == 0 and (torch.autograd.grad(loss, z)[0] == 0).all()
    assert NTXentLoss()(z[0]) > 0
    with pytest.raises(ValueError, match=r"projections must be \(rows, views, dim\) each with 2"):
        criterion(z[:, :, 0])


@pytest.mark.parametrize(
    ("objective", "words"), [(CrossEntropy(), "compares no rows"), (HiMulCon(), "looks into codes")]
)
def test_objectives_that_look_elsewhere_are_refused(objective, words):
    with pytest.raises(ValueError, match=f"{type(objective).__name__} {words}"):
        AcrossInputs(objective)


@pytest.mark.usefixtures("as_users_run_it")
def test_a_recipe_cannot_have_it_and_says_why():
    with pytest.raises(RecipeError, match=r"got 'supcon'\. This one is for a training loop of your own: rows of a"):
        catalogue.build("objective", "mscon.method.cores.across_inputs:AcrossInputs", {"objective": "supcon"})


# M3CoL


def test_targets_add_up_to_one_for_every_permutation():
    shares = torch.tensor([0.3, 1.0, 0.6, 0.0])
    for partners in itertools.permutations(range(4)):
        targets = mixed_targets(torch.tensor(partners), shares)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
        for i, j in itertools.product(range(4), repeat=2):
            expected = shares[i].item() * (i == j) + (1 - shares[i].item()) * (partners[i] == j)
            assert targets[i, j].item() == pytest.approx(expected)


def test_m3col_is_that_of_the_loops():
    mixed, others = drawn(), drawn(seed=1)
    partners, shares = torch.tensor([1, 0, 2, 4, 3]), torch.tensor([0.3, 1.0, 0.6, 0.0, 0.8], dtype=F64)
    loss = m3col(mixed, others, partners, shares, temperature=0.4)
    targets = mixed_targets(partners, shares)
    assert loss.tolist() == pytest.approx(clip_by_loops(mixed, others, targets, 0.4))
    inputs = (mixed.requires_grad_(), others.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: m3col(a, b, partners, shares, temperature=0.4), inputs)


def test_rows_that_are_not_mixed_have_clip():
    first, second = drawn(), drawn(seed=1)
    loss = m3col(first, second, torch.tensor([1, 2, 3, 4, 0]), torch.ones(5), temperature=0.1)
    torch.testing.assert_close(loss, clip(first, second, temperature=0.1))


def test_mixing_by_loops_and_how_often():
    images = torch.randn(3, 2, 4, 4)
    partners, shares = torch.tensor([2, 1, 0]), torch.tensor([0.25, 0.5, 1.0])
    expected = [s * images[i] + (1 - s) * images[p] for i, (p, s) in enumerate(zip(partners, shares, strict=True))]
    torch.testing.assert_close(mix(images, partners, shares), torch.stack(expected))
    torch.manual_seed(0)
    drawn_partners, drawn_shares = mixing_shares(4000, mixed=0.5)
    assert sorted(drawn_partners.tolist()) == list(range(4000))
    assert 0.45 < (drawn_shares == 1).float().mean() < 0.6  # and few shares of mixed rows are rounded to 1
    assert 0.45 < drawn_shares[drawn_shares < 1].mean() < 0.55
    assert (mixing_shares(50, mixed=0.0)[1] == 1).all()


def test_soft_clip_by_loops():
    first, second = drawn(), drawn(seed=1)
    loss = soft_clip(first, second, temperature=0.2)
    near = torch.tensor(cosines(second, second), dtype=F64) / 0.2
    targets = near.exp() / near.exp().sum(dim=1, keepdim=True)
    for i in range(5):
        ways = [torch.tensor(cosines(*pair), dtype=F64)[i] / 0.2 for pair in ((first, second), (second, first))]
        expected = sum(float((targets[i] * (z.logsumexp(0) - z)).sum()) for z in ways) / 2
        assert loss[i].item() == pytest.approx(expected)
    inputs = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: soft_clip(a, b), inputs)


# CLIP-rocket


def test_cl2l_is_whole_inputs_and_all_pairs_of_views():
    first, second = drawn(), drawn(seed=1)
    views, others = torch.stack([drawn(seed=s) for s in (2, 3)]), torch.stack([drawn(seed=s) for s in (4, 5)])
    loss = cl2l(first, second, views, others, temperature=0.2, view_temperature=0.4, smoothing=0.1).mean()
    smooth = 0.9 * torch.eye(5) + 0.1 / 5
    pairs = [sum(clip_by_loops(a, b, smooth, 0.4)) / 5 for a in views for b in others]
    expected = (sum(clip_by_loops(first, second, torch.eye(5), 0.2)) / 5 + 2 * sum(pairs) / 4) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_cl2l_without_views_is_clip():
    none = torch.zeros(0, 5, 3, dtype=F64)
    first, second = drawn(), drawn(seed=1)
    torch.testing.assert_close(cl2l(first, second, none, none, temperature=0.2), clip(first, second, temperature=0.2))


def test_siamlip_by_loops_without_a_gradient_of_the_targets():
    values = [drawn(seed=seed).requires_grad_() for seed in range(4)]
    loss = siamlip(*values)
    there, back = cosines(values[0], values[3]), cosines(values[1], values[2])
    assert loss.tolist() == pytest.approx([2 - there[i][i] - back[i][i] for i in range(5)])
    gradients = torch.autograd.grad(loss.sum(), values, allow_unused=True)
    assert [gradient is None for gradient in gradients] == [False, False, True, True]
    torch.testing.assert_close(siamlip(values[0], values[0], values[0], values[0]), torch.zeros(5, dtype=F64))


def test_barlip_by_loops():
    first, second = drawn(6), drawn(6, 1)
    total = 0.0
    for d, e in itertools.product(range(3), repeat=2):
        one, other = first[:, d].tolist(), second[:, e].tolist()
        means = sum(one) / 6, sum(other) / 6
        covariance = sum((a - means[0]) * (b - means[1]) for a, b in zip(one, other, strict=True))
        spread = math.sqrt(sum((a - means[0]) ** 2 for a in one) * sum((b - means[1]) ** 2 for b in other))
        total += (1 - covariance / spread) ** 2 if d == e else 0.01 * (covariance / spread) ** 2
    assert barlip(first, second, redundancy=0.01, scale=0.5).item() == pytest.approx(0.5 * total)
    assert torch.autograd.gradcheck(barlip, (first.requires_grad_(), second.requires_grad_()))


def test_barlip_at_its_ends():
    whitened = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert barlip(whitened, 3 * whitened + 2).item() == pytest.approx(0)
    constant = torch.ones(4, 2, requires_grad=True)
    loss = barlip(constant, whitened, scale=1.0)
    assert loss.item() == pytest.approx(2) and torch.autograd.grad(loss, constant)[0].isfinite().all()


def test_swalip_by_loops():
    views, others = torch.stack([drawn(seed=s) for s in (2, 3)]), torch.stack([drawn(seed=s) for s in (4, 5)])
    loss = swalip(views, others, temperature=0.3).mean().item()
    total = 0.0
    for i, j in itertools.product((0, 1), repeat=2):
        scores = torch.tensor(cosines(views[1 - i], others[1 - j]), dtype=F64)
        for anchors, candidates, targets in (
            (views[i], others[j], sinkhorn(scores)),
            (others[j], views[i], sinkhorn(scores.T.contiguous())),
        ):
            logits = torch.tensor(cosines(anchors, candidates), dtype=F64) / 0.3
            total += float((targets * (logits.logsumexp(dim=1, keepdim=True) - logits)).sum()) / 5 / 8
    assert loss == pytest.approx(total)
    with pytest.raises(ValueError, match="two views of each input, got 1 and 1"):
        swalip(views[:1], others[:1])


def test_losses_of_views_have_the_gradient_of_finite_differences():
    values = [drawn(3, seed).requires_grad_() for seed in range(4)]
    # What is stopped is a constant, which finite differences would move: so the targets are no inputs.
    targets = [value.detach() for value in values[2:]]
    assert torch.autograd.gradcheck(lambda a, b: siamlip(a, b, *targets), values[:2])

    def whole_and_views(*z: Tensor) -> Tensor:
        return cl2l(z[0], z[1], torch.stack(z[:2]), torch.stack(z[2:]))

    assert torch.autograd.gradcheck(whole_and_views, values)


def test_assignments_of_swalip_get_no_gradient():
    """Its gradient is that of cross-entropy with constant targets."""
    views, others = (torch.stack([drawn(seed=s) for s in seeds]).requires_grad_() for seeds in ((2, 3), (4, 5)))
    gradients = torch.autograd.grad(swalip(views, others, temperature=0.3).mean(), (views, others))
    total = torch.zeros((), dtype=F64)
    unit, other_unit = normalize(views, dim=2), normalize(others, dim=2)
    for i, j in itertools.product((0, 1), repeat=2):
        scores = (unit[1 - i] @ other_unit[1 - j].T).detach()
        logits = unit[i] @ other_unit[j].T / 0.3
        for z, targets in ((logits, sinkhorn(scores)), (logits.T, sinkhorn(scores.T))):
            total = total + cross_entropy(z, targets) / 8
    for actual, expected in zip(gradients, torch.autograd.grad(total, (views, others)), strict=True):
        torch.testing.assert_close(actual, expected)
