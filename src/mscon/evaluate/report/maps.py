"""Features in two dimensions, coloured by a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mscon.evaluate.report import palette
from mscon.evaluate.report.pictures import Picture, blank, picture

# t-SNE takes about 4 CPU-seconds for so many rows; a map of more is a blot anyway.
MOST_ROWS = 1_200


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend: the class, its place in the palette (None: grey), and its rows in the map."""

    name: str
    position: int | None
    rows: int


@dataclass(frozen=True, slots=True)
class Map:
    """One picture of the features and the legend that belongs to it."""

    column: str
    picture: Picture
    legend: tuple[Key, ...]


def held_out(splits: Sequence[str], most: int = MOST_ROWS, seed: int = 0) -> Int[np.ndarray, " rows"]:
    """Positions of rows that training never saw (test and unseen, else validation, else all), at most `most`."""
    names = np.asarray(splits, dtype=object)
    for wanted in (("test", "unseen"), ("validation",)):
        rows = np.flatnonzero(np.isin(names, wanted))
        if len(rows):
            break
    else:
        rows = np.arange(len(names))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return rows


def principal(features: Float[np.ndarray, "rows dim"], axes: int = 2) -> Float[np.ndarray, "rows axes"]:
    """Coordinates along the directions of largest variance; signs are fixed so that the map is the same each time."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    # Fewer rows or dimensions than axes: the rest is zero.
    coordinates = left[:, :axes] * scale[:axes]
    coordinates = coordinates * np.where(
        coordinates[np.abs(coordinates).argmax(axis=0), np.arange(coordinates.shape[1])] < 0, -1.0, 1.0
    )
    return np.pad(coordinates, ((0, 0), (0, axes - coordinates.shape[1])))


def variance_shares(features: Float[np.ndarray, "rows dim"], axes: int = 2) -> Float[np.ndarray, " axes"]:
    """Share of the variance along each of the first principal directions."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    squares = np.linalg.svd(centred, compute_uv=False) ** 2
    total = squares.sum()
    return np.pad(squares / total if total > 0 else squares, (0, axes))[:axes]


def neighbourhoods(features: Float[np.ndarray, "rows dim"], seed: int = 0) -> Float[np.ndarray, "rows 2"] | None:
    """t-SNE of unit-length features, so that near means a high cosine. None below 20 rows.

    Source: van der Maaten and Hinton 2008, https://jmlr.org/papers/v9/vandermaaten08a.html.
    """
    if len(features) < 20:
        return None
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    start = principal(unit, min(50, *unit.shape)).astype(np.float32)
    perplexity = min(30.0, (len(start) - 1) / 4)
    # From the principal axes and with a fixed seed: the same features give the same map. One thread: on a busy
    # machine several take twice the time, waiting for each other.
    with threadpool_limits(1):
        return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(start))


def coloured(
    places: Float[np.ndarray, "rows 2"],
    labels: Sequence[str | None],
    column: str,
    of: str,
    kind: str,
    side: float = 3.6,
) -> Map:
    """A map coloured by a column: its 20 largest classes in colour and shape, smaller ones and blanks in grey.

    `of` says of what, `kind` what kind of map it is, for those who hear the page; `side` is in inches.
    """
    counts = Counter(label for label in labels if label is not None)
    # The largest, in the order of their names: so the same class has the same colour in every map.
    named = sorted(sorted(counts, key=lambda label: (-counts[label], label))[: palette.MOST])
    figure = blank(side, side)
    dot = 11 * (side / 3.6) ** 2  # area, so that a small map is the same map
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    position = {label: i for i, label in enumerate(named)}
    where = np.array([-1 if label is None else position.get(label, -1) for label in labels])
    axis.scatter(places[where < 0, 0], places[where < 0, 1], s=0.6 * dot, color=palette.OTHERS, linewidths=0)
    for i in position.values():
        marker = palette.MARKERS[palette.turn(i)]
        mine = places[where == i]
        axis.scatter(mine[:, 0], mine[:, 1], s=dot, color=palette.colour(i), marker=marker, linewidths=0, alpha=0.8)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    alt = (
        f"{kind} of {of}: {len(labels)} points coloured by {column}, "
        f"{len(counts)} classes, {len(labels) - sum(counts.values())} rows without a label."
    )
    legend = [Key(label, i, counts[label]) for label, i in position.items()]
    if rest := len(labels) - sum(counts[label] for label in named):
        smaller, empty = len(counts) - len(named), None in labels
        words = [f"{smaller} smaller classes"] * bool(smaller) + ["no label"] * empty
        legend.append(Key(" or ".join(words), None, rest))
    return Map(column, picture(figure, alt, "png"), tuple(legend))
