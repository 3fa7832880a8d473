"""Images on demand: decoded whenever they are read, for tables whose decoded images do not fit the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from mscon.data.inputs.boxes import ImageSource
from mscon.data.inputs.decoding import decode_with_fingerprint
from mscon.data.inputs.image_faults import fault_message
from mscon.data.inputs.image_files import WAIT, each_file
from mscon.data.table.table import at_lines
from mscon.errors import TableError
from mscon.run.recipe import Data


@dataclass(frozen=True, slots=True, eq=False)
class ImagesOnDemand:
    """Images of some rows, to be read like an array of them.

    Attributes:
        files: of the rows.
        fingerprints: of the files, as they were when all were tried.
        names, lines: of the images, in the table.
        data: says how images are decoded.
        table_name, images_root: for messages.
    """

    files: Sequence[ImageSource | None]
    fingerprints: UInt8[np.ndarray, "rows bytes"]
    names: Sequence[str]
    lines: Sequence[int]
    data: Data
    table_name: str
    images_root: Path

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Rows, channels, and twice the side in pixels."""
        return (len(self.files), self.data.channels, self.data.image_size, self.data.image_size)

    def __getitem__(
        self, rows: int | slice | Int[np.ndarray, " some"]
    ) -> UInt8[np.ndarray, "*some channels size size"]:
        """Decode these rows.

        Raises:
            TableError: for all of them that cannot be read any more, or have changed.
        """
        some = np.arange(*rows.indices(len(self.files))) if isinstance(rows, slice) else np.atleast_1d(rows)
        numbers: list[int] = some.tolist()
        pixels = np.zeros((len(numbers), *self.shape[1:]), np.uint8)
        changed: list[int] = []

        def decode_into(place: int, image: ImageSource) -> None:
            decoded = decode_with_fingerprint(image, self.data.image_size, self.data.channels, self.data.white)
            pixels[place], fingerprint = decoded
            if (fingerprint != self.fingerprints[numbers[place]]).any():
                changed.append(numbers[place])

        faults = each_file([self.files[number] for number in numbers], decode_into, "")
        if faults:
            of_rows = {numbers[place]: fault for place, fault in faults.items()}
            raise TableError(fault_message(of_rows, self.names, self.lines, self.table_name, self.images_root))
        if changed:
            what = f"image {self.names[min(changed)]!r} has changed since all images were tried."
            lines = [self.lines[number] for number in sorted(changed)]
            raise TableError(at_lines(self.table_name, lines, len(self.files), what, WAIT))
        return pixels[0] if isinstance(rows, int) else pixels
