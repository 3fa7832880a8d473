"""Row uncertainty of a run: how uncertain each row is, and what this is worth on test rows and on unseen ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mscon.evaluate.column_probes import FrozenFeatures, Record
from mscon.evaluate.estimators import CannotProbe
from mscon.evaluate.metrics.bootstrap import interval
from mscon.evaluate.metrics.nearest import CosineNeighbours
from mscon.evaluate.metrics.risk_coverage import area_under_risk, curve, gain, new_above_known
from mscon.evaluate.space_scores import SpaceScores, spread
from mscon.evaluate.targets import ProbeTarget, codes_of
from mscon.model.class_posterior import Membership
from mscon.model.row_uncertainty import MOST_ROWS, MOST_VALIDATION_ROWS, RowUncertainty, drawn

# Rows above this are the most uncertain ones: about 20 %, as among validation rows.
THRESHOLD = 0.8

COVERAGES = np.round(np.arange(0.1, 1.01, 0.05), 2)

# Neighbours that a search is judged by.
_HITS = 10

# Of each column numbers of rows, and a value of each of them.
OfColumns = Sequence[tuple[Int[np.ndarray, " some"], Float[np.ndarray, " some"]]]

# Numbers are put into so many classes, which hold as many training rows each.
_BINS = 10


def fit_uncertainty(
    frozen: FrozenFeatures,
    projections: Float[np.ndarray, "similarities rows dim"],
    similarities: Sequence[str],
    columns: Sequence[ProbeTarget],
) -> tuple[RowUncertainty, Float[np.ndarray, " rows"]]:
    """From the training and validation rows of a run; and the uncertainty of each of its rows.

    A training row is not compared with itself.

    Args:
        frozen: features and splits.
        projections: of all rows, of unit length.
        similarities: their names.
        columns: what is probed; those that are similarities count.

    Raises:
        CannotProbe: without validation rows.
    """
    train, validation = frozen.split["train"], frozen.split["validation"]
    if len(train) < 2 or not len(validation):
        raise CannotProbe("uncertainty is a rank among validation rows, and there are none")
    by_column = {
        column.column: (similarities.index(column.column), memberships)
        for column in columns
        if column.column in similarities and len(memberships := memberships_of(column, train))
    }
    uncertainty, reference = RowUncertainty.fit(frozen.features, projections, by_column, train, validation)
    row = np.full(len(frozen.features), -1)
    row[reference] = np.arange(len(reference))
    return uncertainty, uncertainty.of(frozen.features, projections, row=row)


def memberships_of(column: ProbeTarget, train: Int[np.ndarray, " train"]) -> Membership:
    """Pairs of a row and a class that it has: a class or level, labels of a set, a path, a tenth of the numbers.

    Args:
        column: whose cells are read.
        train: rows by which numbers are cut into classes.
    """
    if column.kind == "nothing":
        return np.zeros((0, 2), dtype=np.int64)
    if column.kind == "class":
        codes, _ = codes_of(column.cells) if column.similarity is None else column.class_levels()[-1]
        rows = np.flatnonzero(codes >= 0)
        return np.stack([rows, codes[rows]], axis=1)
    target = np.asarray(column.target(), dtype=np.float64)
    if column.kind == "labels":
        return np.argwhere(np.nan_to_num(target) > 0.5)
    rows = np.flatnonzero(np.isfinite(target))
    if column.kind == "rank":
        return np.stack([rows, target[rows].astype(np.int64)], axis=1)
    known = target[train][np.isfinite(target[train])]
    cuts = np.unique(np.quantile(known, np.arange(1, _BINS) / _BINS)) if known.size else np.zeros(0)
    return np.stack([rows, np.searchsorted(cuts, target[rows], side="right")], axis=1)


def score_uncertainty(
    of_rows: Float[np.ndarray, " rows"],
    scores: SpaceScores,
    frozen: FrozenFeatures,
    projections: Float[np.ndarray, "similarities rows dim"],
    columns: Sequence[ProbeTarget],
) -> Record:
    """What uncertainty is worth, as plain values; an empty record without test rows.

    Returns:
        {"threshold", "summary": [{"trained", "columns", "rows_left", "accuracy_gain", "precision_at_10_gain",
        "area_under_risk", "accuracy": [[share, accuracy], ...]}], "unseen": {"rows", "auroc"}}. Of the columns that
        hold classes, those that were trained on and the others are averaged apart. Gains are of test rows with an
        uncertainty of up to `threshold`, over all test rows, by linear probes, and by the nearest 10 of training and
        test rows under an equal mix. "accuracy" is that of the most certain rows, for some shares of rows. Gains, area
        and AUROC have intervals. "unseen" is there where there are unseen rows.
    """
    test, unseen = frozen.split["test"], frozen.split["unseen"]
    if not len(test):
        return {}
    record: Record = {"threshold": THRESHOLD, "summary": []}
    precision = precision_of(frozen, projections, columns)
    for trained in (True, False):
        probed = {
            number: one["column"]
            for number, one in enumerate(scores.records["linear"])
            if one["kind"] == "class" and one["trained"] is trained
        }
        right = [(scores.arrays[f"linear/{number}/row"], scores.leading("linear", number)[1]) for number in probed]
        near = [(rows, values) for is_trained, rows, values in precision if is_trained is trained]
        gains = [_gain(of_rows, of_columns, frozen) for of_columns in (right, near)]
        if gains[0] is None or gains[1] is None:
            continue
        record["summary"].append(
            {
                "trained": trained,
                "columns": list(dict.fromkeys(probed.values())),
                "rows_left": float((of_rows[test] <= THRESHOLD).mean()),
                "accuracy_gain": gains[0],
                "precision_at_10_gain": gains[1],
                "area_under_risk": _mean([(r, area_under_risk(of_rows[r], 1 - s)) for r, s in right], frozen),
                "accuracy": np.stack(
                    [COVERAGES, np.mean([curve(of_rows[r], s, COVERAGES) for r, s in right], axis=0)], axis=1
                ).tolist(),
            }
        )
    if len(unseen):
        both = np.concatenate([test, unseen])
        auroc = interval(new_above_known(of_rows[test], of_rows[unseen]), **frozen.sampling(both))
        record["unseen"] = {"rows": len(unseen), "auroc": auroc.to_json()}
    return record


def _gain(of_rows: Float[np.ndarray, " rows"], of_columns: OfColumns, frozen: FrozenFeatures) -> Record | None:
    """The mean gain over columns that have a row below the threshold; None where there is no such column."""
    values = [(r, gain(of_rows[r], s, THRESHOLD)) for r, s in of_columns if (of_rows[r] <= THRESHOLD).any()]
    return _mean(values, frozen) if values else None


def _mean(of_columns: OfColumns, frozen: FrozenFeatures) -> Record:
    rows = np.unique(np.concatenate([some for some, _ in of_columns]))
    values = np.mean([spread(rows, some, values) for some, values in of_columns], axis=0)
    return interval(values, **frozen.sampling(rows)).to_json()


def precision_of(
    frozen: FrozenFeatures,
    projections: Float[np.ndarray, "similarities rows dim"],
    columns: Sequence[ProbeTarget],
) -> list[tuple[bool, Int[np.ndarray, " some"], Float[np.ndarray, " some"]]]:
    """For each column of classes: whether it was trained on, test rows, and how many of the nearest 10 rows are alike.

    Sought are those under an equal mix, among training and test rows; the number is their share. Of many rows some are
    drawn, as a comparison of all with all would take hours for a million.
    """
    test = drawn(frozen.split["test"], MOST_VALIDATION_ROWS)
    searched = np.concatenate([drawn(frozen.split["train"], MOST_ROWS), test])
    mixed = np.concatenate(projections[:, searched], axis=1)
    near, _ = CosineNeighbours(mixed).nearest(_HITS, np.arange(len(searched) - len(test), len(searched)))
    shares = []
    for column in columns:
        if column.kind == "class":
            codes, _ = codes_of(column.cells) if column.similarity is None else column.class_levels()[-1]
            labelled = codes[test] >= 0
            if labelled.any():
                alike = codes[searched[near[labelled]]] == codes[test[labelled], None]
                shares.append((column.trained, test[labelled], alike.mean(axis=1)))
    return shares
