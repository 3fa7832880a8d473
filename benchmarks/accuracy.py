"""How exact the gradient of the loss is: mscon and others against float64.

    python benchmarks/accuracy.py                prints the tables, some minutes
    python benchmarks/accuracy.py --rows 256     faster
    python benchmarks/accuracy.py --write        also writes benchmarks/results/accuracy.md and accuracy.json

Three columns of 4, 5 and 20 classes; vectors random, or a direction for each class plus noise of a length.
Error: of the part of the gradient across the vectors (what is left after they are scaled to unit length),
relative to that gradient in float64. A hundredth part is 1e-2; above 1 there is nothing but noise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from loss import CLASSES
from machine import machine
from torch import Tensor
from torch.nn.functional import normalize

from mscon.method.kernels import contrast
from mscon.method.kernels.dense import Dense
from mscon.method.kernels.online import Online
from mscon.method.kernels.path import evaluate
from mscon.method.kernels.tiles import Tiles
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class
from mscon.run import atomic

RESULTS = Path(__file__).parent / "results"
NOISES = (None, 0.3, 0.1, 0.02, 0.01)
TEMPERATURES = (0.01, 0.1, 0.3, 1.0)
DIM = 128

Losses = Callable[[Tensor, Tensor, float], Tensor]


def draw(rows: int, noise: float | None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.stack([torch.randint(0, k, (rows,), generator=generator) for k in CLASSES])
    vectors = torch.randn(len(CLASSES), rows, DIM, generator=generator, dtype=torch.float64)
    if noise is not None:
        centres = normalize(
            torch.randn(len(CLASSES), max(CLASSES), DIM, generator=generator, dtype=torch.float64), dim=2
        )
        vectors = centres[torch.arange(len(CLASSES))[:, None], labels] + noise * vectors / DIM**0.5
    return normalize(vectors, dim=2), labels


def formula(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Plain torch, in the type of the vectors."""
    own = torch.eye(vectors.shape[1], dtype=torch.bool)
    logits = (torch.bmm(vectors, vectors.mT) / temperature).masked_fill(own, -torch.inf)
    alike = (labels[:, :, None] == labels[:, None, :]) & ~own
    total = torch.where(alike, logits.log_softmax(dim=2), 0.0).sum(dim=2)
    return -(total / alike.sum(dim=2).clamp_min(1)).mean(dim=1)


def pairs_of(labels: Tensor) -> list[LazyPairs]:
    ids = torch.arange(labels.shape[1])
    return [LazyPairs(same_class, y, y, ids, ids, True) for y in labels]


def by_mscon(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    return contrast(vectors, None, pairs_of(labels), temperature=temperature).mean(dim=1)


def by_pml(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    from pytorch_metric_learning.losses import SupConLoss

    criterion = SupConLoss(temperature=temperature)
    return torch.stack([criterion(v, y) for v, y in zip(vectors, labels, strict=True)])


def by_masks(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    from loss import TEMPERATURE, masked

    assert temperature == TEMPERATURE
    return torch.stack([masked(v, y) for v, y in zip(vectors, labels, strict=True)])


def by_path(name: str, labels: Tensor, temperature: float) -> Losses:
    pairs, ts = pairs_of(labels), (temperature,) * len(CLASSES)
    path = {
        "dense": lambda: Dense.of(pairs, ts, 1.00001 / temperature, torch.float32, inside=False),
        "tiles": lambda: Tiles.of(pairs, ts, 1.00001 / temperature, is_square=True),
        "online": lambda: Online(tuple(pairs), ts, inside=False),
    }[name]()
    return lambda vectors, labels, temperature: evaluate(path, vectors, None, temperature).mean(dim=1)


def gradient(
    losses: Losses, vectors: Tensor, labels: Tensor, temperature: float, *, whole_of_it: bool = False
) -> tuple[Tensor, Tensor]:
    """Losses of the columns, and the gradient of their sum (across the vectors, or whole), in float64."""
    leaf = vectors.clone().requires_grad_()
    values = losses(leaf, labels, temperature)
    values.sum().backward()
    assert leaf.grad is not None
    full, at = leaf.grad.double(), vectors.double()
    across = full - (full * at).sum(dim=2, keepdim=True) * at
    return values.detach().double(), full if whole_of_it else across


def error(losses: Losses, vectors: Tensor, labels: Tensor, temperature: float, *, whole_of_it: bool = False) -> float:
    _, exact = gradient(formula, vectors.double(), labels, temperature, whole_of_it=whole_of_it)
    _, other = gradient(losses, vectors, labels, temperature, whole_of_it=whole_of_it)
    return ((other - exact).norm() / exact.norm()).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 2_048])
    parser.add_argument("--write", action="store_true", help="write the tables under benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(2)

    wide, narrow, equal, finite = [], [], [], []
    for rows in arguments.rows:
        for noise in NOISES:
            exact, labels = draw(rows, noise)
            vectors, label = exact.float(), "random" if noise is None else f"{noise:g}"
            for t in TEMPERATURES:
                plain, ours = error(formula, vectors, labels, t), error(by_mscon, vectors, labels, t)
                wide.append({"rows": rows, "noise": label, "temperature": t, "plain": plain, "mscon": ours})
            half = exact.bfloat16()
            errors = {
                n: error(f, half, labels, 0.1) for n, f in {"mscon": by_mscon, "plain": formula, "PML": by_pml}.items()
            }
            errors["mscon, whole"] = error(by_mscon, half, labels, 0.1, whole_of_it=True)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                errors["masked, autocast"] = error(by_masks, half.float(), labels, 0.1)
            narrow.append({"rows": rows, "noise": label, **errors})
            values = {n: gradient(by_path(n, labels, 0.1), vectors, labels, 0.1) for n in ("dense", "tiles", "online")}
            spread = [
                max((v[i] - values["dense"][i]).norm() / values["dense"][i].norm() for v in values.values()).item()
                for i in (0, 1)
            ]
            equal.append({"rows": rows, "noise": label, "loss": spread[0], "gradient": spread[1]})
            losses, small = gradient(by_mscon, vectors, labels, 0.001)
            finite.append(bool(losses.isfinite().all() and small.isfinite().all()))
    where = machine()
    text = "\n".join(
        [
            "# How exact the gradient is\n",
            "Relative error against float64. float32 vectors, plain torch and mscon:\n",
            "| rows | noise | " + " | ".join(f"t = {t:g}: plain, mscon (ratio)" for t in TEMPERATURES) + " |",
            "|---|---|" + "---|" * len(TEMPERATURES),
            *_by_noise(wide),
            f"\nThe largest ratio is {max(r['mscon'] / r['plain'] for r in wide):.2f}. "
            f"At t = 0.001 loss and gradient are finite in {sum(finite)} of {len(finite)} cases.\n",
            "bfloat16 vectors at t = 0.1. mscon is exact but for the rounding of its gradient to bfloat16, which "
            "is 1.7e-3 of the whole of it and more of the part across:\n",
            "| rows | noise | mscon, whole | mscon | plain | PML | masked, autocast |\n|" + "---|" * 7,
            *(
                f"| {r['rows']:,} | {r['noise']} | "
                + " | ".join(f"{r[n]:.1e}" for n in ("mscon, whole", "mscon", "plain", "PML", "masked, autocast"))
                + " |"
                for r in narrow
            ),
            "\nLargest relative difference between the paths (dense, tiles, online) at t = 0.1:\n",
            "| rows | noise | loss | gradient |\n|---|---|---|---|",
            *(f"| {r['rows']:,} | {r['noise']} | {r['loss']:.1e} | {r['gradient']:.1e} |" for r in equal),
            f"\n{where}.\n\nMade by `python benchmarks/accuracy.py --write`.\n",
        ]
    )
    print(text)
    if arguments.write:
        atomic.write_text(RESULTS / "accuracy.md", text)
        record = {"machine": where, "float32": wide, "bfloat16": narrow, "paths": equal, "finite_at_0.001": finite}
        atomic.write_text(RESULTS / "accuracy.json", json.dumps(record, indent=1, allow_nan=False) + "\n")


def _by_noise(records: list[dict]) -> list[str]:
    lines: dict[tuple[int, str], list[str]] = {}
    for r in records:
        cell = f"{r['plain']:.1e}, {r['mscon']:.1e} ({r['mscon'] / r['plain']:.2f})"
        lines.setdefault((r["rows"], r["noise"]), []).append(cell)
    return [f"| {rows:,} | {noise} | {' | '.join(cells)} |" for (rows, noise), cells in lines.items()]


if __name__ == "__main__":
    main()
