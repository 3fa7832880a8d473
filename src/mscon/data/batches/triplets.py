"""Triplets: an anchor, a row near to it and a row far from it under one similarity; and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from mscon.errors import TableError
from mscon.method.similarities.base import Similarity

# Anchors compared with all rows at once while drawing; 256 x 50,000 weights are 51 MB.
_ANCHORS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Triplets:
    """Under similarity number `condition`, `anchor` is more like `near` than like `far`. All are numbers of rows."""

    anchor: Int64[Tensor, " triplets"]
    near: Int64[Tensor, " triplets"]
    far: Int64[Tensor, " triplets"]
    condition: Int64[Tensor, " triplets"]

    def __len__(self) -> int:
        return self.anchor.numel()

    def take(self, numbers: Int64[Tensor, " some"]) -> Triplets:
        """Those of these numbers, in this order."""
        return Triplets(self.anchor[numbers], self.near[numbers], self.far[numbers], self.condition[numbers])


def joined(parts: Sequence[Triplets]) -> Triplets:
    """All triplets of all parts, in order; of no part, none."""
    none = torch.empty(0, dtype=torch.int64)
    return Triplets(
        *(torch.cat([none, *(getattr(p, name) for p in parts)]) for name in ("anchor", "near", "far", "condition"))
    )


def draw(
    similarities: Sequence[Similarity],
    codes: Sequence[Shaped[Tensor, "rows ..."]],
    rows: Int64[Tensor, " some"],
    count: int,
    seed: int,
    *,
    needed: bool = True,
) -> Triplets:
    """Draw triplets from some rows; similarities get equally many, or one more if they come first.

    An anchor is a row with a label; far is any other row that is less like it than some row is; near any row that is
    more like it than far is. For classes that is: near of the same class, far of another. A row without a
    label takes no part. Every row is an anchor once before any is twice.

    Args:
        similarities: the conditions, in the order of the heads.
        codes: for each of them the codes of all rows.
        rows: numbers of the rows to draw from.
        count: how many triplets.
        seed: they depend on it, on the codes and on nothing else.
        needed: whether a similarity without a triplet is a mistake; else it is left out, and the rest share.

    Raises:
        TableError: for similarities that have no triplet in these rows.
    """
    kept, complaints = [], []
    for number, similarity in enumerate(similarities):
        if _draw_one(similarity, codes[number], rows, 1, generator_of(seed, f"draw {number}")) is None:
            complaints.append(
                f"column '{similarity.column}': no triplet can be drawn from {len(rows):,} rows, none of which has "
                "both a row that is more alike and one that is less. Leave it out of the recipe."
            )
        else:
            kept.append(number)
    if complaints and needed:
        raise TableError("\n".join(complaints))
    parts = []
    for position, number in enumerate(kept):
        own = count // len(kept) + (position < count % len(kept))
        if own and (
            drawn := _draw_one(similarities[number], codes[number], rows, own, generator_of(seed, f"draw {number}"))
        ):
            parts.append(replace(drawn, condition=torch.full_like(drawn.anchor, number)))
    return joined(parts)


def _draw_one(
    similarity: Similarity,
    codes: Shaped[Tensor, "rows ..."],
    rows: Int64[Tensor, " some"],
    count: int,
    generator: torch.Generator,
) -> Triplets | None:
    """Triplets of one similarity; None if there is not one."""
    rows = rows[~similarity.missing(codes[rows])]
    if rows.numel() < 3:
        return None
    own, found, drawn = codes[rows], 0, []
    while True:
        before = found
        for block in torch.randperm(rows.numel(), generator=generator).split(_ANCHORS):
            pairs = similarity.compare(own[block], own)
            known = pairs.known & (block[:, None] != torch.arange(rows.numel()))
            best = pairs.weight.where(known, -torch.inf).amax(dim=1, keepdim=True)
            far = _pick(known & (pairs.weight < best), generator)
            has_far = far >= 0
            far_weight = pairs.weight.gather(1, far.clamp_min(0)[:, None])
            near = _pick(known & (pairs.weight > far_weight) & has_far[:, None], generator)
            drawn.append(torch.stack([rows[block], rows[near], rows[far]])[:, has_far])
            found += int(has_far.sum())
            if found >= count:
                anchor, near, far = torch.cat(drawn, dim=1)[:, :count]
                return Triplets(anchor, near, far, torch.zeros_like(anchor))
        if found == before:  # a pass over all rows without one
            return None


def _pick(mask: Bool[Tensor, "anchors candidates"], generator: torch.Generator) -> Int64[Tensor, " anchors"]:
    """A position by chance, each true one alike, in every line; -1 in lines without one."""
    order = mask.cumsum(dim=1)
    counts = order[:, -1:]
    drawn = torch.rand(mask.shape[0], 1, generator=generator, dtype=torch.float64)
    wanted = (drawn * counts).long().clamp_max(counts - 1) + 1
    return torch.searchsorted(order, wanted).squeeze(1).where(counts.squeeze(1) > 0, -1)


def generator_of(seed: int, purpose: str) -> torch.Generator:
    """Random numbers for one purpose. Hashed, so that neighbouring seeds have nothing in common."""
    mixed = blake2b(f"{seed}/triplets/{purpose}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(mixed, "big"))
