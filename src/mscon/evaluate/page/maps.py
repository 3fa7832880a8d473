"""Maps: vectors of many dimensions as points in two."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float, Int

# Rows that t-SNE places itself: some 3 CPU-seconds. The others are placed among them.
LANDMARKS = 1_500
_FEWEST = 20
_STEPS = 500
# Neighbours among the landmarks that the place of another row is the mean of.
_BETWEEN = 3
_BLOCK = 4_096


def principal(vectors: Float[np.ndarray, "rows dim"]) -> tuple[Float[np.ndarray, "rows 2"], Float[np.ndarray, " axes"]]:
    """Coordinates along the two directions of largest variance, and the share of the variance along each.

    Signs are fixed, so that the map is the same each time.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    # Of the two matrices that have these variances as eigenvalues the smaller one.
    is_wide = centred.shape[1] > centred.shape[0]
    variance, directions = np.linalg.eigh(centred @ centred.T if is_wide else centred.T @ centred)
    variance = np.maximum(variance, 0.0)
    total, largest = float(variance.sum()), variance[::-1][:2]
    first = directions[:, ::-1][:, :2]
    coordinates = first * np.sqrt(largest) if is_wide else centred @ first
    # Fewer rows or dimensions than two: the rest is zero.
    coordinates = np.pad(coordinates, ((0, 0), (0, 2 - coordinates.shape[1])))
    signs = np.where(coordinates[np.abs(coordinates).argmax(axis=0), np.arange(2)] < 0, -1.0, 1.0)
    return coordinates * signs, np.pad(largest / total if total > 0 else 0 * largest, (0, 2 - len(largest)))


def neighbourhoods(
    vectors: Float[np.ndarray, "rows dim"], most: int = LANDMARKS, seed: int = 0
) -> Float[np.ndarray, "rows 2"] | None:
    """t-SNE of the vectors at unit length, so that near means a high cosine; None below 20 rows.

    Beyond `most` rows, that many drawn at random are placed by t-SNE and every other row at the mean of the three
    of them that are nearest to it, weighted by how near.

    Source: van der Maaten and Hinton 2008, https://jmlr.org/papers/v9/vandermaaten08a.html.
    """
    if len(vectors) < _FEWEST:
        return None
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    unit = vectors.astype(np.float32)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    landmarks = np.arange(len(unit))
    if len(unit) > most:
        landmarks = np.sort(np.random.default_rng(seed).choice(len(unit), most, replace=False))
    wide = unit[landmarks]
    start = principal(wide)[0]
    start = (start / max(float(start[:, 0].std()), 1e-12) * 1e-4).astype(np.float32)
    tsne = TSNE(perplexity=min(30.0, (len(wide) - 1) / 4), init=start, max_iter=_STEPS, random_state=seed)
    # One thread: on a busy machine several take twice the time, waiting for each other.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        places = np.asarray(tsne.fit_transform(wide), dtype=np.float64)
    return places if len(landmarks) == len(unit) else _between(unit, landmarks, places)


def framed(places: Float[np.ndarray, "rows 2"]) -> Float[np.ndarray, "rows 2"]:
    """The same within the unit square, centred, both axes by one scale."""
    if not len(places):
        return places
    low, high = places.min(axis=0), places.max(axis=0)
    extent = float((high - low).max())
    if extent <= 0:
        return np.full_like(places, 0.5)
    return (places - (low + high) / 2) / extent + 0.5


def _between(
    unit: Float[np.ndarray, "rows dim"],
    landmarks: Int[np.ndarray, " landmarks"],
    places_of_landmarks: Float[np.ndarray, "landmarks 2"],
) -> Float[np.ndarray, "rows 2"]:
    places = np.zeros((len(unit), 2))
    for start in range(0, len(unit), _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit[landmarks].T
        near = np.argpartition(cosines, -_BETWEEN, axis=1)[:, -_BETWEEN:]
        weight = 1 / np.maximum(1 - np.take_along_axis(cosines, near, axis=1), 1e-3)
        mean = (places_of_landmarks[near] * weight[:, :, None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
        places[start : start + _BLOCK] = mean
    places[landmarks] = places_of_landmarks
    return places
