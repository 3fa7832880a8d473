"""Answers: what a page that is served asks for, as plain values. Knows no socket and no HTTP."""

from __future__ import annotations

import base64
import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from mscon.data.inputs.image_files import Refused, decode_one, locate
from mscon.errors import RunError, counted
from mscon.evaluate.page.thumbnails import EXACT, SIDE, data_uri, images_folder
from mscon.run.recipe import data_of
from mscon.run.run import Run
from mscon.search.explorer import payload as gathering
from mscon.search.explorer.columns import Column, read_columns
from mscon.search.explorer.maps import draw_maps
from mscon.search.explorer.page import render, served_policy
from mscon.search.explorer.requests import MOST_IMAGES, Reader, Request
from mscon.search.explorer.thumbnails import WITHOUT
from mscon.search.explorer.uploads import FORMATS, MOST_BYTES, read_upload
from mscon.search.index import Index, open_index
from mscon.search.queries import Example, together
from mscon.search.spaces import unit

SAMPLE = 5_000
"""Rows that are on the map, and known to the page from the start. All others are sent when a search returns them."""

# Most labels of a column of names that are sent to the page: it has no use for more.
_MOST_NAMES = 200
_CACHED_IMAGES = 4 * MOST_IMAGES
_CACHED_THUMBNAILS = 1_000
_CACHED_QUERIES = 8
_TRIED = 12

# Pictures of rows that are decoded at a time: each may take a few hundred megabytes.
_DRAWING = 2

# Seconds to wait for others' answers.
_PATIENCE = 10.0

Value = TypeVar("Value")


class Busy(Exception):
    """Others are being answered; ask again."""


class Answers:
    """Everything that the server of a run may say.

    Args:
        run: trained and probed. New images are encoded only if nothing has to be trusted for it, or the run is.
        most: rows on the map.
        images: folder of the images; None for where they lay when the run was trained.
        with_images: False to show rows as text, also where they are images.
        seconds: see `draw_maps`.

    Raises:
        RunError: see `open_index`; and if none of some images can be read.
    """

    def __init__(
        self,
        run: Run,
        *,
        most: int = SAMPLE,
        images: Path | None = None,
        with_images: bool = True,
        seconds: float = 60.0,
    ) -> None:
        self.index: Index = open_index(run)
        self._data = data_of(run.read_recipe_values())
        rows = self.index.rows
        columns = read_columns(self.index.labels, (self._data.text if self._data.input == "text" else "",))
        self._columns = tuple(c for c in columns if c.kind != "name" or len(c.labels) <= _MOST_NAMES)
        self._reader = Reader(rows.height, self._columns, self.index.mix)
        self._mixed = np.random.default_rng(7).permutation(rows.height)
        self._busy, self._encoding, self._keeping = threading.Lock(), threading.Lock(), threading.Lock()
        self._drawing = threading.BoundedSemaphore(_DRAWING)
        self._queries: OrderedDict[Any, Any] = OrderedDict()
        self._images: OrderedDict[str, Float[np.ndarray, "spaces dim"]] = OrderedDict()
        self._thumbnails: OrderedDict[int, bytes] = OrderedDict()

        self._folder: Path | None = None
        if self._data.input == "image" and with_images:
            self._folder = images_folder(run, images, WITHOUT)
            self._try_some(run)
        self.page: bytes = self._page(run, most, seconds).encode("utf-8")
        self.policy: str = served_policy()

    # Requests --------------------------------------------------------------------------

    def search(self, body: bytes) -> dict[str, Any]:
        """The rows most like some examples: exact, of all rows.

        Args:
            body: see `Reader.search`.

        Returns:
            Their numbers, scores and scores in each space, best first; what they say; and how many could have been
            found.

        Raises:
            RunError: for what cannot be asked.
            Busy: if others take too long.
        """
        request = self._reader.search(body)
        assert request.mix is not None
        shares = request.mix.shares
        with _turn(self._busy):
            query = self._query(request)
            if not (np.abs(query).sum(axis=1) * shares).any():
                raise RunError(
                    "what is wanted and what is not cancel out. Take other examples, or weight other similarities."
                )
            keep = self._keep(request).copy()
            keep[[*request.like, *request.unlike]] = False  # examples are no answers
            passing = int(keep.sum())
            if not passing:
                return {**self._records(np.empty(0, dtype=np.int64)), "scores": [], "parts": [], "passing": 0}
            nearest = self.index.spaces.nearest(query, shares, request.count, keep)
        return {
            **self._records(nearest.rows),
            "scores": [round(float(score), 4) for score in nearest.scores],
            "parts": [[round(float(score), 4) for score in part] for part in nearest.by_space.T],
            "passing": passing,
        }

    def browse(self, body: bytes) -> dict[str, Any]:
        """Some rows that pass filters, in a mixed order that is always the same.

        Args:
            body: see `Reader.browse`.

        Raises:
            RunError, Busy: as `search`.
        """
        request = self._reader.browse(body)
        with _turn(self._busy):
            keep = self._keep(request)
        return {**self._records(self._mixed[keep[self._mixed]][: request.count]), "passing": int(keep.sum())}

    def rows(self, body: bytes) -> dict[str, Any]:
        """Some rows by their numbers.

        Args:
            body: see `Reader.rows_by_number`.

        Raises:
            RunError: as `search`.
        """
        return self._records(np.array(self._reader.rows_by_number(body).like, dtype=np.int64))

    def upload(self, data: bytes) -> dict[str, Any]:
        """Take a new image as an example; the last few are kept.

        Args:
            data: of an image file.

        Returns:
            A name for it, to be used in searches, and a picture of what the encoder sees of it.

        Raises:
            RunError: if rows of this run are no images, or it has no model.
            TableError: if it is no image that is taken.
            Busy: as `search`.
        """
        if self._data.input != "image":
            self.index.encode(b"")  # complains
        with _turn(self._encoding):
            image, pixels = read_upload(data, self._data.image_size, self._data.channels, self._side)
            vectors = self.index.encode(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        name = secrets.token_hex(8)
        with self._keeping:
            _keep_last(self._images, name, vectors, _CACHED_IMAGES)
        return {"image": name, "picture": _picture(pixels)}

    def thumbnail(self, row: int) -> bytes | None:
        """The image of a row as WEBP, the centred square; None where there is none, or it cannot be read."""
        if self._folder is None or not 0 <= row < len(self.index):
            return None
        if (cached := self._thumbnails.get(row)) is not None:
            return cached
        try:
            with self._drawing:
                picture = self._drawn(row, self._folder)
        except Refused:
            return None
        with self._keeping:
            _keep_last(self._thumbnails, row, picture, _CACHED_THUMBNAILS)
        return picture

    # How ----------------------------------------------------------------------------------------

    def _query(self, request: Request) -> Float[np.ndarray, "spaces dim"]:
        images = {name: vectors for name in request.images if (vectors := self._images.get(name)) is not None}
        if dropped := [name for name in request.images if name not in images]:
            raise RunError(f"{counted(len(dropped), 'new image')} of the query are no longer kept. Drop them in again.")
        key = ("query", request.like, request.unlike, request.images, request.middle)

        def make() -> Float[np.ndarray, "spaces dim"]:
            like = [self._example(row) for row in request.like]
            like += [Example("an image", vectors) for vectors in images.values()]
            if request.middle is not None:
                rows = np.flatnonzero(request.middle.rows(self._columns[request.middle.column]))
                if not len(rows):
                    raise RunError("no row has this label, so it has no middle.")
                like.append(Example("the middle of a label", unit(self.index.spaces.mean(rows))))
            return together(like, [self._example(row) for row in request.unlike])

        return self._once(key, make)

    def _example(self, row: int) -> Example:
        return Example(f"row {row}", self.index.spaces.vectors([row])[:, 0], row)

    def _keep(self, request: Request) -> Bool[np.ndarray, " rows"]:
        """Rows that may be found. Not to be written to."""

        def make() -> Bool[np.ndarray, " rows"]:
            keep = np.ones(len(self.index), dtype=bool)
            if request.within is not None:
                keep[:] = False
                keep[list(request.within)] = True
            for one in request.filters:
                keep &= one.rows(self._columns[one.column])
            return keep

        return self._once(("keep", request.filters, request.within), make)

    def _once(self, key: Any, make: Callable[[], Value]) -> Value:
        """A slider that moves asks the same of all but the weights."""
        if key in self._queries:
            self._queries.move_to_end(key)
            cached: Value = self._queries[key]
            return cached
        value = make()
        _keep_last(self._queries, key, value, _CACHED_QUERIES)
        return value

    def _records(self, rows: Int[np.ndarray, " found"]) -> dict[str, Any]:
        """What a page must know of rows that it does not hold."""
        frame = self.index.rows[rows.tolist()] if len(rows) else self.index.rows.head(0)
        cells = [[_cell(column, row) for column in self._columns] for row in rows.tolist()]
        record: dict[str, Any] = {
            "rows": rows.tolist(),
            "lines": frame["line"].to_list(),
            "names": gathering.names_of(frame, self._data),
            "cells": cells,
        }
        if self._folder is None:
            record["texts"] = gathering.texts_of(frame, self._data)
        return record

    def _drawn(self, row: int, folder: Path) -> bytes:
        # Located anew each time: a link may have been put there since.
        path = locate(folder, [str(self.index.rows["image"][row])])[0]
        if path is None:
            raise Refused("lies outside the folder of the images")
        return base64.b64decode(_picture(decode_one(path, self._side, self._data.channels)).partition(",")[2])

    @property
    def _side(self) -> int:
        """In pixels, of a picture to look at."""
        return min(SIDE, max(self._data.image_size, EXACT))

    def _try_some(self, run: Run) -> None:
        """Whether the images are in their folder; each is read only when it is shown."""
        assert self._folder is not None
        count = len(self.index)
        some = np.unique(np.linspace(0, count - 1, min(_TRIED, count)).astype(int)).tolist()
        faults: dict[int, str] = {}
        for row in some:
            try:
                self._drawn(row, self._folder)
            except Refused as fault:
                faults[row] = str(fault)
        if len(faults) == len(some):
            first = some[0]
            raise RunError(
                f"run '{run.root}': of {counted(len(some), 'image')} that were tried none can be read; the first, "
                f"'{self.index.rows['image'][first]}', {faults[first]} (looked in '{self._folder}').\n"
                "  If the pictures moved, pass --images DIR; to explore without them, pass --no-images."
            )

    def _page(self, run: Run, most: int, seconds: float) -> str:
        rows, columns = self.index.rows, self._columns
        sampled = gathering.sample(rows, [str(s["state"].get("column", "")) for s in run.read_similarities()], most)
        vectors = self.index.spaces.vectors(sampled).astype(np.float32)
        some = rows[sampled]
        sampled_columns = tuple(
            replace(c, values=c.values[sampled]) if c.kind == "number" else replace(c, codes=c.codes[sampled])
            for c in columns
        )
        gathered = gathering.Gathered(
            title=str(run.read_recipe_values().get("title") or run.name),
            table=str(run.read_facts().get("table", {}).get("name", "the table")),
            total=rows.height,
            ids=sampled,
            lines=some["line"].to_numpy().astype(np.int64),
            names=tuple(gathering.names_of(some, self._data)),
            spaces=self.index.similarities,
            vectors=np.zeros((vectors.shape[0], 0, vectors.shape[2]), dtype=np.int8),  # the server has them
            columns=sampled_columns,
            doubts=gathering.doubts_of(sampled_columns, self.index.labels, vectors, sampled),
            maps=tuple(draw_maps(vectors, seconds)),
            pictures=(),
            texts=() if self._folder is not None else tuple(gathering.texts_of(some, self._data)),
            note=" ".join([_note(len(sampled), rows.height), *gathering.notes_of(sampled_columns)]).strip(),
        )
        return render(
            gathered,
            served={
                "pictures": self._folder is not None,
                "uploads": self._data.input == "image",
                "formats": list(FORMATS),
                "bytes": MOST_BYTES,
                "images": MOST_IMAGES,
                "columns": [_counts(column) for column in columns],
            },
        )


def _picture(pixels: UInt8[np.ndarray, "channels side side"]) -> str:
    """As a data URI."""
    side = pixels.shape[1]
    return data_uri(pixels, side, 80, exact=side <= EXACT)


def _cell(column: Column, row: int) -> float | int | None:
    if column.kind != "number":
        return int(column.codes[row])
    value = float(column.values[row])
    return None if math.isnan(value) else value


def _counts(column: Column) -> Mapping[str, Any]:
    """How many of all rows have each code, and how many none."""
    if column.kind == "number":
        return {"counts": [], "blank": int(np.isnan(column.values).sum())}
    known = column.codes[column.codes >= 0]
    counts = np.bincount(known, minlength=len(column.sets or column.labels))
    return {"counts": counts.tolist(), "blank": int(len(column.codes) - len(known))}


def _note(count: int, total: int) -> str:
    if count == total:
        return ""
    return (
        f"All of them are searched. {count:,}, drawn evenly over splits and labels, are on the map, and among these "
        "suspicious labels are sought."
    )


def _keep_last(cache: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    cache[key] = value
    while len(cache) > most:
        cache.popitem(last=False)


class _turn:
    """One at a time; who waits too long gets `Busy`."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=_PATIENCE):
            raise Busy

    def __exit__(self, *raised: object) -> None:
        self._lock.release()
