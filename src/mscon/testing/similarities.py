"""The contract of a kind of similarity."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mscon.errors import MSConError
from mscon.method.objectives.supcon import supcon
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.base import Cell, Similarity
from mscon.testing.cases import LARGE_NAMINGS, SIGNED_NAMINGS, equal, holds, seeded


def check_similarity(kind: type[Similarity], cells: Sequence[Cell] = ("2", "1", "3"), **settings: Any) -> None:
    """Check that a kind of similarity keeps to what training, search, explorer and report rely on.

    Checked are: that it comes back from JSON; that weights lie in [0, 1], are mutual, and 1 for a row and itself; that
    nothing is known of a missing row, and a hole in the column is as good as a row left out; that pairs do not depend
    on what else is compared; that cells which training never saw are no fault; that `target` and `target_names` fit
    `target_kind`; that memory does not grow beyond some tables of pairs.

    Args:
        kind: the class; it is fitted here.
        cells: that it can read, at least two different ones; write down what is peculiar to it. Holes are added.
        settings: as of `fit`.

    Raises:
        AssertionError: for the first that does not hold, in words.
        MSConError: as `fit` raises it, if it cannot read the cells.
    """
    column = [None, *cells, None, *cells]
    similarity = kind.fit("column", column, range(len(column)), **settings)
    for check in (_json, _weights, _missing, _blocks, _partition, _agreement, _target, _holes):
        check(similarity, column)
    _unseen(kind, cells, settings)
    _memory(kind, cells, settings)


def _json(similarity: Similarity, cells: Sequence[Cell]) -> None:
    try:
        state = json.loads(json.dumps(similarity.to_json()))
    except TypeError as error:
        raise AssertionError(f"`to_json` must give plain JSON values: {error}.") from None
    again = type(similarity).from_json(state)
    holds(
        again.column == similarity.column == "column", "`column` must be the one that `fit` was given, also after JSON."
    )
    holds(again == similarity, "What `from_json` makes of `to_json` is not equal: does it keep every setting?")
    equal(again.encode(cells), similarity.encode(cells), "After JSON it encodes otherwise.", rtol=0.0, atol=0.0)


def _weights(similarity: Similarity, cells: Sequence[Cell]) -> None:
    codes = similarity.encode(cells)
    holds(len(codes) == len(cells), f"`encode` must give a code for each cell, got {len(codes)} of {len(cells)}.")
    weight, known = (p := similarity.compare(codes, codes)).weight, p.known
    expected_type = torch.get_default_dtype()
    holds(
        weight.dtype == expected_type, f"Weights must be of torch's default type {expected_type}, got {weight.dtype}."
    )
    holds(known.dtype == torch.bool, f"`known` must be truth values, got {known.dtype}.")
    is_share = (weight >= 0) & (weight <= 1)
    holds(is_share.all(), f"Weights must be in [0, 1], also of unknown pairs, got {weight[~is_share][:4].tolist()}.")
    holds(torch.equal(known, known.T), "A pair is known from one side and unknown from the other.")
    holds(torch.equal(weight * known, (weight * known).T), "Alike must be mutual, but weights differ by side.")
    same = weight.diagonal()[known.diagonal()]
    holds(len(same) > 0, "No row is known to be alike to itself: is anything known at all?")
    holds((same == 1).all(), f"A row and itself must have weight 1, got {same.min().item():g}.")


def _missing(similarity: Similarity, cells: Sequence[Cell]) -> None:
    codes = similarity.encode(cells)
    missing, known = similarity.missing(codes), similarity.compare(codes, codes).known
    holds(missing.dtype == torch.bool and missing.shape == (len(cells),), "`missing` must give a truth value a row.")
    reads = bool(similarity.columns) or similarity.reads_vectors
    empty = torch.tensor([cell is None and reads for cell in cells])
    holds(missing[empty].all(), "An empty cell must be `missing`: it is no class and no value.")
    holds(not missing.all(), "Every row is `missing`, also where there is a cell.")
    holds(not (known[missing].any() or known[:, missing].any()), "Of a missing row no pair may be known.")


def _blocks(similarity: Similarity, cells: Sequence[Cell]) -> None:
    codes = similarity.encode(cells)
    whole, part = similarity.compare(codes, codes), similarity.compare(codes[1:3], codes[2:])
    is_same = torch.equal(part.weight, whole.weight[1:3, 2:]) and torch.equal(part.known, whole.known[1:3, 2:])
    holds(is_same, "A pair must not depend on what else is compared at the same time.")
    nothing = similarity.compare(codes[:0], codes)
    holds(nothing.weight.shape == nothing.known.shape == (0, len(cells)), "No anchors must give no rows of pairs.")


def _partition(similarity: Similarity, cells: Sequence[Cell]) -> None:
    if not similarity.is_partition:
        return
    codes = similarity.encode(cells)
    holds(codes.dtype == torch.int64 and codes.dim() == 1, f"Codes of a partition are int64 a row, got {codes.dtype}.")
    holds(torch.equal(similarity.missing(codes), codes < 0), "Codes of a partition are -1 where missing, else >= 0.")
    pairs = similarity.compare(codes, codes)
    equal = (codes[:, None] == codes[None, :]).to(pairs.weight.dtype)
    holds(
        torch.equal(pairs.weight[pairs.known], equal[pairs.known]),
        "`is_partition` says that rows are alike exactly where their codes are equal, but `compare` says otherwise.",
    )
    for naming in (*SIGNED_NAMINGS, *LARGE_NAMINGS):
        other = similarity.compare(naming(codes), naming(codes))
        is_same = torch.equal(other.weight, pairs.weight) and torch.equal(other.known, pairs.known)
        holds(is_same, "Of a partition only which codes are equal may matter, not their size or type.")


def _agreement(similarity: Similarity, cells: Sequence[Cell]) -> None:
    if not similarity.columns:
        return
    pairs = similarity.compare(*[similarity.encode(cells)] * 2)
    expected = np.where(pairs.known.numpy(), pairs.weight.double().numpy(), math.nan).ravel()
    ones = [cell for cell in cells for _ in cells]
    sentence = "`agreement`, which search and report ask, says otherwise than `compare`, which training asks."
    equal(similarity.agreement(ones, [*cells] * len(cells)), expected, sentence)


def _target(similarity: Similarity, cells: Sequence[Cell]) -> None:
    kind, names = similarity.target_kind, len(similarity.target_names)
    target = np.asarray(similarity.target(cells))
    empty = np.array([cell is None for cell in cells])
    holds(len(target) == len(cells), f"`target` must say something of each row, got {len(target)} of {len(cells)}.")
    expected_type = np.int64 if kind in ("class", "nothing") else np.float64
    holds(
        target.dtype == expected_type,
        f"`target` of kind '{kind}' must be {expected_type.__name__}, got {target.dtype}.",
    )
    if kind in ("class", "nothing"):
        holds(bool((target[empty] == -1).all()), f"`target` of kind '{kind}' must be -1 where a cell is empty.")
        words = f"`target` numbers {int(target.max()) + 1} classes, but `target_names` has {names}."
        holds(int(target.max()) < names or kind == "nothing", words)
        return
    holds(bool(np.isnan(target[empty]).all()), f"`target` of kind '{kind}' must be NaN where a cell is empty.")
    if kind == "labels":
        shape = (len(cells), names)
        holds(
            target.shape == shape, f"`target` of labels must have a column for each name, {shape}, got {target.shape}."
        )
        holds(bool(np.isin(target[~empty], (0, 1)).all()), "`target` of labels must be 0 and 1.")
    elif kind == "rank":
        holds(bool(np.nanmax(target) < names), f"`target` has a rank beyond the {names} levels in `target_names`.")


def _holes(similarity: Similarity, cells: Sequence[Cell]) -> None:
    """Of loss and gradient, whatever rows are missing."""
    for seed in range(20):
        drawn = torch.randint(0, len(cells), (9,), generator=seeded(seed)).tolist()
        codes = similarity.encode([cells[i] for i in drawn])
        gone = similarity.missing(codes)
        z = torch.randn(9, 4, dtype=torch.float64, generator=seeded(seed), requires_grad=True)

        def losses(z: Tensor, codes: Tensor) -> Tensor:
            ids = torch.arange(len(codes))
            pairs = LazyPairs(similarity.compare, codes, codes, ids, ids, similarity.is_partition)
            return supcon(z, None, pairs, temperature=0.4)

        if gone.all():
            continue
        actual, expected = losses(z, codes), losses(z[~gone], codes[~gone])
        sentence = "A hole in the column is not as good as a row left out of it."
        equal(actual[~gone], expected, sentence)
        gradients = [torch.autograd.grad(value.sum(), z)[0] for value in (actual, expected)]
        equal(gradients[0], gradients[1], f"{sentence} (the gradient)")


def _unseen(kind: type[Similarity], cells: Sequence[Cell], settings: dict[str, Any]) -> None:
    *few, last = dict.fromkeys(cell for cell in cells if cell is not None)
    try:
        similarity = kind.fit("column", [*few, *few], range(2 * len(few)), **settings)
    except MSConError:  # too few cells are left to learn from
        return
    try:
        codes = similarity.encode([last, few[0], None])
    except Exception as error:
        raise AssertionError(f"The cell {last!r}, which training did not see, is a fault: {error!r}.") from error
    is_same = codes.shape[1:] == similarity.encode(few).shape[1:]
    holds(is_same, "A cell that training did not see has a code of another shape.")
    is_finite = similarity.compare(codes, codes).weight.isfinite().all()
    holds(is_finite, f"The cell {last!r}, which training did not see, has weights that are not finite.")


def _memory(kind: type[Similarity], cells: Sequence[Cell], settings: dict[str, Any]) -> None:
    """16 anchors against 1,024 candidates, as a block of 1,024 against 65,536 is in the largest batches."""
    many = [cells[i % len(cells)] for i in range(1_024)]
    similarity = kind.fit("column", many, range(len(many)), **settings)
    codes = similarity.encode(many)
    with torch.profiler.profile(profile_memory=True) as profile:
        similarity.compare(codes[:16], codes)
    allocated = sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())
    allowed = 12 * 4 * 16 * len(many) + 4 * 4 * codes.nelement()  # tables of float32 pairs, and of codes
    holds(
        allocated < allowed,
        f"`compare` takes {allocated / (4 * 16 * len(many)):.0f} times the memory of a table of pairs: build no "
        "[anchors, candidates, values] tensor.",
    )
