"""A table of vectors that tell two labels, and a recipe for it that trains in a fraction of a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RECIPE = """
[[similarity]]
column = "kind"
[[similarity]]
column = "shade"

[data]
input = "vectors"
vectors = "points.npy"

[encoder]
name = "mlp"
settings = { units = 16, layers = 1 }

[train]
epochs = 2
batch_size = 16
precision = "float32"
channels_last = "no"
"""

ROWS, TRAIN_ROWS = 72, 48


def points(rows: int = ROWS) -> np.ndarray:
    """Six dimensions on scales that differ: one tells the kind, one the shade, one the mood."""
    generator = np.random.default_rng(0)
    numbers = np.arange(rows)
    noise = generator.normal(size=(rows, 6))
    noise[:, 0] += 4 * (numbers % 2)
    noise[:, 1] += 3 * (numbers // 2 % 3)
    noise[:, 2] += 3 * (numbers // 6 % 2)
    return (noise * [3, 1, 1, 0.5, 2, 1] + 5).astype(np.float32)


def write_table(folder: Path, rows: int = ROWS) -> Path:
    """things.csv with columns kind, shade (some cells empty), mood, height and weight; points.npy beside it.

    Two thirds of the rows are for training, or half of very few.
    """
    vectors = points(rows)
    np.save(folder / "points.npy", vectors)
    train = TRAIN_ROWS if rows == ROWS else rows // 2
    lines = ["split,kind,shade,mood,height,weight"]
    for n in range(rows):
        split = "train" if n < train else "validation" if n < train + (rows - train) // 2 else "test"
        shade = "" if n % 7 == 0 else "xyz"[n // 2 % 3]
        lines.append(f"{split},{'ab'[n % 2]},{shade},{'gh'[n // 6 % 2]},{vectors[n, 0]},{vectors[n, 1]}")
    path = folder / "things.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
