"""Pixel ranges: images that are nearly black, nearly white or of one tone, as a wrong depth leaves them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mscon.data.inputs.decoding import Refused, quiet_pillow, value_range
from mscon.data.inputs.image_files import find_images
from mscon.data.inputs.images import ImageStore
from mscon.data.table.cell_text import number_text
from mscon.errors import counted, numbered
from mscon.run.recipe import Data

# Of 255: an image without a pixel above is nearly black, without one below 255 less this nearly white; one whose pixels
# differ by less is of one tone. Sixteen is what 12 bits in a file of 16 leave.
_NEAR = 16

_IMAGES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class PixelRanges:
    """Images whose pixels are in a small part of the range from 0 to 255.

    Attributes:
        images: all that were looked at.
        black, white, flat: lines of images that are nearly black, nearly white, or else of one tone.
        deep: of a nearly black or flat image with more than 8 bits its least and its largest value; None if there is no
            such image.
    """

    images: int
    black: tuple[int, ...]
    white: tuple[int, ...]
    flat: tuple[int, ...]
    deep: tuple[float, float] | None = None

    def to_text(self, word: str) -> list[str]:
        """Sentences for a terminal, which call the rows by `word`, "line" or "row"."""
        kinds = (
            (self.black, f"nearly black (no pixel above {_NEAR - 1} of 255)"),
            (self.white, f"nearly white (no pixel below {256 - _NEAR} of 255)"),
            (self.flat, f"of one tone (pixels differ by less than {_NEAR} of 255)"),
        )
        lines = [
            f"{counted(len(rows), 'image')} of {self.images:,} {'is' if len(rows) == 1 else 'are'} {what}: "
            f"{numbered(word, rows)}."
            for rows, what in kinds
            if rows
        ]
        if self.deep is not None:
            low, high = map(number_text, self.deep)
            lines.append(
                f"    The first of them with more than 8 bits has values from {low} to {high}. Set [data] white to the "
                "value that is white, such as 4095 for 12 bits."
            )
        return lines


def pixel_ranges(rows: pl.DataFrame, store: ImageStore, root: Path, data: Data) -> PixelRanges:
    """The ranges of all images, and the values in the file of the first that has more than 8 bits.

    Args:
        rows: as `select_rows` gives them.
        store: their images.
        root: folder of the images.
        data: how they are read.
    """
    low, high = np.empty(len(store), np.uint8), np.empty(len(store), np.uint8)
    for start in range(0, len(store), _IMAGES_AT_ONCE):
        block = store.images[start : start + _IMAGES_AT_ONCE].reshape(-1, store.images[0].size)
        low[start : start + len(block)], high[start : start + len(block)] = block.min(axis=1), block.max(axis=1)
    line = np.asarray(rows.get_column("line").to_list(), dtype=np.int64)
    is_black, is_white = high < _NEAR, low > 255 - _NEAR
    is_flat = ~is_black & ~is_white & (high - low < _NEAR)
    black, white, flat = (tuple(line[kind].tolist()) for kind in (is_black, is_white, is_flat))
    odd = np.flatnonzero(is_black | is_flat)[:_IMAGES_AT_ONCE].tolist()
    deep = None if data.white else _deep_values(rows.get_column("image").gather(odd).to_list(), root, data)
    return PixelRanges(len(store), black, white, flat, deep)


def _deep_values(images: Sequence[str], root: Path, data: Data) -> tuple[float, float] | None:
    """Least and largest value of the first of some images that has more than 8 bits."""
    with quiet_pillow():
        for file in find_images(root, images, data):
            with contextlib.suppress(Refused):
                if file is not None and (values := value_range(file)) is not None:
                    return values
    return None
