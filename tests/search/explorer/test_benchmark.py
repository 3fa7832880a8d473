"""The benchmark of the page runs."""

from __future__ import annotations

import runpy
from pathlib import Path

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def test_the_benchmark_measures_a_small_page(browser, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = runpy.run_path(str(BENCHMARKS / "explorer.py"))
    record = benchmark["measure"](browser, rows=200, moves=4)
    assert len(record["handler"]) == len(record["laidOut"]) == 4
    assert any(line.startswith("| 200 | ") for line in benchmark["table"]([record], 4))
