"""Transfer: what frozen features are worth for a new task of which few rows are labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from mscon.errors import RunError
from mscon.evaluate.linear import linear_probe
from mscon.evaluate.targets import among_largest, codes_of
from mscon.run.recipe import plain_sections
from mscon.run.run import Run


def transfer(run: Run, columns: Sequence[str], rows_a_class: Sequence[int], draws: int) -> None:
    """Fit linear classifiers on few training rows of each class, and score them on all test rows.

    The strength of the penalty is `linear.DEFAULT` for all: where labels are few there are none to choose it by. Which
    rows are drawn depends on the labels and the number of the draw only, so that all runs on the same rows are
    treated alike. [probe] largest holds here too.

    Writes `transfer.json`: {"rows_a_class", "draws", "curves": [{"column", "classes", "train_rows": [mean a count],
    "accuracy": [[one a draw] a count]}]}.

    Args:
        run: a probed run.
        columns: label columns, whether trained on or not.
        rows_a_class: how many labelled rows of each class; a class with fewer gives all it has.
        draws: how often rows are drawn for each number.

    Raises:
        RunError: if the run has no features, or no such column, or a column leaves nothing to be told apart.
    """
    rows, features, largest = (
        run.read_rows(),
        run.read_features(),
        plain_sections(run.read_recipe_values())["probe"].largest,
    )
    split = rows.get_column("split").to_numpy()
    train, test = (np.flatnonzero(split == name) for name in ("train", "test"))
    curves: list[dict[str, Any]] = []
    for column in columns:
        if column not in rows.columns:
            raise RunError(f"run '{run.root}' has no label column '{column}'.")
        codes, classes = codes_of(rows.get_column(column).cast(pl.String).to_list())
        if column in largest:
            codes = np.where(among_largest(codes, codes[train], largest[column]), codes, -1)
        if np.unique(codes[train][codes[train] >= 0]).size < 2:
            raise RunError(f"run '{run.root}': column '{column}' has fewer than two classes among its train rows.")
        accuracy: list[list[float]] = [[] for _ in rows_a_class]
        used: list[list[int]] = [[] for _ in rows_a_class]
        for draw in range(draws):
            for at, number in enumerate(rows_a_class):
                drawn = train[few_of_each(codes[train], number, seed=draw)]
                none = drawn[:0]
                result = linear_probe(
                    "class",
                    *(features[drawn], codes[drawn], features[none], codes[none], features[test], codes[test]),
                    classes,
                )
                accuracy[at].append(float(result.scores["accuracy"].mean()))
                used[at].append(len(drawn))
        curves.append(
            {
                "column": column,
                "classes": int(np.unique(codes[train][codes[train] >= 0]).size),
                "train_rows": [float(np.mean(n)) for n in used],
                "accuracy": accuracy,
            }
        )
    run.write_transfer({"rows_a_class": list(rows_a_class), "draws": draws, "curves": curves})


def few_of_each(codes: Int[np.ndarray, " rows"], number: int, seed: int) -> Int[np.ndarray, " chosen"]:
    """Positions of `number` rows of each class, or of all it has, ascending. -1 is no class.

    For one seed the rows of a smaller number are among those of a larger.

    Raises:
        ValueError: if `number` is not positive.
    """
    if number < 1:
        raise ValueError(f"the number of rows a class must be 1 or more, got {number}.")
    order = np.random.default_rng(seed).permutation(codes.size)
    order = order[codes[order] >= 0]
    positions = [order[codes[order] == code][:number] for code in np.unique(codes[order])]
    return np.sort(np.concatenate(positions)) if positions else order
