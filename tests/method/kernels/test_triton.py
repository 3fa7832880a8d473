"""The kernels for GPUs, without one: their numbers by Triton's interpreter, and that they compile."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("triton")

SCRIPT = Path(__file__).with_name("triton_cases.py")
# Named here as well, so that each is a test of its own without importing what only the other process may.
CASES = next(
    [ast.literal_eval(key) for key in node.value.keys]
    for node in ast.parse(SCRIPT.read_text("utf-8")).body
    if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "CASES"
)


def run(what: str, **environment: str) -> list[dict]:
    process = subprocess.run(
        [sys.executable, str(SCRIPT), what],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return [json.loads(line) for line in process.stdout.splitlines()]


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return run("interpret", TRITON_INTERPRET="1")


@pytest.fixture
def errors(rows) -> dict[str, list[float]]:
    """Of each case: the relative errors of losses and gradients against float64."""
    return {row["case"]: row["errors"] for row in rows}


def rounding(row: dict) -> float:
    """Of an exponential of the largest logit, 1 / temperature, that is off by float32's last digit.

    How close to it a gradient comes is up to the matrix product, which forward and backward may round differently.
    """
    return 2**-23 / row["temperature"]


@pytest.mark.parametrize("case", [c for c in CASES if "tight" not in c and "bfloat16" not in c])
def test_float32_vectors_give_the_losses_and_gradients_of_float64(case, rows):
    (row,) = (row for row in rows if row["case"] == case)
    assert max(row["errors"]) < rounding(row)


@pytest.mark.parametrize("case", [c for c in CASES if "bfloat16" in c])
def test_bfloat16_vectors_lose_what_a_gradient_of_bfloat16_must(case, errors):
    loss, *gradients = errors[case]
    assert loss < 2e-6
    assert max(gradients) < 3e-3


def test_float32_in_tight_clusters_is_as_good_as_plain_float32(errors):
    loss, gradient = errors["tight clusters"]
    assert loss < 2e-6
    assert gradient < 1e-4


def test_processes_that_exchange_numbers_have_the_whole_gradient(rows):
    exchanges = [row for row in rows if row["case"].startswith("exchange")]
    assert len(exchanges) == 3
    for row in exchanges:
        assert max(row["errors"]) < (3e-3 if "bfloat16" in row["case"] else rounding(row)), row


def test_labels_and_ids_of_any_size_and_type_are_told_apart(errors):
    renamed = {case: results for case, results in errors.items() if case.startswith("names of")}
    assert len(renamed) == 16
    assert all(max(results) == 0 for results in renamed.values()), renamed


@pytest.mark.skipif(
    tuple(map(int, version("triton").split(".")[:2])) < (3, 3), reason="triton < 3.3 compiles another kind of source"
)
def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    compiled = run("compile", TRITON_CACHE_DIR=str(tmp_path), TRITON_INTERPRET="0")
    assert {row["kernel"] for row in compiled} == {"_sum_triangle", "_sum_owned", "_gradient_owned"}
    assert all(row["fits"] for row in compiled)
