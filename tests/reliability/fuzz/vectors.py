"""Files of vectors of strangers: .npy and .safetensors with hostile heads."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mscon.data.inputs.vectors import checked, open_file
from reliability.fuzz.hostile import changed, changes, edited, edits
from reliability.fuzz.surface import Surface

_ROWS = 6


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


# An opcode that imports a module and calls what is in it, as `pickle.dumps` of an object with `__reduce__` writes it.
_PICKLE = b"cevilmod\nEvil\n(tR."

_HEADS = (
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, 1000000000000), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, -1), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, True), }",
    b"{'descr': 'O', 'fortran_order': False, 'shape': (6, 2), }",
    b"{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (6,), }",
    b"{'descr': '<U4', 'fortran_order': True, 'shape': (6, 2), }",
    b"{'descr': '<f4', 'shape': (6, 2), }", b"(" * 3_000, b"{" * 3_000, b"'''",
    b"__import__('evilmod')", b"\\\n", b"\0",
    b"{'descr': __import__('evilmod'), 'fortran_order': False, 'shape': (6, 2), }", b"1" * 20_000, b"-" * 9_000 + b"1",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 70 + b")}",
)  # fmt: skip


def _with_head(head: bytes, version: int) -> bytes:
    length = len(head).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes((version, 0)) + length + head + bytes(48)


def _safetensors(header: Any) -> bytes:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + bytes(_ROWS * 3 * 4)


_HEADER = {"features": {"dtype": "F32", "shape": [_ROWS, 3], "data_offsets": [0, _ROWS * 3 * 4]}}

_arrays = st.tuples(
    st.sampled_from((np.float16, np.float32, np.float64, np.int8, np.uint64, np.bool_, np.complex64, np.str_)),
    st.sampled_from(((_ROWS, 3), (_ROWS,), (_ROWS, 0), (0, 3), (_ROWS, 3, 1), ())),
).map(lambda drawn: _npy(np.ones(drawn[1]).astype(drawn[0])))


class VectorFiles(Surface):
    tries, share = 1_000, 30

    def cases(self) -> SearchStrategy[Any]:
        npy = (
            _arrays
            | st.builds(_with_head, st.sampled_from(_HEADS), st.sampled_from((1, 2, 3)))
            | st.just(_PICKLE)
            | st.sampled_from((b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x93NUMPY", b"\x80\x04N."))
        )
        headers = changes.map(lambda what: _safetensors(changed(json.loads(json.dumps(_HEADER)), what)))
        return st.tuples(st.just(".npy"), st.tuples(npy, edits).map(lambda d: edited(*d))) | st.tuples(
            st.just(".safetensors"), headers | st.tuples(headers, edits).map(lambda d: edited(*d))
        )

    def attempt(self, scene: Any, case: Any, folder: Path) -> None:
        ending, content = case
        path = folder / f"v{ending}"
        path.write_bytes(content)
        file = open_file(path, _ROWS, "t.csv")
        checked(file, np.ones(_ROWS, dtype=bool), pl.Series(range(_ROWS)), "t.csv", "'v'", fingerprinted=True)
