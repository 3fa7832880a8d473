"""Two coordinates a row, for a look at every space."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mscon.evaluate.page.maps import LANDMARKS, framed, neighbourhoods, principal


@dataclass(frozen=True, eq=False, slots=True)
class Maps:
    """The maps of one space, within [0, 1], the proportions kept.

    Attributes:
        flat: along the two directions of largest variance.
        share: of the variance that these two have.
        near: t-SNE; None where there are too few rows, or no time was left.
        landmarks: rows that t-SNE placed itself.
    """

    flat: Float[np.ndarray, "rows 2"]
    share: float
    near: Float[np.ndarray, "rows 2"] | None
    landmarks: int


def draw_maps(vectors: Float[np.ndarray, "spaces rows dim"], seconds: float = 60.0, seed: int = 0) -> list[Maps]:
    """Maps of every space.

    Args:
        vectors: of unit length.
        seconds: after so many no further t-SNE is begun; spaces without it have the flat map only.
        seed: of t-SNE and of the choice of its landmarks.
    """
    end = time.monotonic() + seconds
    drawn = []
    for space in vectors:
        flat, shares = principal(space)
        near = neighbourhoods(space, seed=seed) if time.monotonic() < end else None
        landmarks = min(len(space), LANDMARKS)
        drawn.append(Maps(framed(flat), float(shares.sum()), None if near is None else framed(near), landmarks))
    return drawn
