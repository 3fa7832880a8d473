"""Contents: what must hold of the files of a run, whoever wrote them. Keys that are not known here are let through."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Required, TypedDict

import msgspec
from msgspec import Meta

from mscon.run.predictor_contents import Predictors
from mscon.run.probe_contents import Interval, Layers, Probe, need_intervals

if TYPE_CHECKING:
    import polars as pl

_Objects = list[dict[str, Any]]


class _Table(TypedDict, total=False):
    name: str
    path: str | None
    sha256: str
    rows: dict[str, int]


class _Facts(TypedDict, total=False):
    doubt: dict[str, dict[str, float]]
    versions: dict[str, Any]
    machine: dict[str, Any]
    table: _Table
    images_root: str | None
    parameters: dict[str, int]
    trained: dict[str, Any]
    resumed: _Objects


class _Entry(TypedDict, total=False):
    column: Required[str]
    name: str
    heads: str | dict[str, Any]
    objective: str | dict[str, Any]
    of: str


class _ProbeSection(TypedDict, total=False):
    columns: list[str]
    neighbours: list[str]
    largest: dict[str, int]
    kinds: dict[str, str | dict[str, Any]]


class _Recipe(TypedDict, total=False):
    title: str
    similarity: Required[Annotated[list[_Entry], Meta(min_length=1)]]
    data: dict[str, Any]
    encoder: dict[str, Any]
    heads: dict[str, Any]
    objective: dict[str, Any]
    weighting: dict[str, Any]
    train: dict[str, Any]
    views: dict[str, Any]
    keep: dict[str, Any]
    probe: _ProbeSection


class _Similarity(TypedDict):
    name: str
    state: dict[str, Any]


class _Inputs(TypedDict, total=False):
    width: Required[Annotated[int, Meta(ge=1, le=2**24)]]
    numbers: _Objects
    categories: _Objects


class _LabelQuality(TypedDict):
    column: str
    kind: str
    rows: int
    missing: int
    too_rare: int
    witnesses: list[str]
    agreement: float
    issues: int
    share: Interval


class _NotJudged(TypedDict):
    column: str
    reason: str


class _Doubt(TypedDict):
    features: str
    columns: list[_LabelQuality]
    skipped: list[_NotJudged]
    checkpoint: Annotated[str, Meta(pattern="^[a-z]+$")]
    checkpoint_sha256: str


_BySimilarity = dict[str, float | None]


class _Cosine(TypedDict):
    value: float
    low: float
    high: float


class _ColumnPair(TypedDict):
    columns: Annotated[list[str], Meta(min_length=2, max_length=2)]
    nmi: float
    cka: float | None
    cosine: _Cosine | None


class _Target(TypedDict):
    column: str
    trained: bool
    spaces: _BySimilarity
    features: float | None


class _Affinity(TypedDict):
    checkpoint: Annotated[str, Meta(pattern="^[a-z]+$")]
    checkpoint_sha256: str
    split: str
    pairs: list[_ColumnPair]
    targets: list[_Target]
    sentences: list[str]


class _Logged(TypedDict, total=False):
    kind: str
    step: int
    epoch: int
    total: float | None
    learning_rate: float | None
    loss: _BySimilarity
    floor: _BySimilarity
    ceiling: _BySimilarity
    weight: _BySimilarity
    positive_share: _BySimilarity
    relative_excess: _BySimilarity
    sign: str
    columns: list[str]
    sentence: str


class _ClassReference(TypedDict):
    column: str
    space: Annotated[int, Meta(ge=0)]
    temperature: Annotated[float, Meta(gt=0)]


class _Uncertainty(TypedDict):
    checkpoint: str
    columns: list[_ClassReference]


_SHAPES: Mapping[str, Any] = {
    "recipe.toml": _Recipe,
    "run.json": _Facts,
    "similarities.json": list[_Similarity],
    "inputs.json": _Inputs,
    "masks.json": list[list[float]],
    "probe.json": Probe,
    "layers.json": Layers,
    "doubt.json": _Doubt,
    "affinity.json": _Affinity,
    "uncertainty.safetensors": _Uncertainty,
    "signature.json": dict[str, Any],
    "transfer.json": dict[str, Any],
    "predictors.safetensors": Predictors,
    "log.jsonl": list[_Logged],
}


def fault_of(name: str, values: Any) -> str:
    """What is wrong with the plain values of a file of a run, in words; "" if nothing is."""
    try:
        msgspec.convert(values, _SHAPES.get(name, Any))
        if name in ("probe.json", "layers.json"):
            need_intervals(values)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _parquet(content: bytes) -> pl.DataFrame:
    """Raises ValueError if it is no Parquet file."""
    import polars as pl

    try:
        return pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:  # a panic is no Exception
        raise ValueError(str(error).splitlines()[0]) from None


def parse_rows(content: bytes) -> pl.DataFrame:
    """The rows of a run, from their Parquet file: columns line, split, and others of text.

    Raises:
        ValueError: if it is no such file.
    """
    import polars as pl

    rows = _parquet(content)
    whole = {"line": pl.Int64, "split": pl.String}
    for name, kind in whole.items():
        if rows.schema.get(name) != kind or rows[name].null_count():
            what = "a whole number" if name == "line" else "text"
            raise ValueError(f"its column {name!r} does not hold {what} in every row")
    odd = [name for name, kind in rows.schema.items() if name not in whole and kind not in (pl.String, pl.Null)]
    if odd:
        raise ValueError(f"its column {odd[0]!r} does not hold text")
    return rows


def doubt_schema() -> dict[str, pl.DataType | type[pl.DataType]]:
    """The columns of doubt.parquet."""
    import polars as pl

    return {
        "column": pl.String,
        "line": pl.Int64,
        "given_label": pl.String,
        "predicted_label": pl.String,
        "label_score": pl.Float64,
        "confidence": pl.Float64,
        "is_label_issue": pl.Boolean,
        "neighbours": pl.List(pl.Int64),
    }


def parse_doubt(content: bytes) -> pl.DataFrame:
    """The judged labels of a run, from their Parquet file.

    Raises:
        ValueError: if it is no such file.
    """
    frame = _parquet(content)
    schema = doubt_schema()
    if dict(frame.schema) != schema or any(frame.null_count().row(0)):
        raise ValueError(f"its columns are not {', '.join(schema)}, or some of their cells are empty")
    if not all(frame[name].is_between(0, 1).all() for name in ("label_score", "confidence")):
        raise ValueError("a label_score or confidence is not between 0 and 1")
    return frame
