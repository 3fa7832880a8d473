"""Memory: samples of past batches as further candidates."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int, Int64, Shaped
from torch import Tensor

from mscon.method.comparison import SampleOrigin
from mscon.train.gather import CandidateSet, CandidateSource, InBatch, Samples


class MemoryBank(CandidateSource):
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

    def __init__(self, size: int, now: CandidateSource | None = None, warm_up: int = 0) -> None:
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
        """Never a number that was remembered: rows without a number are taken to be new ones."""
        return self.now.new_rows(count, device) + self.numbered.to(device)

    def forward(self, anchors: Samples) -> CandidateSet:
        compared = self.now(anchors)
        past = self._past(compared.samples) if self.steps >= self.warm_up else None
        if past is None:
            return compared
        present = compared.samples
        samples = Samples(
            _cat(present.projections, past.projections.to(present.projections.dtype), dim=1),
            [_cat(a, b) for a, b in zip(present.codes, past.codes, strict=True)],
            present.origin.followed_by(past.origin),
        )
        ids = torch.arange(
            len(samples), device=present.origin.rows.device
        )  # those of the present come first, as they were

        def exchange(
            numbers: Float[Tensor, "numbers similarities anchors"],
        ) -> Float[Tensor, "numbers similarities candidates"]:
            # Alone, the anchors are the present. What is past is nobody's anchor.
            of_present = numbers if compared.exchange is None else compared.exchange(numbers)
            return torch.cat([of_present, of_present.new_zeros(*of_present.shape[:2], len(past))], dim=2)

        is_known = compared.exchange is not None or present is anchors
        return CandidateSet(samples, compared.anchor_ids, ids, exchange if is_known else None, past=len(past))

    def _past(self, present: Samples) -> Samples | None:
        """What is remembered of rows that are not in the batch."""
        count = int(self.filled)
        if not count:
            return None
        origin = SampleOrigin(*(self.get_buffer(name) for name in SampleOrigin._fields))
        of_other_rows = (~torch.isin(origin.rows[:count], present.origin.rows)).nonzero().squeeze(1)
        if not of_other_rows.numel():
            return None
        codes = [self.get_buffer(f"codes_{i}")[of_other_rows] for i in range(len(present.codes))]
        return Samples(self.get_buffer("projections")[:, of_other_rows], codes, origin.select(of_other_rows))

    @torch.no_grad()
    def remember(self, compared: CandidateSet) -> None:
        """In training only. The newest first; what does not fit any more is forgotten."""
        if not self.training:
            return
        samples = compared.samples
        order = _by_row(samples.origin.rows[: len(samples) - compared.past])
        fresh = {"projections": samples.projections.detach().transpose(0, 1)[order]}
        fresh |= {name: getattr(samples.origin, name)[order] for name in SampleOrigin._fields}
        fresh |= {f"codes_{i}": code[order] for i, code in enumerate(samples.codes)}
        for name, new in fresh.items():
            by_sample = name == "projections"  # stored as (similarities, samples, dim), like all projections
            old = self._buffers.get(name)
            before = new[:0] if old is None else (old.transpose(0, 1) if by_sample else old)[: int(self.filled)]
            value = _cat(new, before.to(new if by_sample else new.device))[: self.size]
            self.register_buffer(name, value.transpose(0, 1).contiguous() if by_sample else value.clone())
        self.filled.fill_(min(self.size, int(self.filled) + len(order)))
        self.numbered += len(order)  # of all processes, views and all: no fewer than rows were numbered
        self.steps += 1

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if f"{prefix}rows" in state_dict:  # a checkpoint of before samples had the number of their view, or input
            for name in ("views", "inputs"):
                state_dict.setdefault(f"{prefix}{name}", torch.zeros_like(state_dict[f"{prefix}rows"]))
        # The memory has no shape before the first step, so what was saved says what to make room for.
        for key, value in state_dict.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and (name in ("projections", *SampleOrigin._fields) or name.startswith("codes_")):
                self.register_buffer(name, torch.empty_like(value, device=self.steps.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _cat(one: Shaped[Tensor, "*any"], other: Shaped[Tensor, "*any"], dim: int = 0) -> Shaped[Tensor, "*any"]:
    """One after the other, in their own type: autocast to bfloat16 refuses the float16 that teachers' codes are in."""
    with torch.autocast(one.device.type, enabled=False):
        return torch.cat([one, other], dim=dim)


def _by_row(rows: Int[Tensor, " samples"]) -> Int64[Tensor, " samples"]:
    """An order with all views of a row together and rows as they came: the same however processes share a batch."""
    _, number = torch.unique(rows, return_inverse=True)
    places = torch.arange(rows.shape[0], device=rows.device)
    first = torch.full_like(places, rows.shape[0]).scatter_reduce_(0, number, places, "amin")
    return first[number].sort(stable=True).indices
