"""Packed models of strangers, with checksums that fit: one message, and no memory beyond their own size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.torch import safe_open, save_file

from mscon.deploy.load import load
from mscon.deploy.packed import checksum
from mscon.errors import MSConError, RunError
from process import call
from reliability.fuzz.packed import PackedModels


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> dict[str, Path]:
    return PackedModels().prepare(tmp_path_factory.mktemp("packed"))


def hostile(source: Path, target: Path, **values: Any) -> Path:
    """A copy whose JSON says something else in the places of these paths ("recipe.encoder.settings")."""
    with safe_open(source, framework="pt") as file:
        metadata, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    config = json.loads(metadata["mscon"])
    for path, value in values.items():
        *sections, last = path.split("__")
        section = config
        for name in sections:
            section = section[name]
        section[last] = value
    metadata["mscon"] = json.dumps(config)
    metadata["sha256"] = checksum(metadata, tensors)
    save_file(tensors, target, metadata=metadata)
    return target


def test_json_that_is_nested_deeply_is_no_packed_model(packed, tmp_path):
    with safe_open(packed["vectors"], framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    metadata = {"mscon": "[" * 100_000}
    save_file(tensors, tmp_path / "m.safetensors", metadata=metadata | {"sha256": checksum(metadata, tensors)})
    with pytest.raises(RunError, match="is no packed model of mscon"):
        load(tmp_path / "m.safetensors")


ENORMOUS = [
    ("vectors", {"recipe__encoder__settings": {"units": 65_536, "layers": 64}}),
    ("vectors", {"recipe__heads__hidden_dim": 65_536, "recipe__heads__output_dim": 65_536}),
    ("image", {"recipe__encoder__width": 1_024}),
    ("vectors", {"inputs": {"input": "vectors", "width": 2**24}}),
]


def refusals(folder: Path) -> int:
    """What is said of each file of a folder, with no more memory than 512 MB above what the imports take."""
    import resource

    size = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**29, size + 2**29))
    for path in sorted(folder.glob("*.safetensors")):
        try:
            load(path)
        except MSConError as error:
            print(str(error).partition("\n")[0])
    return 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the size of the process from /proc")
def test_a_model_larger_than_its_weights_is_refused_before_it_takes_memory(packed, tmp_path):
    for number, (kind, values) in enumerate(ENORMOUS):
        hostile(packed[kind], tmp_path / f"{number}.safetensors", **values)
    outcome = call(refusals, tmp_path, cwd=tmp_path).wait()
    assert outcome.status == 0, outcome
    said = outcome.out.splitlines()
    assert len(said) == len(ENORMOUS)
    assert all("are not of the model that it describes" in message for message in said)


NUMBER = {"column": "x", "mean": 0.0, "std": 1.0, "says_missing": False}
CATEGORY = {"column": "y", "values": ["a", "b"], "says_missing": False}


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({"width": 3}, "missing required field `numbers`"),
        ({"width": 3, "numbers": [5], "categories": []}, "Expected `object`, got `int`"),
        ({"width": 3, "numbers": [NUMBER | {"std": 0.0}], "categories": [CATEGORY]}, r"> 0.0 - at `\$.numbers"),
        ({"width": 3, "numbers": [NUMBER | {"mean": "a"}], "categories": [CATEGORY]}, r"at `\$.numbers\[0\].mean`"),
        ({"width": 3, "numbers": [NUMBER], "categories": [CATEGORY | {"values": "ab"}]}, r"values`"),
        ({"width": 3, "numbers": [NUMBER], "categories": []}, "vectors of 1 numbers, but 3 are told"),
    ],
)
def test_columns_that_are_told_otherwise_are_one_message(packed, tmp_path, inputs, what):
    path = hostile(packed["columns"], tmp_path / "m.safetensors", inputs=inputs)
    with pytest.raises(RunError, match=rf"m.safetensors'.*{what}"):
        load(path)


def test_a_column_that_only_the_statistics_name_is_one_message(packed, tmp_path):
    inputs = {"width": 3, "numbers": [NUMBER | {"column": "z"}], "categories": [CATEGORY]}
    model = load(hostile(packed["columns"], tmp_path / "m.safetensors", inputs=inputs))
    with pytest.raises(MSConError, match="there is no column 'z'"):
        model.embed(pl.DataFrame({"x": ["1"], "y": ["a"]}))


def test_what_is_not_changed_is_read(packed, tmp_path):
    model = load(hostile(packed["vectors"], tmp_path / "m.safetensors"))
    assert model.embed(np.zeros((2, 3))).shape == (2, 8)
