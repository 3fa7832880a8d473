"""The exact pseudo-likelihood of eq. 5, and the weights fitted by it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from mscon.method.weightings.base import BatchLosses, LabelledProjections
from mscon.method.weightings.exact import Exact, pseudo_likelihood
from reference import pseudo_likelihood_loops

FLOORS, CEILINGS, PRESENT = torch.tensor([4.14, 1.37]), torch.tensor([4.84, 4.84]), torch.tensor([6.0, 4.0])


def clusters(classes: int, rows: int = 120, spread: float = 0.7, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Two near views of each row around the centre of its class, centres at right angles: unit vectors, classes and
    rows of the samples."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    centres = torch.eye(32)[labels] + spread / 32**0.5 * torch.randn(rows, 32, generator=generator)
    views = [centres + 0.05 * torch.randn(rows, 32, generator=generator) for _ in range(2)]
    return normalize(torch.cat(views), dim=1), labels.repeat(2), torch.arange(rows).repeat(2)


def redrawn(labels: Tensor, share: float, seed: int = 1) -> Tensor:
    """The labels of a share of the rows drawn anew, the same for both views."""
    generator = torch.Generator().manual_seed(seed)
    half = labels[: len(labels) // 2]
    drawn = torch.randint(0, int(labels.max()) + 1, half.shape, generator=generator)
    return torch.where(torch.rand(half.shape, generator=generator) < share, drawn, half).repeat(2)


def fitted(projections: Tensor, labels: Tensor, rows: Tensor, **settings) -> float:
    weighting = Exact(1, **settings)
    weighting.fit_to(LabelledProjections(projections[None], labels[None], rows), [0.1])
    return weighting.log_variance.exp().item()


def scattered(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """12 rows, two views each, of up to 5 classes, some missing, in float64."""
    generator = torch.Generator().manual_seed(seed)
    z = normalize(torch.randn(24, 4, generator=generator, dtype=torch.float64), dim=1)
    return z, torch.randint(-1, 5, (12,), generator=generator).repeat(2), torch.arange(12).repeat(2)


@given(st.integers(0, 30), st.sampled_from([0.05, 0.3, 2.0]))
def test_it_is_equation_five_and_its_gradients_are_the_closed_forms(seed, temperature):
    z, classes, rows = scattered(seed)
    expected, gradients = pseudo_likelihood_loops(z.numpy(), classes.tolist(), rows.tolist(), temperature)
    z.requires_grad_()
    log = torch.tensor(temperature, dtype=torch.float64).log().requires_grad_()
    nll, counted = pseudo_likelihood(z, classes, rows, temperature=log.exp())
    torch.testing.assert_close(nll, torch.tensor(expected, dtype=torch.float64))
    (nll.sum() / counted.sum()).backward()
    torch.testing.assert_close(log.grad, torch.from_numpy(gradients["log"]))
    free = torch.from_numpy(gradients["vectors"])
    along = (free * z.detach()).sum(dim=1, keepdim=True) * z.detach()  # lengths are irrelevant, so that part is gone
    torch.testing.assert_close(z.grad, free - along)


def test_several_temperatures_at_once_are_what_each_is_alone():
    z, classes, rows = scattered(0)
    together, counted = pseudo_likelihood(z, classes, rows, temperature=torch.tensor([0.1, 0.7], dtype=torch.float64))
    for one, temperature in zip(together, (0.1, 0.7), strict=True):
        torch.testing.assert_close(one, pseudo_likelihood(z, classes, rows, temperature=temperature)[0])
    assert together.shape == (2, 24)
    assert (together[:, ~counted] == 0).all()


def test_more_anchors_than_are_computed_at_a_time_change_nothing(monkeypatch):
    z, classes, rows = clusters(5)
    at_once, _ = pseudo_likelihood(z, classes, rows, temperature=0.1)
    monkeypatch.setattr("mscon.method.weightings.exact._ANCHORS", 7)
    torch.testing.assert_close(pseudo_likelihood(z, classes, rows, temperature=0.1)[0], at_once)


@pytest.mark.parametrize("sizes", [(4, 4), (2, 30), (2, 3, 50, 9)])
def test_coinciding_projections_give_the_log_of_the_number_of_classes_whatever_their_sizes(sizes):
    classes = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])
    nll, counted = pseudo_likelihood(torch.ones(len(classes), 3), classes, torch.arange(len(classes)), temperature=0.1)
    assert counted.all()
    torch.testing.assert_close(nll, torch.full_like(nll, math.log(len(sizes))))


def test_it_is_never_negative_and_does_not_change_with_the_order_or_a_rotation():
    z, classes, rows = scattered(3)
    nll, _ = pseudo_likelihood(z, classes, rows, temperature=0.2)
    assert (nll >= 0).all()
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q
    other, _ = pseudo_likelihood(3 * z[order] @ turn, classes[order], rows[order], temperature=0.2)
    torch.testing.assert_close(other, nll[order])


def test_missing_labels_equal_rows_that_are_not_there():
    z, classes, rows = scattered(1)
    others = classes >= 0
    assert not others.all()
    nll, counted = pseudo_likelihood(z, classes, rows, temperature=0.2)
    alone, counted_alone = pseudo_likelihood(z[others], classes[others], rows[others], temperature=0.2)
    torch.testing.assert_close(nll[others], alone)
    assert torch.equal(counted[others], counted_alone)
    assert (nll[~others] == 0).all()


def test_a_class_of_one_row_is_no_anchor_but_a_candidate_of_others():
    z, _, rows = scattered(2)
    classes = torch.tensor([0] * 6 + [1] * 5 + [2]).repeat(2)
    z.requires_grad_()
    nll, counted = pseudo_likelihood(z, classes, rows, temperature=0.2)
    assert counted.tolist() == (classes != 2).tolist()
    without, _ = pseudo_likelihood(z[classes != 2], classes[classes != 2], rows[classes != 2], temperature=0.2)
    assert (nll[counted] > without).all()
    nll.sum().backward()
    assert z.grad.isfinite().all()
    assert z.grad[classes == 2].abs().sum() > 0


def test_no_anchor_at_all_is_all_zeros_with_a_gradient_of_zero():
    z, _, rows = scattered(0)
    nll, counted = pseudo_likelihood(z.requires_grad_(), rows, rows, temperature=torch.tensor([0.1, 0.2]))
    assert not counted.any()
    assert nll.shape == (2, 24)
    assert (nll == 0).all()


def test_it_is_finite_at_temperatures_where_exponentials_are_not():
    z, classes, rows = (t.float() if t.is_floating_point() else t for t in scattered(4))
    z.requires_grad_()
    nll, _ = pseudo_likelihood(z, classes, rows, temperature=1e-4)
    nll.sum().backward()
    assert nll.isfinite().all()
    assert nll.max() > 100
    assert z.grad.isfinite().all()


def test_at_the_fitted_sigma_the_similarity_to_the_own_class_is_what_is_expected():
    """Moment matching: the derivative by log sigma^2 is 0 there, and not elsewhere."""
    z, labels, rows = clusters(5)
    labels = redrawn(labels, 0.3)
    at = fitted(z, labels, rows)
    assert 0.1 < at < 10
    slopes = []
    for factor in (1.0, 0.5, 2.0):
        log = torch.tensor(0.1 * at * factor).log().requires_grad_()
        nll, counted = pseudo_likelihood(z, labels, rows, temperature=log.exp())
        (nll.sum() / counted.sum()).backward()
        slopes.append(log.grad.item())
    assert abs(slopes[0]) < 0.01 < slopes[2]
    assert slopes[1] < -0.01


@pytest.mark.parametrize("classes", [2, 5, 20])
def test_sigma_grows_with_label_noise_at_fixed_geometry(classes):
    z, labels, rows = clusters(classes, rows=400)
    result = [fitted(z, redrawn(labels, share), rows) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert result == sorted(result)
    assert result[-1] > 5 * result[1] > 5 * result[0]


def test_sigma_does_not_tell_the_number_of_classes():
    result = []
    for classes in (2, 5, 20):
        z, labels, rows = clusters(classes, rows=400)
        result.append(fitted(z, redrawn(labels, 0.5), rows))
    assert max(result) / min(result) < 1.25


def test_with_other_views_of_the_own_row_noise_would_look_certain():
    z, labels, rows = clusters(5)
    noise = redrawn(labels, 1.0)
    assert fitted(z, noise, rows) > 5
    assert fitted(z, noise, torch.arange(len(rows))) < 0.1


def test_sigma_stays_within_its_range():
    z, labels, rows = clusters(4)
    assert fitted(z, labels, rows, least=-0.5) == pytest.approx(math.exp(-0.5))
    assert fitted(z, redrawn(labels, 1.0), rows, most=1.0) == pytest.approx(math.e)


def test_a_head_whose_projections_coincide_is_no_witness():
    _, labels, rows = clusters(4)
    assert fitted(torch.ones(len(rows), 3), labels, rows) == pytest.approx(math.exp(3))


def fitted_on(first: float, second: float, **settings) -> Exact:
    """After a fit on two columns with these shares of noise."""
    weighting = Exact(2, **settings)
    z, labels, rows = clusters(5)
    weighting.fit_to(
        LabelledProjections(torch.stack([z, z]), torch.stack([redrawn(labels, first), redrawn(labels, second)]), rows),
        [0.1] * 2,
    )
    return weighting


def weights(weighting: Exact, anchors: Tensor = PRESENT) -> Tensor:
    return weighting(BatchLosses(torch.tensor([4.5, 3.0]), FLOORS, CEILINGS, anchors)).weights


def test_the_weight_is_one_over_sigma_squared():
    weighting = fitted_on(0.2, 0.8, normalise=False)
    torch.testing.assert_close(weights(weighting), (-weighting.log_variance).exp())
    assert weights(weighting)[0] > 1.5 * weights(weighting)[1]


def test_normalised_weights_have_their_ratio_and_sum_to_the_number_that_is_present():
    plain, scaled = weights(fitted_on(0.2, 0.8, normalise=False)), weights(fitted_on(0.2, 0.8))
    torch.testing.assert_close(scaled.sum(), torch.tensor(2.0))
    torch.testing.assert_close(scaled[0] / scaled[1], plain[0] / plain[1])
    assert weights(fitted_on(0.2, 0.8), torch.tensor([6.0, 0.0])).tolist() == [1.0, 0.0]


def test_before_the_first_fit_every_similarity_counts_one():
    assert weights(Exact(2)).tolist() == weights(Exact(2, normalise=False)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("normalise", [True, False])
def test_what_cannot_be_judged_counts_one_beside_what_can(normalise):
    z, labels, rows = clusters(5)
    weighting = Exact(3, normalise=normalise)
    columns = torch.stack([redrawn(labels, 0.2), redrawn(labels, 0.8), rows])  # the last is "same row"
    weighting.fit_to(LabelledProjections(z.expand(3, *z.shape), columns, rows), [0.1] * 3)
    weights = weighting(BatchLosses(torch.ones(3), torch.zeros(3), torch.ones(3), torch.ones(3))).weights
    assert weights[2] == 1
    assert weights[0] > weights[1]
    if normalise:
        torch.testing.assert_close(weights.sum(), torch.tensor(3.0))


def test_an_absent_similarity_is_not_moved_by_a_fit():
    weighting = fitted_on(0.2, 0.8)
    before = weighting.curve.clone()
    z, labels, rows = clusters(5, seed=9)
    weighting.fit_to(
        LabelledProjections(torch.stack([z, z]), torch.stack([labels, torch.full_like(labels, -1)]), rows), [0.1] * 2
    )
    assert not torch.equal(weighting.curve[0], before[0])
    assert torch.equal(weighting.curve[1], before[1])
    assert weighting.judged.all()


def test_a_fit_on_validation_rows_forgets_the_one_before_and_one_in_training_remembers():
    z, labels, rows = clusters(5)
    then, now = (LabelledProjections(z[None], redrawn(labels, share)[None], rows) for share in (1.0, 0.1))
    held_out, in_training = Exact(1), Exact(1, fit_on="training", decay=0.9)
    for weighting in (held_out, in_training):
        weighting.fit_to(then, [0.1])
        weighting.fit_to(now, [0.1])
    assert held_out.log_variance.exp().item() == pytest.approx(fitted(z, redrawn(labels, 0.1), rows))
    assert in_training.log_variance > held_out.log_variance
    for _ in range(100):
        in_training.fit_to(now, [0.1])
    torch.testing.assert_close(in_training.log_variance, held_out.log_variance, atol=1e-3, rtol=0)


def test_it_takes_no_more_samples_than_it_may():
    z, labels, rows = clusters(5)
    labels = redrawn(labels, 0.2)
    few = fitted(z[:100], labels[:100], rows[:100])
    assert fitted(z, labels, rows, samples=100) == few
    assert fitted(z, labels, rows) != few


def test_samples_without_a_class_are_not_among_those_that_it_may_take():
    """As those of views that a similarity does not compare, which may stand before all others."""
    z, labels, rows = clusters(5)
    labels = redrawn(labels, 0.2)
    before = torch.full_like(labels, -1)
    assert fitted(
        torch.cat([z, z]), torch.cat([before, labels]), torch.cat([rows, rows]), samples=100
    ) == pytest.approx(fitted(z[:100], labels[:100], rows[:100]))


def test_each_similarity_is_fitted_at_its_temperature():
    z, labels, rows = clusters(5)
    columns = torch.stack([redrawn(labels, 0.2), redrawn(labels, 0.8)])
    together = Exact(2)
    together.fit_to(LabelledProjections(torch.stack([z, z]), columns, rows), [0.1, 0.3])
    for number, temperature in enumerate([0.1, 0.3]):
        alone = Exact(1)
        alone.fit_to(LabelledProjections(z[None], columns[number][None], rows), [temperature])
        torch.testing.assert_close(together.log_variance[number], alone.log_variance[0])


def test_fitting_takes_no_gradient():
    z, labels, rows = clusters(5)
    weighting = Exact(1)
    weighting.fit_to(LabelledProjections(z[None].requires_grad_(), labels[None], rows), [0.1])
    assert not weighting.curve.requires_grad


@pytest.mark.parametrize("settings", [{"decay": 1.0}, {"decay": -0.1}, {"least": 3.0}, {"most": 11.0}, {"samples": 3}])
def test_it_refuses_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="must be"):
        Exact(2, **settings)
