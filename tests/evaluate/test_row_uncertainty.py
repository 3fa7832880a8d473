"""The uncertainty of a run's rows: which classes its columns have, and what leaving out uncertain rows is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mscon.evaluate import row_uncertainty
from mscon.evaluate.column_probes import FrozenFeatures
from mscon.evaluate.estimators import CannotProbe
from mscon.evaluate.row_uncertainty import fit_uncertainty, memberships_of, precision_of, score_uncertainty
from mscon.evaluate.space_scores import SpaceScores, score_space
from mscon.evaluate.targets import ProbeTarget
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.continuous import Continuous
from mscon.method.similarities.hierarchical import Hierarchical
from mscon.method.similarities.multi_label import MultiLabel
from mscon.method.similarities.ordinal import Ordinal
from mscon.method.similarities.same_row import SameRow

ROWS = 240


def column(cells: Sequence[str | None], similarity: Similarity | None = None, name: str = "kind") -> ProbeTarget:
    return ProbeTarget(name, cells, similarity, True, None)


def classes_of(cells: Sequence[str | None], similarity: Similarity | None = None) -> list[set[int]]:
    """The classes of each row, by number."""
    members = memberships_of(column(cells, similarity), np.arange(len(cells)))
    return [set(members[members[:, 0] == row, 1].tolist()) for row in range(len(cells))]


def test_every_kind_of_column_has_classes():
    lines = list(range(8))
    assert classes_of(["a", None, "b", "a"]) == [{0}, set(), {1}, {0}]
    sets: list[str | None] = ["x;y", "y", None, "x", "y;x", "x", "y", "x"]
    labels = classes_of(sets, MultiLabel.fit("kind", sets, lines))
    assert labels[0] == labels[4] and len(labels[0]) == 2 and labels[2] == set()
    assert labels[1] == labels[6] and labels[3] == labels[5] and labels[1] | labels[3] == labels[0]
    levels: list[str | None] = ["low", "high", None, "middle", "low", "low", "high", "middle"]
    assert classes_of(levels, Ordinal.fit("kind", levels, lines, levels=["low", "middle", "high"]))[:4] == [
        {0},
        {2},
        set(),
        {1},
    ]
    paths: list[str | None] = ["a/x", "a/y", "b/x", "a/x", None, "b/x", "a/y", "a/x"]
    finest = classes_of(paths, Hierarchical.fit("kind", paths, lines))
    assert finest[0] == finest[3] != finest[2] and finest[4] == set() and len({*map(tuple, finest)}) == 4
    assert classes_of(["a"] * 3, SameRow()) == [set(), set(), set()]


def test_numbers_are_ten_classes_of_as_many_training_rows():
    numbers: list[str | None] = [str(value) for value in np.random.default_rng(0).permutation(200)] + [
        None,
        "-5",
        "999",
    ]
    similarity = Continuous.fit("kind", numbers, list(range(len(numbers))))
    members = memberships_of(column(numbers, similarity), np.arange(200))
    assert np.bincount(members[:200, 1]).tolist() == [20] * 10
    by_value = members[:200, 1][np.argsort([float(number) for number in numbers[:200] if number is not None])]
    assert (np.diff(by_value) >= 0).all()
    assert members[200:].tolist() == [[201, 0], [202, 9]]


def space() -> tuple[FrozenFeatures, np.ndarray, ProbeTarget]:
    """Rows of three classes; a fifth of them lies between two, and unseen ones lie apart from all."""
    g = np.random.default_rng(0)
    kind = g.integers(3, size=ROWS)
    vague = g.random(ROWS) < 0.2
    features = 4 * np.eye(6)[np.where(vague, g.integers(3, size=ROWS), kind)] + g.normal(size=(ROWS, 6))
    features[200:, 5] += 6
    split = {"train": np.arange(120), "validation": np.arange(120, 160)}
    split |= {"test": np.arange(160, 200), "unseen": np.arange(200, ROWS)}
    frozen = FrozenFeatures(features.astype(np.float32), split, draws=100)
    projections = features[None, :, :3] / np.linalg.norm(features[:, :3], axis=1, keepdims=True)
    return frozen, projections.astype(np.float32), column(np.array(["a", "b", "c"])[kind].tolist())


def scored() -> tuple[dict, np.ndarray, SpaceScores, FrozenFeatures, np.ndarray, ProbeTarget]:
    frozen, projections, kind = space()
    _, of_rows = fit_uncertainty(frozen, projections, ("kind",), [kind])
    scores = score_space(frozen, {"linear": [kind]})
    return score_uncertainty(of_rows, scores, frozen, projections, [kind]), of_rows, scores, frozen, projections, kind


def test_scores_are_those_of_the_rows_that_are_left():
    record, of_rows, scores, frozen, projections, kind = scored()
    (summary,) = record["summary"]
    test, unseen = frozen.split["test"], frozen.split["unseen"]
    left = of_rows[test] <= 0.8
    right = scores.arrays["linear/0/true"] == scores.arrays["linear/0/predicted"]
    assert summary["rows_left"] == pytest.approx(left.mean())
    assert summary["accuracy_gain"]["value"] == pytest.approx(right[left].mean() - right.mean())
    assert summary["accuracy"][-1] == [1.0, pytest.approx(right.mean())]
    rejected = np.argsort(of_rows[test], kind="stable")[: round(0.5 * len(test))]
    assert dict(summary["accuracy"])[0.5] == pytest.approx(right[rejected].mean())
    searched = np.concatenate([frozen.split["train"], test])
    cosines = projections[0, test] @ projections[0, searched].T
    cosines[np.arange(len(test)), 120 + np.arange(len(test))] = -2
    nearest = searched[np.argsort(-cosines, axis=1)[:, :10]]
    cells = np.array(kind.cells)
    precision = (cells[nearest] == cells[test, None]).mean(axis=1)
    assert summary["precision_at_10_gain"]["value"] == pytest.approx(precision[left].mean() - precision.mean())
    auroc = roc_auc_score(np.repeat([0, 1], 40), of_rows[np.concatenate([test, unseen])])
    assert record["unseen"]["auroc"]["value"] == pytest.approx(auroc) and auroc > 0.8


def test_of_many_rows_some_are_searched(monkeypatch):
    frozen, projections, kind = space()
    monkeypatch.setattr(row_uncertainty, "MOST_ROWS", 30)
    monkeypatch.setattr(row_uncertainty, "MOST_VALIDATION_ROWS", 15)
    ((trained, rows, precision),) = precision_of(frozen, projections, [kind])
    assert trained and len(rows) == len(precision) == 15 and set(rows) <= set(frozen.split["test"].tolist())


def test_without_test_or_unseen_rows_there_are_fewer_scores():
    _, of_rows, scores, frozen, projections, kind = scored()
    nothing = np.arange(0)
    no_unseen = FrozenFeatures(frozen.features, {**frozen.split, "unseen": nothing}, 100)
    assert "unseen" not in score_uncertainty(of_rows, scores, no_unseen, projections, [kind])
    no_test = FrozenFeatures(frozen.features, {**frozen.split, "test": nothing}, 100)
    assert score_uncertainty(of_rows, scores, no_test, projections, [kind]) == {}
    none_left = score_uncertainty(np.ones(ROWS, np.float32), scores, frozen, projections, [kind])
    assert none_left["summary"] == [] and none_left["unseen"]["auroc"]["value"] == 0.5
    with pytest.raises(CannotProbe, match="there are none"):
        fit_uncertainty(
            FrozenFeatures(frozen.features, {**frozen.split, "validation": nothing}, 100),
            projections,
            ("kind",),
            [kind],
        )
