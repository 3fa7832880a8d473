"""A table of your own, from Python: write images and a CSV, train, probe, read the scores. Seconds on a CPU."""

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import mscon

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
generator = np.random.default_rng(0)

# 160 small pictures: a bar that lies or stands, bright or dark. One label in ten is missing.
with (folder / "bars.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["image", "direction", "light"])
    for number in range(160):
        stands, bright = generator.integers(2, size=2)
        picture = generator.integers(0, 60, (24, 24)).astype(np.uint8)
        at = generator.integers(4, 18)
        bar = (slice(None), slice(at, at + 4)) if stands else (slice(at, at + 4), slice(None))
        picture[bar] = 230 if bright else 120
        Image.fromarray(picture).save(folder / f"{number}.png")
        cells = ["stands" if stands else "lies", "bright" if bright else "dark"]
        writer.writerow([f"{number}.png", *("" if generator.random() < 0.1 else cell for cell in cells)])

recipe = mscon.recipe.parse("""
    [[similarity]]
    column = "direction"
    [[similarity]]
    column = "light"
    [data]
    image_size = 24
    channels = 1
    [views]
    flip = 0.0
    brightness = 0.1
    [train]
    epochs = 6
    batch_size = 32
""")
run = mscon.fit(folder / "bars.csv", recipe, folder / "run", progress=False)
mscon.probe(run, progress=False)
for score in run.read_probe()["linear"]:
    print(f"{score['column']:<10} accuracy {score['accuracy']['value']:.2f}, majority {score['majority']:.2f}")
