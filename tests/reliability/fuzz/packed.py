"""Packed models of strangers: their JSON, their tensors, and the bytes of the file, with checksums that fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from safetensors.torch import safe_open, save, save_file

from mscon.deploy.load import load
from mscon.deploy.packed import checksum, describe
from mscon.model.model import build_model
from mscon.run import recipe as recipes
from reliability.fuzz.hostile import changed, changes, edited, edits, header_changed, json_texts
from reliability.fuzz.surface import Surface

_KINDS = ("image", "vectors", "columns")
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool)


def _recipe(kind: str) -> recipes.Recipe:
    encoder = {"name": "small_cnn", "width": 4} if kind == "image" else {"name": "mlp", "settings": {"units": 8}}
    data: dict[str, Any] = {"input": kind, "image_size": 16, "vectors": "v.npy", "numbers": ["x"], "categories": ["y"]}
    heads = {"name": "mlp", "output_dim": 4}
    similarity = [{"column": "kind", "name": "categorical"}]
    return recipes.of_plain({"similarity": similarity, "data": data, "encoder": encoder, "heads": heads})


_INPUTS: dict[str, Any] = {
    "image": None,
    "vectors": {"input": "vectors", "width": 3},
    "columns": {
        "input": "columns",
        "width": 3,
        "numbers": [{"column": "x", "mean": 0.0, "std": 1.0, "says_missing": False}],
        "categories": [{"column": "y", "values": ["a", "b"], "says_missing": False}],
    },
}


class PackedModels(Surface):
    tries, share = 300, 15
    megabytes = 512

    def cases(self) -> SearchStrategy[Any]:
        tensor = st.tuples(
            st.integers(0, 40), st.sampled_from(("dtype", "shape", "nan", "remove", "more")), st.integers(0, 5)
        )
        return st.tuples(
            st.sampled_from(_KINDS),
            st.just([]) | changes | json_texts,
            st.lists(tensor, max_size=2),
            st.just([]) | changes,
            st.just([]) | edits,
        )

    def prepare(self, folder: Path) -> dict[str, Path]:
        paths = {}
        for kind in _KINDS:
            recipe, inputs = _recipe(kind), _INPUTS[kind]
            model = build_model(recipe, 1, None if inputs is None else inputs["width"])
            config = json.dumps(describe(recipe, model, "last", inputs))
            paths[kind] = folder / f"{kind}.safetensors"
            save_file(model.state_dict(), paths[kind], metadata={"mscon": config})
        return paths

    def attempt(self, scene: dict[str, Path], case: Any, folder: Path) -> None:
        kind, config, tensor_changes, header, bytes_changes = case
        with safe_open(scene[kind], framework="pt") as file:
            metadata, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if isinstance(config, str):
            metadata["mscon"] = config
        elif config:
            metadata["mscon"] = json.dumps(changed(json.loads(metadata["mscon"]), config))
        for number, what, which in tensor_changes:
            _change(tensors, sorted(tensors)[number % len(tensors)], what, which)
        metadata["mscon"] = metadata["mscon"].encode("utf-8", "replace").decode()
        metadata["sha256"] = checksum(metadata, tensors)
        content = save(tensors, metadata)
        if header:
            content = header_changed(content, lambda values: changed(values, header))
        path = folder / "m.safetensors"
        path.write_bytes(edited(content, bytes_changes))
        embedder = load(path)
        width = 0 if embedder.known is None else embedder.known["width"]
        if embedder.recipe.data.input == "image":
            embedder.embed(np.zeros((2, 9, 7, 3), dtype=np.uint8))
        elif embedder.recipe.data.input == "vectors":
            embedder.embed(np.zeros((2, min(width, 100)), dtype=np.float32))
        elif embedder.recipe.data.input == "columns":
            embedder.embed(pl.DataFrame({"x": ["1", "2"], "y": ["a", None]}))


def _change(tensors: dict[str, torch.Tensor], key: str, what: str, which: int) -> None:
    if what == "dtype":
        tensors[key] = tensors[key].to(_DTYPES[which])
    elif what == "shape":
        tensors[key] = tensors[key].reshape(-1)[:which].clone()
    elif what == "nan" and tensors[key].is_floating_point():
        tensors[key] = torch.full_like(tensors[key], (float("nan"), float("inf"), 1e38, -1e38, 0.0, 1e-40)[which])
    elif what == "remove" and len(tensors) > 1:
        del tensors[key]
    elif what == "more":
        tensors[f"{key}.x"] = tensors[key].clone()
