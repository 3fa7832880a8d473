"""Train on a few pictures, then give vectors to new ones: as an array, and as a step of a scikit-learn pipeline."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

import mscon

folder = Path(sys.argv[1])
generator = np.random.default_rng(0)


def picture(lies: bool, is_light: bool) -> Image.Image:
    pixels = generator.integers(0, 30, (16, 16), dtype=np.uint8)
    at = int(generator.integers(2, 12))
    pixels[(slice(at, at + 3), slice(None)) if lies else (slice(None), slice(at, at + 3))] += 200 if is_light else 90
    return Image.fromarray(pixels)


lines = ["image,shape,shade"]
for number in range(64):
    lies, is_light = number % 2 == 0, number % 4 < 2
    picture(lies, is_light).save(folder / f"{number}.png")
    lines.append(f"{number}.png,{'lying' if lies else 'standing'},{'light' if is_light else 'dark'}")
(folder / "bars.csv").write_text("\n".join(lines) + "\n")

RECIPE = """
similarity = [{ column = "shape" }, { column = "shade" }]
data       = { image_size = 16, channels = 1 }
encoder    = { width = 8 }
weighting  = { name = "equal" }
views      = { crop = [0.8, 1.0], brightness = 0.1, contrast = 0.1 }
train      = { epochs = 4, batch_size = 16 }
"""
recipe = mscon.recipe.parse(RECIPE)
run = mscon.fit(folder / "bars.csv", recipe, folder / "run", overwrite=True, progress=False)

model = mscon.load(run.root)
new = [picture(True, True), picture(False, True), picture(False, False)]
print("features", model.embed(new).shape, "shape", model.embed(new, similarity="shape").shape)

known = [str(folder / f"{number}.png") for number in range(64)]
shapes = [line.split(",")[1] for line in lines[1:]]
shape = mscon.EmbeddingTransformer(run.root, similarity="shape")
nearest = make_pipeline(shape, KNeighborsClassifier(3)).fit(known, shapes)
print(nearest.predict(new))
