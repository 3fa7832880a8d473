"""A run with a label column of every kind, on pictures of weights that nobody trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import mscon
from mscon.data.batches.dataset import fit_similarities
from mscon.data.inputs import text
from mscon.data.table.table import read_table
from mscon.evaluate.features import extract
from mscon.model.model import CHECKPOINT_PREFIX, build_model
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.search.index import Index
from mscon.train.fit import fit

RECIPE = """
title = "Shoes"
[[similarity]]
column = "kind"
name = "categorical"
[[similarity]]
column = "closure"
name = "multi_label"
[[similarity]]
column = "heel"
name = "continuous"
width = 1.0
[data]
image_size = 16
channels = 1
[encoder]
width = 4
[heads]
output_dim = 6
[probe]
columns = ["shape", "size"]
[probe.kinds]
shape = "hierarchical"
size = { name = "ordinal", levels = ["small", "middle", "large"] }
"""

ROWS = 24
COLUMNS: dict[str, list[str | None]] = {
    "kind": ["boots", "sandals", None, "shoes"] * 6,
    "closure": ["zip", "zip;buckle", "laces", None, "buckle", "zip; laces"] * 4,
    "heel": [None if n % 8 == 7 else str(n / 4) for n in range(ROWS)],
    "shape": ["wide", "wide/round", "wide/round/deep", "narrow/point", None, "narrow/round"] * 4,
    "size": ["small", "middle", "large", None] * 6,
    "gender": ["women", "men", "women", "girls", None, "men"] * 4,
    "year": [str(1990 + n % 6) for n in range(ROWS)],
}

# Runs on what are no images: how rows are encoded, by [data] input.
INPUTS = {
    "vectors": '[data]\ninput = "vectors"\nvectors = "clip.npy"\n',
    "columns": '[data]\ninput = "columns"\nnumbers = ["height"]\ncategories = ["make"]\n',
    "text": '[data]\ninput = "text"\ntext = "review"\n',
}
TRAINED = """
[[similarity]]
column = "kind"
name = "categorical"
[[similarity]]
column = "price"
name = "continuous"
width = 2.0
[encoder]
name = "mlp"
settings = { units = 8, layers = 1 }
[train]
epochs = 1
batch_size = 8
precision = "float32"
"""

MakeRun = Callable[..., Run]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path_factory.mktemp("cache")))


def build_run(root: Path, *overrides: str, name: str = "run", features: bool = True) -> Run:
    """A run in a folder, by the recipe with some values set, and its pictures beside it."""
    parsed = recipes.parse(RECIPE, overrides)
    folder = root / "pictures"
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(ROWS):
        Image.fromarray(generator.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / f"{number}.png")
    run = Run.create(root / name)
    run.write_recipe(parsed)
    run.write_facts({"images_root": str(folder), "table": {"name": "shoes.csv"}})
    keys = {
        "line": list(range(2, ROWS + 2)),
        "split": ["train"] * 18 + ["test"] * 6,
        "image": [f"{n}.png" for n in range(ROWS)],
    }
    rows = pl.DataFrame(keys | COLUMNS)
    run.write_rows(rows)
    fitted = fit_similarities(rows, parsed.similarities)
    run.write_similarities(
        [{"name": p.name, "state": s.to_json()} for p, s in zip(parsed.similarities, fitted, strict=True)]
    )
    torch.manual_seed(0)
    model = build_model(parsed, parsed.similarities)
    model.train()(torch.rand(32, 1, 16, 16))  # norms have seen data
    state = {CHECKPOINT_PREFIX + k: v for k, v in model.state_dict().items()}
    run.write_checkpoint("last", state, {"epoch": 1})
    if features:
        extract(run, progress=False)
    return run


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(*overrides)`: a run that a test may change."""
    return partial(build_run, tmp_path)


@pytest.fixture(scope="session")
def shared_index(tmp_path_factory) -> Index:
    """The index of a run that no test changes."""
    return mscon.open_index(build_run(tmp_path_factory.mktemp("shared")))


def letters(texts: list[str], place: str) -> np.ndarray:
    """A stand-in for a sentence encoder: how often each of some letters occurs."""
    return np.array([[text.count(letter) for letter in "abeikor"] for text in texts], dtype=np.float32)


@pytest.fixture(scope="module")
def letter_encoder() -> Iterator[None]:
    """Texts are encoded by `letters`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_place", lambda model: model or "packaged")
        patch.setattr(text, "_encode", letters)
        yield


@pytest.fixture(scope="module")
def input_runs(tmp_path_factory: pytest.TempPathFactory, letter_encoder: None) -> dict[str, Run]:
    """A small run on vectors, on columns and on texts, all of the same rows."""
    return {kind: fit_run(tmp_path_factory.mktemp("inputs"), kind) for kind in INPUTS}


def fit_run(folder: Path, kind: str) -> Run:
    """A run on what is no image, trained for one epoch on 20 rows of a table in a folder."""
    np.save(folder / "clip.npy", np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32))
    lines = ["kind,price,split,height,make,review"]
    for n in range(20):
        review = f"{'broad boots' if n % 2 else 'a red sandal'} {'ok ' * (n % 7)}{'abe' * (n % 5)}"
        lines.append(f"{'ab'[n % 2]},{n},{'train' if n < 14 else 'test'},{n * 0.5},{'xyz'[n % 3]},{review}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    run = fit(recipes.parse(TRAINED + INPUTS[kind]), read_table(folder / "table.csv"), folder / kind, progress=False)
    extract(run, progress=False)
    return run


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    return make_run()


@pytest.fixture
def index(run: Run) -> Index:
    return mscon.open_index(run)


@pytest.fixture
def pictures(run: Run) -> Path:
    return Path(run.read_facts()["images_root"])
