"""How fast encoders train on this CPU, by precision and memory layout: what `precision = "auto"` rests on.

One thread; forward and backward pass of encoder and heads; the least time of a dozen steps.

    python benchmarks/precision.py
    ONEDNN_MAX_CPU_ISA=AVX512_CORE python benchmarks/precision.py    # the same CPU without AMX
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/precision.py
"""

from __future__ import annotations

import time

import torch

from mscon.model.model import build_model
from mscon.run.recipe import Data, Encoder, Recipe, SimilarityPart, Train
from mscon.train import environment
from mscon.train.environment import machine

CASES = [
    ("small_cnn", 1, 24, 128),
    ("small_cnn", 3, 64, 128),
    ("resnet18", 3, 32, 64),
    ("resnet18", 3, 112, 16),
    ("efficientnet_lite0", 3, 64, 32),
    ("vit_tiny_patch16_224", 3, 64, 32),
]
STEPS = 12


def milliseconds(name: str, channels: int, size: int, samples: int, precision: str, channels_last: bool) -> float:
    """Least time of a step."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    parts = (SimilarityPart("a", "categorical"),) * 3
    recipe = Recipe(parts, data=Data(image_size=size, channels=channels), encoder=Encoder(name))
    model = build_model(recipe, 3).to(memory_format=layout)
    images = torch.rand(samples, channels, size, size).contiguous(memory_format=layout)
    least = float("inf")
    for _ in range(STEPS):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            _, projections = model(images)
        projections.float().square().mean().backward()
        model.zero_grad()
        least = min(least, time.perf_counter() - began)
    return 1e3 * least


def main() -> None:
    torch.set_num_threads(1)
    environment.start(Train(precision="float32"), "cpu")  # as in training, freed memory is kept
    print(f"{machine('cpu')['cpu']}, torch {torch.__version__}, one thread, ms a step\n")
    print(f"{'encoder':22s} {'px':>4s} {'samples':>7s}  float32  +channels_last  bfloat16  +channels_last")
    for name, channels, size, samples in CASES:
        times = [
            milliseconds(name, channels, size, samples, p, c) for p in ("float32", "bfloat16") for c in (False, True)
        ]
        print(
            f"{name:22s} {size:4d} {samples:7d}  {times[0]:7.1f}  {times[1]:14.1f}  {times[2]:8.1f}  {times[3]:14.1f}"
        )


if __name__ == "__main__":
    main()
