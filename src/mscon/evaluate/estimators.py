"""Estimators: which models of scikit-learn predict each kind of target, and how their predictions are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.linear_model import LogisticRegression, Ridge

from mscon.evaluate.large_logistic import LargeLogistic, is_large
from mscon.evaluate.metrics import influence

# The largest gradient at which a fit has converged. At 1e-3 the weaker penalties stop where the stronger ones
# did (0 iterations), so that the grid would be shorter than it looks; at 1e-4 it is not, at twice the time.
_TOLERANCE = 1e-4
_ITERATIONS = 500


class CannotProbe(ValueError):
    """A column cannot be probed on these rows; the message says why."""


Parts = Sequence[np.ndarray]
"""Of the rows of train, validation and test."""

_Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of target on the rows of train, validation and test: what is fitted, and how it is scored.

    Attributes:
        known: which rows have a target.
        targets: the targets of those.
        models: estimators, each with the target that it is fitted to.
        predict: by the models as they are fitted now.
        criterion: of predictions for validation rows; the largest is chosen.
        scores: by measure one value a row.
        constant: the prediction to beat.
        validation_score: the criterion as it is reported.
        names: of the classes or labels that the models tell apart, or of all levels.
        unit: what 0 and 1 of the fitted target are in the unit of the column.
    """

    known: Parts
    targets: Parts
    models: Sequence[tuple[Any, np.ndarray]]
    predict: Callable[[np.ndarray], np.ndarray]
    criterion: Callable[[np.ndarray, np.ndarray], float]
    scores: Callable[[np.ndarray, np.ndarray], Mapping[str, np.ndarray]]
    constant: Any
    validation_score: Callable[[float], float | None] = float
    names: tuple[str, ...] = ()
    unit: tuple[float, float] = (0.0, 1.0)


def parameters(task: Task) -> tuple[Float[np.ndarray, "width outputs"], Float[np.ndarray, " outputs"]]:
    """Weights and intercepts of the models of a task as they are fitted now, in the unit of the column."""
    zero, one = task.unit
    fitted = [
        model.parameters() if isinstance(model, LargeLogistic) else (np.atleast_2d(model.coef_).T, model.intercept_)
        for model, _ in task.models
    ]
    weights = np.concatenate([of_one for of_one, _ in fitted], axis=1)
    intercept = np.concatenate([np.atleast_1d(of_one) for _, of_one in fitted])
    return weights * (one - zero), zero + intercept * (one - zero)


def _logistic(y: Shaped[np.ndarray, " rows"]) -> tuple[Any, np.ndarray]:
    return LogisticRegression(warm_start=True, tol=_TOLERANCE, max_iter=_ITERATIONS), y


def _choice(y: Shaped[np.ndarray, " rows"], width: int) -> tuple[tuple[Any, np.ndarray], _Predict]:
    """A model of class codes from 0, with what it is fitted to; and the code that it predicts."""
    if is_large(len(y), width, count := int(y.max()) + 1):
        if (
            count == 2
        ):  # one vector of weights, as scikit-learn has it, not one a class, which is penalised half as much
            of_two = LargeLogistic("sigmoid")
            return (of_two, y[:, None] == 1), lambda features: (of_two.logits(features)[:, 0] > 0).astype(np.int64)
        large = LargeLogistic("softmax")
        return (large, y), lambda features: large.logits(features).argmax(axis=1).astype(np.int64)
    model = _logistic(y)
    return model, lambda features: model[0].predict(features).astype(np.int64)


def _yes_or_no(y: Shaped[np.ndarray, "rows outputs"], width: int) -> list[tuple[Any, np.ndarray]]:
    """Models of several yes or no, with what they are fitted to: one each, or one of all where they are many."""
    if is_large(len(y), width, y.shape[1]):
        return [(LargeLogistic("sigmoid"), y)]
    return [_logistic(column) for column in y.T]


def _is_yes(model: Any, features: np.ndarray) -> np.ndarray:
    """[rows], or [rows, outputs] of a model of all."""
    log_odds = model.logits(features) if isinstance(model, LargeLogistic) else model.decision_function(features)
    return np.asarray(log_odds > 0)


def _probability(model: Any, features: np.ndarray) -> np.ndarray:
    if isinstance(model, LargeLogistic):
        return model.probabilities(features)
    return np.asarray(model.predict_proba(features)[:, 1])


def _classes(codes: Parts, names: Sequence[str], width: int) -> Task:
    for y in codes:
        if y.size and not -1 <= y.min() <= y.max() < len(names):
            raise ValueError(f"codes must lie in -1..{len(names) - 1}, got {y.min()}..{y.max()}.")
    present = np.unique(codes[0][codes[0] >= 0])
    if present.size < 2:
        raise CannotProbe(
            f"a classifier needs at least 2 classes among the rows of split train, which has {present.size}"
        )
    code = np.full(len(names) + 1, -1)  # the last is where -1 points to
    code[present] = np.arange(present.size)
    known = tuple(code[y] >= 0 for y in codes)
    if not known[2].any():
        raise CannotProbe("no row of split test has a label of a class that split train has")
    targets = tuple(code[y[k]] for y, k in zip(codes, known, strict=True))
    model, predict = _choice(targets[0], width)
    return Task(
        known,
        targets,
        [model],
        predict=predict,
        criterion=lambda true, predicted: float((true == predicted).mean()),
        scores=lambda true, predicted: {"accuracy": (true == predicted).astype(np.float64)},
        constant=np.bincount(targets[0]).argmax(),
        names=tuple(names[i] for i in present),
    )


def _numbers(numbers: Parts, names: Sequence[str], width: int) -> Task:
    known = tuple(np.isfinite(y) for y in numbers)
    targets = tuple(y[k] for y, k in zip(numbers, known, strict=True))
    for name, y in (("train", targets[0]), ("test", targets[2])):
        if np.unique(y).size < 2:
            raise CannotProbe(f"a regression needs two different numbers, which the rows of split {name} do not have")
    centre, scale = float(targets[0].mean()), float(targets[0].std())
    variance = float(targets[1].var()) if targets[1].size else 0.0
    model = (Ridge(solver="cholesky"), (targets[0] - centre) / scale)
    return Task(
        known,
        targets,
        [model],
        predict=lambda features: model[0].predict(features) * scale + centre,
        criterion=lambda true, predicted: -float(((predicted - true) ** 2).mean()),
        scores=lambda true, predicted: {
            "r2": influence.r_squared(true, predicted),
            "spearman": influence.rank_correlation(true, predicted),
        },
        constant=centre,
        validation_score=lambda negative_error: 1 + negative_error / variance if variance > 0 else None,
        unit=(centre, centre + scale),
    )


def _levels(ranks: Parts, names: Sequence[str], width: int) -> Task:
    known = tuple(np.isfinite(y) for y in ranks)
    targets = tuple(y[k].astype(np.int64) for y, k in zip(ranks, known, strict=True))
    present = np.unique(targets[0])
    if present.size < 2:
        raise CannotProbe(
            f"a classifier needs at least 2 levels among the rows of split train, which has {present.size}"
        )
    if not targets[2].size:
        raise CannotProbe("no row of split test has a level")
    steps = _yes_or_no(targets[0][:, None] > present[:-1], width)

    def scores(true: np.ndarray, predicted: np.ndarray) -> Mapping[str, np.ndarray]:
        error = np.abs(true - predicted).astype(np.float64)
        return {"level_error": error, "within_one": (error <= 1).astype(np.float64)}

    return Task(
        known,
        targets,
        steps,
        predict=lambda features: present[
            np.column_stack([_is_yes(step, features) for step, _ in steps]).sum(axis=1, dtype=np.int64)
        ],
        criterion=lambda true, predicted: -float(np.abs(predicted - true).mean()),
        scores=scores,
        constant=int(np.sort(targets[0])[(targets[0].size - 1) // 2]),
        validation_score=abs,
        names=tuple(names),
    )


def _labels(has: Parts, names: Sequence[str], width: int) -> Task:
    known = [np.asarray(np.isfinite(y).all(axis=1)) for y in has]
    every = tuple(y[k] > 0.5 for y, k in zip(has, known, strict=True))
    usable = np.flatnonzero(every[0].any(axis=0) & ~every[0].all(axis=0))
    if not usable.size or not len(every[0]):
        raise CannotProbe("no label is there in some rows of split train and not in others")
    targets = tuple(y[:, usable] for y in every)
    if not targets[2].any():
        raise CannotProbe("no row of split test has a label that can be predicted")
    models = _yes_or_no(targets[0], width)
    return Task(
        known,
        targets,
        models,
        # In the precision of predictions.safetensors, so that scores can be computed again from that file.
        predict=lambda features: np.column_stack([_probability(model, features) for model, _ in models]).astype(
            np.float32
        ),
        criterion=lambda true, probability: (
            float(influence.mean_average_precision(true, probability).mean()) if true.any() else 0.0
        ),
        scores=lambda true, probability: {
            "mean_average_precision": influence.mean_average_precision(true, probability),
            "micro_f1": influence.micro_f1(true, probability > 0.5),
            "macro_f1": influence.macro_f1(true, probability > 0.5),
        },
        constant=1.0,
        names=tuple(names[i] for i in usable.tolist()),
    )


TASKS: Mapping[str, Callable[[Parts, Sequence[str], int], Task]] = {
    "class": _classes,
    "labels": _labels,
    "rank": _levels,
    "number": _numbers,
}
"""By kind of target."""
