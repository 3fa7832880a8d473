"""Candidates: what anchors are compared with. The only file that knows torch.distributed.

The batch itself (`InBatch`), the batches of all processes (`Gathered`), or those and a memory of past batches
(`Remembered`). No objective knows which.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int, Int64, Shaped
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Samples:
    """Projections and what is known of them: the anchors of a step, or its candidates.

    Attributes:
        projections: a space per similarity.
        codes: for each similarity, the code of each sample.
        rows: number of the table's row that a sample is a view of, the same number in every process.
    """

    projections: Float[Tensor, "similarities samples dim"]
    codes: Sequence[Shaped[Tensor, "samples ..."]]
    rows: Int[Tensor, " samples"]

    def __len__(self) -> int:
        return self.rows.shape[0]


@dataclass(frozen=True, slots=True)
class Compared:
    """What anchors are compared with.

    Attributes:
        samples: the candidates; the anchors themselves, the same object, if there are no others.
        anchor_ids, candidate_ids: a pair of equal ids is never compared. One a sample.
    """

    samples: Samples
    anchor_ids: Int64[Tensor, " anchors"]
    candidate_ids: Int64[Tensor, " candidates"]


class Candidates(nn.Module, ABC):
    """Where candidates come from. Subclasses are final; all their state is in buffers."""

    @property
    def world_size(self) -> int:
        """How many processes share the anchors of a step."""
        return 1

    @abstractmethod
    def forward(self, anchors: Samples) -> Compared:
        """The candidates of these anchors. In training it may also remember them for later steps."""

    def total(self, value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Sum of a detached value over all processes."""
        return value

    def new_rows(self, count: int, device: torch.device) -> Int64[Tensor, " rows"]:
        """Numbers for rows of a batch of which the caller says nothing: all different, in every process."""
        return torch.arange(count, device=device)


class InBatch(Candidates):
    """The samples of the batch are one another's candidates."""

    def forward(self, anchors: Samples) -> Compared:
        ids = torch.arange(len(anchors), device=anchors.rows.device)
        return Compared(anchors, ids, ids)


class Gathered(Candidates):
    """The batches of all processes, with their gradients; the anchors stay those of this process.

    Averaged over processes, as data-parallel training does, the gradient is that of one process with all the
    batches, also where processes hold different numbers of rows. Without a process group it is `InBatch`.
    """

    @property
    def world_size(self) -> int:
        return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1

    def forward(self, anchors: Samples) -> Compared:
        if self.world_size == 1:
            return InBatch()(anchors)
        device = anchors.rows.device
        own = torch.zeros(self.world_size, dtype=torch.int64, device=device)
        own[dist.get_rank()] = len(anchors)
        dist.all_reduce(own)
        sizes = own.tolist()
        begin = sum(sizes[: dist.get_rank()])
        samples = Samples(
            _GatherWithGradient.apply(anchors.projections.transpose(0, 1).contiguous(), sizes).transpose(0, 1),
            [_gather(code, sizes) for code in anchors.codes],
            _gather(anchors.rows, sizes),
        )
        ids = torch.arange(sum(sizes), device=device)
        return Compared(samples, ids[begin : begin + len(anchors)], ids)

    def total(self, value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        if self.world_size == 1:
            return value
        summed = value.clone()
        dist.all_reduce(summed)
        return summed

    def new_rows(self, count: int, device: torch.device) -> Int64[Tensor, " rows"]:
        # 2^40 rows a process: numbers of two processes never meet.
        rank = dist.get_rank() if self.world_size > 1 else 0
        return torch.arange(count, device=device) + (rank << 40)


class Remembered(Candidates):
    """The candidates of another kind and, beside them, a memory of the samples of past steps.

    What is remembered carries no gradient. Remembered views of a row that is in the batch now are left out: they
    would be positives, or negatives, of themselves. The oldest samples are forgotten first.

    Args:
        size: how many samples are remembered, at least 1.
        now: where the candidates of this step come from.
        warm_up: steps during which the memory fills but is not used, since projections of an untrained network
            are soon out of date.

    Source: cross-batch memory, Wang et al. 2020, https://arxiv.org/abs/1912.06798. Unlike the authors' code, it
        neither compares a sample with its own copy nor takes class 0 for an empty place.
    """

    steps: Tensor
    filled: Tensor
    numbered: Tensor

    def __init__(self, size: int, now: Candidates | None = None, warm_up: int = 0) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"a memory must have room for 1 sample or more, got {size}.")
        if warm_up < 0:
            raise ValueError(f"warm_up must be 0 or more steps, got {warm_up}.")
        self.size, self.warm_up = size, warm_up
        self.now = now or InBatch()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.register_buffer("numbered", torch.zeros((), dtype=torch.int64))

    @property
    def world_size(self) -> int:
        return self.now.world_size

    def total(self, value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        return self.now.total(value)

    def new_rows(self, count: int, device: torch.device) -> Int64[Tensor, " rows"]:
        """Never the same number twice: rows of which nothing is said are taken to be new ones."""
        rows = self.now.new_rows(count, device) + self.numbered.to(device)
        self.numbered += count
        return rows

    def forward(self, anchors: Samples) -> Compared:
        compared = self.now(anchors)
        past = self._past(compared.samples) if self.steps >= self.warm_up else None
        if self.training:
            self._remember(compared.samples)
            self.steps += 1
        if past is None:
            return compared
        present = compared.samples
        samples = Samples(
            torch.cat([present.projections, past.projections.to(present.projections.dtype)], dim=1),
            [torch.cat([a, b]) for a, b in zip(present.codes, past.codes, strict=True)],
            torch.cat([present.rows, past.rows]),
        )
        ids = torch.arange(len(samples), device=present.rows.device)  # those of the present come first, as they were
        return Compared(samples, compared.anchor_ids, ids)

    def _past(self, present: Samples) -> Samples | None:
        """What is remembered of rows that are not in the batch."""
        count = int(self.filled)
        if not count:
            return None
        rows = self.get_buffer("rows")[:count]
        kept = (~torch.isin(rows, present.rows)).nonzero().squeeze(1)
        codes = [self.get_buffer(f"codes_{i}")[kept] for i in range(len(present.codes))]
        return Samples(self.get_buffer("projections")[:, kept], codes, rows[kept]) if kept.numel() else None

    @torch.no_grad()
    def _remember(self, present: Samples) -> None:
        """The newest first; what does not fit any more is forgotten."""
        fresh = {"projections": present.projections.detach().transpose(0, 1), "rows": present.rows}
        fresh |= {f"codes_{i}": code for i, code in enumerate(present.codes)}
        for name, new in fresh.items():
            by_sample = name == "projections"  # kept as (similarities, samples, dim), like all projections
            old = self._buffers.get(name)
            before = new[:0] if old is None else (old.transpose(0, 1) if by_sample else old)[: int(self.filled)]
            value = torch.cat([new, before.to(new)])[: self.size]
            self.register_buffer(name, value.transpose(0, 1).contiguous() if by_sample else value.clone())
        self.filled.fill_(min(self.size, int(self.filled) + len(present)))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The memory has no shape before the first step, so what was saved says what to make room for.
        for key, value in state_dict.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and (name in ("projections", "rows") or name.startswith("codes_")):
                self.register_buffer(name, torch.empty_like(value))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _GatherWithGradient(torch.autograd.Function):
    """All processes' tensors, one after the other; the gradient of the own part is summed over all processes.

    The gather of torch.distributed.nn that does the same is deprecated, and a gather without gradients loses what
    the other processes' anchors say of the own candidates (a norm ratio of 0.83 in a trial).
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        return _gather(own, sizes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.contiguous()
        dist.all_reduce(total)
        begin = sum(ctx.sizes[: dist.get_rank()])
        return total[begin : begin + ctx.sizes[dist.get_rank()]], None


def _gather(own: Shaped[Tensor, "own ..."], sizes: Sequence[int]) -> Shaped[Tensor, "all ..."]:
    """Tensors of all processes, which may differ in length."""
    padded = own.new_zeros(max(sizes), *own.shape[1:])
    padded[: own.shape[0]] = own
    everyone = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(everyone, padded)
    return torch.cat([part[:size] for part, size in zip(everyone, sizes, strict=True)])
