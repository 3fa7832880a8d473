"""Cells of strangers, in columns of every kind: fitted, encoded, compared, written down and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mscon.data.batches.dataset import encode_all, fit_similarities
from mscon.data.table import infer_kind
from mscon.method import catalogue
from mscon.run.recipe import similarity_part
from reliability.fuzz.hostile import numbers, values, words
from reliability.fuzz.surface import Surface

_KINDS = ("categorical", "multi_label", "ordinal", "continuous", "hierarchical", "auto")


class Cells(Surface):
    tries, share = 2_400, 40

    def cases(self) -> SearchStrategy[Any]:
        cell = st.none() | words | numbers.map(str) | st.sampled_from("abc")
        settings = st.dictionaries(
            st.sampled_from(("separator", "levels", "alike", "width", "under", "objective", "temperature", "kernel")),
            values | words | numbers,
            max_size=1,
        )
        return st.tuples(st.sampled_from(_KINDS), st.lists(cell, min_size=1, max_size=24), settings)

    def attempt(self, scene: Any, case: Any, folder: Path) -> None:
        kind, cells, settings = case
        part = similarity_part("c", kind, settings)
        stripped = [(cell or "").strip() or None for cell in cells]  # as every reader of tables does
        rows = pl.DataFrame(
            {
                "line": range(2, len(cells) + 2),
                "split": ["train" if n % 3 else "test" for n in range(len(cells))],
                "c": pl.Series(stripped, dtype=pl.String),
            }
        )
        parts, _ = infer_kind.resolve(rows, [part])
        (similarity,) = fit_similarities(rows, parts)
        (codes,) = encode_all(rows, [similarity])
        pairs = similarity.compare(codes, codes)
        weight = pairs.weight.double().numpy()
        assert ((weight >= 0) & (weight <= 1) | ~pairs.known.numpy()).all()
        agreement = similarity.agreement(stripped, stripped[::-1])
        assert ((agreement >= 0) & (agreement <= 1) | np.isnan(agreement)).all()
        similarity.target(stripped)
        similarity.batch_classes(stripped, 2)
        state = json.loads(json.dumps(similarity.to_json(), allow_nan=False))
        again = catalogue.find("similarity", parts[0].name).from_json(state)
        assert (again.encode(stripped) == codes).logical_or(codes != codes).all()
