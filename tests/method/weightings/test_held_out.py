"""The weighting by held-out rows: its formula in loops, noise, and what cannot be judged."""

from __future__ import annotations

import pytest
import torch

from mscon.method.weightings.base import BatchLosses, LabelledProjections
from mscon.method.weightings.held_out import HeldOut, neighbour_agreement

FLOATS = torch.float64


def slow(projections, classes, rows, neighbours) -> float:
    """In loops, from the words of the docstring."""
    labelled = [i for i, c in enumerate(classes) if c >= 0]
    near, chance = [], []
    for i in labelled:
        others = [j for j in labelled if rows[j] != rows[i]]
        same = [classes[j] == classes[i] for j in others]
        if not any(same):
            continue
        cosines = [torch.cosine_similarity(projections[i], projections[j], dim=0).item() for j in others]
        nearest = sorted(range(len(others)), key=lambda k: -cosines[k])[:neighbours]
        near.append(sum(same[k] for k in nearest) / len(nearest))
        chance.append(sum(same) / len(same))
    by_chance = sum(chance) / len(chance)
    return (sum(near) / len(near) - by_chance) / (1 - by_chance)


@pytest.mark.parametrize("neighbours", [1, 3, 10, 100])
def test_agreement_is_what_loops_count(neighbours):
    generator = torch.Generator().manual_seed(0)
    projections = torch.randn(24, 3, dtype=FLOATS, generator=generator)
    rows = torch.arange(24) // 2
    classes = torch.randint(-1, 3, (12,), generator=generator).repeat_interleave(2)
    classes[-2:] = 7  # a class of one row
    agreement = neighbour_agreement(projections, classes, rows, neighbours)
    assert agreement == pytest.approx(slow(projections, classes.tolist(), rows.tolist(), neighbours), abs=1e-12)


def test_more_anchors_than_are_compared_at_a_time_count_the_same():
    generator = torch.Generator().manual_seed(1)
    classes = torch.randint(0, 4, (2_500,), generator=generator)
    projections = torch.eye(4, dtype=FLOATS)[classes] + torch.randn(2_500, 4, dtype=FLOATS, generator=generator)
    order = torch.randperm(2_500, generator=generator)
    rows = torch.arange(2_500)
    one = neighbour_agreement(projections, classes, rows, 10)
    assert neighbour_agreement(projections[order], classes[order], rows, 10) == pytest.approx(one, abs=1e-9)
    assert 0.1 < one < 0.9


@pytest.mark.parametrize("classes", [2, 20])
def test_right_labels_give_one_and_noise_gives_nothing_whatever_the_number_of_classes(classes):
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(600) % classes
    projections = torch.eye(classes)[labels] + 0.01 * torch.randn(600, classes, generator=generator)
    noise = labels[torch.randperm(600, generator=generator)]
    rows = torch.arange(600)
    assert neighbour_agreement(projections, labels, rows, 10) == pytest.approx(1)
    assert abs(neighbour_agreement(projections, noise, rows, 10)) < 0.06


@pytest.mark.parametrize("classes", [[-1] * 6, [0, 0, 1, 1, 2, 2], [0] * 6], ids=["missing", "of one row", "one class"])
def test_what_says_nothing_is_not_judged(classes):
    projections = torch.randn(6, 3, generator=torch.Generator().manual_seed(3))
    assert neighbour_agreement(projections, torch.tensor(classes), torch.arange(6) // 2, 10) is None


def losses(count: int, present: list[bool] | None = None) -> BatchLosses:
    flat = torch.full((count,), 3.0)
    return BatchLosses(flat, flat - 1, flat + 1, torch.tensor([8.0 * here for here in present or [True] * count]))


def fitted(**settings) -> HeldOut:
    """On three similarities: right labels, noise, and the rows themselves."""
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(200) % 4
    projections = torch.eye(4)[labels] + 0.01 * torch.randn(3, 200, 4, generator=generator)
    classes = torch.stack([labels, labels[torch.randperm(200, generator=generator)], torch.arange(200)])
    weighting = HeldOut(3, **settings)
    weighting.fit_to(LabelledProjections(projections, classes, torch.arange(200)), [0.1] * 3)
    return weighting


def test_before_the_first_validation_all_weigh_the_same():
    assert HeldOut(3)(losses(3)).weights.tolist() == [1.0, 1.0, 1.0]


def test_noise_weighs_least_and_rows_themselves_weigh_one():
    weights = fitted()(losses(3)).weights
    assert weights.tolist() == pytest.approx([2 / 1.1, 0.2 / 1.1, 1.0], abs=0.05)
    assert weights[:2].sum().item() == pytest.approx(2)


def test_the_lower_bound_bounds_the_ratio_of_two_weights():
    weights = fitted(least=0.5)(losses(3)).weights
    assert (weights[0] / weights[1]).item() == pytest.approx(2)


def test_weights_of_the_similarities_that_are_present_have_mean_one():
    assert fitted()(losses(3, [True, False, True])).weights.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("settings", [{"neighbours": 0}, {"least": 0.0}, {"least": 1.5}, {"samples": 3}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        HeldOut(2, **settings)
