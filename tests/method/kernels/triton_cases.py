"""Run by test_triton.py in processes of its own: `interpret` prints errors against float64, `compile` compiles."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from torch import Tensor

from batches import LARGE_NAMINGS, SIGNED_NAMINGS, Batch, draw, renamed
from mscon.method.kernels import dispatch
from mscon.method.kernels.path import evaluate

torch.set_num_threads(1)

Drawn = dict[str, object]
# Two tiles of 16 rows, the second not full.
BASE: Drawn = {"rows": 20, "dim": 16, "dtype": torch.float32}
CASES: dict[str, tuple[Drawn, dict[str, object]]] = {
    "triangle": ({"rows": 40}, {"block": (16, 16, 4)}),
    "triangle of wide tiles": ({}, {"block": (16, 32, 4)}),
    "triangle of tall tiles": ({}, {"block": (32, 16, 4)}),
    "owned": ({}, {"is_deterministic": True, "block": (16, 32, 4)}),
    "running maximum": ({"temperature": 0.005}, {"block": (16, 16, 4)}),
    "rectangular": ({"candidates": 37}, {"block": (16, 16, 4)}),
    "rectangular with own pairs": ({"candidates": 37, "ids": "shared"}, {"block": (16, 16, 4)}),
    "all views of a row": ({"ids": "row"}, {"block": (16, 16, 4)}),
    "one anchor": ({"rows": 1, "candidates": 3}, {}),
    "default tiles": ({"rows": 70}, {}),
    "dim 1": ({"dim": 1}, {"block": (16, 16, 4)}),
    "dim 37": ({"dim": 37}, {"block": (16, 16, 4)}),
    "dim 128": ({"dim": 128}, {}),
    "dim 256": ({"dim": 256}, {}),
    "dim 512": ({"dim": 512}, {"block": (16, 16, 4)}),
    "negatives alone": ({}, {"denominator": "negatives", "block": (16, 16, 4)}),
    "negatives alone, owned": ({}, {"denominator": "negatives", "is_deterministic": True, "block": (16, 32, 4)}),
    "negatives alone, rectangular": (
        {"candidates": 37, "ids": "shared"},
        {"denominator": "negatives", "block": (16, 16, 4)},
    ),
    "negatives alone, few rows": ({"rows": 5, "candidates": 4}, {"denominator": "negatives"}),
    "ieee": ({}, {"precision": "ieee"}),
    "tight clusters": ({"spread": 0.02, "dim": 32, "missing": False}, {"block": (16, 16, 4)}),
    "bfloat16": ({"dtype": torch.bfloat16}, {"block": (16, 16, 4)}),
    "bfloat16 rectangular": ({"dtype": torch.bfloat16, "candidates": 37}, {"block": (16, 16, 4)}),
    "bfloat16 dim 512": ({"dtype": torch.bfloat16, "dim": 512}, {}),
    "bfloat16 tight clusters": (
        {"dtype": torch.bfloat16, "spread": 0.02, "dim": 64, "missing": False},
        {"block": (16, 16, 4)},
    ),
}


def gradients(batch: Batch, temperature: float, settings: dict[str, object], *, wide: bool = False) -> list[Tensor]:
    """Losses and gradients, weighted unevenly; `wide` by `contrast` in float64."""
    anchors, *others = [
        (v.double() if wide else v.clone()).requires_grad_() for v in (batch.anchors, batch.candidates) if v is not None
    ]
    c = others[0] if others else None
    if wide:
        denominator = settings.get("denominator", "all")
        losses = dispatch.contrast(anchors, c, batch.pairs, temperature=temperature, denominator=denominator)
    else:
        from mscon.method.kernels.triton import Triton

        path = Triton.of(batch.pairs, (temperature,) * 3, 1.01 / temperature, **settings)
        losses = evaluate(path, anchors, c, temperature)
    weight = torch.rand(losses.shape, generator=torch.Generator().manual_seed(1)) - 0.3
    return [losses.detach(), *torch.autograd.grad((weight * losses).sum(), [anchors, *others])]


def interpret() -> None:
    for name, (drawn, settings) in CASES.items():
        arguments = {**BASE, **drawn}
        temperature = float(arguments.pop("temperature", 0.1))
        batch = draw(**arguments)
        errors = [
            ((x.double() - y).norm() / y.norm().clamp_min(1e-9)).item()
            for x, y in zip(*(gradients(batch, temperature, settings, wide=w) for w in (False, True)), strict=True)
        ]
        print(json.dumps({"case": name, "errors": errors, "temperature": temperature}))
    for ids in ("sample", "row"):
        batch = draw(20, dim=16, dtype=torch.float32, ids=ids)
        one = gradients(batch, 0.1, {"is_deterministic": True})
        for naming in (*SIGNED_NAMINGS, *LARGE_NAMINGS):
            two = gradients(renamed(batch, naming), 0.1, {"is_deterministic": True})
            errors = [(x - y).norm().item() for x, y in zip(one, two, strict=True)]
            print(json.dumps({"case": f"names of {ids}s {naming}", "errors": errors}))
    exchange()


def exchange() -> None:
    """Three processes, one of them without rows, each asked twice: whom all exchange with must first be heard."""
    from mscon.method.kernels.triton import Triton

    for name, dtype, temperature in (
        ("exchange", torch.float32, 0.1),
        ("exchange with a running maximum", torch.float32, 0.005),
        ("exchange of bfloat16", torch.bfloat16, 0.1),
    ):
        batch = draw(20, dim=16, dtype=dtype)
        weight = torch.rand(3, 20, generator=torch.Generator().manual_seed(1)) - 0.3
        heard: list[Tensor] = []

        def exchanged(numbers: Tensor, heard: list[Tensor] = heard) -> Tensor:
            heard.append(numbers)
            of_candidates = torch.cat(heard[:3], dim=2)
            # As of a memory beside the anchors: of one candidate more 0 is told.
            return torch.nn.functional.pad(of_candidates, (0, 21 - of_candidates.shape[2]))

        gradients = []
        for part in [slice(0, 17), slice(17, 17), slice(17, 20)] * 2:
            local = batch.anchors[:, part].clone().requires_grad_()
            others = torch.cat([batch.anchors, batch.anchors[:, :1]], dim=1)
            pairs = [
                dataclasses.replace(
                    p,
                    anchors=p.anchors[part],
                    anchor_ids=p.anchor_ids[part],
                    candidates=torch.cat([p.candidates, p.candidates[:1]]),
                    candidate_ids=torch.cat([p.candidate_ids, torch.tensor([99])]),
                )
                for p in batch.pairs
            ]
            path = Triton.of(pairs, (temperature,) * 3, 1.01 / temperature, block=(16, 16, 4))
            losses = evaluate(path, local, others, temperature, exchange=exchanged)
            gradients.append([losses.detach(), *torch.autograd.grad((weight[:, part] * losses).sum(), local)])
        anchors = batch.anchors.double().requires_grad_()
        both = torch.cat([anchors, anchors[:, :1].detach()], dim=1)
        whole = [
            dataclasses.replace(
                p,
                candidates=torch.cat([p.candidates, p.candidates[:1]]),
                candidate_ids=torch.cat([p.candidate_ids, torch.tensor([99])]),
            )
            for p in batch.pairs
        ]
        expected = dispatch.contrast(anchors, both, whole, temperature=temperature)
        (gradient,) = torch.autograd.grad((weight * expected).sum(), anchors)
        errors = [
            ((torch.cat([f[k] for f in gradients[3:]], dim=1).double() - y).norm() / y.norm()).item()
            for k, y in enumerate((expected.detach(), gradient))
        ]
        print(json.dumps({"case": name, "errors": errors, "temperature": temperature}))


def compile_for_a_gpu() -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    import mscon.method.kernels.triton as kernels

    both = {"OWNER_IS_ANCHOR": True, "OTHER_IS_ANCHOR": True, "SHARES_SHIFT": True}
    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float32, "fp32")):
        rows, columns, warps = kernels._block_for(64, dtype)
        tile = {
            "ROWS": rows,
            "COLUMNS": columns,
            "DIM": 64,
            "PRECISION": "tf32x3",
            "WIDEN": False,
            "NEGATIVES_ONLY": True,
        }
        for kernel, more in (
            (kernels._sum_triangle, {"SPAN": 16}),
            (kernels._sum_owned, {}),
            (kernels._gradient_owned, both),
            (kernels._gradient_owned, {**both, "SHARES_SHIFT": False}),
            (kernels._gradient_owned, {**both, "SHARES_SHIFT": False, "OWNER_IS_ANCHOR": False}),
        ):
            constants = {**tile, **more}
            types = {"a_": f"*{name}", "c_": f"*{name}", "x_": f"*{name}", "y_": f"*{name}", "shift": "fp32"}
            signature = {
                n: "constexpr"
                if n in constants
                else types.get(n)
                or ("*i32" if n.startswith(("label", "id_")) else "*fp32" if n.endswith("_") else "i32")
                for n in kernel.arg_names
            }
            source = ASTSource(kernel, signature, {(kernel.arg_names.index(k),): v for k, v in constants.items()})
            options = {"num_warps": warps, "num_stages": 2, "enable_fp_fusion": True}
            compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
            limit = 227 * 1024
            print(json.dumps({"kernel": kernel.__name__, "fits": compiled.metadata.shared <= limit}))


if __name__ == "__main__":
    {"interpret": interpret, "compile": compile_for_a_gpu}[sys.argv[1]]()
