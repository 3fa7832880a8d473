"""Large images: what bounds the memory that decoding takes, over all threads together. No torch here.

Pillow holds an image in 1 to 4 bytes a pixel, and each step may hold it once more.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from PIL import Image

_PIXELS_AT_ONCE = 2**20


class PixelBudget:
    """Lets threads decode at once as long as their images together have at most so many pixels.

    One that has more by itself waits for all others, and is decoded alone.

    Args:
        most: pixels of all images that are being decoded.
    """

    def __init__(self, most: int) -> None:
        self._most, self._used, self._changed = most, 0, threading.Condition()

    @contextlib.contextmanager
    def spent(self, pixels: int) -> Iterator[None]:
        """Around the decoding of an image of so many pixels."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self._most)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()


def on_white(image: Image.Image) -> Image.Image:
    """An image with its transparency laid on white, as RGB. Some rows at a time: each step copies what it gets."""
    flat = Image.new("RGB", image.size)
    rows_at_once = max(1, _PIXELS_AT_ONCE // max(1, image.width))
    for top in range(0, image.height, rows_at_once):
        rows = image.crop((0, top, image.width, min(top + rows_at_once, image.height))).convert("RGBA")
        flat.paste(Image.alpha_composite(Image.new("RGBA", rows.size, "white"), rows).convert("RGB"), (0, top))
    return flat
