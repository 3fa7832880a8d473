"""InfoNCE with weights, masks and positives of one's own, and all cores that give these, against slow loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from mscon import Pairs, supcon
from mscon.method.cores.cluster_weights import LearnedPairWeights, cluster_weights
from mscon.method.cores.competitors import outside_groups, without_false_negatives
from mscon.method.cores.constant_positive import cmim_term
from mscon.method.cores.info_nce import info_nce
from mscon.method.cores.pair_weights import inverse_propensity, with_mean_one
from mscon.method.cores.scaled_negatives import category_weights, subject_temperatures
from mscon.method.cores.separate_banks import negative_student_positive_teacher

F64 = torch.float64
EYE = torch.eye(5, dtype=torch.bool)


def drawn(rows: int = 5, seed: int = 0, dim: int = 3) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=F64)


def cosine(one: Tensor, other: Tensor) -> float:
    lengths = math.sqrt(math.fsum(x * x for x in one.tolist()) * math.fsum(x * x for x in other.tolist()))
    return math.fsum(a * b for a, b in zip(one.tolist(), other.tolist(), strict=True)) / lengths


def by_loops(anchors: Tensor, candidates: Tensor, shares: Tensor, weights: Tensor, temperatures: Tensor) -> Tensor:
    """The formula of `info_nce`; weights of 0 do not compete."""
    losses = []
    for i, anchor in enumerate(anchors):
        logits = [cosine(anchor, c) / temperatures[i, j].item() for j, c in enumerate(candidates)]
        total = math.fsum(weights[i, j].item() * math.exp(s) for j, s in enumerate(logits))
        mass = shares[i].sum().item()
        is_counted = mass > 0 and total > 0
        terms = [shares[i, j].item() * (math.log(total) - s) for j, s in enumerate(logits)] if is_counted else [0.0]
        losses.append(math.fsum(terms) / (mass or 1))
    return torch.tensor(losses, dtype=F64)


def test_it_is_that_of_the_loops():
    anchors, candidates = drawn(4), drawn(6, 1)
    shares, weights = drawn(4, 2, 6).relu(), drawn(4, 3, 6).relu()
    temperatures = 0.1 + drawn(4, 4, 6).sigmoid()
    loss = info_nce(anchors, candidates, temperature=temperatures, positives=shares, log_weights=weights.log())
    torch.testing.assert_close(loss, by_loops(anchors, candidates, shares, weights, temperatures))
    competing = drawn(4, 5, 6) > 0
    masked = info_nce(anchors, candidates, positives=shares, competing=competing)
    expected = by_loops(anchors, candidates, shares, competing.to(F64), torch.full((4, 6), 0.07))
    torch.testing.assert_close(masked, expected)


def test_by_default_it_is_cross_entropy_and_supcon():
    anchors, candidates = drawn(5), drawn(5, 1)
    loss = info_nce(anchors, candidates, temperature=0.2)
    logits = normalize(anchors, dim=1) @ normalize(candidates, dim=1).T / 0.2
    torch.testing.assert_close(loss, cross_entropy(logits, torch.arange(5), reduction="none"))
    pairs = Pairs(EYE.to(F64), torch.ones_like(EYE))
    torch.testing.assert_close(loss, supcon(anchors, candidates, pairs, temperature=0.2))


def test_what_is_left_out_of_the_denominator_is_as_good_as_absent():
    anchors, candidates = drawn(4), drawn(5, 1)
    shares, competing = EYE[:4].to(F64), torch.ones(4, 5, dtype=torch.bool)
    competing[:, 4] = False
    loss = info_nce(anchors, candidates, positives=shares, competing=competing)
    torch.testing.assert_close(loss, info_nce(anchors, candidates[:4]))


def test_the_gradient_is_that_of_finite_differences_and_reaches_a_learned_temperature():
    competing = drawn(4, 5, 4) > -1
    inputs = [drawn(4).requires_grad_(), drawn(4, 1).requires_grad_(), torch.tensor(0.4, dtype=F64, requires_grad=True)]
    weights = drawn(4, 6, 4).sigmoid().requires_grad_()

    def loss(a: Tensor, c: Tensor, t: Tensor, w: Tensor) -> Tensor:
        return info_nce(a, c, temperature=t, log_weights=with_mean_one(w, competing))

    assert torch.autograd.gradcheck(loss, (*inputs, weights))


def test_an_anchor_without_a_positive_has_no_loss_and_no_gradient():
    anchors = drawn(3).requires_grad_()
    loss = info_nce(anchors, drawn(4, 1), positives=torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]]))
    (gradient,) = torch.autograd.grad(loss.sum(), anchors)
    assert loss[1] == 0 and (gradient[1] == 0).all() and (loss[[0, 2]] > 0).all()


def test_half_precision_and_autocast_round_no_product():
    anchors, candidates = drawn(5, dim=64).bfloat16(), drawn(5, 1, 64).bfloat16()
    exact = info_nce(anchors.double(), candidates.double()).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(info_nce(anchors, candidates), exact)


@pytest.mark.usefixtures("as_users_run_it")
def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="there are 4 anchors and 5 candidates"):
        info_nce(drawn(4), drawn(5))
    with pytest.raises(ValueError, match="1 of 4 candidates are zero, the first is row 2"):
        info_nce(drawn(4), drawn(4) * torch.tensor([1, 1, 0, 1])[:, None])
    with pytest.raises(ValueError, match="vectors must be of one width, got 3 and 2"):
        info_nce(drawn(4), drawn(4, dim=2))
    for name in ("positives", "competing", "log_weights"):
        with pytest.raises(ValueError, match=rf"{name} must be \[anchors, candidates\], \[5, 5\], got \[5\]"):
            info_nce(drawn(5), drawn(5), **{name: torch.ones(5)})
    for temperature in (0.0, -1.0, math.nan, torch.tensor(0.0)):
        with pytest.raises(ValueError, match="temperature must be positive"):
            info_nce(drawn(4), drawn(4), temperature=temperature)


# cMIM


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_term_of_cmim_by_loops(temperature):
    codes = drawn(5)
    expected = []
    for i in range(5):
        others = [math.exp(cosine(codes[i], codes[j]) / temperature) for j in range(5) if j != i]
        expected.append(math.log(math.exp(1 / temperature) + math.fsum(others) / 4) - 1 / temperature)
    torch.testing.assert_close(cmim_term(codes, temperature=temperature), torch.tensor(expected, dtype=F64))


def test_the_term_of_cmim_at_its_ends():
    torch.testing.assert_close(cmim_term(torch.ones(4, 3)), torch.full((4,), math.log(2)))
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=F64)
    torch.testing.assert_close(
        cmim_term(opposite, temperature=0.5), torch.full((2,), math.log1p(math.exp(-4)), dtype=F64)
    )
    assert cmim_term(drawn(1)).tolist() == [0.0]
    # The same codes twice: a mean over others, not a sum, so the loss hardly grows.
    codes = drawn(40, dim=8)
    assert cmim_term(codes.repeat(10, 1)).mean() - cmim_term(codes).mean() < 0.15
    assert torch.autograd.gradcheck(cmim_term, (drawn(4).requires_grad_(),))


# COCONUT


def test_positives_of_the_teacher_and_competitors_of_the_student_by_loops():
    anchors, teachers = drawn(4), drawn(4, 1).requires_grad_()
    labels = torch.tensor([0, 0, 1, 2])
    positives, competing = labels[:, None] == labels, ~torch.eye(4, dtype=torch.bool)
    loss = negative_student_positive_teacher(
        anchors.requires_grad_(), teachers, anchors, positives=positives, competing=competing, temperature=0.3
    )
    for i in range(4):
        others = [math.exp(cosine(anchors[i], anchors[a]) / 0.3) for a in range(4) if a != i]
        near = [cosine(anchors[i], teachers[t]) / 0.3 for t in range(4) if positives[i, t]]
        assert loss[i].item() == pytest.approx(math.log(math.fsum(others)) - math.fsum(near) / len(near))
    assert torch.autograd.grad(loss.sum(), teachers, allow_unused=True) == (None,)
    bank = drawn(4, 1)
    assert torch.autograd.gradcheck(
        lambda z: negative_student_positive_teacher(z, bank, z, positives=positives, competing=competing), (anchors,)
    )


def test_a_teacher_that_is_the_student_gives_supcon():
    """With the positives of the own class but the row itself, and all others in the denominator."""
    z, labels = drawn(5), torch.tensor([0, 0, 1, 1, 1])
    others = ~EYE
    alike = (labels[:, None] == labels) & others
    loss = negative_student_positive_teacher(z, z, z, positives=alike, competing=others, temperature=0.2)
    torch.testing.assert_close(loss, supcon(z, z, Pairs(alike.to(F64), others), temperature=0.2))


# MuCo and MultiCSR


def test_candidates_of_the_same_group_are_left_out_but_for_the_positive():
    groups = torch.tensor([0, 0, 1, -1, -1])
    expected = torch.tensor(
        [[i == j or groups[i] < 0 or bool(groups[i] != groups[j]) for j in range(5)] for i in range(5)]
    )
    assert torch.equal(outside_groups(groups, groups, EYE), expected)
    assert not expected[0, 1]
    assert outside_groups(torch.arange(5), torch.arange(5), EYE).all()


def test_false_negatives_are_left_out_and_not_left_at_one():
    teachers = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0], [1.0, -2.0]])
    competing = without_false_negatives(teachers, teachers, EYE, threshold=0.9)
    expected = [[i == j or cosine(teachers[i], teachers[j]) <= 0.9 for j in range(5)] for i in range(5)]
    assert competing.tolist() == expected
    assert not competing[0, 1]
    anchors, candidates = drawn(5), drawn(5, 1)
    loss = info_nce(anchors, candidates, competing=competing)
    keep = [0, 2, 3, 4]
    torch.testing.assert_close(loss[:1], info_nce(anchors[keep], candidates[keep])[:1])
    assert without_false_negatives(teachers, teachers, EYE, threshold=1.1).all()


# MEOW, AdaMEOW, DebCSE, DCAR, CustomContrast


def test_candidates_weigh_as_often_as_they_lie_in_other_clusters():
    clusters = torch.tensor([[0, 0, 1, 2], [5, 6, 6, 5]])
    weights = cluster_weights(clusters, clusters)
    expected = [[sum(int(run[i] != run[j]) for run in clusters) for j in range(4)] for i in range(4)]
    assert weights.tolist() == expected
    assert (weights.diagonal() == 0).all()


def test_the_loss_of_meow_is_decoupled():
    anchors, candidates = drawn(4), drawn(4, 1)
    clusters = torch.tensor([[0, 0, 1, 2], [5, 6, 6, 5]])
    weights = cluster_weights(clusters, clusters)
    loss = info_nce(anchors, candidates, log_weights=with_mean_one(weights), temperature=0.5)
    scaled = weights / weights.mean(dim=1, keepdim=True)
    expected = by_loops(anchors, candidates, torch.eye(4), scaled, torch.full((4, 4), 0.5))
    torch.testing.assert_close(loss, expected)
    apart = cluster_weights(torch.arange(4)[None], torch.arange(4)[None])
    decoupled = supcon(
        anchors,
        candidates,
        Pairs(torch.eye(4, dtype=F64), torch.ones(4, 4, dtype=torch.bool)),
        temperature=0.5,
        denominator="negatives",
    )
    weighed = info_nce(anchors, candidates, log_weights=with_mean_one(apart), temperature=0.5)
    torch.testing.assert_close(weighed, decoupled + math.log(4 / 3))  # weights of mean 1 over four, one of them 0


def test_mean_one_by_loops_and_scale_does_not_matter():
    weights, competing = drawn(4, 0, 6).relu(), drawn(4, 1, 6) > -0.5
    normalised = with_mean_one(weights, competing).exp()
    for i in range(4):
        counted = [weights[i, j].item() for j in range(6) if competing[i, j]]
        for j in range(6):
            expected = weights[i, j].item() * competing[i, j].item() / (math.fsum(counted) / len(counted))
            assert normalised[i, j].item() == pytest.approx(expected)
    torch.testing.assert_close(with_mean_one(7 * weights, competing).exp(), normalised)
    assert (with_mean_one(torch.zeros(2, 3)) == -torch.inf).all()


def test_learned_weights_by_loops_cannot_fall_together():
    torch.manual_seed(0)
    net = LearnedPairWeights(3).double()
    anchors, candidates = drawn(4), drawn(5, 1)
    for i in range(4):
        for j in range(5):
            expected = net.output(net.hidden(anchors[i] + candidates[j]).tanh()).sigmoid()
            torch.testing.assert_close(net(anchors, candidates)[i, j], expected.squeeze())
    assert torch.autograd.gradcheck(
        lambda a, c: with_mean_one(net(a, c)), (anchors.clone().requires_grad_(), candidates)
    )
    before = info_nce(anchors, candidates[:4], log_weights=with_mean_one(net(anchors, candidates[:4])))
    with torch.no_grad():
        net.output.bias -= 30.0
    after = info_nce(anchors, candidates[:4], log_weights=with_mean_one(net(anchors, candidates[:4])))
    assert (after > before - 1).all()  # without the mean it would be 30 less


def test_rare_pairs_weigh_more():
    propensity = torch.tensor([[0.5, 0.25, 1.0], [1e-6, 1.0, 0.1]])
    torch.testing.assert_close(inverse_propensity(propensity), torch.tensor([[2.0, 4.0, 1.0], [10.0, 1.0, 10.0]]))
    for wrong in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="propensity must be above 0 and at most 1; 1 are not"):
            inverse_propensity(torch.tensor([[0.5, wrong]]))
    with pytest.raises(ValueError, match=r"largest must be at least 1, got 0\.5"):
        inverse_propensity(propensity, largest=0.5)


def test_negatives_of_the_same_category_weigh_more():
    categories = torch.tensor([0, 0, 1, -1, -1])
    weights = category_weights(categories, categories, same=3.0)
    expected = [[3.0 if categories[i] == categories[j] >= 0 else 1.0 for j in range(5)] for i in range(5)]
    assert weights.tolist() == expected
    assert (category_weights(categories, categories, same=1.0) == 1).all()
    with pytest.raises(ValueError, match=r"same must be positive, got 0\."):
        category_weights(categories, categories, same=0.0)


def test_negatives_count_by_the_distance_of_their_subjects():
    anchors, candidates = drawn(5), drawn(5, 1)
    distances = drawn(5, 2, 5).sigmoid()
    temperatures = subject_temperatures(distances, EYE, temperature=0.2)
    for i in range(5):
        logits = [cosine(anchors[i], candidates[j]) * (1 if i == j else distances[i, j].item()) / 0.2 for j in range(5)]
        expected = math.log(math.fsum(map(math.exp, logits))) - logits[i]
        assert info_nce(anchors, candidates, temperature=temperatures)[i].item() == pytest.approx(expected)
    apart = subject_temperatures(torch.ones(5, 5, dtype=F64), EYE, temperature=0.2)
    torch.testing.assert_close(
        info_nce(anchors, candidates, temperature=apart), info_nce(anchors, candidates, temperature=0.2)
    )
