"""The contract of an objective."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mscon.errors import MSConError
from mscon.method.objectives.base import Comparison, Losses, Objective
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import Continuous
from mscon.method.similarities.hierarchical import Hierarchical
from mscon.method.similarities.multi_label import MultiLabel
from mscon.method.similarities.same_row import SameRow
from mscon.testing.cases import LARGE_NAMINGS, SIGNED_NAMINGS, around, equal, holds, seeded

_LEVELS = Hierarchical("h", (("a", "x"), ("a", "y"), ("b", "x")))
_DIM = 6
_SETS = [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]]
_GRADED: tuple[tuple[Similarity, Tensor], ...] = (
    (Continuous("n", width=1.0, centre=0.0), torch.tensor([0.1, 0.9, torch.nan, 2.0, 2.0, 40.0, -3.0] * 2)),
    (MultiLabel("s", 3), torch.tensor(_SETS * 2, dtype=torch.uint8)),
)


@dataclass(frozen=True)
class _Columns:
    """Two columns that an objective takes, and what makes codes of theirs of numbers from 0, -1 where missing."""

    kinds: tuple[Similarity, Similarity]
    coded: Callable[[Tensor], Tensor]


_CLASSES = _Columns((Categorical("a", ("x", "y")), Categorical("b", ("p", "q", "r"))), lambda classes: classes)
_NUMBERS = _Columns(
    (Continuous("a", width=1.0), Continuous("b", width=1.0)),
    lambda classes: torch.where(classes < 0, math.nan, 0.9 * classes.float()),
)
_VIEWS = _Columns((SameRow("a"), Categorical("b", ("p", "q", "r"))), lambda classes: classes)


def _columns_of(objective: Objective) -> _Columns:
    """The first that it takes; of the last it says in words what is wrong."""
    for columns in (_CLASSES, _NUMBERS):
        with contextlib.suppress(MSConError):
            copy.deepcopy(objective).prepare(columns.kinds, _DIM)
            return columns
    return _VIEWS


def check_objective(objective: Objective) -> None:
    """Check that an objective keeps to what training relies on. It is copied, and not changed.

    Two columns of classes with missing labels, or of numbers if it refuses classes, or `same_row` and classes "p", "q"
    and "r" if it refuses both; and embeddings of 6 dimensions. It is in evaluation mode, where an objective draws
    nothing at random. Checked are: that neither the order of rows nor the names of classes matter; that a missing label
    is as good as an absent row, has loss 0 and no gradient; that gradients are finite, and those of finite differences
    unless targets are constant; that floor <= loss, and floor < ceiling; that autocast rounds nothing, and bfloat16
    embeddings only what they must; that candidates equal to the anchors are as good as none.

    Args:
        objective: as its constructor leaves it; `prepare` is called here.

    Raises:
        AssertionError: for the first that does not hold, in words.
    """
    columns = _columns_of(objective)
    single = copy.deepcopy(objective).eval()
    single.prepare(columns.kinds, _DIM)
    single.eval()
    ready = copy.deepcopy(single).double()
    for check in (_rows, _missing_labels, _gradients, _bounds, _candidates):
        check(ready, columns)
    if columns is _CLASSES:
        _names_of_classes(ready, columns)
    _levels(objective)
    _degrees(objective)
    _precision(single.float(), columns)


def _batch(rows: int = 14) -> tuple[Tensor, list[Tensor]]:
    generator = seeded()
    z = torch.randn(2, rows, _DIM, generator=generator, dtype=torch.float64)
    return z, [torch.randint(-1, k, (rows,), generator=generator) for k in (2, 3)]


def _pairs(columns: _Columns, classes: Sequence[Tensor], ids: Tensor) -> list[LazyPairs]:
    codes = [columns.coded(of_column) for of_column in classes]
    return [LazyPairs(s.compare, c, c, ids, ids, s.is_partition) for s, c in zip(columns.kinds, codes, strict=True)]


def _losses(
    objective: Objective, columns: _Columns, z: Tensor, codes: Sequence[Tensor], ids: Tensor | None = None
) -> Losses:
    ids = torch.arange(z.shape[1]) if ids is None else ids
    losses: Losses = objective(Comparison.of(z, None, _pairs(columns, codes, ids)))
    return losses


def _same_losses(actual: Losses, expected: Losses, sentence: str) -> None:
    for field in dataclasses.fields(Losses):
        values = getattr(actual, field.name), getattr(expected, field.name)
        equal(*values, f"{sentence} (`{field.name}` of Losses)")


def _rows(objective: Objective, columns: _Columns) -> None:
    z, codes = _batch()
    losses = _losses(objective, columns, z, codes)
    for name in ("per_anchor", "counted", "has_positive", "labelled"):
        value = getattr(losses, name)
        holds(value.shape == z.shape[:2], f"`{name}` must be [similarities, anchors], got {tuple(value.shape)}.")
    order = torch.randperm(z.shape[1], generator=seeded(1))
    shuffled = _losses(objective, columns, z[:, order], [c[order] for c in codes])
    equal(shuffled.per_anchor, losses.per_anchor[:, order], "The loss of an anchor depends on the order of the rows.")


def _missing_labels(objective: Objective, columns: _Columns) -> None:
    z, codes = _batch()
    holes = [torch.where(torch.arange(14) == 5, -1, c) for c in codes]
    others = torch.arange(14) != 5
    actual, expected = (
        _losses(objective, columns, z, holes),
        _losses(objective, columns, z[:, others], [c[others] for c in codes]),
    )
    words = "A row without a label is not as good as absent: are pairs used that are not `known`?"
    equal(actual.per_anchor[:, others], expected.per_anchor, words)
    equal(actual.floor, expected.floor, f"{words} (`floor`)")
    equal(actual.ceiling, expected.ceiling, f"{words} (`ceiling`)")

    codes = [torch.where(torch.arange(14) < 3, -1, c) for c in codes]
    z.requires_grad_()
    losses = _losses(objective, columns, z, codes)
    holds((losses.per_anchor[:, :3] == 0).all(), "The loss of an anchor without a label must be exactly 0.")
    holds(not losses.counted[:, :3].any(), "An anchor without a label must not be `counted`.")
    holds(
        (losses.per_anchor[~losses.counted] == 0).all(),
        "The loss of an anchor that is not `counted` must be exactly 0.",
    )
    holds(not (losses.has_positive & ~losses.labelled).any(), "An anchor that has a positive must be `labelled`.")
    (gradient,) = torch.autograd.grad(losses.per_anchor.sum(), z)
    holds((gradient[:, :3] == 0).all(), "A row without a label must get no gradient.")

    absent = [codes[0], torch.full_like(codes[1], -1)]
    losses = _losses(objective, columns, z, absent)
    holds(losses.present.tolist() == [True, False], "A similarity without any label must not be `present`.")
    try:
        with torch.autograd.set_detect_anomaly(True, check_nan=True):
            (gradient,) = torch.autograd.grad(_losses(objective, columns, z, absent).per_anchor.sum(), z)
    except RuntimeError as error:
        raise AssertionError(f"A similarity without any label makes NaN within the backward pass: {error}") from None
    holds(gradient.isfinite().all(), "A similarity without any label makes gradients that are not finite.")
    holds((gradient[1] == 0).all(), "A similarity without any label must get no gradient.")


def _gradients(objective: Objective, columns: _Columns) -> None:
    z, codes = _batch(rows=7)
    z.requires_grad_()
    if objective.has_constant_targets:
        return
    try:
        torch.autograd.gradcheck(lambda v: _losses(objective, columns, v, codes).per_anchor, (z,))
    except RuntimeError as error:
        raise AssertionError(f"The gradient is not that of finite differences: {error}") from None


def _bounds(objective: Objective, columns: _Columns) -> None:
    z, codes = _batch()
    for scale in (1e-3, 1.0, 30.0):
        losses = _losses(objective, columns, z * scale, codes)
        mean = losses.per_anchor.sum(dim=1) / losses.counted.sum(dim=1)
        below = f"Mean losses {mean.tolist()} lie below their `floor`s {losses.floor.tolist()}: is something left out?"
        holds((mean >= losses.floor - 1e-9).all(), below)
        holds((losses.ceiling > losses.floor).all(), "`ceiling` must be above `floor` where classes differ.")


def _candidates(objective: Objective, columns: _Columns) -> None:
    z, codes = _batch()
    pairs = _pairs(columns, codes, torch.arange(z.shape[1]))
    sentence = "Candidates that equal the anchors give other losses than none."
    _same_losses(objective(Comparison.of(z, z.clone(), pairs)), objective(Comparison.of(z, None, pairs)), sentence)


def _names_of_classes(objective: Objective, columns: _Columns) -> None:
    z, codes = _batch()
    expected = _losses(objective, columns, z, codes)
    for naming in [*SIGNED_NAMINGS, *(() if objective.numbers_classes else LARGE_NAMINGS)]:
        sentence = "Only which codes are equal may matter, not their size or type, up to 2^63 - 1."
        _same_losses(_losses(objective, columns, z, [naming(c) for c in codes]), expected, sentence)
    views = torch.arange(z.shape[1]) // 2
    sentence = "Ids near 2^53 leave out other pairs than small ones."
    _same_losses(
        _losses(objective, columns, z, codes, around(2**53, views)),
        _losses(objective, columns, z, codes, views),
        sentence,
    )


def _levels(objective: Objective) -> None:
    """The same of the codes of a hierarchy, for objectives that take it."""
    ready = copy.deepcopy(objective)
    try:
        ready.prepare([_LEVELS], _DIM)
    except MSConError:  # it says in words that it is for classes only
        return
    z, codes = _batch()
    z = z.float()
    levels = torch.stack([codes[0], torch.where(codes[0] < 0, -1, codes[1])], dim=1)
    ids = torch.arange(z.shape[1])

    def losses(codes: Tensor) -> Losses:
        pairs = [LazyPairs(_LEVELS.compare, codes, codes, ids, ids, _LEVELS.is_partition)]
        value: Losses = ready(Comparison.of(z[:1], None, pairs))
        return value

    for naming in (*SIGNED_NAMINGS, *LARGE_NAMINGS):
        sentence = "Of the levels of a hierarchy only which codes are equal may matter, not their size or type."
        _same_losses(losses(naming(levels)), losses(levels), sentence)


def _degrees(objective: Objective) -> None:
    """Rows that are more or less alike, for objectives that take such kinds."""
    for kind, codes in _GRADED:
        ready = copy.deepcopy(objective)
        try:
            ready.prepare([kind], _DIM)
        except MSConError:
            continue
        ready, name = ready.double().eval(), type(kind).__name__
        z, others = _batch()[0][:1], ~kind.missing(codes)

        def losses(z: Tensor, codes: Tensor, ready: Objective = ready, kind: Similarity = kind) -> Losses:
            ids = torch.arange(z.shape[1])
            value: Losses = ready(Comparison.of(z, None, [LazyPairs(kind.compare, codes, codes, ids, ids, False)]))
            return value

        actual, expected = losses(z, codes), losses(z[:, others], codes[others])
        words = f"Of {name} a row without a label is not as good as absent"
        equal(actual.per_anchor[:, others], expected.per_anchor, f"{words}.")
        holds((actual.per_anchor[:, ~others] == 0).all(), f"{words}: its loss is not 0.")
        equal(actual.floor, expected.floor, f"{words} (`floor`).")
        mean = actual.per_anchor.sum(dim=1) / actual.counted.sum(dim=1).clamp_min(1)
        holds((mean >= actual.floor - 1e-6).all(), f"Of {name} mean losses {mean.tolist()} lie below their `floor`.")
        if ready.has_constant_targets:
            continue
        few = z[:, :7].clone().requires_grad_()
        if objective.has_constant_targets:
            continue
        try:
            torch.autograd.gradcheck(
                lambda v, codes=codes, losses=losses: losses(v, codes[:7]).per_anchor, (few,), fast_mode=True
            )
        except RuntimeError as error:
            raise AssertionError(f"Of {name} the gradient is not that of finite differences: {error}") from None


def _precision(objective: Objective, columns: _Columns) -> None:
    z, codes = _batch()
    z = z.float()
    expected = _losses(objective, columns, z, codes).per_anchor
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            actual = _losses(objective, columns, z, codes).per_anchor
        holds(
            torch.equal(actual, expected),
            f"Under autocast to {dtype} losses differ by up to {(actual - expected).abs().max().item():g}: compute "
            "them in float32 (mscon.method.kernels.precision.no_rounding).",
        )
    exact = _losses(objective, columns, z.bfloat16().float(), codes).per_anchor
    rounded = _losses(objective, columns, z.bfloat16(), codes).per_anchor.float()
    equal(rounded, exact, "Embeddings in bfloat16 lose more than their own rounding.", rtol=1e-2, atol=1e-2)
