"""Fingerprints of the inputs of rows, by which inputs that changed since training are found. No torch here."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from mscon.data.inputs.boxes import Box
from mscon.data.table.table import unit
from mscon.errors import RunError, counted, numbered
from mscon.run.recipe import Data

# The file of a run that keeps those of its rows.
FILE = "fingerprints.safetensors"

# Bytes of a fingerprint. Half of SHA-256: by chance two of 10^9 inputs share one with probability 10^-21.
SIZE = 16

# What to do where they differ.
ADVICE = (
    "Put back the files as they were, or train again. To go on with the files as they are now, pass --accept-changes\n"
    "  (in Python accept_changes=True); that is recorded in the run."
)


def of_file(file: io.BufferedReader | io.BytesIO, box: Box | None = None) -> UInt8[np.ndarray, " bytes"]:
    """The fingerprint of the rest of an open file, and of what is taken of its image."""
    digest = hashlib.file_digest(file, "sha256")
    if box is not None:
        digest.update(str(box).encode())
    return np.frombuffer(digest.digest()[:SIZE], dtype=np.uint8)


def of_vectors(vectors: Shaped[np.ndarray, "rows dim"]) -> UInt8[np.ndarray, "rows bytes"]:
    """The fingerprint of each row; it depends on the number type too."""
    began = hashlib.sha256(vectors.dtype.str.encode())
    digests = []
    for row in np.ascontiguousarray(vectors):
        digest = began.copy()
        digest.update(row)
        digests.append(digest.digest()[:SIZE])
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(vectors), SIZE)


def changes(
    trained: UInt8[np.ndarray, "trained_rows bytes"] | None,
    now: UInt8[np.ndarray, "rows bytes"] | None,
    lines: Sequence[int],
    table_name: str,
    data: Data,
    root: Path,
) -> tuple[int, str]:
    """How many rows have an input that changed since training, as a number and in words; (0, "") if none.

    Args:
        trained: what the run keeps; None where it keeps all inputs itself.
        now: of the same rows.
        lines: where they stand in the table.
        table_name: how messages call the table.
        data: of the recipe; says whether rows are images or vectors.
        root: folder that was looked in.

    Raises:
        RunError: if they are not of the same number of rows.
    """
    if trained is None or now is None:
        return 0, ""
    if trained.shape != now.shape:
        raise RunError(
            f"the run has {counted(len(now), 'row')}, but its {FILE} is of {counted(len(trained), 'row')}: "
            "its files do not belong together."
        )
    changed = np.flatnonzero((trained != now).any(axis=1)).tolist()
    if not changed:
        return 0, ""
    what, place = ("vector", root / data.vectors) if data.input == "vectors" else ("image", root)
    verb, at = "has" if len(changed) == 1 else "have", numbered(unit(table_name), [lines[row] for row in changed])
    return len(changed), (
        f"{counted(len(changed), 'row')} of {len(now):,} {verb} another {what} than in training ({at} of {table_name}; "
        f"looked in '{place}', compared with {FILE} of the run)."
    )
