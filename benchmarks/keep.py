"""What starting features beside learned ones are worth, and how to scale the two: on vectors of glyphs, for some seeds.

    mscon prepare glyphs data/glyphs
    python benchmarks/keep.py data/glyphs --seeds 0 1    # glyphs.npy in the folder keeps the vectors for the next time

Vectors are those of EfficientNet-Lite0 with ImageNet weights, of pictures of 64 pixels in grey. MSCon trains an MLP on
columns character, slant and weight; family and category are held out. Printed are, in %, the accuracy of a linear
classifier by least squares on standardised features (the penalty chosen on validation rows) and the mean average
precision at R of test rows among test rows.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int

from mscon.data.inputs import image_files
from mscon.evaluate.features import extract
from mscon.evaluate.metrics.retrieval import retrieval
from mscon.evaluate.targets import codes_of
from mscon.model.encoder import build_encoder
from mscon.model.principal_components import PrincipalComponents
from mscon.run import recipe as recipes
from mscon.train.fit import fit

COLUMNS = ("character", "slant", "weight", "family", "category")
RECIPE = """
similarity = [{ column = "character" }, { column = "slant" }, { column = "weight" }]
data = { input = "vectors", vectors = "glyphs.npy" }
encoder = { name = "mlp", settings = { units = 256, layers = 2 } }
weighting = { name = "equal" }
train = { epochs = 25, batch_size = 128, learning_rate = 1e-3, precision = "float32" }
"""
Rows = Mapping[str, Int[np.ndarray, " rows"]]
Vectors = Float[np.ndarray, "rows dim"]


def encoded(folder: Path, images: list[str]) -> Vectors:
    encoder = build_encoder(recipes.Encoder(name="efficientnet_lite0", pretrained=True), 1, 64).eval()
    blocks = []
    for start in range(0, len(images), 256):
        pixels, _ = image_files.decode_some([folder / name for name in images[start : start + 256]], 64, 1)
        with torch.inference_mode():
            blocks.append(encoder(torch.from_numpy(pixels).float() / 255).numpy())
    return np.concatenate(blocks)


def reduced(vectors: Vectors, components: int, train: Int[np.ndarray, " rows"]) -> Vectors:
    result: Vectors = (
        PrincipalComponents(vectors.shape[1], components).fit(vectors[train])(torch.from_numpy(vectors)).numpy()
    )
    return result


def variants(start: Vectors, learned: Vectors, train: Int[np.ndarray, " rows"]) -> dict[str, Vectors]:
    parts = [reduced(start, 128, train), reduced(learned, 128, train)]
    each = [part / part[train].std(axis=0) for part in parts]
    as_they_are = [
        part * np.sqrt(of[train].var(axis=0).sum()) for part, of in zip(parts, (start, learned), strict=True)
    ]
    standardised = (start - start[train].mean(axis=0)) / start[train].std(axis=0).clip(1e-6)
    return {
        "vectors, 1280": start,
        "vectors, 256 components": reduced(start, 256, train),
        "MSCon, 256": learned,
        "128 beside 128, total variance": np.concatenate(parts, axis=1),
        "128 beside 128, each component": np.concatenate(each, axis=1),
        "128 beside 128, not scaled": np.concatenate(as_they_are, axis=1),
        "128 of standardised vectors beside 128": np.concatenate([reduced(standardised, 128, train), parts[1]], axis=1),
        "all 1280 beside 256": np.concatenate([reduced(start, 1280, train), reduced(learned, 256, train)], axis=1),
    }


def accuracy(vectors: Vectors, codes: Int[np.ndarray, " rows"], rows: Rows) -> float:
    train, validation, test = (rows[name] for name in ("train", "validation", "test"))
    wide = vectors.astype(np.float64)
    wide = (wide - wide[train].mean(axis=0)) / wide[train].std(axis=0).clip(1e-9)
    target = np.eye(codes.max() + 1)[codes[train]]
    values, axes = np.linalg.eigh(wide[train].T @ wide[train])
    correlation = axes.T @ (wide[train].T @ (target - target.mean(axis=0)))
    scores = []
    for penalty in (1e-3, 1e-2, 1e-1, 1, 10):
        weights = axes @ (correlation / (values[:, None].clip(0) + penalty * len(train)))
        right = (wide @ weights + target.mean(axis=0)).argmax(axis=1) == codes
        scores.append((right[validation].mean(), -penalty, right[test].mean()))
    return 100 * float(max(scores)[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that `mscon prepare glyphs` wrote")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = pl.read_csv(arguments.folder / "glyphs.csv")
    path = arguments.folder / "glyphs.npy"
    if not path.exists():
        np.save(path, encoded(arguments.folder, table["image"].to_list()))
    start = np.load(path)
    split = table["split"].to_numpy()
    rows = {name: np.flatnonzero(split == name) for name in ("train", "validation", "test")}
    scores: dict[str, list[list[float]]] = {}
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as out:
            recipe = recipes.parse(RECIPE, [f"train.seed={seed}"])
            run = fit(recipe, arguments.folder / "glyphs.csv", Path(out) / "run", progress=False)
            assert run is not None
            extract(run, progress=False)
            learned = np.array(run.read_features())
            start_of_run = start[run.read_rows()["line"].to_numpy() - 2]
        assert np.array_equal(start_of_run, start), "the run has the rows of the table, in its order"
        for name, vectors in variants(start, learned, rows["train"]).items():
            codes = [codes_of(table[column].to_list())[0] for column in COLUMNS]
            test = rows["test"]
            linear = [accuracy(vectors, of, rows) for of in codes]
            near = [100 * float(retrieval(vectors[test], of[test]).map_at_r.mean()) for of in codes]
            scores.setdefault(name, []).append([*linear, *near])
    heads = [f"{measure} {column}" for measure in ("linear", "MAP@R") for column in COLUMNS]
    print("| features |", " | ".join(heads), "|\n|---|" + "---|" * len(heads))
    for name, of_seeds in scores.items():
        print(f"| {name} |", " | ".join(f"{value:.1f}" for value in np.mean(of_seeds, axis=0)), "|")


if __name__ == "__main__":
    main()
