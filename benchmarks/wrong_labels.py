"""Wrong labels that are planted in a column of classes: of any other class, of a confusable one, at the boundary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def planted(codes: np.ndarray, how: str, rate: float, clean: np.ndarray, seed: int) -> np.ndarray:
    """Codes of which a share goes wrong; `clean` are probabilities out of fold by models that learnt right labels."""
    generator = np.random.default_rng(seed)
    rows, labels, size = np.arange(len(codes)), codes.copy(), round(rate * len(codes))
    others = clean.copy()
    others[rows, codes] = -1
    if how == "boundary":
        closeness = others.max(axis=1) / (others.max(axis=1) + clean[rows, codes])
        wrong = generator.choice(rows, size, replace=False, p=closeness / closeness.sum())
        labels[wrong] = others.argmax(axis=1)[wrong]
        return labels
    wrong = generator.permutation(rows)[:size]
    if how == "confusable":
        mistaken = np.zeros((clean.shape[1], clean.shape[1]))
        np.add.at(mistaken, codes, clean)
        np.fill_diagonal(mistaken, -1)
        labels[wrong] = mistaken.argmax(axis=1)[codes[wrong]]
    else:
        labels[wrong] = (codes[wrong] + generator.integers(1, clean.shape[1], size)) % clean.shape[1]
    return labels


def of_other_rows(cells: Sequence[str | None], rate: float, seed: int) -> list[str | None]:
    """Cells of a column of classes, of which a share is those of other rows."""
    generator = np.random.default_rng([seed, 1])
    wrong = generator.permutation(len(cells))[: round(rate * len(cells))]
    changed = list(cells)
    for row, other in zip(wrong.tolist(), generator.permutation(len(cells)).tolist(), strict=False):
        changed[row] = cells[other]
    return changed
