"""Images per CPU-second of mscon's views against torchvision's, one thread, at 32 and 112 pixels.

    python benchmarks/views.py            prints the table
    python benchmarks/views.py --write    also writes benchmarks/results/views.md and views.json

Both make the views of SimCLR from uint8 RGB images in memory and give float32 in [0, 1]. torchvision
works image by image, as it must for every image to draw for itself, once on tensors and once on PIL
images; the ratio is to whichever of the two is faster. Time is CPU time of this process, the rivals
take turns, and the table gives medians over rounds with the quartiles of the ratio.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torchvision.transforms import v2

import mscon
from mscon.data.inputs import views
from mscon.run import atomic
from mscon.run.recipe import Views

SIDES = (32, 112)
BATCH = 128  # 64 rows of 2 views
RESULTS = Path(__file__).parent / "results"
SETTINGS = {"crop, flip, colour, grey": Views(), "the same and blur": Views(blur=0.5)}


def torchvision_pipeline(side: int, settings: Views, first: list[Any]) -> v2.Compose:
    """The same transforms with the same strengths."""
    s = settings
    steps = [
        *first,
        v2.RandomResizedCrop(side, scale=tuple(s.crop), ratio=(1 / s.aspect, s.aspect), antialias=True),
        v2.RandomHorizontalFlip(s.flip),
        v2.RandomApply([v2.ColorJitter(s.brightness, s.contrast, s.saturation, s.hue)], s.colour_probability),
        v2.RandomGrayscale(s.grey),
    ]
    if s.blur:
        least, most = (side * share for share in s.blur_sigma)
        # An odd window that reaches 3 standard deviations of the widest blur, as torchvision advises.
        blur = v2.GaussianBlur(2 * max(1, round(3 * most)) + 1, sigma=(least, most))
        steps.append(v2.RandomApply([blur], s.blur))
    return v2.Compose([*steps, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def rivals(side: int, settings: Views) -> dict[str, Callable[[], torch.Tensor]]:
    """Name -> a function that makes a batch of views."""
    generator = torch.Generator().manual_seed(0)
    # Noise, smoothed so that it is no worst case for caches or branches of anyone.
    coarse = torch.rand(BATCH, 3, side // 4, side // 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    images = (smooth * 255).to(torch.uint8)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    on_tensors = torchvision_pipeline(side, settings, [])
    on_pil = torchvision_pipeline(side, settings, [])
    return {
        "mscon": lambda: views.augment(images, settings, generator),
        "torchvision, tensors": lambda: torch.stack([on_tensors(image) for image in images]),
        "torchvision, PIL": lambda: torch.stack([on_pil(picture) for picture in pictures]),
    }


def measure(side: int, settings: Views, rounds: int) -> dict[str, list[float]]:
    """Images per CPU-second of each rival in each round."""
    makers = rivals(side, settings)
    rates: dict[str, list[float]] = {name: [] for name in makers}
    for round_ in range(-1, rounds):  # the first round warms up
        for name, make in makers.items():
            repeats = 10 if name == "mscon" else 1
            start = time.process_time()
            for _ in range(repeats):
                make()
            if round_ >= 0:
                rates[name].append(BATCH * repeats / (time.process_time() - start))
    return rates


def machine() -> str:
    """The processor and the versions that the numbers belong to."""
    model = next(
        (line.split(":")[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return (
        f"{model} ({torch.backends.cpu.get_cpu_capability()}), one thread, Python {platform.python_version()}, "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, mscon {mscon.__version__}"
    )


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8", "replace").splitlines() if path.is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table and the rates under benchmarks/results")
    parser.add_argument("--rounds", type=int, default=9, help="rounds to take medians over (default: 9)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    records, lines = [], []
    for name, settings in SETTINGS.items():
        for side in SIDES:
            rates = measure(side, settings, arguments.rounds)
            median = {rival: statistics.median(r) for rival, r in rates.items()}
            peer = max((r for r in median if r != "mscon"), key=lambda rival: median[rival])
            ratios = [own / other for own, other in zip(rates["mscon"], rates[peer], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            cells = " | ".join(f"{median[rival]:,.0f}" for rival in rates)
            lines.append(f"| {name} | {side} | {cells} | {middle:.1f} ({low:.1f} to {high:.1f}) |")
            records.append({"transforms": name, "side": side, "rates": rates, "ratio": middle, "against": peer})
    table = "\n".join(
        [
            "| transforms | side, px | mscon | torchvision, tensors | torchvision, PIL | ratio to the faster |",
            "|---|---|---|---|---|---|",
            *lines,
        ]
    )
    text = (
        f"# Views: images per CPU-second\n\n{table}\n\nMedians of {arguments.rounds} rounds in turns, batches of "
        f"{BATCH}; the ratio with its quartiles.\n{machine()}.\n\nMade by `python benchmarks/views.py --write`.\n"
    )
    print(text)
    if arguments.write:
        atomic.write_text(RESULTS / "views.md", text)
        record = {"machine": machine(), "batch": BATCH, "rounds": arguments.rounds, "results": records}
        atomic.write_text(RESULTS / "views.json", json.dumps(record, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
