"""Random batches for tests of the kernels: unit vectors, labels with holes, ids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from mscon.method.pairs import LazyPairs, Pairs
from mscon.method.similarities.categorical import same_class
from mscon.testing.cases import LARGE_NAMINGS as LARGE_NAMINGS
from mscon.testing.cases import SIGNED_NAMINGS as SIGNED_NAMINGS
from mscon.testing.cases import Naming as Naming
from mscon.testing.cases import around as around
from mscon.testing.cases import of_type as of_type

CLASSES = (2, 4, 30)

namings = st.sampled_from([*SIGNED_NAMINGS, *LARGE_NAMINGS])


def near(anchors: Tensor, candidates: Tensor) -> Pairs:
    """A graded similarity: alike as codes are near, unknown where one is NaN, 0 beyond a distance of 1."""
    distance = (anchors[:, None] - candidates[None, :]).abs()
    return Pairs((1 - distance).clamp_min(0).nan_to_num(0), ~distance.isnan())


@dataclass(frozen=True)
class Batch:
    """Three partitions, of 2, 4 and 30 classes; or three graded similarities."""

    anchors: Tensor
    candidates: Tensor | None
    pairs: tuple[LazyPairs, ...]

    @property
    def others(self) -> Tensor:
        return self.anchors if self.candidates is None else self.candidates


def draw(
    rows: int,
    candidates: int | None = None,
    *,
    dim: int = 6,
    ids: str = "sample",
    graded: bool = False,
    missing: bool = True,
    spread: float | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Batch:
    """A batch.

    Args:
        candidates: how many; None to compare the anchors with one another.
        ids: "sample" for one each, "row" for one every two (views), "shared" for candidates that may be anchors.
        spread: length of the noise around a direction of the class; None for random directions.
    """
    generator = torch.Generator().manual_seed(seed)

    def codes(count: int, classes: int) -> Tensor:
        if graded:
            values = 3 * torch.rand(count, generator=generator, dtype=torch.float64)
            return torch.where(torch.rand(count, generator=generator) < 0.2, torch.nan, values) if missing else values
        return torch.randint(-1 if missing else 0, classes, (count,), generator=generator)

    centres = normalize(torch.randn(3, CLASSES[-1] + 1, dim, generator=generator, dtype=torch.float64), dim=-1)

    def vectors(labels: list[Tensor]) -> Tensor:
        noise = torch.randn(3, len(labels[0]), dim, generator=generator, dtype=torch.float64)
        if spread is not None:
            classes = torch.stack([column.nan_to_num(0).long() for column in labels])
            noise = centres[torch.arange(3)[:, None], classes] + spread * noise / dim**0.5
        return normalize(noise, dim=-1).to(dtype)

    columns = [codes(rows, k) for k in CLASSES]
    anchor_ids = torch.arange(rows) // (2 if ids == "row" else 1)
    anchors = vectors(columns)
    if candidates is None:
        sides = [(column, column) for column in columns]
        others, other_ids = None, anchor_ids
    else:
        sides = [(column, codes(candidates, k)) for column, k in zip(columns, CLASSES, strict=True)]
        others = vectors([c for _, c in sides])
        other_ids = (
            torch.randint(0, 2 * rows, (candidates,), generator=generator)
            if ids == "shared"
            else anchor_ids[-1] + 1 + torch.arange(candidates)
        )
    compare = near if graded else same_class
    return Batch(anchors, others, tuple(LazyPairs(compare, a, c, anchor_ids, other_ids, not graded) for a, c in sides))


def renamed(batch: Batch, naming: Naming) -> Batch:
    """The same classes and ids by other names. What was one tensor stays one, since paths look at that."""
    renamed_numbers: dict[int, Tensor] = {}

    def named(codes: Tensor) -> Tensor:
        return renamed_numbers.setdefault(id(codes), naming(codes))

    fields = ("anchors", "candidates", "anchor_ids", "candidate_ids")
    return replace(
        batch, pairs=tuple(replace(p, **{name: named(getattr(p, name)) for name in fields}) for p in batch.pairs)
    )
