"""New examples: what somebody enters on a page, encoded and kept by a name. Nothing of it is written anywhere."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mscon.errors import RunError, counted
from mscon.run.recipe import Data
from mscon.search.explorer.pictures import picture_uri
from mscon.search.explorer.requests import MOST_NEW
from mscon.search.explorer.turns import turn
from mscon.search.explorer.uploads import read_upload
from mscon.search.index import Index

_MOST = 4 * MOST_NEW

# By [data] input: what a new row is in JSON. A text in a run on anything else would be read as a path.
_IN_JSON: Mapping[str, tuple[type, str]] = {
    "text": (str, "a text"),
    "vectors": (list, "a list of numbers"),
    "columns": (dict, "an object of cells"),
}


class NewExamples:
    """The last few new rows of the pages of a run.

    Args:
        index: encodes them.
        data: of its recipe.
        side: of a picture that is shown.
    """

    def __init__(self, index: Index, data: Data, side: int) -> None:
        self._index, self._data, self._side = index, data, side
        self._turn = threading.Lock()
        self._vectors: OrderedDict[str, Float[np.ndarray, "spaces dim"]] = OrderedDict()

    def need(self, names: Sequence[str]) -> None:
        """Raise RunError if some are no longer kept."""
        if missing := len(set(names) - set(self._vectors)):
            raise RunError(f"{counted(missing, 'new row')} of the query are no longer kept. Enter them again.")

    def vectors(self, name: str) -> Float[np.ndarray, "spaces dim"]:
        """Those of one that is kept."""
        return self._vectors[name]

    def upload(self, data: bytes) -> dict[str, Any]:
        """Encode an image.

        Args:
            data: of an image file.

        Returns:
            A name for it, to be used in searches, and a picture of what the encoder sees of it.

        Raises:
            RunError: if rows of this run are no images, or it has no model.
            TableError: if it is no image that is taken.
            Busy: if others take too long.
        """
        self._index.new_rows.need("image", "an image")
        with turn(self._turn):
            settings = self._data
            image, pixels = read_upload(data, settings.image_size, settings.channels, self._side, settings.white)
            vectors = self._index.encode(
                image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
            )
            return {"new": self._keep(vectors), "picture": picture_uri(pixels)}

    def encode(self, row: Any) -> dict[str, Any]:
        """Encode a text, a vector or cells, as JSON has them.

        Returns:
            A name for it, to be used in searches; and sentences on what a user may not expect of it.

        Raises:
            RunError: for what is no row of this run; if it has no model.
            TableError: for cells that are at fault.
            Busy: if others take too long.
        """
        kind, words = _IN_JSON.get(self._data.input, ((), "uploaded, since rows of this run are images"))
        if not isinstance(row, kind):
            raise RunError(f"'row' must be {words}.")
        with turn(self._turn):
            example = self._index.new_rows.read(row, "of this page")
            return {"new": self._keep(example.vectors), "notes": list(example.notes)}

    def _keep(self, vectors: Float[np.ndarray, "spaces dim"]) -> str:
        name = secrets.token_hex(8)
        self._vectors[name] = vectors
        while len(self._vectors) > _MOST:
            self._vectors.popitem(last=False)
        return name
