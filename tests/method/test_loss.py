"""The loss in anyone's loop: what it equals, what it accepts, what it refuses."""

from __future__ import annotations

import math
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, normalize

from batches import LARGE_NAMINGS, SIGNED_NAMINGS, of_type
from mscon import MSConLoss, NTXentLoss, SupConLoss
from mscon.method.objectives.supcon import SupCon
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


ALL_NAMINGS = [*SIGNED_NAMINGS, *LARGE_NAMINGS]
UNSIGNED_NAMINGS = [partial(of_type, d) for d in (torch.uint8, torch.uint16, torch.uint32, torch.uint64)]


@pytest.mark.parametrize("naming", ALL_NAMINGS)
@pytest.mark.parametrize("seed", range(3))
def test_labels_may_be_integers_of_any_size_and_type(naming, seed):
    """By the loops with small labels; as one tensor and by name."""
    projections, labels = batch(rows=9, seed=seed)
    expected = sum(by_loops(projections, labels, 0.1))
    criterion = MSConLoss(NAMES, 0.1, "equal")
    assert criterion(projections, naming(labels)).item() == pytest.approx(expected)
    by_name = {name: naming(labels[:, i]) for i, name in enumerate(NAMES)}
    assert criterion(projections, by_name).item() == pytest.approx(expected)


@pytest.mark.parametrize("rows", [20, 750])  # all pairs written out, and in tiles
@pytest.mark.parametrize("naming", [*ALL_NAMINGS, *UNSIGNED_NAMINGS])
def test_labels_and_rows_of_any_type_and_size_give_the_same_losses(rows, naming):
    generator = torch.Generator().manual_seed(0)
    z, labels = torch.randn(rows, 2, 5, generator=generator), torch.arange(rows) % 13
    torch.testing.assert_close(SupConLoss()(z, naming(labels)), SupConLoss()(z, labels))
    numbers = torch.arange(rows) // 2 % 30
    torch.testing.assert_close(NTXentLoss()(z, naming(numbers)), NTXentLoss()(z, numbers))


def test_the_largest_label_is_a_label_like_any_other():
    """The example that was wrong: neighbours from 2^53 on were one class in a small batch."""
    z = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0))
    small = torch.tensor([[0], [1], [0], [1]])
    expected = MSConLoss(["a"], weighting="equal")(z, small)
    for first in (2**24, 2**31 - 1, 2**53, 2**63 - 2):
        assert MSConLoss(["a"], weighting="equal")(z, small + first) == expected
    unsigned = torch.tensor([[2**63 - 1], [2**63 - 2]] * 2, dtype=torch.uint64)
    assert MSConLoss(["a"], weighting="equal")(z, unsigned) == expected


def test_truth_values_are_two_classes():
    z, labels = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    assert SupConLoss()(z, labels.bool()) == SupConLoss()(z, labels)
    assert SupConLoss()(z, labels.bool().tolist()) == SupConLoss()(z, labels)


def test_labels_may_be_lists_or_arrays():
    z, labels = batch()
    criterion = MSConLoss(NAMES, weighting="equal")
    expected = criterion(z, labels)
    array = labels.numpy()
    reversed_twice = np.ascontiguousarray(array[::-1])[::-1]
    foreign = array.astype(array.dtype.newbyteorder())
    for form in (array, array.tolist(), array.astype(np.int16), reversed_twice, foreign):
        assert criterion(z, form) == expected
    frozen = array.copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings(action="error"):
        assert criterion(z, {name: frozen[:, i] for i, name in enumerate(NAMES)}, rows=range(24)) == expected


def test_labels_as_one_tensor_cause_no_warning():
    z = torch.randn(1, 720, 4, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(action="error"):
        MSConLoss(["a"], weighting="equal")(z, (torch.arange(1440).view(720, 2) % 6)[:, :1])


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
    others = torch.arange(12) != 4
    expected = without(z[1:2, others], labels[others, 1:2])
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


def test_weights_are_equal_by_default():
    z, labels = batch()
    assert MSConLoss(NAMES)(z, labels) == MSConLoss(NAMES, weighting="equal")(z, labels)
    assert not list(MSConLoss(NAMES).parameters())


def test_learned_weights_may_make_the_total_negative():
    criterion = MSConLoss(["same_row"], temperature=0.01, weighting="uncertainty")
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
        (lambda z, y: (z, y[:5]), r"labels 'category' must have one value for each of 24 rows, got shape \(5,\)"),
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
        (lambda z, y: (z, y.to(torch.uint64)), r"at most 2\^63 - 1, got 18446744073709551615"),
        (lambda z, y: (z, [["red"] * 3] * 24), r"labels must be numbers .* got <U3: \['red', 'red'"),
        (lambda z, y: (z, {**{n: [0] * 24 for n in NAMES}, "gender": [None] + [0] * 23}), r"'gender'.* \[None, 0"),
        (lambda z, y: (z, [[0, 1, 2], [0]] * 12), "lists of other lengths"),
        (lambda z, y: (z, y.double().numpy()), r"'category' must be integers, got torch\.float64"),
        (lambda z, y: (z, y, y[:, 0] > 0), r"rows must be integers, got torch\.bool"),
        (lambda z, y: (z, y, [0.5] * 24), "rows must be integers"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_shape(make, words):
    with pytest.raises(ValueError, match=words):
        MSConLoss(NAMES)(*make(*batch()))


@pytest.mark.usefixtures("as_users_run_it")
def test_projections_that_are_no_tensors_are_refused():
    z, labels = batch()
    with pytest.raises(ValueError, match=r"projections must be a tensor, .*got ndarray"):
        MSConLoss(NAMES)(z.numpy(), labels)
    with pytest.raises(ValueError, match=r"projections 'category' must be a tensor, .*got list"):
        MSConLoss(NAMES)({n: z[i].tolist() for i, n in enumerate(NAMES)}, labels)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["a", "a"],), "distinct names"),
        (("category",), "distinct names"),
        (([],), "distinct names"),
        ((None,), "distinct names"),
        (({"a", "b"},), "list of distinct names"),  # whose order, and with it that of the projections, is any
        ((["a"], 0.0), "temperature must be positive and finite, got 0"),
        ((["a"], float("nan")), "temperature must be positive and finite, got nan"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        MSConLoss(*arguments)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": "0.1"}, "temperature must be a number, got '0.1'"),
        ({"temperature": torch.nn.Parameter(torch.tensor(0.1))}, "plain number, got a tensor; it cannot be learned"),
        ({"weighting": 3}, "weighting must be a name or a Weighting object, got 3"),
        ({"weighting": "equal", "normalise": True}, "'normalise' is of neither .* weighting 'equal': none"),
        (
            {"objective": "rank_n_contrast", "positives": "inside"},
            "'positives' is of neither .*'rank_n_contrast': temp",
        ),
        ({"objective": SupCon(), "temperature": 0.1}, "'temperature' is of neither .* object has its settings already"),
        ({"positives": "within"}, "positives must be 'outside' or 'inside', got 'within'"),
        ({"denominator": None}, "denominator must be 'all' or 'negatives', got None"),
        ({"average_over": "all"}, "average_over must be 'anchors_with_a_positive' or 'all_anchors', got 'all'"),
        ({"weighting": "uncertainty", "reduction": "max"}, "reduction must be 'mean' or 'sum', got 'max'"),
        ({"weighting": "exact", "fit_on": "test"}, "fit_on must be 'validation' or 'training', got 'test'"),
        ({"objective": "himulcon", "constraint": "level"}, "constraint must be .*, got 'level'"),
        ({"memory_size": 1.5}, "memory_size must be an integer of at least 0, got 1.5"),
        ({"memory_size": "9"}, "memory_size must be an integer of at least 0, got '9'"),
        ({"dim": 0}, "dim must be an integer of at least 1, got 0"),
        ({"importance": ["a"]}, r"importance must be a dictionary of names and numbers, got \['a'\]"),
        ({"importance": {"a": "2"}}, "importance of 'a' must be a number, got '2'"),
    ],
)
def test_settings_of_another_type_or_weighting_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        MSConLoss(["a"], **settings)


def test_a_temperature_may_be_a_number_of_numpy():
    z, labels = batch()
    assert MSConLoss(NAMES, np.float64(0.1))(z, labels) == MSConLoss(NAMES, 0.1)(z, labels)


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
    with pytest.raises(ValueError, match='fit_weights is for weighting="held_out", and for "exact"'):
        criterion.fit_weights(z, labels)


@pytest.mark.parametrize("naming", LARGE_NAMINGS)
def test_exact_weights_do_not_depend_on_the_size_of_labels_and_rows(naming):
    z, labels = exact_batch(noise=0.5)
    small, large = (MSConLoss(["clean", "noisy"], weighting="exact") for _ in range(2))
    rows = torch.arange(40) % 25
    small.fit_weights(z, labels, rows)
    large.fit_weights(z, naming(labels), naming(rows))
    torch.testing.assert_close(large.weighting.log_variance, small.weighting.log_variance)


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
    new, other_rows = torch.arange(6), torch.arange(6, 12)
    for criterion, arguments in ((SupConLoss(memory_size=32), (z, labels)), (NTXentLoss(memory_size=32), (z,))):
        alone = criterion(*arguments, rows=new)
        torch.testing.assert_close(criterion(*arguments, rows=new), alone)  # a row never meets its own past
        assert criterion(*arguments, rows=other_rows) > alone + 0.3


@pytest.mark.parametrize("naming", LARGE_NAMINGS)
def test_a_memory_of_large_labels_and_rows_gives_the_losses_of_small_ones(naming):
    small, large = (MSConLoss([*NAMES, "same_row"], weighting="equal", memory_size=30) for _ in range(2))
    for step in range(3):
        z, labels = batch(rows=10, seed=step)
        spaces, rows = torch.cat([z, z[:1]]), torch.arange(10) + 8 * step
        torch.testing.assert_close(large(spaces, naming(labels), naming(rows)), small(spaces, labels, rows))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda z, y: (z * torch.nan, y),
        lambda z, y: (z * torch.inf, y),
        lambda z, y: (z * 0, y),
        lambda z, y: (z, y - 5),
        lambda z, y: (z, y.double()),
        lambda z, y: (z, y[:3]),
    ],
)
@pytest.mark.parametrize("settings", [{"weighting": "relative"}, {"weighting": "exact", "fit_on": "training"}])
def test_a_batch_that_is_refused_leaves_no_trace(spoil, settings):
    """Good batches cost what they would without it, and the state is the same bit for bit."""
    spoilt, spared = (MSConLoss(NAMES, memory_size=50, **settings) for _ in range(2))
    for step in range(4):
        z, labels = batch(rows=8, seed=step)
        with pytest.raises(ValueError, match=r"must|finite|zero"):
            spoilt(*spoil(z, labels))
        assert spoilt(z, labels) == spared(z, labels)
    state, expected = spoilt.state_dict(), spared.state_dict()
    assert state.keys() == expected.keys()
    assert expected["candidates.steps"] == 4
    assert all(torch.equal(state[key], expected[key]) for key in expected)
