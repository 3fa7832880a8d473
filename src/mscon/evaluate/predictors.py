"""Predictors of a run: a linear probe for each column, calibrated on validation rows, measured on test rows.

They are fitted from the stored features and written to the run, where `mscon.deploy.predict` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from rich.console import Console

from mscon.errors import RunError, counted
from mscon.evaluate import calibration
from mscon.evaluate.column_probes import FrozenFeatures
from mscon.evaluate.estimators import CannotProbe
from mscon.evaluate.features import extract, read_features
from mscon.evaluate.linear import linear_probe
from mscon.evaluate.metrics.calibration import error_by_chance, expected_calibration_error
from mscon.evaluate.targets import ProbeTarget, further_targets, probe_targets
from mscon.method.similarities.multi_label import MultiLabel
from mscon.model.predictors.base import Predictor
from mscon.model.predictors.classes import ClassPredictor
from mscon.model.predictors.levels import LevelPredictor
from mscon.model.predictors.links import log_odds_of, logits_of_classes
from mscon.model.predictors.numbers import NumberPredictor
from mscon.model.predictors.sets import SetPredictor
from mscon.model.predictors.stored import StoredPredictor, current_predictors, has_current_features
from mscon.run import outputs
from mscon.run.progress import ProgressBar
from mscon.run.run import Run


def need_predictors(
    run: Run | str | Path,
    columns: Sequence[str] = (),
    *,
    progress: bool = True,
    force: bool = False,
    accept_changes: bool = False,
) -> bool:
    """Fit and write the predictors of a run, unless it has them and they are of its features as they are now.

    Features are extracted first where they are missing or older than the checkpoint. For each column that the run was
    trained on, that [probe] names or that `columns` names: the linear model of `mscon probe`
    (`mscon.evaluate.linear.linear_probe`), of all classes also where [probe] largest names a number; and a calibration
    by the validation rows that have a label, if these are 20 or more: a temperature for classes and paths, Platt
    scaling for levels and whole sets of labels, split conformal intervals of 90 % for numbers. Test rows
    are only measured.

    Writes `predictors.safetensors`: for the i-th predictor the arrays "i/centre", "i/scale", "i/farthest", "i/weights"
    and "i/intercept" (see `mscon.model.linear_map`), and of its test rows "i/confidence" and "i/is_right"; and in its
    metadata under "mscon" JSON: {"source", "predictors": [{"column", "kind", "calibration", "names", "cells",
    "record"}], "skipped": [{"column", "reason"}]}.

    Args:
        run: a trained run, or its directory.
        columns: further label columns of the run. Their kind is that of [probe] kinds, or what their cells show.
        progress: say on standard error what is done.
        force: fit them in any case.
        accept_changes: extract features, where they are missing, also if images or vectors have changed since training.

    Returns:
        Whether they were fitted.

    Raises:
        RunError: for columns that the run does not have or that cannot be predicted, all at once; and as `extract`.
    """
    run = Run.of(run)
    known = {} if force else {one.column: one for one in current_predictors(run)}
    if known and not set(columns) - known.keys():
        return False
    console = Console(stderr=True, quiet=not progress)
    # Those that were asked for before are fitted again too, where something has changed.
    targets = predictor_targets(run, [*_former(run), *columns])
    recipe, rows = run.read_recipe(), run.read_rows()
    outputs.need_place(run.root / "predictors.safetensors", "Copy the run to a folder that you may write to.")
    if not has_current_features(run):
        extract(run, progress=progress, accept_changes=accept_changes)
    frozen = FrozenFeatures.of(read_features(run), rows, recipe)
    predictors, skipped = list[StoredPredictor](), dict[str, str]()
    with ProgressBar("predictors", len(targets), shown=progress) as bar:
        for target in targets:
            try:
                predictors.append(known.get(target.column) or fit_predictor(target, frozen))
            except CannotProbe as reason:
                skipped[target.column] = str(reason)
            bar.advance(1)
    if refused := [f"column '{name}' cannot be predicted: {skipped[name]}." for name in columns if name in skipped]:
        raise RunError("\n".join(refused))
    if not predictors:
        reasons = [f"  {name}: {reason}." for name, reason in skipped.items()]
        raise RunError("\n".join([f"no column of run '{run.root}' can be predicted:", *reasons]))
    about = {
        "source": run.predictors_source,
        "predictors": [one.to_json() for one in predictors],
        "skipped": [{"column": name, "reason": reason} for name, reason in skipped.items()],
    }
    arrays = {f"{i}/{name}": array for i, one in enumerate(predictors) for name, array in one.to_arrays().items()}
    run.write_predictors(about, arrays)
    for line in (
        f"{run.root}: predictors of {counted(len(predictors), 'column')} fitted and written to the run.",
        *(f"note: column '{name}' is not predicted: {reason}." for name, reason in skipped.items()),
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return True


def predictor_targets(run: Run, columns: Sequence[str] = ()) -> list[ProbeTarget]:
    """The columns that a run was trained on, that [probe] names, and further ones.

    Raises:
        RunError: once, for all columns that the run does not have or that cannot be predicted.
    """
    recipe, rows = run.read_recipe(), run.read_rows()
    regular = probe_targets(run, recipe, rows)
    names = {target.column for target in regular}
    return [*regular, *further_targets(run, recipe, rows, [name for name in columns if name not in names])]


def _former(run: Run) -> list[str]:
    """The columns of the predictors that a run has, current or not."""
    if not run.has_predictors:
        return []
    return run.read_predictors(lambda about, arrays: [one["column"] for one in about["predictors"]])


def fit_predictor(target: ProbeTarget, frozen: FrozenFeatures) -> StoredPredictor:
    """The predictor of one column.

    Raises:
        CannotProbe: if the rows leave nothing to be predicted.
    """
    if target.kind == "nothing":
        raise CannotProbe("its similarity has no target_kind, so there is nothing to predict")
    levels = target.class_levels() if target.kind == "class" else []
    codes, names = levels[-1] if levels else (target.target(), target.names)
    x, (train, validation, test) = frozen.features, (frozen.split[name] for name in ("train", "validation", "test"))
    result = linear_probe(
        target.kind, x[train], codes[train], x[validation], codes[validation], x[test], codes[test], names
    )
    linear_map = result.linear_map.as_stored()
    model: Predictor
    validated, tested = result.validation_true, result.true
    if target.kind == "class":
        model = ClassPredictor(*_cells(target, levels, result.names), linear_map, None)
    elif target.kind == "rank":
        present = np.unique(codes[train][np.isfinite(codes[train])]).astype(np.int64)
        model = LevelPredictor(target.column, tuple(names[rank] for rank in present), linear_map, None)
        validated, tested = _among(present, validated), _among(present, tested)
    elif target.kind == "labels":
        separator = target.similarity.separator if isinstance(target.similarity, MultiLabel) else ";"
        known = codes[train][np.isfinite(codes[train]).all(axis=1)] > 0.5
        always = tuple(name for name, everywhere in zip(names, known.all(axis=0), strict=True) if everywhere)
        model = SetPredictor(target.column, result.names, always, separator, linear_map, None)
    else:
        model = NumberPredictor(target.column, linear_map, None)
    calibrated = _calibrated(model, linear_map(x[validation[result.validated]]), validated)
    record = {"trained": target.trained, **result.to_json()}
    return _measured(target.column, model, calibrated, record, linear_map(x[test[result.rows]]), tested)


def _cells(
    target: ProbeTarget, levels: Sequence[tuple[Int[np.ndarray, " rows"], Sequence[str]]], finest: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The columns of the levels, and for each level what the column has in it for each class of the finest one."""
    codes, names = levels[-1]
    number_of = {name: number for number, name in enumerate(names)}
    numbers, rows = np.unique(codes, return_index=True)
    example = dict(zip(numbers.tolist(), rows.tolist(), strict=True))
    examples = [example[number_of[name]] for name in finest]
    similarity = target.similarity
    if similarity is not None and len(similarity.columns) == len(levels) > 1:
        parts = [similarity.parts(target.cells[row] or "") for row in examples]
        return similarity.columns, tuple(zip(*parts, strict=True))
    cells = [tuple(its_names[its_codes[row]] for row in examples) for its_codes, its_names in levels]
    return (target.column,) * len(levels), tuple(cells)


def _among(present: Int[np.ndarray, " levels"], ranks: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """Places of ranks among those that are present; -1 for others."""
    place = np.searchsorted(present, ranks).clip(0, len(present) - 1)
    return np.where(present[place] == ranks, place, -1)


def _calibrated(
    model: Predictor, outputs: Float[np.ndarray, "rows outputs"], true: Shaped[np.ndarray, "rows ..."]
) -> Predictor:
    """The same predictor with a calibration, if there are enough rows for one."""
    if len(true) < calibration.LEAST_ROWS:
        return model
    if isinstance(model, NumberPredictor):
        return replace(model, calibration=(calibration.half_length(model.decide(outputs).values, true),))
    assert isinstance(model, ClassPredictor | LevelPredictor | SetPredictor)
    numbers, settings = list[float](), dict[str, int]()
    if isinstance(model, ClassPredictor):
        numbers.append(calibration.temperature(logits_of_classes(outputs), true))
        model, settings = replace(model, calibration=tuple(numbers)), {"prior_rows": calibration.PRIOR_ROWS}
    decisions = model.decide(outputs)
    for confidence, is_right in zip(decisions.confidence.T, model.is_right(decisions, true).T, strict=True):
        numbers += calibration.platt(log_odds_of(confidence), is_right, **settings)
    return replace(model, calibration=tuple(numbers))


def _measured(
    column: str,
    model: Predictor,
    calibrated: Predictor,
    record: Mapping[str, Any],
    outputs: Float[np.ndarray, "test outputs"],
    true: Shaped[np.ndarray, "test ..."],
) -> StoredPredictor:
    """A predictor with what its test rows say of it, and of the same one before calibration."""
    before, after = model.decide(outputs), calibrated.decide(outputs)
    is_right = calibrated.is_right(after, true)
    measured: dict[str, Any] = {}
    if isinstance(calibrated, NumberPredictor):
        measured = {} if calibrated.calibration is None else {"coverage": float(is_right.mean())}
    else:
        measured["levels"] = [
            {
                "accuracy": float(right.mean()),
                "before": expected_calibration_error(uncalibrated, right),
                **(
                    {}
                    if calibrated.calibration is None
                    else {
                        "after": expected_calibration_error(confident, right),
                        "by_chance": error_by_chance(confident),
                    }
                ),
            }
            for right, uncalibrated, confident in zip(is_right.T, before.confidence.T, after.confidence.T, strict=True)
        ]
    return StoredPredictor(column, calibrated, {**record, **measured}, after.confidence, is_right)
