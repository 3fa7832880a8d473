"""Predictions out of fold: what is predicted for a row comes from models, and neighbours, that never saw its label."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int

from mscon.evaluate.large_logistic import LargeLogistic, uncorrelated
from mscon.evaluate.metrics.nearest import CosineNeighbours
from mscon.model.principal_components import PrincipalComponents

FOLDS = 5
# The strength of the penalty, the same for all columns: choosing one for each needs rows whose labels are right. On
# glyphs with 10 and 20 % of wrong labels 0.01 was ahead of 0.1 (`benchmarks/doubt.py`).
STRENGTH = 0.01
# A looser one than probes have takes 30 % fewer passes over the rows of 20 classes, and finds as many wrong labels.
_TOLERANCE = 3e-6
# Features beyond so many are reduced to their principal components, so that 100,000 rows take minutes.
WIDEST = 256
NEAREST = 25
# Rows of one group are no neighbours of one another; so many more are looked for, to have 25 of other groups.
_MOST_ALIKE = 50
# Beyond so many rows each is compared with others of a random part of about this size, so that time grows with the rows
# and not with their square.
_COMPARED = 25_000


def groups_of(
    features: Float[np.ndarray, "rows width"], groups: Int[np.ndarray, " rows"] | None = None
) -> Int[np.ndarray, " rows"]:
    """A number a row: rows with equal features have the same, and so have rows of a group, and what these join.

    Args:
        features: of equal inputs equal.
        groups: further groups, such as the products that rows are photographs of.
    """
    narrow = np.ascontiguousarray(features, dtype=np.float32) + np.float32(0)  # -0.0 becomes 0.0
    _, equal = np.unique(narrow.view(np.dtype((np.void, narrow.shape[1] * 4))).ravel(), return_inverse=True)
    if groups is None:
        return equal.astype(np.int64)
    kinds = [equal, np.unique(groups, return_inverse=True)[1]]
    number, before = np.arange(len(features)), None
    while before is None or not np.array_equal(number, before):  # until no row is joined to one of a lower number
        before = number
        for kind in kinds:
            least = np.full(int(kind.max(initial=-1)) + 1, len(features))
            np.minimum.at(least, kind, number)
            number = least[kind]
    return np.unique(number, return_inverse=True)[1].astype(np.int64)


def folds_of(groups: Int[np.ndarray, " rows"], seed: int = 0) -> Int[np.ndarray, " rows"]:
    """A fold a row, from 0 to `FOLDS` - 1, the same for all rows of a group."""
    _, number = np.unique(groups, return_inverse=True)
    fold = np.arange(int(number.max(initial=-1)) + 1) % FOLDS
    np.random.default_rng(seed).shuffle(fold)
    return fold[number]


def standardised(features: Float[np.ndarray, "rows width"]) -> Float32[np.ndarray, "rows width"]:
    """Each feature with mean 0 and standard deviation 1, or all 0 where it never varies; see `linear_probe`."""
    wide = features.astype(np.float64)
    spread = wide.std(axis=0)
    varies = spread > 1e-9 * np.abs(wide).max(axis=0, initial=0.0)
    scaled = (wide - wide.mean(axis=0)) / np.where(varies, spread, 1.0) * varies
    farthest = np.sqrt(len(features))
    return np.clip(scaled, -farthest, farthest).astype(np.float32)


def space_of(features: Float[np.ndarray, "rows width"]) -> Float32[np.ndarray, "rows reduced"]:
    """Features as models and neighbours here use them: standardised, and reduced to at most `WIDEST` components."""
    scaled = standardised(features)
    if scaled.shape[1] <= WIDEST or len(scaled) <= WIDEST:
        return scaled
    reduce = PrincipalComponents(scaled.shape[1], WIDEST).fit(scaled)
    reduced: Float32[np.ndarray, "rows reduced"] = reduce(torch.from_numpy(scaled)).numpy()
    return reduced * np.float32(np.sqrt(WIDEST))  # a variance of 1 for the mean component


def with_products(space: Float32[np.ndarray, "rows width"]) -> Float32[np.ndarray, "rows wider"]:
    """Up to 21 numbers with their squares and products; more are as they were.

    Columns of a table seldom tell a class by a straight boundary; features of a network are trained to.
    """
    if space.shape[1] * (space.shape[1] + 3) // 2 > WIDEST:
        return space
    first, second = np.triu_indices(space.shape[1])
    return np.concatenate([space, standardised(space[:, first] * space[:, second])], axis=1)


def class_probabilities(
    features: Float[np.ndarray, "rows width"],
    codes: Int[np.ndarray, " rows"],
    classes: int,
    fold: Int[np.ndarray, " rows"],
    believed: Bool[np.ndarray, " rows"] | None = None,
) -> Float[np.ndarray, "rows classes"]:
    """What logistic regression of the other folds believes of each row.

    Args:
        features: inputs of the model.
        codes: classes from 0.
        classes: how many there are.
        fold: of each row, see `folds_of`.
        believed: rows that models may learn from; None for all.

    Returns:
        Rows that sum to 1. A class that the other folds do not have gets nearly 0; where they have one class, it gets
        nearly 1.
    """
    result, features = np.full((len(codes), classes), 1e-12), uncorrelated(features)
    for number in np.unique(fold):
        judged = fold == number
        learnt = ~judged if believed is None else ~judged & believed
        present = np.unique(codes[learnt])
        if present.size < 2:
            result[np.ix_(judged, present)] = 1.0
            continue
        code = np.zeros(classes, dtype=np.int64)
        code[present] = np.arange(present.size)
        model = LargeLogistic("softmax", rotate=False, tolerance=_TOLERANCE)
        model.fit(features[learnt], code[codes[learnt]], STRENGTH)
        logits = torch.from_numpy(model.logits(features[judged]))
        result[np.ix_(judged, present)] = logits.double().softmax(dim=1).numpy().clip(1e-12)
    return result / result.sum(axis=1, keepdims=True)


def label_probabilities(
    features: Float[np.ndarray, "rows width"],
    has: Bool[np.ndarray, "rows labels"],
    fold: Int[np.ndarray, " rows"],
    believed: Bool[np.ndarray, " rows"] | None = None,
) -> Float[np.ndarray, "rows labels"]:
    """The same for labels of which a row may have several: of each the probability that a row has it."""
    result, features = np.zeros(has.shape), uncorrelated(features)
    for number in np.unique(fold):
        judged = fold == number
        learnt = ~judged if believed is None else ~judged & believed
        share = has[learnt].mean(axis=0) if learnt.any() else np.zeros(has.shape[1])
        result[judged] = share
        if (varies := np.flatnonzero((share > 0) & (share < 1))).size:
            model = LargeLogistic("sigmoid", rotate=False, tolerance=_TOLERANCE)
            model.fit(features[learnt], has[learnt][:, varies], STRENGTH)
            result[np.ix_(judged, varies)] = model.probabilities(features[judged])
    return result.clip(1e-12, 1 - 1e-12)


def neighbours_of(
    space: Float[np.ndarray, "rows width"], groups: Int[np.ndarray, " rows"]
) -> Int[np.ndarray, "rows near"]:
    """The rows of other groups that are nearest to each row, nearest first; -1 where there are no more.

    Args:
        space: vectors that are compared by cosine.
        groups: see `groups_of`.
    """
    count = NEAREST + min(int(np.bincount(groups).max(initial=1)) - 1, _MOST_ALIKE)
    result = np.full((len(space), NEAREST), -1, dtype=np.int64)
    order = np.random.default_rng(0).permutation(len(space))
    for part in np.array_split(order, max(1, -(-len(space) // _COMPARED))):
        rows = np.sort(part)
        near = rows[CosineNeighbours(space[rows]).nearest(count)[0]]
        other = groups[near] != groups[rows][:, None]
        first = np.argsort(~other, axis=1, kind="stable")[:, :NEAREST]
        of_others = np.where(np.take_along_axis(other, first, axis=1), np.take_along_axis(near, first, axis=1), -1)
        result[rows, : of_others.shape[1]] = of_others
    return result


def votes(
    near: Int[np.ndarray, "some near"],
    codes: Int[np.ndarray, " rows"],
    classes: int,
    weight: Float[np.ndarray, " rows"] | None = None,
) -> Float[np.ndarray, "some classes"]:
    """Shares of the classes among the neighbours of each row, with one vote more for the frequencies of the column.

    Args:
        near: numbers of rows, or -1.
        codes: of all rows, -1 where missing.
        classes: how many there are.
        weight: how much the vote of each row counts; None for 1.
    """
    frequency = np.bincount(codes[codes >= 0], minlength=classes) / max(1, int((codes >= 0).sum()))
    result = np.tile(frequency, (len(near), 1))
    for place in range(near.shape[1]):
        voter = near[:, place]
        row = np.flatnonzero((voter >= 0) & (codes[voter] >= 0))
        result[row, codes[voter[row]]] += 1.0 if weight is None else weight[voter[row]]
    result /= result.sum(axis=1, keepdims=True)
    return result.clip(1e-12)
