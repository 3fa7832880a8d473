"""Runs for the tests of the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mscon.run.run import Run

from .runs import CLASSES, make_rows, make_run


@pytest.fixture(scope="session")
def rows() -> pl.DataFrame:
    return make_rows(CLASSES)


@pytest.fixture
def a_run(tmp_path: Path, rows: pl.DataFrame) -> Callable[..., Run]:
    """`a_run("name", **what)`: a run directory of that name in a folder of its own."""

    def build(name: str, table: pl.DataFrame | None = None, **what: object) -> Run:
        return make_run(tmp_path / name, rows if table is None else table, **what)  # type: ignore[arg-type]

    return build
