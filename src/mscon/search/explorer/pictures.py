"""Pictures of rows, each read from its file when a page asks for it."""

from __future__ import annotations

import base64
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from mscon.data.inputs.decoding import Refused, decode_one
from mscon.data.inputs.image_files import OUTSIDE, find_images
from mscon.errors import RunError, counted
from mscon.evaluate.page.thumbnails import EXACT, SIDE, data_uri, images_folder
from mscon.run.recipe import Data
from mscon.search.explorer.thumbnails import WITHOUT
from mscon.search.index import Index

_CACHED = 1_000
_TRIED = 12

# Pictures that are decoded at a time: each may take a few hundred megabytes.
_DRAWING = 2


class Pictures:
    """The images of a run's rows, as centred squares in WEBP; the last of them are kept.

    Args:
        index: of a run whose rows are images.
        images: their folder; None for where they lay when the run was trained.
        side: in pixels.
        data: of the run's recipe; says how images are read.

    Raises:
        RunError: if the folder is not there, or none of some images in it can be read.
    """

    def __init__(self, index: Index, images: Path | None, side: int, data: Data) -> None:
        self.folder = images_folder(index.run, images, WITHOUT)
        self._files = index.rows["image"]
        self._side, self._data = side, data
        self._drawing = threading.BoundedSemaphore(_DRAWING)
        self._drawn = lru_cache(_CACHED)(self._draw)
        self._try_some(index)

    def of(self, row: int) -> bytes | None:
        """The picture of a row; None where there is none, or it cannot be read."""
        if not 0 <= row < len(self._files):
            return None
        try:
            return self._drawn(row)
        except Refused:
            return None

    def _draw(self, row: int) -> bytes:
        # Located anew each time: a link may have been put there since.
        path = find_images(self.folder, [str(self._files[row])], self._data)[0]
        if path is None:
            raise Refused(OUTSIDE)
        with self._drawing:
            picture = picture_uri(decode_one(path, self._side, self._data.channels, self._data.white, to_look_at=True))
        return base64.b64decode(picture.partition(",")[2])

    def _try_some(self, index: Index) -> None:
        """Whether the images are in their folder; each is read only when it is shown."""
        count = len(self._files)
        some = np.unique(np.linspace(0, count - 1, min(_TRIED, count)).astype(int)).tolist()
        faults: list[str] = []
        for row in some:
            try:
                self._drawn(row)
            except Refused as refused:
                faults.append(f"'{self._files[row]}', {refused}")
        if len(faults) == len(some):
            raise RunError(
                f"{index.name}: of {counted(len(some), 'image')} that were tried none can be read; the first, "
                f"{faults[0]} (looked in '{self.folder}').\n"
                f"  If the pictures moved, pass --images DIR; {WITHOUT}."
            )


def picture_side(image_size: int) -> int:
    """In pixels, of a picture to look at."""
    return min(SIDE, max(image_size, EXACT))


def picture_uri(pixels: UInt8[np.ndarray, "channels side side"]) -> str:
    """As a data URI."""
    side = pixels.shape[1]
    return data_uri(pixels, side, 80, exact=side <= EXACT)
