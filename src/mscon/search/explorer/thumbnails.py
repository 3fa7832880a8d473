"""Pictures of rows, small enough that thousands fit into one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mscon.data.inputs.boxes import ImageSource
from mscon.data.inputs.decoding import Refused, side_and_mode
from mscon.data.inputs.image_files import decode_some, find_images
from mscon.errors import RunError, counted
from mscon.evaluate.page.thumbnails import EXACT, SIDE, data_uri, images_folder
from mscon.run.recipe import Data
from mscon.run.run import Run

WITHOUT = "to explore without them, pass --no-images"
# Side in pixels and WEBP quality, from the best on; the first that keeps to the budget is taken.
_LADDER = ((96, 80), (96, 65), (80, 65), (72, 60), (64, 55), (56, 50), (48, 45), (40, 40), (32, 30))
_TRIED = 48
_BLOCK = 512


def thumbnails(run: Run, images: Sequence[str], root: Path | None, data: Data, budget: int) -> list[str]:
    """A data URI a row: what the encoder saw of it, the centred square, as WEBP.

    Args:
        run: for messages.
        images: paths of the rows' images, relative to the root.
        root: folder of the images; None for where they lay when the run was trained.
        data: of the run's recipe; says how images are read.
        budget: characters that a picture may take on average. Sides and quality are lowered to keep to it.

    Raises:
        RunError: once for all images that are gone or cannot be read.
    """
    folder = images_folder(run, root, WITHOUT)
    paths = find_images(folder, images, data)
    sizes = [size for path in paths[:_TRIED] if path is not None and (size := _short_side(path))]
    native = min(SIDE, max(sizes, default=SIDE))
    exact = native <= EXACT
    # Spread over all rows: tables are sorted, and one class may be harder to write small than another.
    some = np.linspace(0, len(paths) - 1, min(_TRIED, len(paths))).astype(int)
    sample, _ = decode_some([paths[i] for i in some], native, data.channels, data.white, to_look_at=True)
    side, quality = native, 100
    if not exact:
        for side, quality in _LADDER:
            if side <= native and np.mean([len(data_uri(p, side, quality)) for p in sample]) <= budget:
                break
    pictures: list[str] = []
    faults: dict[int, str] = {}
    for start in range(0, len(paths), _BLOCK):
        pixels, wrong = decode_some(paths[start : start + _BLOCK], side, data.channels, data.white, to_look_at=True)
        faults |= {start + number: fault for number, fault in wrong.items()}
        if not faults:
            pictures += [data_uri(p, side, quality, exact) for p in pixels]
    if faults:
        first = min(faults)
        raise RunError(
            f"run '{run.root}': {counted(len(faults), 'image')} of {len(images):,} cannot be read; the first, "
            f"'{images[first]}', {faults[first]} (looked in '{folder}').\n"
            f"  If the pictures moved, pass --images DIR; {WITHOUT}."
        )
    return pictures


def _short_side(image: ImageSource) -> int:
    """0 where it cannot be read; the message comes when the image is decoded."""
    try:
        return side_and_mode(image)[0]
    except Refused:
        return 0
