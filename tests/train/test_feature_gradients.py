"""Gradients at the features: against one backward pass of each loss, and what a training and a loop make of them."""

from __future__ import annotations

import pytest
import torch

from mscon.errors import RecipeError
from mscon.method import catalogue
from mscon.method.loss import MSConLoss
from mscon.method.objectives.supcon import SupCon
from mscon.method.similarities.categorical import Categorical
from mscon.method.weightings.base import BatchLosses, Weighted, Weighting
from mscon.run.run import Run
from mscon.train import epochs
from mscon.train.fit import fit, resume
from mscon.train.gather import InBatch, Samples
from mscon.train.step import measure

QUIET = {"progress": False}
ENTRIES = 'similarity=[{column="shape"}, {column="shade", name="categorical"}, {name="same_row"}]'
# Images of the tests' table have an encoder that learns.
READ_GRADIENTS = {
    "torchjd": ('weighting={name="torchjd", aggregator="MGDA"}',),
    "excess_mtl": ('weighting={name="excess_mtl", warm_up=1, step_size=1.0}',),
}


class Keeps(Weighting):
    """Equal weights, and the last batch."""

    reads_gradients = True
    batch: BatchLosses

    def __init__(self, similarities: int) -> None:
        super().__init__()

    def forward(self, batch: BatchLosses) -> Weighted:
        self.batch = batch
        return Weighted.sum(torch.ones_like(batch.loss), batch)


def network(dtype: torch.dtype = torch.float64):
    """Features of 12 samples of 6 rows, and their projections into two spaces by heads with batch norm."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 5, dtype=dtype, generator=generator).requires_grad_()
    matrices = torch.randn(2, 5, 4, dtype=dtype, generator=generator)
    hidden = features @ matrices
    return features, (hidden - hidden.mean(dim=1, keepdim=True)) / hidden.std(dim=1, keepdim=True)


def measured(features, projections, codes, weighting):
    return measure(
        Samples.of_views(projections, codes, torch.arange(6), [0, 0]),
        similarities=[Categorical("a"), Categorical("b")],
        objective=SupCon(),
        weighting=weighting,
        candidates=InBatch(),
        features=features,
    )


def test_they_are_those_of_each_loss_alone():
    codes = [torch.arange(6) % 2, torch.arange(6) // 2]
    features, projections = network()
    weighting = Keeps(2)
    measured(features, projections, codes, weighting)
    gramian, gains = weighting.batch.gradients
    jacobian = []
    for number in range(2):
        features, projections = network()
        loss = measure(
            Samples.of_views(projections[number : number + 1], [codes[number]], torch.arange(6), [0, 0]),
            similarities=[Categorical("a")],
            objective=SupCon(),
            weighting=Keeps(1).eval(),
            candidates=InBatch(),
        ).total
        (gradient,) = torch.autograd.grad(loss, features)
        jacobian.append(gradient)
        torch.testing.assert_close(gains[number], (features.detach() * gradient).sum(dim=0))
    flat = torch.stack(jacobian).reshape(2, -1)
    torch.testing.assert_close(gramian, flat @ flat.T)
    assert gramian[0, 1].abs() > 1e-6
    # By a shift of a feature nothing changes under batch norm, which is why gains are taken.
    assert torch.stack(jacobian).sum(dim=1).abs().max() < 1e-12 < 1e-3 < gains.abs().max()


def test_an_absent_similarity_has_none_and_evaluation_computes_none():
    codes = [torch.arange(6) % 2, torch.full((6,), -1)]
    weighting = Keeps(2)
    features, projections = network()
    measured(features, projections, codes, weighting)
    gramian, gains = weighting.batch.gradients
    assert gramian[0, 0] > 0 == gramian[1].abs().sum() == gains[1].abs().sum()
    measured(features, projections, codes, weighting.eval())
    assert weighting.batch.gradients is None
    with torch.no_grad():
        features, projections = network()
        measured(features, projections.detach(), codes, weighting.train())
    assert weighting.batch.gradients is None


def test_a_step_of_ones_own_without_features_is_told():
    _, projections = network()
    with pytest.raises(ValueError, match="pass features="):
        measured(None, projections, [torch.arange(6) % 2] * 2, Keeps(2))


@pytest.mark.parametrize("name", READ_GRADIENTS)
def test_a_run_is_weighed_by_them_and_resumed_as_if_it_had_not_stopped(recipe_with, table, tmp_path, monkeypatch, name):
    recipe = recipe_with(*READ_GRADIENTS[name], ENTRIES, "train.epochs=3")
    whole = fit(recipe, table, tmp_path / "whole", **QUIET)
    weights = [record["weight"] for record in whole.read_log() if record["kind"] == "step"][-1]
    assert sum(weights.values()) == pytest.approx(3, abs=1e-5)
    assert max(weights.values()) - min(weights.values()) > 1e-3
    train_epoch = epochs.train_epoch

    def interrupted(training, number, step):
        if number == 3:
            raise KeyboardInterrupt
        yield from train_epoch(training, number, step)

    monkeypatch.setattr(epochs, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, table, tmp_path / "halves", **QUIET)
    monkeypatch.undo()
    halves = resume(Run.open(tmp_path / "halves"), progress=False)
    assert whole.read_log() == halves.read_log()
    one, other = (run.read_checkpoint("last")[0] for run in (whole, halves))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", READ_GRADIENTS)
def test_what_has_no_gradient_at_the_features_is_refused_at_once(recipe_with, table, tmp_path, name):
    recipe = recipe_with(*READ_GRADIENTS[name], ENTRIES, "train.mini_batch_size=4", "encoder.frozen=true")
    with pytest.raises(RecipeError) as error:
        fit(recipe, table, tmp_path / "run", **QUIET)
    text = str(error.value)
    assert f"weighting '{name}' compares gradients at the features, but the encoder does not learn" in text
    assert f"weighting '{name}' needs the gradients of a whole batch at once. Set train.mini_batch_size = 0" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", READ_GRADIENTS)
def test_a_loop_of_ones_own_gives_the_features(name):
    torch.manual_seed(0)
    encoder, heads = torch.nn.Linear(6, 5), torch.nn.ModuleList([torch.nn.Linear(5, 4), torch.nn.Linear(5, 4)])
    images, labels = torch.randn(12, 6), torch.stack([torch.arange(12) % 2, torch.arange(12) // 3], dim=1)
    criterion = MSConLoss(["a", "b"], weighting=catalogue.build("weighting", name, {}, similarities=2))
    features = encoder(images)
    projections = torch.stack([head(features) for head in heads])
    with pytest.raises(ValueError, match="pass features="):
        criterion(projections, labels)
    for _ in range(3):
        criterion(projections, labels, features=features).backward(retain_graph=True)
    weights = [summary.weight for summary in criterion.summary()]
    assert sum(weights) == pytest.approx(2)
    assert encoder.weight.grad.abs().max() > 0
    with torch.no_grad():  # as for a number on held-out rows
        assert criterion(projections, labels).isfinite()


def test_in_half_precision_they_are_those_of_full_precision_up_to_rounding():
    """Only products within the network are rounded."""
    results = []
    for enabled in (False, True):
        torch.manual_seed(0)
        encoder, heads = torch.nn.Linear(6, 8), torch.nn.ModuleList([torch.nn.Linear(8, 4), torch.nn.Linear(8, 4)])
        images, labels = torch.randn(12, 6), torch.stack([torch.arange(12) % 2, torch.arange(12) // 3], dim=1)
        weighting = Keeps(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            features = encoder(images)
            MSConLoss(["a", "b"], weighting=weighting)(
                torch.stack([head(features) for head in heads]), labels, features=features
            )
        gramian, gains = weighting.batch.gradients
        assert gramian.dtype == gains.dtype == torch.float32
        results.append(gramian)
    torch.testing.assert_close(results[1], results[0], rtol=0.05, atol=0.02 * results[0].abs().max().item())
