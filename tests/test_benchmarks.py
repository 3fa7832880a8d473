"""Benchmarks that need a GPU or a large table run without them, at tiny sizes."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.py"
IS_FULL = os.environ.get("MSCON_RELIABILITY") == "full"


def test_the_benchmark_for_a_gpu_measures_every_part(tmp_path):
    """In `make test` the loss and views; a training and torchrun take longer."""
    pytest.importorskip("triton")
    pytest.importorskip("pytorch_metric_learning")
    parts = ["loss", "views", *(["step", "nccl"] if IS_FULL else [])]
    command = [sys.executable, str(SCRIPT), "--dry-run", "--only", *parts]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    lines = [
        line.partition(" ") for line in ended.stdout.splitlines() if line.startswith(tuple(f"{p} {{" for p in parts))
    ]
    records = {name: json.loads(text) for name, _, text in lines}
    assert [*records] == parts
    assert records["loss"]["dtype"] == "bfloat16"
    assert records["loss"]["value_error"] < 2e-6 and records["loss"]["gradient_error"] < 4e-3
    assert all(records["loss"][f"{name}_ms"] > 0 for name in ("mscon", "PML", "plain"))
    assert records["views"]["images_a_second"] > 0
    if IS_FULL:
        assert records["nccl"]["equal"] is True and records["nccl"]["statuses"] == [0, 0]
        assert records["step"]["cosine"] > 0.97
    assert "## The loss of three columns" in ended.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not IS_FULL, reason="six verbs, each in a process that imports torch; in the full run")
def test_the_benchmark_of_a_large_table_takes_every_verb(tmp_path):
    command = [sys.executable, str(SCRIPT.with_name("large.py")), "--rows", "3000"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = [line.split(" | ") for line in ended.stdout.splitlines() if line.endswith("| 0 |")]
    embeds = ["embed", "embed --all", "embed --no-uncertainty"]
    assert [row[0].removeprefix("| ") for row in rows] == ["check", "train", "probe", *embeds, "search", "explore"]


def test_the_page_of_a_large_table_is_its_record_and_tells_calls_apart(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    large = importlib.import_module("large")
    record = json.loads((large.RESULTS / "large.json").read_text("utf-8"))
    results = [large.Measured(**one) for one in record["results"]]
    page = large.page_of(results, record["rows"], record["megabytes"])
    assert page == (large.RESULTS / "large.md").read_text("utf-8")
    other = [replace(one, machine="a computer") if one.verb == "probe" else one for one in results]
    assert "\nprobe: a computer.\n" in large.page_of(other, record["rows"], record["megabytes"])


def test_the_debiased_calibration_error_is_free_of_chance(monkeypatch):
    """Right confidences have none on average; those that are a tenth too high have what they have, in its interval."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    predict = importlib.import_module("predict")
    monkeypatch.setattr(predict, "DRAWS", 200)
    generator, squares, inside = np.random.default_rng(0), [], []
    for _ in range(40):
        confidence = generator.random(1_000)
        squares.append(predict.squared_error(confidence, generator.random(1_000) < confidence))
        is_right = generator.random(1_000) < 0.9 * confidence
        _, low, high = predict.debiased(confidence, is_right, np.arange(1_000))
        inside.append(low <= 0.1 * math.sqrt(1 / 3) <= high)
    assert abs(np.mean(squares)) < 6e-4  # 2.5e-3 with chance
    assert 0.85 <= np.mean(inside) <= 1


def test_the_plan_of_many_rows_is_computed_of_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    scale = importlib.import_module("scale")
    record = json.loads((scale.RESULTS / "scale.json").read_text("utf-8"))
    large = json.loads((scale.RESULTS / "large.json").read_text("utf-8"))
    tables = scale.plan(record, large, *scale.of_step())
    page = scale.PAGE.read_text("utf-8")
    assert scale.page_of(page, tables, record["machine"]) == page
    # A straight line through both measurements; ten times the rows cost nine times the difference more.
    assert scale.line(2.0, 11.0, 1_000_000) == 11.0 and scale.line(2.0, 11.0, 10_000_000) == pytest.approx(101.0)
    assert scale.line(3.0, 2.0, 10_000_000) == 3.0  # never less than was measured
    assert scale.hours(7_200) == "2.0 h" and scale.size(3.2e12) == "3.2 TB"
    assert {one["verb"] for one in large["results"]} >= set(record["table"]["peak_mb"]) == set(scale.VERBS)


def test_the_benchmark_of_fewer_bits_compares_with_the_exact_rows(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    quantisation = importlib.import_module("quantisation")
    vectors = np.random.default_rng(0).normal(size=(400, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = np.arange(30)
    rows = quantisation.found_by(vectors, (24,), queries)
    scores = vectors[queries] @ vectors.T
    scores[queries, queries] = -2
    assert np.array_equal(np.sort(rows["exact"]), np.sort(np.argsort(-scores, axis=1)[:, :10]))
    recall = {
        way: np.mean([np.isin(a, b).mean() for a, b in zip(rows[way], rows["exact"], strict=True)]) for way in rows
    }
    assert recall["float16"] > 0.99 and recall["int8, decoded"] > 0.95
    assert recall["binary, decoded"] < recall["binary, 40 rescored by int8"] <= recall["binary, 40 rescored by float32"]
