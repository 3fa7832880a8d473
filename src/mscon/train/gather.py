"""Candidates: what anchors are compared with, in this process and in others.

If one process fails, the others find out in what they do together here, and raise OthersStopped.
"""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int, Int64, Shaped
from torch import Tensor, nn

from mscon.errors import OthersStopped, is_out_of_memory
from mscon.method.comparison import SampleOrigin
from mscon.method.pairs import Exchange


@dataclass(frozen=True, slots=True)
class Samples:
    """Projections and what is known of them: the anchors of a step, or its candidates.

    Attributes:
        projections: a space per similarity.
        codes: for each similarity, the code of each sample.
        origin: row, view and input of each sample.
    """

    projections: Float[Tensor, "similarities samples dim"]
    codes: Sequence[Shaped[Tensor, "samples ..."]]
    origin: SampleOrigin

    @classmethod
    def of_views(
        cls,
        projections: Float[Tensor, "similarities samples dim"],
        codes: Sequence[Shaped[Tensor, "rows ..."]],
        rows: Int[Tensor, " rows"],
        inputs: Sequence[int],
    ) -> Samples:
        """Of a batch whose projections are those of the first view of every row, then of the second, and so on.

        Args:
            projections: of the views.
            codes, rows: of the rows.
            inputs: of each view the input that it is a view of; as many 0 as there are views if rows have one input.
        """
        views = len(inputs)
        repeated = [code.repeat(views, *[1] * (code.dim() - 1)) for code in codes]
        return cls(projections, repeated, SampleOrigin.of_views(rows, inputs))

    def __len__(self) -> int:
        return self.origin.rows.shape[0]


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """What anchors are compared with.

    Attributes:
        samples: the candidates; the anchors themselves, the same object, if there are no others.
        anchor_ids, candidate_ids: a pair of equal ids is never compared. One a sample.
        exchange: how to learn of each candidate what is known of it where it is an anchor; see
            `mscon.method.pairs.LazyPairs`. None where there is nothing to learn: the candidates are the anchors here.
        past: how many of the candidates, the last ones, are of past steps.
    """

    samples: Samples
    anchor_ids: Int64[Tensor, " anchors"]
    candidate_ids: Int64[Tensor, " candidates"]
    exchange: Exchange | None = None
    past: int = 0


class CandidateSource(nn.Module, ABC):
    """Where candidates come from. Subclasses are final; all their state is in buffers."""

    @property
    def world_size(self) -> int:
        """How many processes share the anchors of a step."""
        return 1

    @abstractmethod
    def forward(self, anchors: Samples) -> CandidateSet:
        """The candidates of these anchors. They leave no trace until `remember` is called."""

    def remember(self, compared: CandidateSet) -> None:
        """Called with a step's candidates once it has a loss: in training they may be stored for later steps."""
        del compared

    def total(self, value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Sum of a detached value over all processes."""
        return value

    def mean(self, values: Float[Tensor, "samples ..."]) -> Tensor:
        """Mean over the samples of all processes; its gradient, averaged over processes, is that of the mean."""
        local = values.sum(dim=0) / self.total(values.new_tensor(float(len(values)))).clamp_min(1)
        return self.total(local.detach()) + self.world_size * (local - local.detach())

    def new_rows(self, count: int, device: torch.device) -> Int64[Tensor, " rows"]:
        """Numbers for the rows of a batch for which the caller gives none: all different, in every process."""
        return torch.arange(count, device=device)


class InBatch(CandidateSource):
    """The samples of the batch are one another's candidates."""

    def forward(self, anchors: Samples) -> CandidateSet:
        ids = torch.arange(len(anchors), device=anchors.origin.rows.device)
        return CandidateSet(anchors, ids, ids)


class AcrossProcesses(CandidateSource):
    """The batches of all processes; the anchors stay those of this process. Without a process group it is `InBatch`.

    Averaged over processes, as data-parallel training does, the gradient is that of one process with all the
    batches, also where processes hold different numbers of rows, or none.

    Forward, projections and labels travel once. Backward, a loss made by `mscon.method.kernels.contrast` lets two or
    three numbers a sample and similarity travel (`CandidateSet.exchange`), with which each process computes all of its
    own samples' gradient, as anchors and as candidates. Any other loss finds candidates that carry a gradient:
    that of all samples is then added up over the processes, as many numbers as there are in the projections.
    """

    @property
    def world_size(self) -> int:
        return processes()[1]

    def forward(self, anchors: Samples) -> CandidateSet:
        if self.world_size == 1:
            return InBatch()(anchors)
        device, count = anchors.origin.rows.device, len(anchors)
        sizes = _sizes(count, device)
        begin = sum(sizes[: processes()[0]])
        local = anchors.projections.transpose(0, 1)
        projections, *others = _gather_together([local.detach(), *anchors.origin, *anchors.codes], sizes)
        origin, codes = SampleOrigin(*others[: len(anchors.origin)]), others[len(anchors.origin) :]
        samples = Samples(_WithGradient.apply(local, projections, begin).transpose(0, 1), codes, origin)

        def exchange(
            numbers: Float[Tensor, "numbers similarities anchors"],
        ) -> Float[Tensor, "numbers similarities candidates"]:
            return gathered(numbers.movedim(2, 0), sizes).movedim(0, 2).contiguous()

        ids = torch.arange(sum(sizes), device=device)
        return CandidateSet(samples, ids[begin : begin + count], ids, exchange)

    def total(self, value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        if self.world_size == 1:
            return value
        summed = value.clone()
        _add_up(summed)
        return summed

    def new_rows(self, count: int, device: torch.device) -> Int64[Tensor, " rows"]:
        # 2^40 rows a process: numbers of two processes never meet.
        return torch.arange(count, device=device) + (processes()[0] << 40)


def processes() -> tuple[int, int]:
    """The number of this process, from 0, and how many train together."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Means of the gradients over all processes, in one go. A gradient that no process has stays absent.

    After the backward pass and not during it, as DistributedDataParallel does: that expects one backward pass a
    step and every parameter in it, which cached gradients and a process without rows do not have.
    """
    if processes()[1] == 1:
        return
    learned = [p for p in parameters if p.requires_grad]
    if not learned:
        return
    has = torch.tensor([float(p.grad is not None) for p in learned], device=learned[0].device)
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in learned]
    flat = torch.cat([*parts, has.to(parts[0].dtype)])
    _add_up(flat)
    *means, has = flat.split([*(len(part) for part in parts), len(learned)])
    for p, mean, someone_has in zip(learned, means, has.tolist(), strict=True):
        if someone_has:
            p.grad = (mean / processes()[1]).view_as(p).to(p.dtype).contiguous(memory_format=_layout(p))


@torch.no_grad()
def average_running_means(module: nn.Module) -> None:
    """Means of all buffers that are not integers, over all processes: each has seen its own part of every batch."""
    for buffer in module.buffers():
        if processes()[1] > 1 and buffer.is_floating_point():
            _add_up(buffer)
            buffer /= processes()[1]


def wait_for_all() -> None:
    """Return when every process is here."""
    if processes()[1] > 1:
        with _together():
            dist.barrier()


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """The first process decodes images, or encodes texts, that are not in the cache, and speaks of what is wrong."""
    if processes()[0]:
        wait_for_all()
    yield
    if not processes()[0]:
        wait_for_all()


def _layout(like: Tensor) -> torch.memory_format:
    is_last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format


class _WithGradient(torch.autograd.Function):
    """All processes' projections; the gradient of the local ones is added up over all processes.

    The gather of torch.distributed.nn that does the same is deprecated, and a gather without gradients loses what
    the other processes' anchors say of the local candidates (a norm ratio of 0.83 in a trial).
    """

    @staticmethod
    def forward(ctx: Any, local: Tensor, everyone: Tensor, begin: int) -> Tensor:
        ctx.local = slice(begin, begin + local.shape[0])
        return everyone.view_as(everyone)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        total = grad.clone(memory_format=torch.contiguous_format)
        _add_up(total)
        return total[ctx.local], None, None


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """What all processes do at once; if one is gone, the error says so."""
    try:
        yield
    except RuntimeError as error:  # torch's own errors of a backend are of this kind, and so are gloo's
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()[0][:200]
        raise OthersStopped(
            f"process {processes()[0]}: another process has stopped, so this one does too ({reason})."
        ) from None


def _add_up(value: Tensor) -> None:
    """The sum over all processes, in place."""
    with _together():
        dist.all_reduce(value)


def _sizes(count: int, device: torch.device) -> list[int]:
    """How many samples each process has."""
    rank, world = processes()
    sizes = torch.zeros(world, dtype=torch.int64, device=device)
    sizes[rank] = count
    _add_up(sizes)
    return sizes.tolist()


def gathered(local: Shaped[Tensor, "local ..."], sizes: Sequence[int]) -> Shaped[Tensor, "all ..."]:
    """Tensors of all processes, which may differ in length."""
    padded = local.new_zeros(max(sizes), *local.shape[1:])
    padded[: local.shape[0]] = local
    everyone = [torch.empty_like(padded) for _ in sizes]
    with _together():
        dist.all_gather(everyone, padded)
    return torch.cat([part[:size] for part, size in zip(everyone, sizes, strict=True)])


def _gather_together(local: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """The same of several tensors at once: as bytes, so that there is one message whatever their types."""
    count = local[0].shape[0]
    widths = [math.prod(t.shape[1:]) * t.element_size() for t in local]
    as_bytes = [t.contiguous().view(count, math.prod(t.shape[1:])).view(torch.uint8) for t in local]
    parts = gathered(torch.cat(as_bytes, dim=1), sizes).split(widths, dim=1)
    return [
        # Copied even where it is contiguous: other types want to begin at a multiple of their size.
        part.clone(memory_format=torch.contiguous_format).view(t.dtype).view(sum(sizes), *t.shape[1:])
        for part, t in zip(parts, local, strict=True)
    ]
