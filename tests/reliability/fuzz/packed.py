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
from mscon.deploy.packed_judgement import PackedJudgement
from mscon.model.linear_map import LinearMap, Standardisation
from mscon.model.model import build_model
from mscon.model.predictors.base import Predictor
from mscon.model.predictors.classes import ClassPredictor
from mscon.model.predictors.numbers import NumberPredictor
from mscon.model.predictors.sets import SetPredictor
from mscon.model.predictors.stored import StoredPredictor
from mscon.model.row_uncertainty import RowUncertainty, unit_length
from mscon.run import recipe as recipes
from reliability.fuzz.hostile import changed, changes, edited, edits, header_changed, json_texts
from reliability.fuzz.surface import Surface

_KINDS = ("image", "vectors", "columns", "judged")
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool)


def _judgement(width: int, dim: int) -> PackedJudgement:
    """Predictors of a path, a set and a number, and what says how uncertain rows are, of random vectors."""
    generator = np.random.default_rng(0)

    def linear(outputs: int) -> LinearMap:
        standardised = Standardisation(np.zeros(width), np.ones(width), 9.0)
        return LinearMap(standardised, generator.normal(size=(width, outputs)), np.zeros(outputs))

    paths = (("a", "a", "b"), ("a/x", "a/y", "b/z"))
    predictors: list[Predictor] = [
        ClassPredictor(("path", "path"), paths, linear(3), (1.0, 1.0, 0.0, 1.0, 0.0)),
        SetPredictor("tags", ("p", "q"), (), ";", linear(2), (1.0, 0.0)),
        NumberPredictor("price", linear(1), (2.0,)),
    ]
    record = {"train_rows": 9, "validation_rows": 9, "test_rows": 2, "levels": [{"accuracy": 1.0, "before": 0.1}] * 2}
    stored = [
        StoredPredictor(
            one.columns[0],
            one,
            record,
            np.ones((2, 0 if one.kind == "number" else levels)),
            np.ones((2, levels), dtype=bool),
        )
        for one, levels in zip(predictors, (2, 1, 1), strict=True)
    ]
    features, projections = (generator.normal(size=shape).astype(np.float32) for shape in ((40, width), (1, 40, dim)))
    classes = {"kind": (0, np.stack([np.arange(40), np.arange(40) % 2], axis=1))}
    uncertainty, _ = RowUncertainty.fit(
        features, unit_length(projections[0])[None], classes, *np.split(np.arange(40), 2)
    )
    return PackedJudgement(stored, uncertainty)


def _recipe(kind: str) -> recipes.Recipe:
    encoder = {"name": "small_cnn", "width": 4} if kind == "image" else {"name": "mlp", "settings": {"units": 8}}
    inputs = "vectors" if kind == "judged" else kind
    data: dict[str, Any] = {
        "input": inputs,
        "image_size": 16,
        "vectors": "v.npy",
        "numbers": ["x"],
        "categories": ["y"],
    }
    heads = {"name": "mlp", "output_dim": 4}
    similarity = [{"column": "kind", "name": "categorical"}]
    return recipes.of_plain({"similarity": similarity, "data": data, "encoder": encoder, "heads": heads})


_INPUTS: dict[str, Any] = {
    "image": None,
    "vectors": {"input": "vectors", "width": 3},
    "judged": {"input": "vectors", "width": 3},
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
            judgement = _judgement(model.width, model.heads.output_dim) if kind == "judged" else PackedJudgement()
            config = json.dumps(describe(recipe, model, "last", inputs) | judgement.to_json())
            paths[kind] = folder / f"{kind}.safetensors"
            save_file(model.state_dict() | judgement.to_tensors(), paths[kind], metadata={"mscon": config})
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
            vectors = np.zeros((2, min(width, 100)), dtype=np.float32)
            embedder.embed(vectors)
            if embedder.predictors:
                embedder.predict(vectors)
        elif embedder.recipe.data.input == "columns":
            embedder.embed(pl.DataFrame({"x": ["1", "2"], "y": ["a", None]}))


def _change(tensors: dict[str, torch.Tensor], key: str, what: str, which: int) -> None:
    if what == "dtype":
        tensors[key] = tensors[key].to(_DTYPES[which])
    elif what == "shape":
        tensors[key] = tensors[key].reshape(-1)[:which].clone()
    elif what == "nan" and tensors[key].is_floating_point():
        value = (float("nan"), float("inf"), 1e38, -1e38, 0.0, 1e-40)[which]
        tensors[key] = torch.full(tensors[key].shape, value).to(tensors[key].dtype)  # half precision overflows
    elif what == "remove" and len(tensors) > 1:
        del tensors[key]
    elif what == "more":
        tensors[f"{key}.x"] = tensors[key].clone()
