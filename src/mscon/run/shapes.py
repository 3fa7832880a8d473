"""Shapes: what readers rely on in the JSON files of a run; compared where a run of an older mscon has no checksums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import msgspec

from mscon.errors import RunError


class _Table(TypedDict):
    name: str
    path: str
    sha256: str
    rows: dict[str, int]


class _Trained(TypedDict):
    epochs: int


class _Facts(TypedDict):
    versions: dict[str, str]
    table: _Table
    images_root: str
    parameters: dict[str, int]
    trained: NotRequired[_Trained]
    resumed: NotRequired[list[dict[str, Any]]]


class _Similarity(TypedDict):
    name: str
    state: dict[str, Any]


class _Inputs(TypedDict):
    width: int


class _Probe(TypedDict):
    linear: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]
    skipped: list[dict[str, Any]]


class _Layers(TypedDict):
    layers: dict[str, dict[str, Any]]


_SHAPES: Mapping[str, Any] = {
    "run.json": _Facts,
    "similarities.json": list[_Similarity],
    "inputs.json": _Inputs,
    "probe.json": _Probe,
    "layers.json": _Layers,
}


def need_shape(name: str, value: Any, path: object) -> None:
    """Raise if the values of a file are not what mscon writes into it.

    Args:
        name: of the file in the run.
        value: what it holds.
        path: for the message.

    Raises:
        RunError: naming the file, and the first place in it.
    """
    try:
        msgspec.convert(value, _SHAPES.get(name, Any))
    except msgspec.ValidationError as error:
        raise RunError(f"{path} does not hold what mscon writes into it: {error}.\n  Restore it from a copy.") from None
