"""A table of vectors with planted wrong labels of every kind, and a run of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

import mscon
from mscon.run import recipe as recipes
from mscon.run.run import Run

ROWS = 300


@dataclass(frozen=True)
class Planted:
    """A run, its table, and which rows of each column have a wrong label."""

    run: Run
    table: Path
    frame: pl.DataFrame
    right: dict[str, list[str]]

    def wrong_lines(self, column: str) -> set[int]:
        cells = self.frame[column].cast(pl.String).to_list()
        pairs = enumerate(zip(cells, self.right[column], strict=True), start=2)
        if column == "size":  # what lies near the right number is no mistake that anybody could find
            return {line for line, (cell, right) in pairs if abs(float(cell) - float(right)) > 5}
        return {line for line, (cell, right) in pairs if cell != right}


def cells(seed: int = 0) -> tuple[np.ndarray, dict[str, list[str]], dict[str, list[str]]]:
    """Vectors, right cells and cells with mistakes: classes, numbers, sets, paths, levels."""
    generator = np.random.default_rng(seed)
    kind, shade = generator.integers(4, size=ROWS), generator.integers(2, size=ROWS)
    size = kind * 10 + generator.normal(size=ROWS) * 0.3
    vectors = np.concatenate([3 * np.eye(4)[kind], 3 * shade[:, None]], axis=1)
    vectors = np.concatenate([vectors + generator.normal(size=vectors.shape) * 0.6, size[:, None] * 0.3], axis=1)
    right = {
        "kind": ["abcd"[k] for k in kind],
        "size": [f"{value:.3f}" for value in size],
        "tags": [";".join(sorted({"mn"[s], "xyz"[k % 3]})) for k, s in zip(kind, shade, strict=True)],
        "path": [f"{'pq'[k // 2]}/{'abcd'[k]}" for k in generator.permutation(4)[kind]],
        "grade": ["low" if k < 2 else "mid" if k < 3 else "high" for k in kind],
    }
    noisy = {}
    for name, values in right.items():
        wrong = generator.permutation(ROWS)[: ROWS // 10]
        others = generator.permutation(ROWS)[: len(wrong)]
        noisy[name] = list(values)
        for row, other in zip(wrong, others, strict=True):
            noisy[name][row] = values[other]
    return vectors.astype(np.float32), right, noisy


def trained(folder: Path, columns: dict[str, list[str | None]], vectors: np.ndarray, epochs: int = 1) -> Run:
    np.save(folder / "points.npy", vectors)
    split = ["train" if n % 5 < 3 else "validation" if n % 5 < 4 else "test" for n in range(len(vectors))]
    pl.DataFrame({"split": split, **columns}).write_csv(folder / "things.csv")
    kinds = {"size": ("continuous", {"width": 4.0}), "tags": ("multi_label", {}), "path": ("hierarchical", {})}
    kinds["grade"] = ("ordinal", {"levels": ["low", "mid", "high"]})
    parts = tuple(recipes.similarity_part(c, *kinds.get(c, ("categorical", {}))) for c in columns)
    recipe = recipes.Recipe(
        similarities=parts,
        data=recipes.Data(input="vectors", vectors="points.npy"),
        encoder=recipes.Encoder(name="mlp", settings={"units": 8, "layers": 1}),
        train=recipes.Train(epochs=epochs, batch_size=32),
    )
    return mscon.fit(recipe, folder / "things.csv", folder / "run", progress=False)


def planted_run(folder: Path) -> Planted:
    """A run whose labels have been judged."""
    vectors, right, noisy = cells()
    run = trained(folder, noisy, vectors)
    mscon.doubt(run, progress=False)
    return Planted(run, folder / "things.csv", pl.DataFrame(noisy), right)
