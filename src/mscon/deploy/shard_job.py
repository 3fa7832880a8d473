"""The work of a job that embeds a table: what its shards are, and how one of them is written.

This module does not know torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from mscon.data.table.table import Table
from mscon.deploy.encodes import Encodes
from mscon.deploy.inputs import TableInputs
from mscon.deploy.shard_files import Shard, write_checked
from mscon.deploy.vector_files import Spaces, write_vectors
from mscon.deploy.vectors import FEATURES, MIX, Precision, column_of
from mscon.run import atomic

# Raised whenever the same rows would give another file.
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Job:
    """All that the processes of a job agree on.

    Attributes:
        inputs: what is encoded.
        similarity: whose projections are written; None for features, or for all.
        spaces: columns of vectors: "features", "projection" of a similarity, or those of all spaces.
        precision: in which shards are stored; vectors of shards that are joined in the end are float32 until then.
    """

    embedder: Encodes
    table: Table
    similarity: str | None
    inputs: TableInputs
    spaces: Spaces
    suffix: str
    drops: bool
    batch_size: int
    is_all: bool
    precision: Precision


def spaces_of(embedder: Encodes, similarity: str | None, all_spaces: bool) -> dict[str, tuple[int, ...]]:
    """The columns of vectors of an output, and how wide they are."""
    if not all_spaces:
        return {FEATURES if similarity is None else "projection": (embedder.width(similarity),)}
    each = {name: embedder.width(name) for name in embedder.similarities}
    return {
        FEATURES: (embedder.width(),),
        **{column_of(name): (width,) for name, width in each.items()},
        MIX: tuple(each.values()),
    }


def shards_of(job: Job, folder: Path, rows: int) -> Iterator[Shard]:
    for number, start in enumerate(range(0, len(job.table), rows)):
        span = range(start, min(start + rows, len(job.table)))
        model = [job.embedder.digest, *filter(None, [job.embedder.uncertainty_digest])]
        what = (["all"] if job.is_all else []) + ([job.precision] if job.precision != "float32" else [])
        digest = hashlib.sha256(json.dumps([_FORMAT, *model, *what, job.similarity, job.suffix]).encode())
        for row, stamp in zip(span, job.inputs.stamps(span), strict=True):
            digest.update(json.dumps([job.table.lines[row], *stamp]).encode())
        name = f"{number:05d}-{digest.hexdigest()[:16]}"
        # The list of rows left out on purpose stays, that of refused ones goes: they may be mended. So two names.
        faults = folder / f"{name}{'-partial' if job.drops else ''}.json"
        yield Shard(span, folder / f"{name}{job.suffix}", folder / f"{name}-partial{job.suffix}", faults)


def batches_of(
    inputs: TableInputs, rows: range, batch_size: int
) -> Iterator[tuple[list[int], Shaped[np.ndarray, "rows ..."], dict[int, str]]]:
    """Some rows in batches: those that have an input, their inputs, and why the others have none."""
    for start in range(rows.start, rows.stop, batch_size):
        batch = rows[start - rows.start : start - rows.start + batch_size]
        block, faults = inputs.take(batch)
        fine = [k for k in range(len(batch)) if k not in faults]
        yield [batch[k] for k in fine], block[fine], {batch[k]: fault for k, fault in faults.items()}


def embed(job: Job, shard: Shard, advance: Callable[[int], None]) -> None:
    """Write one shard, or the list of its rows without an image."""
    vectors: dict[str, list[np.ndarray]] = {
        name: [np.zeros((0, sum(widths)), dtype=np.float32)] for name, widths in job.spaces.items()
    }
    uncertainty: list[np.ndarray] = [np.zeros(0, dtype=np.float32)]
    embedded: list[int] = []
    faults: dict[int, str] = {}
    for rows, inputs, unreadable in batches_of(job.inputs, shard.rows, job.batch_size):
        faults |= unreadable
        if rows and (job.drops or not faults):  # of a shard that is not written the rest is only tried
            blocks, rated = _encoded(job, inputs)
            for name, block in blocks.items():
                vectors[name].append(block)
            uncertainty += [] if rated is None else [rated]
            embedded += rows
        advance(len(rows) + len(unreadable))
    if faults:
        text = atomic.json_text([[row, faults[row]] for row in sorted(faults)])
        write_checked(shard.faults, lambda path: path.write_text(text, "utf-8"))
    if job.drops or not faults:
        arrays: dict[str, np.ndarray] = {"line": np.asarray([job.table.lines[row] for row in embedded], dtype=np.int64)}
        if (cells := job.inputs.names) is not None:
            arrays["image"] = np.asarray([str(cells[row]) for row in embedded], dtype=np.str_)
        arrays |= {name: np.concatenate(blocks) for name, blocks in vectors.items()}
        if job.embedder.rates(job.similarity):
            arrays["uncertainty"] = np.concatenate(uncertainty)
        target = shard.partial if faults else shard.full
        write_checked(target, lambda path: write_vectors(path, arrays, job.spaces, job.precision))


def _encoded(job: Job, inputs: np.ndarray) -> tuple[Mapping[str, np.ndarray], np.ndarray | None]:
    """The columns of vectors of a batch, and its uncertainty."""
    if job.is_all:
        vectors = job.embedder.encode_all(inputs)
        return vectors.columns, vectors.uncertainty
    block, rated = job.embedder.encode_rated(inputs, job.similarity)
    return dict.fromkeys(job.spaces, block), rated
