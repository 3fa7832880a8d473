"""The part of the benchmark for a GPU that is the loss: errors, times and memory of the Triton kernels and of peers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from gpu_plan import Plan, timed
from loss import CLASSES, TEMPERATURE, Problem, implementations
from torch import Tensor
from torch.nn.functional import normalize

from mscon.errors import is_out_of_memory
from mscon.method.kernels.path import evaluate
from mscon.method.kernels.triton import Triton
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

MOST_PEERS = 65_536


def losses(plan: Plan, end: float) -> Iterator[dict[str, Any]]:
    """A record for each size, width and type."""
    for rows in plan.rows:
        for dim in plan.dims:
            for dtype in (torch.float32, torch.bfloat16):
                if time.perf_counter() > end:
                    return
                problem = Problem.draw(rows, dim, plan.device)
                unit = normalize(problem.vectors.detach(), dim=2).to(dtype).requires_grad_()
                record: dict[str, Any] = {"rows": rows, "dim": dim, "dtype": str(dtype).removeprefix("torch.")}
                if rows <= plan.most_float64:
                    record |= errors(unit, problem.labels)
                of_kernel = timed_call(
                    "mscon", lambda u=unit, y=problem.labels: kernel(u, y).backward(), plan.device, end, 20
                )
                record |= of_kernel
                if (spent := of_kernel["mscon_ms"]) is not None:
                    record["tflops"] = 5 * rows**2 * dim * len(CLASSES) / (spent / 1e3) / 1e12
                for name in ("PML", "plain") if rows <= MOST_PEERS else ():
                    (peer,) = implementations(Problem(unit, problem.labels), [name]).values()
                    record |= timed_call(name, lambda p=peer: p().backward(), plan.device, end, 5)
                yield record


def timed_call(name: str, call: Any, device: str, end: float, most: int) -> dict[str, float | None]:
    """Milliseconds and megabytes; None where memory ran out."""
    try:
        spent, peak = timed(call, device, end, most)
        return {f"{name}_ms": 1e3 * spent, f"{name}_mb": peak}
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if device == "cuda":
        torch.cuda.empty_cache()
    return {f"{name}_ms": None, f"{name}_mb": None}


def kernel(unit: Tensor, labels: Tensor) -> Tensor:
    """The sum of the columns' means, by the Triton kernels also where `contrast` would take others."""
    ids = torch.arange(labels.shape[1], device=labels.device)
    pairs = [LazyPairs(same_class, y, y, ids, ids, True) for y in labels]
    path = Triton.of(pairs, (TEMPERATURE,) * len(pairs), 1.01 / TEMPERATURE)
    return evaluate(path, unit, None, TEMPERATURE).mean(dim=1).sum()


def errors(unit: Tensor, labels: Tensor) -> dict[str, float]:
    """Relative errors of value and gradient against float64 on the same numbers, by the formula written out."""
    wide = unit.detach().double().requires_grad_()
    same = torch.eye(wide.shape[1], dtype=torch.bool, device=wide.device)
    alike = (labels[:, :, None] == labels[:, None, :]) & ~same
    log_shares = (torch.bmm(wide, wide.mT) / TEMPERATURE).masked_fill(same, -torch.inf).log_softmax(dim=2)
    totals = torch.where(alike, log_shares, 0.0).sum(dim=2) / alike.sum(dim=2).clamp_min(1)
    expected = -totals.mean(dim=1).sum()
    value = kernel(unit, labels)
    (exact,), (gradient,) = torch.autograd.grad(expected, wide), torch.autograd.grad(value, unit)
    return {
        "value_error": float((value.detach().double() - expected.detach()).abs() / expected.detach().abs()),
        "gradient_error": float((gradient.double() - exact).norm() / exact.norm()),
    }
