"""Two coordinates a row, for a look at a space."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

# Rows that t-SNE places itself: some 3 CPU-seconds a space. The others are placed among them.
LANDMARKS = 1_500
_FEWEST = 20
_STEPS = 500
# Neighbours among the landmarks that the place of another row is the mean of.
_BETWEEN = 3
_BLOCK = 4_096


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
        flat, share = principal(space)
        near = neighbourhoods(space, seed=seed) if time.monotonic() < end else None
        landmarks = min(len(space), LANDMARKS)
        drawn.append(Maps(framed(flat), share, None if near is None else framed(near), landmarks))
    return drawn


def principal(vectors: Float[np.ndarray, "rows dim"]) -> tuple[Float[np.ndarray, "rows 2"], float]:
    """Coordinates along the two directions of largest variance, and their share of it. Signs are fixed."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variance, directions = np.linalg.eigh(centred.T @ centred)
    coordinates = centred @ directions[:, ::-1][:, :2]
    if coordinates.shape[1] < 2:
        coordinates = np.pad(coordinates, ((0, 0), (0, 2 - coordinates.shape[1])))
    signs = np.where(coordinates[np.abs(coordinates).argmax(axis=0), np.arange(2)] < 0, -1.0, 1.0)
    total = float(variance.sum())
    return coordinates * signs, float(variance[-2:].sum()) / total if total > 0 else 0.0


def neighbourhoods(
    vectors: Float[np.ndarray, "rows dim"], most: int = LANDMARKS, seed: int = 0
) -> Float[np.ndarray, "rows 2"] | None:
    """t-SNE of unit-length vectors; None below 20 rows.

    Beyond `most` rows, that many drawn at random are placed by t-SNE and every other row at the mean of the three
    of them that are nearest to it, weighted by how near.

    Source: van der Maaten and Hinton 2008, https://jmlr.org/papers/v9/vandermaaten08a.html.
    """
    if len(vectors) < _FEWEST:
        return None
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    landmarks = np.arange(len(vectors))
    if len(vectors) > most:
        landmarks = np.sort(np.random.default_rng(seed).choice(len(vectors), most, replace=False))
    wide = vectors[landmarks].astype(np.float32)
    start = principal(wide)[0]
    start = (start / max(float(start[:, 0].std()), 1e-12) * 1e-4).astype(np.float32)
    tsne = TSNE(perplexity=min(30.0, (len(wide) - 1) / 4), init=start, max_iter=_STEPS, random_state=seed)
    # One thread: on a busy machine several take twice the time, waiting for each other.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        placed = np.asarray(tsne.fit_transform(wide), dtype=np.float64)
    return placed if len(landmarks) == len(vectors) else _between(vectors, landmarks, placed)


def _between(
    vectors: Float[np.ndarray, "rows dim"],
    landmarks: Int[np.ndarray, " landmarks"],
    placed: Float[np.ndarray, "landmarks 2"],
) -> Float[np.ndarray, "rows 2"]:
    places = np.zeros((len(vectors), 2))
    for start in range(0, len(vectors), _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ vectors[landmarks].T
        near = np.argpartition(cosines, -_BETWEEN, axis=1)[:, -_BETWEEN:]
        weight = 1 / np.maximum(1 - np.take_along_axis(cosines, near, axis=1), 1e-3)
        places[start : start + _BLOCK] = (placed[near] * weight[:, :, None]).sum(axis=1) / weight.sum(
            axis=1, keepdims=True
        )
    places[landmarks] = placed
    return places


def framed(places: Float[np.ndarray, "rows 2"]) -> Float[np.ndarray, "rows 2"]:
    """The same within the unit square, centred, both axes by one scale."""
    if not len(places):
        return places
    low, high = places.min(axis=0), places.max(axis=0)
    extent = float((high - low).max())
    if extent <= 0:
        return np.full_like(places, 0.5)
    return (places - (low + high) / 2) / extent + 0.5
