"""Classes on a GPU at any batch size: the pair matrix tile by tile in registers, one launch for all similarities.

The numbers are checked by Triton's interpreter on a CPU and the kernels compile for an H200, but nobody has
timed them on one yet. Imported only where there is a GPU.
"""

# Annotations of a kernel's arguments are read by Triton, not by mypy; their lists are long.
# mypy: allow-untyped-defs
# ruff: noqa: E501

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Int
from torch import Tensor

from mscon.method.kernels.path import Denominator, Gradients
from mscon.method.kernels.shift import LARGEST_LOGIT, shift_for
from mscon.method.pairs import Exchange, LazyPairs, renumbered

_LOG2_E = math.log2(math.e)  # exp(x) = exp2(x log2 e), and exp2 is what a GPU has an instruction for
_SPAN = 16  # tiles that one program of the triangle adds up in registers before it uses an atomic
# Triton's interpreter multiplies bfloat16 wrongly (inf, in 3.6 to 3.9): there it gets the same numbers as float32.
_WIDEN = os.environ.get("TRITON_INTERPRET") == "1"


@dataclass(frozen=True, slots=True)
class Triton:
    """The sums of `Tiles`, with labels compared in registers instead of rows sorted.

    In `forward` a symmetric matrix is visited by its upper triangle: a tile is added to its rows in
    registers and to its columns by atomics. Otherwise (other candidates, a temperature that needs a
    running maximum, or determinism asked for) a program owns its anchors and meets all candidates. In
    `backward` a program always owns the rows whose gradient it writes.

    Attributes:
        anchors, candidates: class ids, negative where missing.
        anchor_ids, candidate_ids: pairs of equal ids are left out.
        temperature: one for each similarity.
        largest_logit: bound on |s|.
        denominator: what positives compete with.
        is_deterministic: no atomics.
        precision: of float32 products: "tf32x3" (three products on matrix units, as good as float32) or
            "ieee"; never plain TF32. bfloat16 is multiplied as it is and summed in float32.
        block: rows, columns and warps of a tile; None to choose by dim and type.
    """

    anchors: Int[Tensor, "similarities anchors"]
    candidates: Int[Tensor, "similarities candidates"]
    anchor_ids: Int[Tensor, "similarities anchors"]
    candidate_ids: Int[Tensor, "similarities candidates"]
    temperature: tuple[float, ...]
    largest_logit: float
    denominator: Denominator = "all"
    is_deterministic: bool = False
    precision: str = "tf32x3"
    block: tuple[int, int, int] | None = None

    @classmethod
    def of(
        cls, pairs: Sequence[LazyPairs], temperature: tuple[float, ...], largest_logit: float, **settings: Any
    ) -> Triton:
        """Stack the codes. Deterministic if torch is set to be."""
        labels = _int32([p.anchors for p in pairs], [p.candidates for p in pairs])
        ids = _int32([p.anchor_ids for p in pairs], [p.candidate_ids for p in pairs])
        settings = {"is_deterministic": torch.are_deterministic_algorithms_enabled(), **settings}
        return cls(*labels, *ids, temperature, largest_logit, **settings)

    def forward(self, anchors: Tensor, candidates: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        a = _native(anchors)
        c = a if candidates is None else _native(candidates)
        heads, rows, dim = a.shape
        if not rows:  # a process may have none; there is no kernel to launch
            nothing = a.new_zeros(heads, 0, dtype=torch.float32)
            return nothing, (nothing, nothing)
        # Of each anchor: the sum of exp(s - shift), or the log of that of exp(s); the sum of s over its
        # positives; their number. Logits s and logarithms are to base 2.
        sums, attraction, count = a.new_zeros(3, heads, rows, dtype=torch.float32)
        settings = self._settings(a)
        arguments = (a, c, *self._codes(), sums, attraction, count, self._scale(a), rows, c.shape[1], dim)
        tiles = triton.cdiv(rows, settings["ROWS"]), triton.cdiv(c.shape[1], settings["COLUMNS"])
        if self._is_triangle(candidates):
            _sum_triangle[(tiles[0], triton.cdiv(tiles[1], _SPAN), heads)](
                *arguments, self._shift, SPAN=_SPAN, **settings
            )
            # Nothing in the denominator: as good as no positive, as `_sum_owned` says by itself.
            count, sums = torch.where(sums > 0, count, 0.0), torch.where(sums > 0, sums, 1.0)
        else:
            _sum_owned[(tiles[0], heads)](*arguments, **settings)
        log_sums = sums.log2() + self._shift if self._is_triangle(candidates) else sums
        losses = torch.where(count > 0, (log_sums - attraction / count.clamp_min(1)) / _LOG2_E, 0.0)
        return losses, (sums, count)

    def backward(
        self,
        anchors: Tensor,
        candidates: Tensor | None,
        saved: tuple[Tensor, ...],
        grad: Tensor,
        *,
        wants_candidates: bool,
        exchange: Exchange | None = None,
    ) -> Gradients:
        sums, count = saved
        a = _native(anchors)
        grad = torch.where(count > 0, grad, 0.0) * self._scale(a).unsqueeze(1) / _LOG2_E
        attract = grad / count.clamp_min(1)
        # One shift for all saves one of two exponentials. (And 1 / sum is better than exp(-log(sum)).)
        shares_shift = self._is_triangle(candidates)
        repel = grad / sums if shares_shift else grad
        offset = torch.full_like(sums, self._shift) if shares_shift else torch.where(count > 0, sums, torch.inf)
        of_anchor = (repel, attract, offset)
        if candidates is None:
            both = {"OWNER_IS_ANCHOR": True, "OTHER_IS_ANCHOR": True, "SHARES_SHIFT": shares_shift}
            return self._pull(a, a, self._codes(), of_anchor, of_anchor, **both), None
        c = _native(candidates)
        if exchange is not None:
            repel, attract, offset = exchange(torch.stack(of_anchor))
            offset = torch.where(attract == 0, torch.inf, offset)  # 0 for what is no anchor
            of_other = (repel.contiguous(), attract.contiguous(), offset.contiguous())
            everyone = {"OWNER_IS_ANCHOR": True, "OTHER_IS_ANCHOR": True, "SHARES_SHIFT": False}
            return self._pull(a, c, self._codes(), of_anchor, of_other, **everyone), None
        labels_a, labels_c, ids_a, ids_c = self._codes()
        nothing = of_anchor  # never read: candidates have no loss of their own
        of_a = self._pull(
            a,
            c,
            (labels_a, labels_c, ids_a, ids_c),
            of_anchor,
            nothing,
            OWNER_IS_ANCHOR=True,
            OTHER_IS_ANCHOR=False,
            SHARES_SHIFT=False,
        )
        if not wants_candidates:
            return of_a, None
        of_c = self._pull(
            c,
            a,
            (labels_c, labels_a, ids_c, ids_a),
            nothing,
            of_anchor,
            OWNER_IS_ANCHOR=False,
            OTHER_IS_ANCHOR=True,
            SHARES_SHIFT=False,
        )
        return of_a, of_c

    def _pull(
        self,
        owners: Tensor,
        others: Tensor,
        codes: tuple[Tensor, ...],
        of_owners: tuple[Tensor, ...],
        of_others: tuple[Tensor, ...],
        **roles: bool,
    ) -> Tensor:
        """Gradient of the rows in `owners`."""
        gradient = torch.empty_like(owners, dtype=torch.float32)
        heads, rows, dim = owners.shape
        if not rows:
            return gradient
        settings = self._settings(owners)
        _gradient_owned[(triton.cdiv(rows, settings["ROWS"]), heads)](
            owners,
            others,
            *codes,
            *of_owners,
            *of_others,
            gradient,
            self._scale(owners),
            rows,
            others.shape[1],
            dim,
            **roles,
            **settings,
        )
        return gradient

    def _is_triangle(self, candidates: Tensor | None) -> bool:
        return candidates is None and self.largest_logit <= LARGEST_LOGIT and not self.is_deterministic

    @property
    def _shift(self) -> float:
        return shift_for(self.largest_logit) * _LOG2_E

    def _codes(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.anchors, self.candidates, self.anchor_ids, self.candidate_ids

    def _scale(self, like: Tensor) -> Tensor:
        """What turns products into logits to base 2. Applied afterwards: before, bfloat16 would not survive it."""
        return torch.tensor([_LOG2_E / t for t in self.temperature], dtype=torch.float32, device=like.device)

    def _settings(self, vectors: Tensor) -> dict[str, Any]:
        dim = max(16, triton.next_power_of_2(vectors.shape[2]))
        rows, columns, warps = self.block or _block_for(dim, vectors.dtype)
        settings = {"ROWS": rows, "COLUMNS": columns, "DIM": dim, "PRECISION": self.precision, "WIDEN": _WIDEN}
        settings["NEGATIVES_ONLY"] = self.denominator == "negatives"
        return settings if _WIDEN else {**settings, "num_warps": warps, "num_stages": 2, "enable_fp_fusion": True}


def _block_for(dim: int, dtype: torch.dtype) -> tuple[int, int, int]:
    """Rows, columns and warps of a tile; compiled for an H200, none spills more than 0.1 KB a thread."""
    if dtype == torch.bfloat16:
        return (128, 64, 8) if dim <= 128 else (64, 32, 4) if dim == 256 else (64, 32, 8)
    return (64, 32, 4) if dim <= 64 else (32, 64, 8) if dim == 128 else (16, 32, 8)


def _native(vectors: Tensor) -> Tensor:
    return (vectors if vectors.dtype == torch.bfloat16 else vectors.float()).contiguous()


def _int32(anchors: Sequence[Tensor], candidates: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stacked codes as int32, which compares in one instruction; renumbered in the unlikely case that they do not fit."""
    a, c = torch.stack(list(anchors)), torch.stack(list(candidates))
    low, high = torch.stack(torch.cat([a, c], dim=1).aminmax()).tolist()
    limits = torch.iinfo(torch.int32)
    if low < limits.min or high > limits.max:
        a, c, _ = renumbered(a, c)
    return a.int(), c.int()


@triton.jit
def _load(vectors, labels, ids, head, start, count, dim, SIZE: tl.constexpr, DIM: tl.constexpr, WIDEN: tl.constexpr):
    """Some rows of one similarity: their numbers, vectors, labels (-1 beyond the last row) and ids."""
    rows = start + tl.arange(0, SIZE)
    dims = tl.arange(0, DIM)
    is_inside = rows < count
    at = head.to(tl.int64) * count + rows
    vector = tl.load(
        vectors + at[:, None] * dim + dims[None, :], mask=is_inside[:, None] & (dims < dim)[None, :], other=0.0
    )
    if WIDEN:
        vector = vector.to(tl.float32)
    return rows, vector, tl.load(labels + at, mask=is_inside, other=-1), tl.load(ids + at, mask=is_inside, other=-1)


@triton.jit
def _compare(
    a, c, label_a, label_c, id_a, id_c, scale, NEGATIVES_ONLY: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """Logits to base 2, which pairs are in the denominator, and which known ones are positives."""
    logits = tl.dot(a, tl.trans(c), input_precision=PRECISION) * scale
    known = (label_a >= 0)[:, None] & (label_c >= 0)[None, :] & (id_a[:, None] != id_c[None, :])
    is_same = label_a[:, None] == label_c[None, :]
    competing = known
    if NEGATIVES_ONLY:
        competing = known & (label_a[:, None] != label_c[None, :])
    return logits, competing, known & is_same


@triton.jit
def _sum_triangle(
    a_, c_, label_a_, label_c_, id_a_, id_c_, sum_, attraction_, count_, scale_, rows, columns, dim, shift,
    SPAN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DIM: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, NEGATIVES_ONLY: tl.constexpr,
):  # fmt: skip
    """Sums of a symmetric matrix from its upper triangle: a strip of rows against a span of columns."""
    head = tl.program_id(2)
    first_row, first_column = tl.program_id(0) * ROWS, tl.program_id(1) * SPAN * COLUMNS
    if first_column + SPAN * COLUMNS <= first_row:
        return
    i, a, label_a, id_a = _load(a_, label_a_, id_a_, head, first_row, rows, dim, ROWS, DIM, WIDEN)
    scale = tl.load(scale_ + head)
    sums, attraction, count = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    # The first column of this span that is not below the diagonal for all rows of the strip.
    start = tl.maximum(first_column, first_row // COLUMNS * COLUMNS)
    for column in range(start, tl.minimum(first_column + SPAN * COLUMNS, columns), COLUMNS):
        j, c, label_c, id_c = _load(c_, label_c_, id_c_, head, column, columns, dim, COLUMNS, DIM, WIDEN)
        logits, competing, alike = _compare(a, c, label_a, label_c, id_a, id_c, scale, NEGATIVES_ONLY, PRECISION)
        is_upper = i[:, None] < j[None, :]  # each pair of rows once; a row with itself is never known
        e = tl.where(competing & is_upper, tl.exp2(logits - shift), 0.0)
        s = tl.where(alike & is_upper, logits, 0.0)
        n = tl.where(alike & is_upper, 1.0, 0.0)
        sums += tl.sum(e, axis=1)
        attraction += tl.sum(s, axis=1)
        count += tl.sum(n, axis=1)
        at, is_inside = head.to(tl.int64) * columns + j, j < columns
        tl.atomic_add(sum_ + at, tl.sum(e, axis=0), mask=is_inside, sem="relaxed")
        tl.atomic_add(attraction_ + at, tl.sum(s, axis=0), mask=is_inside, sem="relaxed")
        tl.atomic_add(count_ + at, tl.sum(n, axis=0), mask=is_inside, sem="relaxed")
    at, is_inside = head.to(tl.int64) * rows + i, i < rows
    tl.atomic_add(sum_ + at, sums, mask=is_inside, sem="relaxed")
    tl.atomic_add(attraction_ + at, attraction, mask=is_inside, sem="relaxed")
    tl.atomic_add(count_ + at, count, mask=is_inside, sem="relaxed")


@triton.jit
def _sum_owned(
    a_, c_, label_a_, label_c_, id_a_, id_c_, log_sum_, attraction_, count_, scale_, rows, columns, dim,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DIM: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, NEGATIVES_ONLY: tl.constexpr,
):  # fmt: skip
    """Sums of a strip of anchors over all candidates, with a running maximum."""
    head = tl.program_id(1)
    i, a, label_a, id_a = _load(a_, label_a_, id_a_, head, tl.program_id(0) * ROWS, rows, dim, ROWS, DIM, WIDEN)
    scale = tl.load(scale_ + head)
    highest = tl.full([ROWS], float("-inf"), tl.float32)
    sums, attraction, count = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    for column in range(0, columns, COLUMNS):
        _, c, label_c, id_c = _load(c_, label_c_, id_c_, head, column, columns, dim, COLUMNS, DIM, WIDEN)
        logits, competing, alike = _compare(a, c, label_a, label_c, id_a, id_c, scale, NEGATIVES_ONLY, PRECISION)
        attraction += tl.sum(tl.where(alike, logits, 0.0), axis=1)
        count += tl.sum(tl.where(alike, 1.0, 0.0), axis=1)
        logits = tl.where(competing, logits, float("-inf"))
        higher = tl.maximum(highest, tl.max(logits, axis=1))
        finite = tl.where(higher == float("-inf"), 0.0, higher)  # nothing yet: -inf - -inf would be NaN
        sums = sums * tl.exp2(highest - finite) + tl.sum(tl.exp2(logits - finite[:, None]), axis=1)
        highest = higher
    at, is_inside = head.to(tl.int64) * rows + i, i < rows
    has_any = sums > 0
    log_sum = tl.where(has_any, tl.log2(tl.where(has_any, sums, 1.0)) + highest, 0.0)
    tl.store(log_sum_ + at, log_sum, mask=is_inside)
    tl.store(attraction_ + at, attraction, mask=is_inside)
    tl.store(count_ + at, tl.where(has_any, count, 0.0), mask=is_inside)


@triton.jit
def _gradient_owned(
    x_, y_, label_x_, label_y_, id_x_, id_y_, repel_x_, attract_x_, offset_x_, repel_y_, attract_y_, offset_y_, gradient_, scale_,
    rows, columns, dim, OWNER_IS_ANCHOR: tl.constexpr, OTHER_IS_ANCHOR: tl.constexpr, SHARES_SHIFT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DIM: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, NEGATIVES_ONLY: tl.constexpr,
):  # fmt: skip
    """Gradient of a strip of rows x from all rows y: sum_j [repel exp2(s - offset) - attract alike]_ij y_j.

    Repulsion and attraction are those of x where x is an anchor, plus those of y where y is. They nearly
    cancel in tight classes, so they are subtracted in float32 and rounded once, before the product.
    """
    head = tl.program_id(1)
    i, x, label_x, id_x = _load(x_, label_x_, id_x_, head, tl.program_id(0) * ROWS, rows, dim, ROWS, DIM, WIDEN)
    scale = tl.load(scale_ + head)
    at, is_inside = head.to(tl.int64) * rows + i, i < rows
    if OWNER_IS_ANCHOR:
        repel_x = tl.load(repel_x_ + at, mask=is_inside, other=0.0)
        attract_x = tl.load(attract_x_ + at, mask=is_inside, other=0.0)
        offset_x = tl.load(offset_x_ + at, mask=is_inside, other=0.0)
    gradient = tl.zeros([ROWS, DIM], tl.float32)
    for column in range(0, columns, COLUMNS):
        j, y, label_y, id_y = _load(y_, label_y_, id_y_, head, column, columns, dim, COLUMNS, DIM, WIDEN)
        logits, competing, alike = _compare(x, y, label_x, label_y, id_x, id_y, scale, NEGATIVES_ONLY, PRECISION)
        pull = tl.zeros([ROWS, COLUMNS], tl.float32)
        attract = tl.zeros([ROWS, COLUMNS], tl.float32)
        if OWNER_IS_ANCHOR:
            repel = repel_x[:, None]
            if not SHARES_SHIFT:
                pull += repel * tl.exp2(tl.where(competing, logits, float("-inf")) - offset_x[:, None])
            attract += attract_x[:, None]
        if OTHER_IS_ANCHOR:
            at_y = head.to(tl.int64) * columns + j
            repel_y = tl.load(repel_y_ + at_y, mask=j < columns, other=0.0)
            attract += tl.load(attract_y_ + at_y, mask=j < columns, other=0.0)[None, :]
            offset_y = tl.load(offset_y_ + at_y, mask=j < columns, other=0.0)
            if SHARES_SHIFT:
                pull += (repel_x[:, None] + repel_y[None, :]) * tl.where(
                    competing, tl.exp2(logits - offset_y[None, :]), 0.0
                )
            else:
                pull += repel_y[None, :] * tl.exp2(tl.where(competing, logits, float("-inf")) - offset_y[None, :])
        pull -= tl.where(alike, attract, 0.0)
        gradient += tl.dot(pull.to(y.dtype), y, input_precision=PRECISION)
    dims = tl.arange(0, DIM)
    tl.store(gradient_ + at[:, None] * dim + dims[None, :], gradient, mask=is_inside[:, None] & (dims < dim)[None, :])
