"""Files of a run that hold what mscon never writes are refused by name, though their checksums fit, or are gone."""

from __future__ import annotations

import io
import json

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save

from mscon.errors import RunError
from mscon.run import checksums
from mscon.run.run import Run

ROWS = pl.DataFrame({"line": [2, 3], "split": ["train", "test"], "image": ["", ""], "kind": ["a", None]})


@pytest.fixture
def run(tmp_path):
    run = Run.create(tmp_path / "run")
    (run.root / "recipe.toml").write_text('[[similarity]]\ncolumn = "kind"\n')
    checksums.record(run.root, "recipe.toml")
    run.write_facts({"table": {"name": "t.csv"}})
    run.write_rows(ROWS)
    run.append_log({"kind": "step", "step": 1, "loss": {"kind": 1.0}})
    return run


def put(run, name, content, sums):
    """Another content, with a checksum that fits it; or without any."""
    (run.root / name).parent.mkdir(exist_ok=True)
    (run.root / name).write_bytes(content)
    if sums == "fit":
        checksums.record(run.root, name)
    else:
        (run.root / checksums.NAME).unlink()


def parquet(frame):
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


ODD = {
    "read_facts": (
        "run.json",
        [{"table": 1}, {"versions": []}, {"images_root": 3}, [], None, 5, {"table": {"name": {}}}],
    ),
    "read_similarities": ("similarities.json", [{}, [1], [{"name": "a"}], [{"name": 1, "state": {}}], None]),
    "read_inputs": ("inputs.json", [{}, {"width": -1}, {"width": 10**30}, {"width": 2, "numbers": [1]}, []]),
    "read_probe": (
        "probe.json",
        [
            {"linear": [{}]},
            {"linear": {"column": 1}},
            {"skipped": ["a"]},
            {"start": 7},
            {"uncertainty": 7},
            {"uncertainty": {"summary": []}},
            {"uncertainty": {"threshold": 0.8, "summary": [{"trained": True}]}},
            {"uncertainty": {"threshold": 0.8, "summary": [], "unseen": {"rows": 3, "auroc": 0.6}}},
            {"linear": [{"column": "a", "accuracy": {"value": 1.0, "low": 0.5}}]},
        ],
    ),
    "read_layers": ("layers.json", [{}, {"layers": []}, {"layers": {"a": 1}}]),
    "read_masks": ("masks.json", [{}, [1], [["a"]]]),
    "read_doubt": (
        "doubt.json",
        [
            {},
            {"features": "x", "columns": [{}], "skipped": [], "checkpoint": "last", "checkpoint_sha256": ""},
            {"features": "x", "columns": [], "skipped": [], "checkpoint": "../../last", "checkpoint_sha256": ""},
        ],
    ),
}


@pytest.mark.parametrize("sums", ["fit", "none"])
@pytest.mark.parametrize(("reader", "value"), [(reader, value) for reader, (_, odd) in ODD.items() for value in odd])
def test_json_of_another_shape_is_refused_by_name(run, reader, value, sums):
    name = ODD[reader][0]
    put(run, name, json.dumps(value).encode(), sums)
    with pytest.raises(RunError, match=rf"{name} does not hold what mscon writes into it: "):
        getattr(run, reader)()


def test_a_line_of_the_log_that_is_nested_deeply_is_left_out_as_a_torn_one_is(run):
    with (run.root / "log.jsonl").open("a") as file:
        file.write("[" * 100_000 + "\n")
    assert [record["step"] for record in run.read_log()] == [1]


def test_json_that_is_nested_too_deeply_is_refused_by_name(run):
    put(run, "run.json", b"[" * 100_000, "fit")
    with pytest.raises(RunError, match=r"run.json is not valid JSON: nested more than 64 deep"):
        run.read_facts()


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (ROWS.drop("line"), "'line' does not hold a whole number in every row"),
        (ROWS.with_columns(line=pl.lit("x")), "'line' does not hold a whole number in every row"),
        (ROWS.with_columns(split=pl.lit(None, dtype=pl.String)), "'split' does not hold text in every row"),
        (ROWS.drop("split"), "'split' does not hold text in every row"),
        (ROWS.with_columns(image=pl.lit(3)), "'image' does not hold text"),
        (ROWS.with_columns(kind=pl.lit(1.5)), "'kind' does not hold text"),
    ],
)
@pytest.mark.parametrize("sums", ["fit", "none"])
def test_rows_of_other_columns_are_refused_by_name(run, rows, what, sums):
    put(run, "rows.parquet", parquet(rows), sums)
    with pytest.raises(RunError, match=rf"rows.parquet does not hold what mscon writes into it: its column {what}"):
        run.read_rows()
    with pytest.raises(RunError, match=r"rows.parquet"):
        run.as_it_is().read_rows()


def test_a_file_that_is_no_parquet_is_refused_by_name(run):
    put(run, "rows.parquet", b"PAR1PAR1", "fit")
    with pytest.raises(RunError, match=r"rows.parquet does not hold what mscon writes into it"):
        run.read_rows()


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "step", "step": "x"},
        {"kind": 1},
        {"kind": "step", "loss": {"kind": ";"}},
        {"kind": "step", "weight": [1]},
        {"total": "much"},
    ],
)
def test_a_log_of_other_records_is_refused_by_name(run, record):
    (run.root / "log.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(RunError, match=r"log.jsonl does not hold what mscon writes into it"):
        run.read_log()


@pytest.mark.parametrize(
    "text",
    ["title = 1", "similarity = []", "similarity = 1", "[[similarity]]\nname = 'a'", "[[similarity]]\ncolumn = 1"],
)
def test_a_recipe_of_another_shape_is_refused_by_name(run, text):
    put(run, "recipe.toml", text.encode(), "fit")
    with pytest.raises(RunError, match=r"recipe.toml does not hold what mscon writes into it"):
        run.read_recipe_values()


TENSORS = {
    "no tensors": b"x" * 50,
    "a header that is cut off": save({"features": np.zeros((2, 3), np.float32)})[:40],
    "another name": save({"other": np.zeros((2, 3), np.float32)}),
    "another shape": save({"features": np.zeros(6, np.float32)}),
}


@pytest.mark.parametrize("sums", ["fit", "none"])
@pytest.mark.parametrize("is_as_it_is", [False, True])
@pytest.mark.parametrize("content", TENSORS.values(), ids=TENSORS)
def test_tensors_of_another_shape_are_refused_by_name(run, content, is_as_it_is, sums):
    put(run, "features/features.safetensors", content, sums)
    with pytest.raises(RunError, match=r"features.safetensors does not hold what mscon writes into it"):
        (run.as_it_is() if is_as_it_is else run).read_features()


@pytest.mark.parametrize("content", [*TENSORS.values(), save({"a": np.zeros(2)}, {"state": "[" * 5_000})])
def test_a_checkpoint_of_another_shape_is_refused_by_name(run, content):
    put(run, "checkpoints/last.safetensors", content, "fit")
    with pytest.raises(RunError, match=r"last.safetensors does not hold what mscon writes into it"):
        run.read_checkpoint("last")
