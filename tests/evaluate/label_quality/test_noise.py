"""The estimated share of wrong labels, on labels of which it is known which are wrong."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from mscon.evaluate.label_quality.noise import judge
from mscon.evaluate.metrics.bootstrap import interval

IS_FULL = os.environ.get("MSCON_RELIABILITY") == "full"


def labelled(rows: int, classes: int, share: float, sharpness: float, seed: int = 0, imbalance: float = 0.0):
    """Probabilities of an honest model, labels drawn by them of which a share is changed, and which these are."""
    generator = np.random.default_rng(seed)
    bias = -imbalance * np.arange(classes)
    logits = sharpness * generator.normal(size=(rows, classes)) + bias
    q = np.exp(logits - logits.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    right = (q.cumsum(axis=1) > generator.random(rows)[:, None]).argmax(axis=1)
    labels = right.copy()
    wrong = generator.permutation(rows)[: round(share * rows)]
    labels[wrong] = (right[wrong] + generator.integers(1, classes, len(wrong))) % classes
    return q, labels, labels != right


@pytest.mark.parametrize("classes", [2, 5, 20])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_the_share_is_found_whatever_the_number_of_classes(classes, share):
    q, labels, wrong = labelled(2_000, classes, share, sharpness=4.0)
    judgement = judge(q[None], labels)
    assert judgement.share == pytest.approx(wrong.mean(), abs=0.03)
    if share:
        assert judgement.right[wrong].mean() < 0.4 < 0.9 < judgement.right[~wrong].mean() + 0.1 * (share > 0.2)


def test_hard_rows_are_not_taken_for_wrong_ones():
    """A model that knows how uncertain it is: a third of its predictions fail, and no label is wrong."""
    q, labels, _ = labelled(3_000, 4, 0.0, sharpness=1.5)
    assert (q.argmax(axis=1) != labels).mean() > 0.3
    assert judge(q[None], labels).share < 0.04


def test_imbalance_does_not_move_the_share():
    q, labels, wrong = labelled(3_000, 4, 0.1, sharpness=4.0, imbalance=3.0)
    assert np.bincount(labels).max() > 5 * np.bincount(labels).min()
    assert judge(q[None], labels).share == pytest.approx(wrong.mean(), abs=0.03)


@pytest.mark.parametrize("by_frequency", [False, True])
def test_wrong_labels_are_of_any_class_or_of_frequent_ones(by_frequency):
    q, labels, _ = labelled(4_000, 4, 0.0, sharpness=2.0, imbalance=1.5)
    generator, frequency = np.random.default_rng(5), np.bincount(labels) / len(labels)
    wrong = generator.permutation(len(labels))[:800]
    for row in wrong:
        chance = np.where(np.arange(4) == labels[row], 0, frequency if by_frequency else 1)
        labels[row] = generator.choice(4, p=chance / chance.sum())
    judgement = judge(q[None], labels, by_class=False)
    # Of rows of the largest class: the second against the rarest one.
    ratio = float(judgement.noise.mistakes[0, 1] / judgement.noise.mistakes[0, 3])
    assert ratio == pytest.approx(frequency[1] / frequency[3] if by_frequency else 1, rel=0.4)
    assert judgement.share == pytest.approx(0.2, abs=0.03)


def test_overconfident_and_timid_sources_are_calibrated():
    q, labels, wrong = labelled(3_000, 4, 0.1, sharpness=3.0)
    for power in (0.4, 3.0):
        source = q**power / (q**power).sum(axis=1, keepdims=True)
        assert judge(source.clip(1e-12)[None], labels).share == pytest.approx(wrong.mean(), abs=0.03)


def test_a_source_that_knows_nothing_counts_for_nothing():
    q, labels, _ = labelled(2_000, 4, 0.1, sharpness=4.0)
    chance = np.random.default_rng(1).dirichlet(np.ones(4), 2_000).clip(1e-12)
    alone, both = judge(q[None], labels), judge(np.stack([q, chance]), labels)
    assert both.share == pytest.approx(alone.share, abs=0.01)
    assert np.corrcoef(alone.right, both.right)[0, 1] > 0.99


def test_a_mistake_that_is_common_is_doubted_more_than_one_that_is_rare():
    """Rows of 0 are called 1 by mistake, and nothing else happens; both labels are as improbable by the model."""
    q, labels, _ = labelled(4_000, 4, 0.0, sharpness=4.0)
    confused = (labels == 0) & (np.random.default_rng(3).random(4_000) < 0.3)
    labels = np.where(confused, 1, labels)
    judgement = judge(q[None], labels)
    assert judgement.share == pytest.approx(confused.mean(), abs=0.03)
    for low, high in ((0.01, 0.05), (0.05, 0.2)):
        by_label = [(labels == y) & (q[:, 0] > 0.6) & (q[:, y] > low) & (q[:, y] < high) for y in (1, 2)]
        common, rare = (judgement.right[rows].mean() for rows in by_label)
        assert common < rare - 0.1


def test_confidence_is_how_often_the_prediction_is_right():
    q, labels, _ = labelled(4_000, 3, 0.2, sharpness=2.0)
    right = labelled(4_000, 3, 0.0, sharpness=2.0)[1]  # the same draws, before labels went wrong
    judgement = judge(q[None], labels)
    hit = judgement.predicted == right
    for low, high in ((0.3, 0.6), (0.6, 0.9), (0.9, 1.01)):
        among = (judgement.confidence >= low) & (judgement.confidence < high)
        assert hit[among].mean() == pytest.approx(judgement.confidence[among].mean(), abs=0.06)


def test_the_interval_holds_the_share_as_often_as_it_says():
    held, seeds = 0, 40 if IS_FULL else 12
    for seed in range(seeds):
        q, labels, wrong = labelled(400, 3, 0.15, sharpness=2.0, seed=seed)
        judgement = judge(q[None], labels)
        values = judgement.influence
        assert values.mean() == pytest.approx(judgement.share, abs=1e-6)
        score = interval(values, draws=300)
        held += score.low <= wrong.mean() <= score.high
    assert held >= 0.83 * seeds


def test_probabilities_alone_would_give_too_narrow_an_interval():
    q, labels, _ = labelled(400, 3, 0.15, sharpness=2.0)
    judgement = judge(q[None], labels)
    assert judgement.influence.std() > 1.2 * (1 - judgement.right).std()


def test_of_many_rows_some_are_fitted_and_all_are_judged():
    q, labels, wrong = labelled(30_000, 3, 0.1, sharpness=4.0)
    judgement = judge(q[None], labels)
    assert len(judgement.right) == 30_000
    alone = np.abs(judgement.spread - (judgement.right.mean() - judgement.right)) < 1e-12
    assert alone.sum() == 10_000  # rows that were not fitted do not move parameters
    assert judgement.share == pytest.approx(wrong.mean(), abs=0.02)


def test_a_known_share_is_taken():
    q, labels, _ = labelled(1_000, 3, 0.1, sharpness=4.0)
    first = judge(q[None], labels)
    sure = (q**3 / (q**3).sum(axis=1, keepdims=True)).clip(1e-12)
    assert judge(sure[None], labels, share=first.share).share == first.share


def test_a_step_that_goes_too_far_leaves_no_nan(monkeypatch):
    """As the line search took one on 600 slants of glyphs, 40 % of them wrong: exponents of 6,880, then infinity."""

    class FarStep:
        def __init__(self, parameters, **_):
            self.exponents = parameters[0]

        def zero_grad(self):
            self.exponents.grad = None

        def step(self, loss):
            loss()
            with torch.no_grad():
                self.exponents += 1e3
            loss()

    monkeypatch.setattr(torch.optim, "LBFGS", FarStep)
    q, labels, _ = labelled(100, 2, 0.4, sharpness=2.0)
    judgement = judge(np.stack([q, q]), labels)
    assert np.isfinite(judgement.right).all() and np.isfinite(judgement.influence).all()
