"""Jobs: tiny tables with recipes for them, in a folder of their own, that train in a fraction of a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROWS = 60

_RECIPE = """
[[similarity]]
column = "kind"
name = "categorical"
[[similarity]]
column = "tone"
name = "categorical"

[data]
input = "vectors"
vectors = "v.npy"
image_size = 16

[encoder]
name = "mlp"
settings = { units = 16, layers = 1 }

[train]
epochs = 3
batch_size = 12
precision = "float32"
"""

COLUMNS = ('data={input="columns", numbers=["size"], categories=["make"]}',)
# small_cnn, on pictures of the same folder.
IMAGES = ('data={input="image", image_size=16, channels=1}', 'encoder={name="small_cnn", width=4}')

# A checkpoint after each step.
EACH_STEP = ("train.checkpoint_minutes=1e-9",)

VARIANTS: dict[str, Sequence[str]] = {
    "plain": (),
    "memory": ("candidates.memory_size=24", "candidates.warm_up=2"),
    "balanced": ("sampler.name=balanced", "sampler.at_least=2"),
    "cached": ("train.mini_batch_size=5",),
    "bfloat16": ("train.precision=bfloat16",),
    "rank_n_contrast": ("objective.name=rank_n_contrast", 'similarity=[{column="size", name="continuous"}]'),
    "keep": ("keep.beside=4", "keep.width=12", "keep.average=0.9"),
    "columns": COLUMNS,
    "images": IMAGES,
    "within": ("train.batch_size=3", *EACH_STEP),
}

# More of them for the long run: every objective and weighting with a state, and checkpoints within epochs with all
# that has a state of its own.
MORE_VARIANTS: dict[str, Sequence[str]] = {
    "cross_entropy": ("objective.name=cross_entropy", "heads.name=identity", *EACH_STEP),
    "triplets": (
        "triplets.count=36",
        "triplets.validation=24",
        "objective.name=triplet_margin",
        "heads.name=masks",
        *EACH_STEP,
    ),
    "relative": ("weighting.name=relative", "train.optimiser=sgd", "train.checkpoint=best", *EACH_STEP),
    "uncertainty": ("weighting.name=uncertainty", "train.precision=bfloat16", *EACH_STEP),
    "exact": ("weighting.name=exact", *EACH_STEP),
    "memory within": ("candidates.memory_size=24", "candidates.warm_up=2", *EACH_STEP),
    "balanced within": ("sampler.name=balanced", "sampler.at_least=2", "sampler.short=keep", *EACH_STEP),
    "cached within": ("train.mini_batch_size=5", *EACH_STEP),
    "keep within": ("keep.beside=4", "keep.width=12", "keep.average=0.9", *EACH_STEP),
    "images within": (*IMAGES, *EACH_STEP),
    "stored": (
        IMAGES[0],
        'encoder={name="small_cnn", width=4, frozen=true, stored_views=3, adapter={name="mlp", units=8, layers=1}}',
        *EACH_STEP,
    ),
}


@dataclass(frozen=True, slots=True)
class Job:
    """A folder with table t.csv, recipe r.toml, vectors v.npy and pictures, and what is set of the recipe."""

    folder: Path
    settings: Sequence[str] = ()

    def train(self, out: Path | str, *more: str) -> list[str]:
        """Arguments of the command line, to be started in the folder."""
        settings = [part for setting in self.settings for part in ("--set", setting)]
        return ["train", "r.toml", "--table", "t.csv", "--no-probe", "--out", str(out), *settings, *more]


def write_job(folder: Path, settings: Sequence[str] = ()) -> Job:
    """60 rows of three kinds and two tones, with vectors, columns and pictures in which both can be seen."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    kinds, tones = generator.integers(3, size=ROWS), generator.integers(2, size=ROWS)
    vectors = generator.normal(size=(ROWS, 32)).astype(np.float32)
    vectors[:, :3] += 3 * np.eye(3, dtype=np.float32)[kinds]
    vectors[:, 3] += 2 * tones
    np.save(folder / "v.npy", vectors)
    lines = ["image,split,kind,tone,size,make"]
    for row, (kind, tone) in enumerate(zip(kinds, tones, strict=True)):
        split = "train" if row < 36 else "validation" if row < 48 else "test"
        size = kind + generator.normal() / 4
        lines.append(f"{row}.bmp,{split},{'abc'[kind]},{'xy'[tone]},{size:.3f},{'pqr'[kind]}")
        Image.fromarray(picture(kind, tone)).save(folder / f"{row}.bmp")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    (folder / "r.toml").write_text(_RECIPE)
    return Job(folder, settings)


def picture(kind: int, tone: int) -> np.ndarray:
    """Grey, 16 x 16, with a bar that tells the kind by its place and the tone by its brightness."""
    pixels = np.full((16, 16), 30, dtype=np.uint8)
    pixels[4 * kind : 4 * kind + 5] = 120 + 100 * tone
    return pixels
