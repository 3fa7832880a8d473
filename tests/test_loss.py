"""The loss in anyone's loop: what it equals, what it accepts, what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, normalize

from mscon import MSConLoss, NTXentLoss, SupConLoss
from reference import supcon_loops

NAMES = ["category", "closure", "gender"]


def batch(rows: int = 24, views: int = 2, dim: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Projections (C, B, views, dim) and labels (B, C) of three columns of 2, 3 and 5 classes, some missing."""
    generator = torch.Generator().manual_seed(seed)
    projections = torch.randn(3, rows, views, dim, generator=generator, dtype=torch.float64)
    labels = torch.stack([torch.randint(-1, k, (rows,), generator=generator) for k in (2, 3, 5)], dim=1)
    return projections, labels


def by_loops(projections: torch.Tensor, labels: torch.Tensor, temperature: float) -> list[float]:
    """Mean loss of each column over anchors with a positive, straight from the equation."""
    means = []
    for space, column in zip(projections, labels.T, strict=True):
        z = normalize(space.transpose(0, 1).reshape(-1, space.shape[-1]), dim=1)
        y = column.repeat(space.shape[1])
        weight = (y[:, None] == y[None, :]).double()
        known = (y >= 0)[:, None] & (y >= 0)[None, :] & ~torch.eye(len(y), dtype=torch.bool)
        losses = torch.as_tensor(
            supcon_loops(z.numpy(), z.numpy(), weight.numpy(), known.numpy(), temperature, "outside")
        )
        positive = ((weight > 0) & known).any(dim=1)
        means.append(losses[positive].mean().item())
    return means


@given(st.integers(0, 10), st.sampled_from([0.05, 0.1, 0.5, 1.0]))
def test_it_reads_the_paper_the_way_the_loops_do(seed, temperature):
    projections, labels = batch(rows=9, seed=seed)
    criterion = MSConLoss(NAMES, temperature, "equal")
    total = criterion(projections, labels)
    expected = by_loops(projections, labels, temperature)
    torch.testing.assert_close(total.item(), sum(expected))
    assert [s.loss for s in criterion.summary()] == pytest.approx(expected)


def test_uncertainty_at_the_start_is_the_plain_sum():
    projections, labels = batch()
    equal, learned = MSConLoss(NAMES, weighting="equal"), MSConLoss(NAMES, weighting="uncertainty")
    torch.testing.assert_close(learned(projections, labels), equal(projections, labels))


def test_one_label_per_row_makes_it_nt_xent():
    z, _ = batch()
    rows, views = z.shape[1], z.shape[2]
    v = normalize(z[0].transpose(0, 1).reshape(rows * views, -1), dim=1)
    logits = (v @ v.T / 0.1).fill_diagonal_(-torch.inf)
    other_view = torch.arange(rows * views).roll(rows)
    expected = cross_entropy(logits, other_view)
    torch.testing.assert_close(NTXentLoss(0.1)(z[0]), expected)
    torch.testing.assert_close(SupConLoss(0.1)(z[0], torch.arange(rows)), expected)


def test_coinciding_embeddings_give_the_log_of_the_number_of_candidates():
    z = torch.ones(2, 10, 4)
    labels = torch.arange(10)[:, None].repeat(1, 2) % 5
    criterion = MSConLoss(["a", "b"], weighting="equal")
    torch.testing.assert_close(criterion(z, labels), torch.tensor(2 * math.log(9)))
    for record in criterion.summary():
        assert record.relative_excess == pytest.approx(1.0)
        assert record.ceiling == pytest.approx(math.log(9))
        assert record.floor == pytest.approx(0.0)


def test_a_missing_label_equals_leaving_the_row_out_of_that_column():
    z, _ = batch(rows=12, views=1)
    labels = torch.arange(12)[:, None].repeat(1, 3) % 3
    holes = labels.clone()
    holes[4, 1] = -1
    with_hole, without = MSConLoss(NAMES, weighting="equal"), MSConLoss(["x"], weighting="equal")
    with_hole(z, holes)
    kept = torch.arange(12) != 4
    expected = without(z[1:2, kept], labels[kept, 1:2])
    assert with_hole.summary()[1].loss == pytest.approx(expected.item())


def test_a_column_that_is_all_missing_changes_nothing():
    z, labels = batch()
    labels[:, 1] = -1
    criterion = MSConLoss(NAMES, weighting="uncertainty")
    z = z.requires_grad_()
    criterion(z, labels).backward()
    assert z.grad[1].abs().max() == 0
    assert criterion.weighting.log_variance.grad[1] == 0
    assert criterion.summary()[1].weight == 0


def test_views_and_names_may_be_written_in_every_accepted_way():
    z, labels = batch()
    criterion = MSConLoss(NAMES, weighting="equal")
    expected = criterion(z, labels)
    named = {name: z[i] for i, name in enumerate(NAMES)}, {name: labels[:, i] for i, name in enumerate(NAMES)}
    torch.testing.assert_close(criterion(*named), expected)
    flat = z.reshape(3, -1, z.shape[-1])
    torch.testing.assert_close(criterion(flat, labels.repeat_interleave(2, dim=0)), expected)


def test_same_row_needs_no_label_and_adds_nt_xent():
    z, labels = batch()
    criterion = MSConLoss(["category", "same_row"], weighting="equal")
    total = criterion(z[:2], labels[:, :1])
    torch.testing.assert_close(total, SupConLoss()(z[0], labels[:, 0]) + NTXentLoss()(z[1]))


def test_labelled_rows_agree_with_pytorch_metric_learning():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    z, _ = batch()
    labels = torch.arange(24) % 5
    mine, theirs = z[0, :, 0].clone().requires_grad_(), z[0, :, 0].clone().requires_grad_()
    loss = SupConLoss(0.1)(mine, labels)
    other = losses.SupConLoss(temperature=0.1)(theirs, labels)
    torch.testing.assert_close(loss, other)
    loss.backward()
    other.backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_one_class_still_attracts():
    """pytorch-metric-learning returns 0 here; the paper's formula does not."""
    z, _ = batch(rows=6, views=1)
    v = normalize(z[0, :, 0], dim=1)
    logits = (v @ v.T / 0.1).fill_diagonal_(-torch.inf)
    off = ~torch.eye(6, dtype=torch.bool)
    expected = -logits.log_softmax(dim=1)[off].mean()
    torch.testing.assert_close(SupConLoss(0.1)(z[0, :, 0], torch.zeros(6, dtype=torch.int64)), expected)


def test_all_anchors_may_be_counted_as_the_authors_code_does():
    z, _ = batch(rows=8, views=1)
    labels = torch.tensor([0, 0, 1, 2, 3, 4, 5, 6])
    counted = SupConLoss(0.1)(z[0], labels)
    everyone = SupConLoss(0.1, average_over="all_anchors")(z[0], labels)
    torch.testing.assert_close(everyone, counted * 2 / 8)


def test_autocast_changes_no_digit():
    z, labels = batch()
    z = z.float()
    criterion = MSConLoss(NAMES, weighting="equal")
    expected = criterion(z, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(criterion(z, labels), expected)


def test_learned_weights_may_make_the_total_negative():
    criterion = MSConLoss(["same_row"], temperature=0.01)
    with torch.no_grad():
        criterion.weighting.log_variance.fill_(-5.0)
    views = torch.eye(4)[:, None].repeat(1, 2, 1)
    assert criterion({"same_row": views}).item() < 0


def test_the_summary_waits_for_a_batch_and_keeps_no_graph():
    criterion = MSConLoss(NAMES)
    with pytest.raises(RuntimeError, match="no batch yet"):
        criterion.summary()
    z, labels = batch()
    criterion(z.requires_grad_(), labels)
    assert not criterion._last.total.requires_grad


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda z, y: (z[:2], y), r"with 3 similarities .* got \(2, 24, 2, 8\)"),
        (lambda z, y: (z[:, :0], y[:0]), "batch is empty"),
        (lambda z, y: (z, y[:5]), r"labels 'category' must have shape \(24,\).*got \(5,\)"),
        (lambda z, y: (z, y[:, :2]), r"labels must be \(rows, 3\)"),
        (lambda z, y: (z, y.double()), "must be integers, got torch.float64"),
        (lambda z, y: (z, y - 1), "-1 where missing, got -2"),
        (lambda z, y: (z.long(), y), "must be floating point"),
        (lambda z, y: ({"category": z[0]}, y), r"missing \['closure', 'gender'\]"),
        (lambda z, y: ({n: z[i][: 24 - i] for i, n in enumerate(NAMES)}, y), "must have one shape"),
        (lambda z, y: (z, {"category": y[:, 0], "colour": y[:, 1]}), r"unknown \['colour'\]"),
        (lambda z, y: (z, None), "labels must be given"),
        (lambda z, y: (z * torch.nan, y), "finite|NaN|nan"),
        (lambda z, y: (z * 0, y), "zero"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_shape(make, words):
    with pytest.raises(ValueError, match=words):
        MSConLoss(NAMES)(*make(*batch()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["a", "a"],), "distinct names"),
        (("category",), "distinct names"),
        (([],), "distinct names"),
        ((["a"], 0.0), "temperature must be positive, got 0"),
        ((["a"], float("nan")), "temperature must be positive, got nan"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        MSConLoss(*arguments)


def exact_batch(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """40 rows, two views, two columns of 4 clusters each; a share of the second column's labels drawn anew."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.stack([torch.arange(40) % 4, torch.arange(40) % 4], dim=1)
    z = torch.eye(8)[labels].transpose(0, 1)[:, :, None] + 0.15 * torch.randn(2, 40, 2, 8, generator=generator)
    drawn = torch.randint(0, 4, (40,), generator=generator)
    labels[:, 1] = torch.where(torch.rand(40, generator=generator) < noise, drawn, labels[:, 1])
    return z, labels


def test_exact_weights_are_fitted_on_the_rows_that_are_given():
    z, labels = exact_batch(noise=0.5)
    criterion = MSConLoss(["clean", "noisy"], weighting="exact")
    torch.testing.assert_close(criterion(z, labels), MSConLoss(["clean", "noisy"], weighting="equal")(z, labels))
    criterion.eval()(z, labels)  # an evaluation fits nothing
    assert [s.weight for s in criterion.summary()] == [1.0, 1.0]
    criterion.fit_weights(z.requires_grad_(), {"clean": labels[:, 0], "noisy": labels[:, 1]})
    criterion.train()(z, labels).backward()
    clean, noisy = (s.weight for s in criterion.summary())
    assert clean > 2 * noisy
    assert clean + noisy == pytest.approx(2)
    fresh = MSConLoss(["clean", "noisy"], weighting="exact")
    fresh.load_state_dict(criterion.state_dict())
    torch.testing.assert_close(fresh(z, labels), criterion(z, labels))


def test_rows_that_come_twice_are_not_their_own_witnesses():
    """The same rows as views and as rows of equal numbers are one thing; as new rows they vouch for each other."""
    z, labels = exact_batch(noise=1.0)
    by_views, by_rows, as_new = (MSConLoss(["clean", "noisy"], weighting="exact") for _ in range(3))
    by_views.fit_weights(z, labels)
    twice, labels_twice, rows = z.transpose(1, 2).reshape(2, 80, 8), labels.repeat(2, 1), torch.arange(40).repeat(2)
    by_rows.fit_weights(twice, labels_twice, rows)
    as_new.fit_weights(twice, labels_twice)
    torch.testing.assert_close(by_rows.weighting.log_variance, by_views.weighting.log_variance, rtol=1e-4, atol=0)
    assert as_new.weighting.log_variance[1] < by_rows.weighting.log_variance[1] - 0.5


def test_exact_weights_may_be_fitted_on_each_batch_instead():
    z, labels = exact_batch(noise=0.5)
    criterion = MSConLoss(["clean", "noisy"], weighting="exact", fit_on="training")
    criterion(z, labels)
    clean, noisy = (s.weight for s in criterion.summary())
    assert clean > 2 * noisy
    with pytest.raises(ValueError, match='fit_weights is for weighting="exact"'):
        criterion.fit_weights(z, labels)


def test_fitting_weights_leaves_a_memory_alone():
    z, labels = exact_batch(noise=0.5)
    criterion = MSConLoss(["clean", "noisy"], weighting="exact", memory_size=100)
    criterion.fit_weights(z, labels)
    assert criterion.candidates.filled == 0


def test_importance_multiplies_what_the_weighting_gives():
    projections, labels = batch()
    everything = {**{n: projections[i] for i, n in enumerate(NAMES)}, "same_row": projections[0]}
    columns = {n: labels[:, i] for i, n in enumerate(NAMES)}
    once = MSConLoss([*NAMES, "same_row"], weighting="equal")
    twice = MSConLoss([*NAMES, "same_row"], weighting="equal", importance={"same_row": 2.0})
    difference = twice(everything, columns) - once(everything, columns)
    torch.testing.assert_close(difference.item(), once.summary()[3].loss)
    assert [s.weight for s in twice.summary()] == [1.0, 1.0, 1.0, 2.0]
    with pytest.raises(ValueError, match=r"importance is given for \['colour'\]"):
        MSConLoss(NAMES, importance={"colour": 2.0})


def test_the_losses_of_one_notion_have_a_memory_too():
    """What is remembered joins the denominator: the same batch costs more the second time, and nothing by itself."""
    z, labels = torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(3)), torch.arange(6) // 2
    new, seen = torch.arange(6), torch.arange(6, 12)
    for criterion, arguments in ((SupConLoss(memory_size=32), (z, labels)), (NTXentLoss(memory_size=32), (z,))):
        alone = criterion(*arguments, rows=new)
        torch.testing.assert_close(criterion(*arguments, rows=new), alone)  # a row never meets its own past
        assert criterion(*arguments, rows=seen) > alone + 0.3
