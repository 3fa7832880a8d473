"""Answers: the replies to the requests of a page that is served, as plain values. Knows no socket and no HTTP."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, Int8

from mscon.errors import RunError
from mscon.run.recipe import data_of
from mscon.run.run import Run
from mscon.search.composition import Composition
from mscon.search.example import Example
from mscon.search.explorer import payload
from mscon.search.explorer.columns import read_columns
from mscon.search.explorer.new_examples import NewExamples
from mscon.search.explorer.page import render, served_policy
from mscon.search.explorer.pictures import Pictures, picture_side
from mscon.search.explorer.requests import MOST_NEW, Filter, Reader, Request, Toward
from mscon.search.explorer.turns import turn
from mscon.search.explorer.uploads import FORMATS, MOST_BYTES
from mscon.search.filters import Condition
from mscon.search.index import Index, open_index
from mscon.search.moves import Move
from mscon.search.names import names_of
from mscon.search.spaces import unit

SAMPLE = 5_000
"""Rows that are on the map, and known to the page from the start. All others are sent when a search returns them."""

_CACHED_QUERIES = 8


class Answers:
    """Everything that the server of a run may say.

    Args:
        run: trained and probed. New images are encoded only if nothing has to be trusted for it, or the run is.
        most: rows on the map.
        images: folder of the images; None for where they lay when the run was trained.
        with_images: False to show rows as text, also where they are images.
        name_column: the column that rows are called by; "" for none of them, None to guess it.
        seconds: see `draw_maps`.

    Attributes:
        page: the page, in UTF-8.
        policy: what it may do, for a header.

    Raises:
        RunError: see `open_index`; if there is no such column; and if none of some images can be read.
    """

    def __init__(
        self,
        run: Run,
        *,
        most: int = SAMPLE,
        images: Path | None = None,
        with_images: bool = True,
        name_column: str | None = None,
        seconds: float = 60.0,
    ) -> None:
        self.index: Index = open_index(run, name_column=name_column)
        self._data = data_of(self.index.recipe)
        self._columns = tuple(
            read_columns(self.index.labels, payload.text_columns(self._data), uncertainty=self.index.uncertainty)
        )
        self._reader = Reader(len(self.index), self._columns, self.index.mix)
        self._mixed = np.random.default_rng(7).permutation(len(self.index))
        self._busy = threading.Lock()
        # While a slider moves, only the weights change from request to request.
        self._examples = lru_cache(_CACHED_QUERIES)(self._read_examples)
        self._passing = lru_cache(_CACHED_QUERIES)(self._read_passing)
        self._side = picture_side(self._data.image_size)
        self._new = NewExamples(self.index, self._data, self._side)
        self._pictures: Pictures | None = None
        if self._data.input == "image" and with_images:
            self._pictures = Pictures(self.index, images, self._side, self._data)
        self.page: bytes = self._page(most, seconds).encode("utf-8")
        self.policy: str = served_policy()

    # Requests --------------------------------------------------------------------------

    def search(self, body: bytes) -> dict[str, Any]:
        """The rows most like some examples: exact, of all rows.

        Args:
            body: see `Request`.

        Returns:
            Their numbers, scores and scores in each space, best first; what they say; and how many could have been
            found.

        Raises:
            RunError: for a request that cannot be answered, with all that is wrong.
            Busy: if others take too long.
        """
        request = self._reader.read(body, "search")
        assert request.mix is not None
        shares = request.mix.shares
        with turn(self._busy):
            self._new.need(request.new)
            composition = self._examples(
                request.like, request.unlike, request.new, request.weights, request.middle, request.towards
            )
            self.index.moves.check(composition.moves, request.mix)
            query = composition.query
            if not (np.abs(query).sum(axis=1) * shares).any():
                raise RunError(
                    "the examples to be like and to be unlike cancel out. Take other examples, or weight other "
                    "similarities."
                )
            keep = self._keep(request).copy()
            keep[[*request.like, *request.unlike]] = False  # examples are no answers
            nearest = self.index.spaces.nearest(query, shares, request.count, keep)
        return {
            **self._records(nearest.rows),
            "scores": nearest.scores.round(4).tolist(),
            "parts": nearest.by_space.T.round(4).tolist(),
            "passing": int(keep.sum()),
        }

    def browse(self, body: bytes) -> dict[str, Any]:
        """Some rows that pass filters, in a mixed order that is always the same.

        Args:
            body: see `Request`.

        Raises:
            RunError, Busy: as `search`.
        """
        request = self._reader.read(body, "browse")
        with turn(self._busy):
            keep = self._keep(request)
        return {**self._records(self._mixed[keep[self._mixed]][: request.count]), "passing": int(keep.sum())}

    def rows(self, body: bytes) -> dict[str, Any]:
        """Some rows by their numbers, or by their lines in the table; lines that are none of the run are left out.

        Args:
            body: see `Request`.

        Raises:
            RunError: as `search`.
        """
        request = self._reader.read(body, "rows")
        lines = self.index.rows["line"].is_in(request.lines).arg_true().to_list() if request.lines else []
        return self._records(np.array([*request.rows, *lines], dtype=np.int64))

    def upload(self, data: bytes) -> dict[str, Any]:
        """Accept a new image as an example, see `NewExamples.upload`."""
        return self._new.upload(data)

    def encode(self, body: bytes) -> dict[str, Any]:
        """Accept a new text, vector or cells as an example, see `NewExamples.encode`.

        Args:
            body: see `Request`.
        """
        return self._new.encode(self._reader.read(body, "encode").row)

    def thumbnail(self, row: int) -> bytes | None:
        """The image of a row as WEBP, the centred square; None where there is none, or it cannot be read."""
        return None if self._pictures is None else self._pictures.of(row)

    # How ----------------------------------------------------------------------------------------

    def _read_examples(
        self,
        like: tuple[int, ...],
        unlike: tuple[int, ...],
        new: tuple[str, ...],
        weights: tuple[tuple[str, float], ...],
        middle: Filter | None,
        towards: tuple[Toward, ...],
    ) -> Composition:
        weight_of, spaces = dict(weights), self.index.spaces

        def example(name: int | str, vectors: Float[np.ndarray, "spaces dim"]) -> Example:
            return Example(str(name), lambda: vectors, weight=weight_of.get(str(name), 1.0))

        examples = [example(row, spaces.vectors([row])[:, 0]) for row in like]
        examples += [example(name, self._new.vectors(name)) for name in new]
        if middle is not None:
            examples.append(example("middle", unit(spaces.mean(self._labelled(middle)))))
        away = [example(row, spaces.vectors([row])[:, 0]) for row in unlike]
        return Composition(examples, away, [self._move(toward) for toward in towards])

    def _labelled(self, label: Filter) -> Int[np.ndarray, " rows"]:
        rows = np.flatnonzero(label.rows(self._columns[label.column]))
        if not len(rows):
            raise RunError("no row has this label, so it has no middle.")
        return rows

    def _move(self, toward: Toward) -> Move:
        column, moves = self._columns[toward.filter.column], self.index.moves
        if toward.target or column.space is None:  # without a space it complains
            return moves.read(((column.name, toward.target), toward.amount))
        rows = self._labelled(toward.filter)
        return moves.move(Condition(column.name, "=", "a label"), column.space, rows, np.ones(len(rows)), toward.amount)

    def _keep(self, request: Request) -> Bool[np.ndarray, " rows"]:
        """Rows that may be found. Not to be written to."""
        return self._passing(request.filters, request.within, request.words)

    def _read_passing(
        self, filters: tuple[Filter, ...], within: tuple[int, ...] | None, words: tuple[str, ...]
    ) -> Bool[np.ndarray, " rows"]:
        keep = np.full(len(self.index), within is None)
        keep[list(within or ())] = True
        for one in filters:
            keep &= one.rows(self._columns[one.column])
        for word in words:
            texts = self.index.rows.select(pl.exclude("line").cast(pl.String).str.to_lowercase())
            contain = texts.select(pl.any_horizontal(pl.all().str.contains(word, literal=True).fill_null(False)))
            keep &= contain.to_series().to_numpy()
        return keep

    def _records(self, rows: Int[np.ndarray, " hits"]) -> dict[str, Any]:
        """What a page must know of rows that it does not hold."""
        frame = self.index.rows[rows.tolist()] if len(rows) else self.index.rows.head(0)
        return {
            "rows": rows.tolist(),
            "lines": frame["line"].to_list(),
            "names": names_of(frame, self._data),
            "cells": [[column.cell(row) for column in self._columns] for row in rows.tolist()],
            "texts": payload.texts_of(frame, self._data),
        }

    def _page(self, most: int, seconds: float) -> str:
        sampled = payload.sample(self.index.rows, self.index.similarities, most)
        vectors = self.index.spaces.vectors(sampled).astype(np.float32)
        nothing: Int8[np.ndarray, "spaces 0 dim"] = vectors[:, :0].astype(np.int8)  # the server has them
        note = (
            f"All of them are searched. {len(sampled):,}, drawn evenly over splits and labels, are on the map, and "
            "among these suspicious labels are sought."
        )
        gathered = payload.gathered(
            self.index,
            sampled,
            vectors,
            [column[sampled] for column in self._columns],
            quantised=nothing,
            pictures=(),
            note=note if len(sampled) < len(self.index) else "",
            seconds=seconds,
        )
        return render(
            gathered,
            served={
                "pictures": self._pictures is not None,
                "uploads": self._data.input == "image",
                "formats": list(FORMATS),
                "bytes": MOST_BYTES,
                "new": MOST_NEW,
                "inputs": list(self.index.new_rows.columns),
                "columns": [column.counts() for column in self._columns],
            },
        )
