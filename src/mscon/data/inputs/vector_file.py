"""A mapped file of vectors that must not change while rows are read from it. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from mscon.data.table.table import stamp_of
from mscon.errors import TableError

# From so many consecutive rows on one read costs less than going through the mapped file.
_READ_FROM = 64


@dataclass(frozen=True, slots=True, eq=False)
class VectorFile:
    """Vectors of a mapped file. Taking rows costs two looks at the file's size and times, some microseconds.

    Many rows in a row are read, not taken from the mapped file: the operating system kills a process (SIGBUS) that
    touches a part of a mapped file that another process has cut off in the meantime. For a few rows here and there
    reading is twenty times slower, and the time between looking and touching is some 20 microseconds.

    Attributes:
        path: of the file.
        mapped: all of it.
        stamp: what `stamp_of` said before it was mapped.
    """

    path: Path
    mapped: Shaped[np.ndarray, "rows dim"]
    stamp: tuple[int, int, int] | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mapped.shape

    @property
    def dtype(self) -> np.dtype:
        return self.mapped.dtype

    def __len__(self) -> int:
        return len(self.mapped)

    def __getitem__(self, rows: Int[np.ndarray, " batch"]) -> Shaped[np.ndarray, "batch dim"]:
        """A copy of these rows, as the file had them when it was opened; no rows just look at the file.

        Raises:
            TableError: if it is not the same file any more.
        """
        self._need_same()
        mapped, many = self.mapped, len(rows) >= _READ_FROM and bool((np.diff(rows) == 1).all())
        if many and isinstance(mapped, np.memmap) and mapped.flags.c_contiguous:
            vectors = self._read(mapped.offset + int(rows[0]) * mapped.strides[0], len(rows))
        else:
            vectors = np.asarray(mapped[rows])
        self._need_same()
        return vectors

    def _read(self, offset: int, count: int) -> Shaped[np.ndarray, "batch dim"]:
        vectors = np.empty((count, self.shape[1]), self.dtype)
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                if file.readinto(vectors.view(np.uint8).data) != vectors.nbytes:
                    raise self._changed()
        except FileNotFoundError:
            raise self._changed() from None
        return vectors

    def _need_same(self) -> None:
        if stamp_of(self.path) != self.stamp:
            raise self._changed()

    def _changed(self) -> TableError:
        return TableError(
            f"the file of vectors '{self.path}' has changed while it was being read, so what was read may be of "
            "either.\n  Wait until nothing writes it any more, or put back the file as it was; then run again."
        )
