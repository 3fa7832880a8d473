"""Small runs made of seeded numbers, written by Run itself: what training and probing would have left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from mscon.run import recipe as recipes
from mscon.run.run import Run

SPLITS = {"train": 30, "validation": 8, "test": 40, "unseen": 24}


def make_rows(classes: Mapping[str, Sequence[str]], splits: Mapping[str, int] = SPLITS, seed: int = 0) -> pl.DataFrame:
    """Random labels, a twentieth of them missing."""
    generator = np.random.default_rng(seed)
    split = [name for name, count in splits.items() for _ in range(count)]
    columns: dict[str, list[object]] = {
        "line": list(range(2, len(split) + 2)),
        "split": list(split),
        "image": [f"{i:04d}.png" for i in range(len(split))],
    }
    for name, labels in classes.items():
        drawn = generator.integers(len(labels), size=len(split))
        columns[name] = [None if generator.random() < 0.05 else labels[i] for i in drawn]
    return pl.DataFrame(columns)


def make_images(folder: Path, rows: pl.DataFrame, side: int = 24, seed: int = 0) -> None:
    """One small picture a row: a light shape on dark ground."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for name in rows["image"]:
        picture = np.zeros((side, side), dtype=np.uint8)
        y, x, h, w = generator.integers(2, side // 2, size=4)
        picture[y : y + h, x : x + w] = generator.integers(120, 255)
        Image.fromarray(picture).save(folder / name)


def make_run(
    root: Path,
    rows: pl.DataFrame,
    *,
    title: str = "MSCon",
    seed: int = 0,
    train_on: Sequence[str] = ("character", "slant"),
    ask: Sequence[str] = ("character", "slant", "family"),
    skill: float = 0.8,
    settings: Sequence[str] = (),
    images: Path | None = None,
    steps: int = 40,
    probed: bool = True,
    table: str = "glyphs.csv",
) -> Run:
    """One run directory. `skill` is the chance that a probe is right about a row."""
    generator = np.random.default_rng([seed, int(1000 * skill), len(title)])
    similarities = "\n".join(
        f"[[similarity]]\ncolumn = {column!r}" + ('\nname = "same_row"' if column == "same_row" else "")
        for column in train_on
    )
    text = f"title = {title!r}\n[train]\nseed = {seed}\n[data]\nimage_size = 24\nchannels = 1\n{similarities}\n"
    run = Run.create(root)
    run.write_recipe(recipes.parse(text, settings))
    run.write_facts(
        {
            "versions": {"mscon": "0.1.0", "torch": "2.9"},
            "machine": {"cpu": "a processor", "cores": 2},
            "table": {"name": table, "sha256": "0" * 64, "path": "/home/somebody/secret/glyphs.csv"},
            "images_root": None if images is None else str(images),
            "precision": "bfloat16",
        }
    )
    run.write_similarities(
        [
            {"name": "same_row", "state": {"column": c}}
            if c not in rows.columns
            else {
                "name": "categorical",
                "state": {"column": c, "classes": rows[c].drop_nulls().unique().sort().to_list()},
            }
            for c in train_on
        ]
    )
    run.write_rows(rows)
    for step in range(1, steps + 1):
        left = float(np.exp(-4 * step / steps) + 0.05 * generator.random())
        record = {
            "loss": dict.fromkeys(train_on, 1.4 + 3 * left),
            "weight": dict.fromkeys(train_on, 1.0 - 0.3 * left),
            "relative_excess": {c: left if c != train_on[-1] or step > 1 else None for c in train_on},
            "positive_share": dict.fromkeys(train_on, 0.97),
        }
        run.append_log({"kind": "step", "epoch": 1, "step": step, "total": 5 * left, "learning_rate": 1e-3, **record})
        if step % 10 == 0:
            excess = dict.fromkeys(train_on, left + 0.1)
            run.append_log(
                {
                    "kind": "validation",
                    "epoch": step // 10,
                    "step": step,
                    "loss": record["loss"],
                    "relative_excess": excess,
                }
            )
    if probed:
        _probe(run, rows, train_on, ask, skill, generator)
    return run


def _probe(
    run: Run,
    rows: pl.DataFrame,
    train_on: Sequence[str],
    ask: Sequence[str],
    skill: float,
    generator: np.random.Generator,
) -> None:
    split = np.array(rows["split"].to_list())
    linear, neighbours, arrays = [], [], {}
    codes = {}
    for i, column in enumerate(ask):
        values = rows[column].to_list()
        classes = sorted({v for v in values if v is not None})
        code = np.array([-1 if v is None else classes.index(v) for v in values])
        codes[column] = code
        test = np.flatnonzero((split == "test") & (code >= 0))
        wrong = generator.random(len(test)) >= skill
        predicted = np.where(wrong, (code[test] + 1 + generator.integers(2, size=len(test))) % len(classes), code[test])
        counts = np.zeros((len(classes), len(classes)), dtype=int)
        np.add.at(counts, (code[test], predicted), 1)
        share = float((predicted == code[test]).mean())
        about = {"value": share, "low": share - 0.05, "high": share + 0.05}
        linear.append(
            {
                "column": column,
                "trained": column in train_on,
                "classes": classes,
                "train_rows": 30,
                "validation_rows": 8,
                "test_rows": len(test),
                "dropped_rows": 0,
                "accuracy": about,
                "macro_f1": about,
                "majority": float(np.bincount(code[test]).max() / len(test)),
                "regularisation": 1.0,
                "confusion": counts.tolist(),
            }
        )
        arrays |= {
            f"linear/{i}/row": test,
            f"linear/{i}/true": code[test],
            f"linear/{i}/predicted": predicted,
        }
        unseen = np.flatnonzero((split == "unseen") & (code >= 0))
        if column in train_on or not len(unseen):
            continue
        k = len(neighbours)
        scores = {
            "precision_at_1": (generator.random(len(unseen)) < skill).astype(np.float32),
            "r_precision": generator.random(len(unseen)).astype(np.float32) * skill,
            "map_at_r": generator.random(len(unseen)).astype(np.float32) * skill * 0.8,
        }
        arrays |= {f"neighbours/{k}/row": unseen, **{f"neighbours/{k}/{name}": v for name, v in scores.items()}}
        means = {name: {"value": float(v.mean()), "low": 0.0, "high": 1.0} for name, v in scores.items()}
        chance = {"chance": 1 / len(classes), "map_at_r_chance": 0.5 / len(classes)}
        neighbours.append({"column": column, "trained": False, "rows": len(unseen), "left_out": 0, **means, **chance})
    # Rows of a class lie together, the closer the more skill.
    places = sum(
        generator.normal(size=(code.max() + 2, 32))[code] * (2.2 if column in train_on else 1.1)
        for column, code in codes.items()
    )
    features = (places * skill + generator.normal(size=(len(rows), 32))).astype(np.float32)
    projections = []
    for column in train_on:
        code = codes.get(column, np.arange(len(rows)))
        vectors = generator.normal(size=(code.max() + 2, 8))[code] * 2 + generator.normal(size=(len(rows), 8))
        projections.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    run.write_features(features, np.stack(projections).astype(np.float32))
    even = {"rows": 40, "score": -1.5 - skill, "tolerance": [{"column": c, "cosine": skill / 2} for c in codes]}
    run.write_probe({"checkpoint": "last", "linear": linear, "neighbours": neighbours, "uniformity": even}, arrays)


CLASSES = {
    "character": [chr(ord("a") + i) for i in range(8)],
    "slant": ["upright", "italic"],
    "family": [f"family {i}" for i in range(5)],
}
