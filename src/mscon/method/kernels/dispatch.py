"""Chooses how a contrastive loss is computed; the numbers are the same whichever path runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mscon.method.kernels.dense import Dense
from mscon.method.kernels.lengths import lengths_of
from mscon.method.kernels.online import Online
from mscon.method.kernels.path import Competitors, Kernel, Positives, evaluate, wide
from mscon.method.kernels.precision import no_rounding
from mscon.method.kernels.shift import LARGEST_LOGIT
from mscon.method.kernels.tiles import Tiles
from mscon.method.pairs import Exchange, LazyPairs, Pairs

Temperature = float | Float[Tensor, " similarities"] | Float[Tensor, "similarities anchors"]

# Pairs up to which writing them all out is fastest: three similarities of 577 rows on a CPU, where tiles then
# begin to gain by their symmetry and their stay in cache; of 1,000 on a GPU.
_MOST_DENSE_PAIRS = {"cpu": 1_000_000, "cuda": 3_000_000}
# Beyond, the vectors of a tile no longer fit a GPU's registers.
_LARGEST_TRITON_DIM = {torch.bfloat16: 512, torch.float32: 256, torch.float16: 256}
# Bound on the product of two vectors divided by their lengths.
_UNIT = 1 + 1e-5


def contrast(
    anchors: Float[Tensor, "similarities anchors dim"],
    candidates: Float[Tensor, "similarities candidates dim"] | None,
    pairs: Sequence[Pairs | LazyPairs],
    *,
    temperature: Temperature,
    positives: Positives = "outside",
    denominator: Competitors = "all",
    cosine: bool = False,
) -> Float[Tensor, "similarities anchors"]:
    """Loss of each anchor in nats; where pairs are many, memory grows with the rows only.

    Products and sums are float32 at least, whatever autocast or the matmul precision of the process
    say. Vectors that are bfloat16 are multiplied exactly, on bfloat16 matrix units where there are
    any; their gradient comes back rounded to bfloat16. (Rounding a unit vector to bfloat16 in the first
    place moves it by up to 0.4 %, which is much inside a tight cluster.) The check of the input reads a
    few numbers back from the device.

    Args:
        anchors: vectors, of unit length unless `cosine`; a space per similarity.
        candidates: likewise; None for the anchors themselves, which lets a path use symmetry.
        pairs: one per similarity. If they have an `exchange`, the anchors get the whole gradient of the losses of
            all processes, for two or three numbers a candidate and similarity, and candidates get none.
        temperature: divides the inner products, > 0; a tensor holds one per similarity, or one per similarity and
            anchor, and gets a gradient.
        positives: outside or inside the logarithm (L_out, L_in); see `mscon.method.objectives.supcon`.
        denominator: what positives compete with: all known candidates, only those of weight 0, or these and the
            positive itself; the last with positives outside the logarithm only.
        cosine: divide vectors by their lengths first, in float32 at least.

    Returns:
        Exactly 0, and no gradient, for anchors without a positive or with nothing in the denominator. It can be
        differentiated once; the second time raises RuntimeError.

    Raises:
        ValueError: if a temperature is not positive, a vector is zero or not finite, the batch is
            empty, or shapes or types do not fit.
    """
    _check_shapes(anchors, candidates, pairs)
    if denominator == "negatives_and_itself" and positives == "inside":
        raise ValueError("Positives that compete with themselves and negatives must stand outside the logarithm.")
    if isinstance(temperature, Tensor) and temperature.dim() == 2:
        return _each_anchor(anchors, candidates, pairs, temperature, positives, denominator, cosine)
    temperatures = _temperatures(temperature, len(pairs))
    anchor_lengths, longest = lengths_of(anchors, "anchors")
    candidate_lengths, longest_candidate = anchor_lengths, longest
    if candidates is not None:
        candidate_lengths, longest_candidate = lengths_of(candidates, "candidates")
        both = torch.promote_types(anchors.dtype, candidates.dtype)
        anchors, candidates = anchors.to(both), candidates.to(both)
    exchange = None if candidates is None else _exchange(pairs)
    if exchange is not None:
        longest = longest_candidate  # the same in all processes: their sums must have one shift
    largest_logit = (_UNIT if cosine else longest * longest_candidate) / min(temperatures) + _largest_bias(pairs)

    sums = torch.promote_types(anchors.dtype, torch.float32)
    dtype = sums if cosine else anchors.dtype  # of the vectors that a path gets to see

    ways = [_way(anchors, dtype, p, len(pairs), largest_logit, positives, denominator) for p in pairs]
    groups = {way: [h for h, other in enumerate(ways) if other == way] for way in ways}
    losses = []
    for way, heads in groups.items():
        a, c, t = anchors, candidates, temperature
        lengths = (anchor_lengths, candidate_lengths) if cosine else (None, None)
        if len(groups) > 1:
            a, c = a[heads], None if c is None else c[heads]
            t = t[heads] if isinstance(t, Tensor) else t
            lengths = (anchor_lengths[heads], candidate_lengths[heads]) if cosine else (None, None)
        some = [pairs[h] for h in heads]
        if c is None and way in ("tiles", "triton") and not all(_is_one_set(p) for p in some):
            c = a
        ts = tuple(temperatures[h] for h in heads)
        kernel = _kernel(way, some, ts, largest_logit, positives, denominator, sums, c is None)
        losses.append(evaluate(kernel, a, c, t, lengths, exchange))
    if len(groups) == 1:
        return losses[0]
    order = [h for heads in groups.values() for h in heads]
    return torch.cat(losses)[[order.index(h) for h in range(len(pairs))]]


def _each_anchor(
    anchors: Float[Tensor, "similarities anchors dim"],
    candidates: Float[Tensor, "similarities candidates dim"] | None,
    pairs: Sequence[Pairs | LazyPairs],
    temperature: Float[Tensor, "similarities anchors"],
    positives: Positives,
    denominator: Competitors,
    cosine: bool,
) -> Float[Tensor, "similarities anchors"]:
    """The same where each anchor has a temperature of its own: that divides its vector.

    Nothing is symmetric in that, and an anchor is another vector than the candidate it is to others: so candidates
    carry a gradient of their own, also those of other processes.
    """
    if temperature.shape != anchors.shape[:2]:
        raise ValueError(
            f"temperature must be one for each of {anchors.shape[1]} anchors of {anchors.shape[0]} similarities, got "
            f"shape {tuple(temperature.shape)}."
        )
    if not ((temperature > 0) & temperature.isfinite()).all():
        raise ValueError("temperature must be positive and finite for each anchor.")
    others = anchors if candidates is None else candidates
    for vectors, name in ((anchors, "anchors"), (others, "candidates")):
        lengths_of(vectors, name)  # complains of what cannot be divided
    with no_rounding(anchors):
        a, c = (normalize(wide(v), dim=2) if cosine else wide(v) for v in (anchors, others))
    if not a.shape[1]:  # a process may have none; the others wait for its share of the gradient
        return a.new_zeros(a.shape[:2]) + 0 * c.sum()
    alone = [replace(p, exchange=None) if isinstance(p, LazyPairs) else p for p in pairs]
    scaled = a / temperature.to(a.dtype).unsqueeze(2)
    return contrast(scaled, c, alone, temperature=1.0, positives=positives, denominator=denominator)


def _way(
    anchors: Tensor,
    dtype: torch.dtype,
    pairs: Pairs | LazyPairs,
    heads: int,
    largest_logit: float,
    positives: Positives,
    denominator: Competitors,
) -> Literal["dense", "tiles", "triton", "online"]:
    device, one_shift_will_do = anchors.device.type, largest_logit <= LARGEST_LOGIT
    rows, columns = pairs.shape
    if isinstance(pairs, LazyPairs) and pairs.exchange is not None:
        rows = columns  # processes that exchange numbers must go the same way, whatever rows they have
    if one_shift_will_do and heads * rows * columns <= _MOST_DENSE_PAIRS.get(device, 1_000_000):
        return "dense"
    if not (isinstance(pairs, LazyPairs) and pairs.is_partition and positives == "outside"):
        return "online"
    if denominator == "negatives_and_itself":  # Triton has no kernel for it, and tiles divide exponentials
        return "tiles" if largest_logit <= LARGEST_LOGIT / 2 else "online"
    has_kernel = device == "cuda" and find_spec("triton") and pairs.bias is None  # nor for a bias
    if has_kernel and anchors.shape[2] <= _LARGEST_TRITON_DIM.get(dtype, 0):
        return "triton"
    return "tiles" if one_shift_will_do else "online"


def _kernel(
    way: str,
    pairs: Sequence[Pairs | LazyPairs],
    temperatures: tuple[float, ...],
    largest_logit: float,
    positives: Positives,
    denominator: Competitors,
    sums: torch.dtype,
    is_square: bool,
) -> Kernel:
    is_inside = positives == "inside"
    if way == "dense":
        return Dense.of(pairs, temperatures, largest_logit, sums, inside=is_inside, denominator=denominator)
    if way == "online":
        return Online(tuple(pairs), temperatures, is_inside, denominator)
    partitions = [p for p in pairs if isinstance(p, LazyPairs)]
    if way == "tiles":
        return Tiles.of(partitions, temperatures, largest_logit, is_square=is_square, denominator=denominator)
    from mscon.method.kernels.triton import Triton  # only where there is a GPU: importing mscon must not import triton

    return Triton.of(partitions, temperatures, largest_logit, denominator=denominator)


def _exchange(pairs: Sequence[Pairs | LazyPairs]) -> Exchange | None:
    exchanges = [p.exchange if isinstance(p, LazyPairs) else None for p in pairs]
    if any(e is not exchanges[0] for e in exchanges):
        raise ValueError("Pairs of all similarities must have one exchange, or none.")
    return exchanges[0]


def _largest_bias(pairs: Sequence[Pairs | LazyPairs]) -> float:
    biases = [bias for p in pairs if isinstance(p, LazyPairs) and p.bias is not None for bias in p.bias if len(bias)]
    return 2 * max((float(bias.abs().max()) for bias in biases), default=0.0)


def _is_one_set(pairs: Pairs | LazyPairs) -> bool:
    """Whether anchors and candidates have the same labels and ids, so that the pairs are symmetric."""
    assert isinstance(pairs, LazyPairs)
    sides = (pairs.anchors, pairs.candidates), (pairs.anchor_ids, pairs.candidate_ids)
    return all(a is c or torch.equal(a, c) for a, c in sides)


def _temperatures(temperature: Temperature, similarities: int) -> tuple[float, ...]:
    if isinstance(temperature, Tensor):
        if temperature.shape != (similarities,):
            raise ValueError(
                f"temperature must be a number, or one for each of {similarities} similarities, "
                f"got shape {tuple(temperature.shape)}."
            )
        values = tuple(temperature.detach().tolist())
    else:
        values = (float(temperature),) * similarities
    for value in values:
        if not 0 < value < math.inf:
            raise ValueError(f"temperature must be positive, got {value}.")
    return values


def _check_shapes(anchors: Tensor, candidates: Tensor | None, pairs: Sequence[Pairs | LazyPairs]) -> None:
    others = anchors if candidates is None else candidates
    shapes = f"anchors {tuple(anchors.shape)}, candidates {tuple(others.shape)}"
    if (
        anchors.ndim != 3
        or others.ndim != 3
        or anchors.shape[0] != others.shape[0]
        or anchors.shape[2] != others.shape[2]
    ):
        raise ValueError(
            f"Expected anchors (similarities, anchors, dim) and candidates (similarities, candidates, dim), "
            f"got {shapes}."
        )
    # A process may have no anchors, but then it has an exchange that the others wait for.
    if not others.numel() or not (anchors.numel() or _exchange(pairs)):
        raise ValueError(f"There is nothing to compare in an empty batch: {shapes}.")
    if not (anchors.is_floating_point() and others.is_floating_point()):
        raise ValueError(f"Vectors must be floating point, got {anchors.dtype} and {others.dtype}.")
    if anchors.device != others.device:
        raise ValueError(f"Anchors are on {anchors.device} but candidates on {others.device}.")
    if len(pairs) != anchors.shape[0]:
        raise ValueError(f"Got {len(pairs)} pairs for vectors of {anchors.shape[0]} similarities: {shapes}.")
    for pair in pairs:
        if pair.shape != (anchors.shape[1], others.shape[1]):
            raise ValueError(f"Got pairs of {pair.shape[0]} anchors and {pair.shape[1]} candidates for {shapes}.")
        if isinstance(pair, LazyPairs):
            _check_codes(pair)


def _check_codes(pairs: LazyPairs) -> None:
    ids = pairs.anchor_ids.shape[0], pairs.candidate_ids.shape[0]
    if ids != pairs.shape:
        raise ValueError(
            f"Got ids of {ids[0]} anchors and {ids[1]} candidates, but labels of {pairs.shape[0]} and {pairs.shape[1]}."
        )
    for codes in (pairs.anchors, pairs.candidates) if pairs.is_partition else ():
        if codes.ndim != 1 or codes.is_floating_point() or codes.is_complex():
            raise ValueError(
                f"Class ids must be one integer a row (-1 where missing), "
                f"got {codes.dtype} of shape {tuple(codes.shape)}."
            )
