"""The benchmark of the page runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "explorer.py"


def test_the_benchmark_measures_a_small_page():
    pytest.importorskip("playwright", reason="playwright is not installed")
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no chromium on this machine (tests/browser.py installs one)")
    command = [sys.executable, str(BENCHMARK), "--rows", "200", "--moves", "4"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert "| 200 | " in process.stdout
