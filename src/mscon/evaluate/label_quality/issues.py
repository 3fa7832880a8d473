"""Label issues of one column: each label with the probability that it is right, for every kind of similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from mscon.evaluate.label_quality.noise import Judgement, judge
from mscon.evaluate.label_quality.out_of_fold import class_probabilities, label_probabilities, votes
from mscon.evaluate.label_quality.ranges import ranges_of
from mscon.evaluate.label_quality.simulation import unbiased
from mscon.evaluate.targets import ProbeTarget
from mscon.method.similarities.base import BETWEEN_COLUMNS

# Of more classes, or labels of sets, the largest: time and memory grow with them.
_MOST_CLASSES, _MOST_LABELS = 300, 50
_SUPPORTERS = 5


class CannotJudge(ValueError):
    """Nothing can be said of the labels of a column; the message says why."""


@dataclass(frozen=True, eq=False, slots=True)
class Material:
    """What the labels of a column are judged by.

    Attributes:
        inputs: of the models: features, and what the witnesses say.
        near: of each row those of other groups that are nearest by features, -1 where there are no more.
        fold: of each row.
    """

    inputs: Float32[np.ndarray, "rows width"]
    near: Int[np.ndarray, "rows near"]
    fold: Int[np.ndarray, " rows"]


@dataclass(frozen=True, eq=False, slots=True)
class Issues:
    """The labels of a column that can be judged.

    Attributes:
        rows: their numbers.
        right: the probability that each is right.
        predicted: what each row most probably has, as a cell.
        confidence: the probability that it has.
        is_issue: whether the label is among as many as are estimated to be wrong, those least probably right first, and
            something else is predicted.
        neighbours: of each row the nearest rows that have what is predicted.
        influence: one value a row, whose mean is the estimated share of wrong labels (of rows with a wrong label in
            their set); intervals are drawn from them.
        agreement: the share of labels that equal the prediction.
        too_rare: labels that cannot be judged, because their class has too few rows, or too many classes are larger.
    """

    rows: Int[np.ndarray, " judged"]
    right: Float[np.ndarray, " judged"]
    predicted: tuple[str, ...]
    confidence: Float[np.ndarray, " judged"]
    is_issue: Bool[np.ndarray, " judged"]
    neighbours: tuple[tuple[int, ...], ...]
    influence: Float[np.ndarray, " judged"]
    agreement: float
    too_rare: int


@dataclass(frozen=True, eq=False, slots=True)
class _Level:
    """The judgement of one code a row.

    Attributes:
        codes: of all rows, -1 where it cannot be judged.
        rows: numbers of those that can.
        first: the judgement that the share of wrong labels comes from.
        judgement: the one that is given out, by models that learnt no more from labels that the first one doubts.
        too_rare: how many cells have a code, but none that can be judged.
    """

    codes: Int[np.ndarray, " rows"]
    rows: Int[np.ndarray, " judged"]
    first: Judgement
    judgement: Judgement
    too_rare: int


def issues_of(column: ProbeTarget, material: Material) -> Issues:
    """Judge every label of a column.

    Raises:
        CannotJudge: if fewer than two classes, levels, numbers or labels have rows in more than one fold.
    """
    if column.kind == "labels":
        return _of_sets(column, material)
    if column.kind == "class":
        return _of_levels(column.class_levels(), material)
    if column.kind == "rank":
        ranks = column.target()
        codes = np.where(np.isnan(ranks), -1, ranks).astype(np.int64)
        return _of_levels([(codes, column.names)], material)
    if column.kind == "number":
        return _of_levels([ranges_of(column.target())], material)
    raise CannotJudge("its similarity has no target_kind, so there is nothing to predict")


def _of_levels(levels: Sequence[tuple[Int[np.ndarray, " rows"], Sequence[str]]], material: Material) -> Issues:
    """Of classes; of a hierarchy a label is as doubtful as its most doubtful level."""
    judged: list[tuple[_Level, Sequence[str]]] = []
    reason = "it has no label"
    for codes, names in levels:
        try:
            judged.append((_level(codes, material), names))
        except CannotJudge as error:
            reason = str(error)
    if not judged:
        raise CannotJudge(reason)
    rows = np.unique(np.concatenate([level.rows for level, _ in judged]))
    right, believed, confidence, influence = (np.full(len(rows), start) for start in (1.0, 2.0, 0.0, 0.0))
    cells, differs = np.full(len(rows), "", dtype=object), np.zeros(len(rows), dtype=bool)
    neighbours: list[tuple[int, ...]] = [()] * len(rows)
    for level, names in judged:  # the finest level of a row comes last
        at = np.searchsorted(rows, level.rows)
        judgement = level.judgement
        doubted = level.first.right < believed[at]
        believed[at] = np.minimum(believed[at], level.first.right)
        influence[at[doubted]] = level.first.influence[doubted]
        right[at] = np.minimum(right[at], judgement.right)
        confidence[at] = judgement.confidence
        cells[at] = np.array(names, dtype=object)[judgement.predicted]
        differs[at] = judgement.predicted != level.codes[level.rows]
        near = material.near[level.rows]
        agree = (near >= 0) & (level.codes[near] == judgement.predicted[:, None])
        for row, supporters in zip(at, _first(near, agree), strict=True):
            neighbours[row] = supporters
    is_issue = _least_right(right, float(influence.mean().clip(0, 1))) & differs
    agreement = 1 - float(differs.mean())
    too_rare = int(np.setdiff1d(np.flatnonzero(levels[0][0] >= 0), rows).size)
    cells_of_rows = tuple(cells.tolist())
    return Issues(rows, right, cells_of_rows, confidence, is_issue, tuple(neighbours), influence, agreement, too_rare)


def _level(codes: Int[np.ndarray, " rows"], material: Material) -> _Level:
    usable = _in_two_folds(codes, material.fold)
    if usable.size < 2:
        present = np.unique(codes[codes >= 0]).size
        raise CannotJudge(
            f"a class is judged by rows of it in other folds; of its {present:,} classes {usable.size} have such rows, "
            "and two are needed"
            if present > 1
            else "all its labels are of one class"
            if present
            else "it has no label"
        )
    dense = np.full(int(codes.max()) + 2, -1)  # the last is where -1 points to
    dense[usable] = np.arange(usable.size)
    known = dense[codes]
    rows = np.flatnonzero(known >= 0)
    labels, inputs, fold, near = known[rows], material.inputs[rows], material.fold[rows], material.near[rows]

    def sources(
        labels: Int[np.ndarray, " judged"], right: Float[np.ndarray, " judged"] | None = None
    ) -> Float[np.ndarray, "sources judged classes"]:
        voters, weight = np.full(len(codes), -1), None
        voters[rows] = labels
        if right is not None:
            weight = np.zeros(len(codes))
            weight[rows] = right
        believed = None if right is None else right > 0.5
        return np.stack(
            [
                class_probabilities(inputs, labels, usable.size, fold, believed),
                votes(near, voters, usable.size, weight),
            ]
        )

    first = unbiased(sources, labels)
    second = judge(sources(labels, first.right), labels, share=first.share)
    second = replace(second, predicted=usable[second.predicted])
    return _Level(np.where(known >= 0, codes, -1), rows, first, second, int((codes >= 0).sum()) - len(rows))


def _in_two_folds(codes: Int[np.ndarray, " rows"], fold: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " classes"]:
    """Classes that have rows in two folds or more, ascending; of too many the largest."""
    known = codes >= 0
    pairs = np.unique(np.stack([codes[known], fold[known]]), axis=1)
    classes, folds = np.unique(pairs[0], return_counts=True)
    usable = classes[folds >= 2]
    sizes = np.bincount(codes[known])[usable] if usable.size else usable
    return np.sort(usable[np.argsort(-sizes, kind="stable")[:_MOST_CLASSES]])


def _of_sets(column: ProbeTarget, material: Material) -> Issues:
    """Of sets of labels: whether a row has a label is judged for each; a set is right if all of them are."""
    target = column.target()
    rows = np.flatnonzero(np.isfinite(target).all(axis=1))
    has = target[rows] > 0.5
    fold = material.fold[rows]
    in_folds = np.stack([has[fold == number].any(axis=0) for number in np.unique(fold)]) if len(rows) else has
    usable = np.flatnonzero((in_folds.sum(axis=0) >= 2) & ~has.all(axis=0))
    usable = np.sort(usable[np.argsort(-has[:, usable].sum(axis=0), kind="stable")[:_MOST_LABELS]])
    if not usable.size:
        raise CannotJudge("no label is there in rows of two folds and missing in others")
    has, labels = has[:, usable], len(usable)
    inputs, near = material.inputs[rows], material.near[rows]
    frequency = has.mean(axis=0)
    # A label that is put there by mistake is most often a frequent one, and so is one that is not there rightly.
    rate = np.tile(np.stack([frequency, 1 - frequency], axis=1), (len(rows), 1))
    known = np.full((len(target), labels), -1, dtype=np.int64)
    known[rows] = has

    def sources(
        flat: Int[np.ndarray, " pairs"], right: Float[np.ndarray, "judged labels"] | None = None
    ) -> Float[np.ndarray, "sources pairs two"]:
        known = np.full((len(target), labels), -1, dtype=np.int64)
        known[rows] = flat.reshape(has.shape)
        believed, weight = None, np.ones((len(target), labels))
        if right is not None:
            believed, weight[rows] = right.min(axis=1) > 0.5, right
        of_model = label_probabilities(inputs, known[rows] > 0, fold, believed)
        of_near = np.stack([votes(near, known[:, i], 2, weight[:, i])[:, 1] for i in range(labels)], axis=1)
        both = np.stack([of_model, of_near.clip(1e-12, 1 - 1e-12)]).reshape(2, -1)
        return np.stack([1 - both, both], axis=2)

    flat = has.astype(np.int64).ravel()
    first = unbiased(sources, flat, rate)
    second = judge(sources(flat, first.right.reshape(has.shape)), flat, rate, share=first.share)
    of_labels = second.right.reshape(has.shape)
    right = of_labels.prod(axis=1)
    predicted = second.predicted.reshape(has.shape) > 0
    predicted_share = np.where(predicted == has, second.confidence.reshape(has.shape), 1 - of_labels)
    differs = (predicted != has).any(axis=1)
    worst = of_labels.argmin(axis=1)
    near_has = np.where(near >= 0, known[near, worst[:, None]], -1)
    agree = near_has == predicted[np.arange(len(rows)), worst][:, None]
    wrong = 1 - first.right.reshape(has.shape).prod(axis=1)
    # What moves the share of labels moves the share of sets in proportion.
    spread = first.spread.reshape(has.shape).mean(axis=1)
    influence = float(wrong.mean()) * (1 + spread / float((1 - first.right).mean()))
    others = np.isfinite(target[rows]) & (target[rows] > 0.5)
    others[:, usable] = False
    return Issues(
        rows=rows,
        right=right,
        predicted=tuple(
            _set_cell(column, [*usable[predicted[i]].tolist(), *np.flatnonzero(others[i]).tolist()])
            for i in range(len(rows))
        ),
        confidence=predicted_share.prod(axis=1),
        is_issue=_least_right(right, float(wrong.mean())) & differs,
        neighbours=tuple(_first(near, agree)),
        influence=influence,
        agreement=1 - float(differs.mean()),
        too_rare=0,
    )


def _set_cell(column: ProbeTarget, labels: Sequence[int]) -> str:
    separator = str(getattr(column.similarity, "separator", ";"))
    return separator.join(column.names[label] for label in sorted(labels))


def _least_right(right: Float[np.ndarray, " judged"], share: float) -> Bool[np.ndarray, " judged"]:
    """The rows least probably right, as many as are estimated to be wrong."""
    least = np.zeros(len(right), dtype=bool)
    least[np.argsort(right, kind="stable")[: round(share * len(right))]] = True
    return least


def _first(near: Int[np.ndarray, "some near"], agree: Bool[np.ndarray, "some near"]) -> list[tuple[int, ...]]:
    return [tuple(row[mask][:_SUPPORTERS].tolist()) for row, mask in zip(near, agree, strict=True)]


def shown_cell(column: ProbeTarget, cell: str) -> str:
    """A cell for people, see `Similarity.shown`."""
    return cell.replace(BETWEEN_COLUMNS, " / ") if column.similarity is None else column.similarity.shown(cell)
