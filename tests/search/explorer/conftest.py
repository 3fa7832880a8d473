"""Runs and pages for the tests of the explorer, and a browser to open them in."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mscon.cli import main
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.run.starting_recipes import recipe_text
from mscon.search.explorer.answers import Answers
from mscon.search.explorer.page import build_explorer
from mscon.search.explorer.server import ExplorerServer
from mscon_paper.sources import glyphs
from shapes import unchecked_shapes

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
"""Markup, as a label, a column and a file would have it."""

SPLITS = ("train", "train", "validation", "test", "unseen")


@pytest.fixture(scope="session")
def fresh_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """`made("name")`: a run with a column of every kind, 60 rows, hostile texts and holes; nothing was trained."""
    root = tmp_path_factory.mktemp("fresh_run")

    def build(name: str, rows: int = 60, images: bool = True, probed: bool = True) -> Run:
        return make_run(root / name, rows, images, probed)

    return build


def make_run(root: Path, count: int = 60, images: bool = True, probed: bool = True) -> Run:
    generator = np.random.default_rng(3)
    kinds = ["boots", "sandals", HOSTILE]
    code = np.arange(count) % 3
    height = np.round(np.linspace(0, 12, count), 1)
    paths = ["boots/ankle", "boots/knee", "sandals"]
    rows = pl.DataFrame(
        {
            "line": np.arange(2, count + 2),
            "split": [SPLITS[i % 5] for i in range(count)],
            "image": [f"{i:05d}.png" for i in range(count)],
            "kind": [None if i == 5 else kinds[c] for i, c in enumerate(code)],
            "closure": [None if i == 4 else ["zip;buckle", "zip", "laces"][i // 2 % 3] for i in range(count)],
            "size": [["small", "middle", "large"][i // 3 % 3] for i in range(count)],
            "shape": [paths[i // 4 % 3] for i in range(count)],
            "heel": [None if i == 7 else str(h) for i, h in enumerate(height)],
            f"maker </script>{HOSTILE}": [["here", "there"][i // 5 % 2] for i in range(count)],
        }
    )
    run = Run.create(root)
    names = ("kind", "closure", "size", "shape", "heel")
    text = "title = 'Shoes <b>&amp;</b>'\n[data]\nimage_size = 32\n[train]\nseed = 0\n"
    run.write_recipe(recipes.parse(text + "".join(f"[[similarity]]\ncolumn = {name!r}\n" for name in names)))
    run.write_rows(rows)
    pictures = root.parent / f"{root.name}-images"
    run.write_facts({"table": {"name": f"{HOSTILE}.csv"}, "images_root": str(pictures)})
    run.write_similarities(
        [
            {"name": "categorical", "state": {"column": "kind", "classes": sorted(kinds)}},
            {
                "name": "multi_label",
                "state": {"column": "closure", "labels": ["buckle", "laces", "zip"], "separator": ";", "alike": "any"},
            },
            {"name": "ordinal", "state": {"column": "size", "levels": ["small", "middle", "large"]}},
            {
                "name": "hierarchical",
                "state": {"column": "shape", "paths": [p.split("/") for p in paths], "separator": "/", "under": []},
            },
            {"name": "continuous", "state": {"column": "heel", "width": 1.0, "centre": 5.0}},
        ]
    )
    if images:
        pictures.mkdir()
        for i, name in enumerate(rows["image"]):
            pixels = generator.integers(0, 255, size=(8, 8, 3), dtype=np.uint8)
            pixels[:, :, code[i]] = 220
            Image.fromarray(pixels).resize((32, 32)).save(pictures / name)
    if probed:
        places = [np.eye(3)[code], np.eye(3)[np.arange(count) // 2 % 3], np.eye(3)[np.arange(count) // 3 % 3]]
        places += [
            np.eye(3)[np.arange(count) // 4 % 3],
            np.stack([np.cos(height / 5), np.sin(height / 5), 0 * height], 1),
        ]
        vectors = np.stack([np.pad(p, ((0, 0), (0, 5))) for p in places]) + generator.normal(0, 0.1, (5, count, 8))
        vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)
        run.write_features(vectors[0], vectors)
    return run


@pytest.fixture(scope="session")
def glyph_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run on rendered glyphs, really trained and embedded: once for all processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "glyphs-of-the-explorer"
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "embedded").exists():
            train_on_glyphs(root)
            (root / "embedded").touch()
    return Run.open(root / "run")


def train_on_glyphs(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSCON_CACHE", str(root / "cache"))
        table = glyphs.prepare(root, characters="abcdeg")
        recipe = root / "glyphs.toml"
        recipe.write_text(recipe_text("glyphs"))
        settings = [
            "train.epochs=10",
            "train.learning_rate=0.02",
        ]
        overrides = [part for value in settings for part in ("--set", value)]
        out = root / "run"
        from mscon.evaluate.features import extract

        with unchecked_shapes():
            assert main(["train", str(recipe), "--table", str(table), *overrides, "--no-probe", "--out", str(out)]) == 0
            extract(Run.open(out), progress=False)


@pytest.fixture(scope="session")
def glyph_page(glyph_run: Run) -> str:
    return build_explorer(glyph_run, glyph_run.root, seconds=0.0).as_uri()


@pytest.fixture(scope="session")
def kinds_page(fresh_run: Callable[..., Run]) -> str:
    run = fresh_run("shoes")
    return build_explorer(run, run.root).as_uri()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: $MSCON_SCREENSHOTS, else a folder that pytest keeps for a while."""
    if overrides := os.environ.get("MSCON_SCREENSHOTS"):
        Path(overrides).mkdir(parents=True, exist_ok=True)
        return Path(overrides)
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture
def serving() -> Iterator[Callable[..., ExplorerServer]]:
    """`serving(answers)`: a server that answers until the test ends."""
    started: list[tuple[ExplorerServer, threading.Thread]] = []

    def start(answers: Answers, seconds: float = 20.0) -> ExplorerServer:
        server = ExplorerServer(answers, seconds=seconds)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, _ in started:
        server.stop()
    for _, thread in started:
        thread.join(5)


@pytest.fixture
def open_page(browser: Any, serving: Any) -> Iterator[Callable[..., Any]]:
    """`open_page(address)`: a page that must not complain and must ask for nothing but files, or its own server.

    It asks for `serving` so that pages are closed before the servers that they ask.
    """
    opened, messages, requested, allowed = [], [], [], ["data:", "file:"]

    def build(address: str, width: int = 1300, height: int = 900, scheme: str = "light") -> Any:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.set_default_timeout(5_000)
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        if address.startswith("http://127.0.0.1:"):
            allowed.append("/".join(address.split("/")[:4]) + "/")
        page.goto(address)
        opened.append(page)
        return page

    yield build
    for page in opened:
        page.close()
    assert messages == []
    assert [url for url in requested if not url.startswith(tuple(allowed))] == []


@pytest.fixture(scope="session")
def shoes(fresh_run: Callable[..., Run]) -> Run:
    """The run of every kind of column, with a checkpoint that its projections are of; it holds no weights."""
    run = fresh_run("served")
    run.write_checkpoint("last", {}, {"epoch": 1})
    run.write_features(run.read_features(), run.read_projections())
    return run
