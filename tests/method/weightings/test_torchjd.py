"""Weights of torchjd's aggregators: that the weighted sum has the aggregated gradient, and what that does."""

from __future__ import annotations

import importlib.util
import itertools

import pytest
import torch

from mscon.errors import RecipeError
from mscon.method import catalogue
from mscon.method.loss import MSConLoss
from mscon.method.weightings.base import BatchLosses, FeatureGradients
from mscon.method.weightings.torchjd import TorchJD
from mscon.run import recipe as recipes

pytest.importorskip("torchjd")
FLOATS = torch.float64


def batch(jacobian: torch.Tensor, present: torch.Tensor | None = None) -> BatchLosses:
    here = torch.ones(len(jacobian), dtype=torch.bool) if present is None else present
    jacobian = jacobian * here[:, None]
    flat = torch.full((len(jacobian),), 3.0, dtype=jacobian.dtype)
    gradients = FeatureGradients(jacobian @ jacobian.T, jacobian)
    return BatchLosses(flat, flat - 1, flat + 1, 8.0 * here.to(flat), gradients)


def projected(vector: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
    """The nearest vector along which no loss rises, by all sets of active constraints."""
    best = None
    for size in range(len(jacobian) + 1):
        for active in itertools.combinations(range(len(jacobian)), size):
            rows = jacobian[list(active)]
            candidate = vector - rows.T @ torch.linalg.pinv(rows.T) @ vector if size else vector
            if (jacobian @ candidate >= -1e-9).all():
                distance = (candidate - vector).norm()
                if best is None or distance < best[0]:
                    best = (distance, candidate)
    assert best is not None
    return best[1]


@pytest.mark.parametrize("seed", range(6))
def test_upgrad_is_the_mean_of_gradients_along_which_no_loss_rises(seed):
    """By its definition, eq. 4 of the paper; up to the regularisation of singular Gramians."""
    jacobian = torch.randn(3, 5, dtype=FLOATS, generator=torch.Generator().manual_seed(seed))
    jacobian[2] = -jacobian[0] - 0.3 * jacobian[1] + 0.5 * jacobian[2]  # in conflict
    weights = TorchJD(3)(batch(jacobian)).weights
    expected = torch.stack([projected(row, jacobian) for row in jacobian]).sum(dim=0)
    aggregated = weights @ jacobian
    scale = (aggregated @ expected) / (expected @ expected)
    torch.testing.assert_close(aggregated, scale * expected, rtol=5e-3, atol=5e-3)
    assert (jacobian @ aggregated > -5e-3).all()
    assert (jacobian @ jacobian.sum(dim=0)).min() < -0.1 or seed  # of equal weights some loss would rise


@pytest.mark.parametrize("aggregator", ["UPGrad", "DualProj"])
def test_without_conflict_they_are_equal_weights(aggregator):
    jacobian = torch.tensor([[1.0, 0.0, 0.2], [0.5, 2.0, 0.0], [0.0, 0.1, 0.3]])
    assert TorchJD(3, aggregator)(batch(jacobian)).weights.tolist() == pytest.approx([1.0] * 3)


def test_mgda_is_the_shortest_vector_of_the_hull():
    jacobian = torch.tensor([[4.0, 1.0], [0.5, 1.0]], dtype=FLOATS)
    shares = torch.linspace(0, 1, 10_001, dtype=FLOATS)[:, None]
    lengths = (shares * jacobian[0] + (1 - shares) * jacobian[1]).norm(dim=1)
    share = shares[lengths.argmin()].item()
    weights = TorchJD(2, "MGDA")(batch(jacobian)).weights
    assert weights.tolist() == pytest.approx([2 * share, 2 * (1 - share)], abs=2e-2)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_size_of_gradients_does_not_matter(scale):
    jacobian = torch.tensor([[1.0, 0.5, 0.0], [-3.0, 0.5, 0.2]], dtype=FLOATS)
    ordinary, scaled = (TorchJD(2)(batch(jacobian * s)).weights for s in (1.0, scale))
    torch.testing.assert_close(scaled, ordinary)
    assert not torch.allclose(ordinary, torch.ones(2, dtype=FLOATS), atol=1e-2)


def test_an_absent_similarity_and_one_at_rest_say_nothing_of_the_others():
    jacobian = torch.tensor([[1.0, 0.5], [-1.0, 0.5], [3.0, -2.0], [0.0, 0.0]], dtype=FLOATS)
    present = torch.tensor([True, True, False, True])
    weights = TorchJD(4)(batch(jacobian, present)).weights
    torch.testing.assert_close(weights[:2], TorchJD(2)(batch(jacobian[:2])).weights)
    assert weights[2:].tolist() == [0.0, 1.0]


def test_equal_and_opposite_gradients_are_no_error():
    weights = TorchJD(2)(batch(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]))).weights
    assert weights.tolist() == pytest.approx([1.0, 1.0])


def test_outside_training_weights_are_one():
    here = batch(torch.tensor([[1.0, 0.5], [-1.0, 0.5]]))
    weighted = TorchJD(2)(BatchLosses(here.loss, here.floor, here.ceiling, here.anchors))
    assert weighted.weights.tolist() == [1.0, 1.0]


def test_an_unknown_aggregator_is_refused_with_those_that_are_there():
    plain = {"similarity": [{"column": "make"}], "weighting": {"name": "torchjd", "aggregator": "PCGrad"}}
    with pytest.raises(RecipeError, match=r"(?s)aggregator.*UPGrad.*DualProj.*MGDA"):
        recipes.of_plain(plain)


def test_without_the_package_a_recipe_and_a_loop_are_told_how_to_install_it(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchjd" else find_spec(name))
    with pytest.raises(RecipeError, match=r'(?s)\[weighting\] torchjd: .*pip install "mscon\[torchjd\]"'):
        catalogue.build("weighting", "torchjd", {}, similarities=2)
    with pytest.raises(ValueError, match=r'pip install "mscon\[torchjd\]"'):
        MSConLoss(["make", "colour"], weighting="torchjd")
