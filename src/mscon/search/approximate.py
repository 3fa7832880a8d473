"""Approximate: the nearest rows of a large run without looking at all of them, by FAISS, and the recall that it costs.

Candidates come from inverted lists over the spaces side by side, searched by the same inner product with a rescaled
query, so that one index serves every mix; then they are scored exactly. What may be lacking is a row in a list that was
not visited. How many lists are visited is found out when the index is built: as few as give the wanted recall, against
exact search, for rows of the run under equal weights and under each similarity alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mscon.errors import RunError
from mscon.search.spaces import Neighbours, Spaces

FROM_ROWS = 500_000
"""Of 100,000 rows exact search is as fast, of 1,000,000 a third as fast under an even mix: docs/decisions/0013."""

_K = 10  # recall is counted among so many
_SAMPLE = 64  # rows whose neighbours are looked for
_ADDED = 65_536  # rows widened to float32 at a time
_EVEN = 1.5  # no weight above so many times the mean: such a mix is as good as an equal one
_WORTH = 0.25  # visiting all takes twice as long as exact search, an eighth a third
_SPARE = 4  # candidates for each row wanted, since FAISS orders them by another rounding


class Approximate:
    """Inverted lists over all rows of some spaces.

    Args:
        spaces: the vectors; kept, for exact scores.
        recall: the least share of the exact nearest rows to be found, on average over rows of the run.
        lists: how many; None for four times the root of the number of rows.
        seed: of the sample that the lists are made from.

    Raises:
        RunError: if FAISS is not installed.
        ValueError: if there are fewer rows than lists, or the recall is not in (0, 1].
    """

    def __init__(self, spaces: Spaces, recall: float = 0.95, lists: int | None = None, seed: int = 0) -> None:
        if not 0 < recall <= 1:
            raise ValueError(f"recall must be above 0 and at most 1, got {recall}.")
        self._faiss = need_faiss()
        self.spaces = spaces
        self.lists = lists or max(1, round(4 * spaces.rows**0.5))
        if self.lists > spaces.rows:
            raise ValueError(f"there are {spaces.rows} rows, too few for {self.lists} lists.")
        self._index = self._built(seed)
        self.probes, self.recall = self._calibrated(recall, seed)

    def nearest(
        self,
        query: Float[np.ndarray, "spaces dim"],
        shares: Float[np.ndarray, " spaces"],
        k: int,
        keep: Bool[np.ndarray, " rows"] | None = None,
    ) -> Neighbours:
        """What `Spaces.nearest` gives, except that rows may be lacking; `recall` says how many."""
        return self.nearest_of(query[None], shares, k, keep)[0]

    def nearest_of(
        self,
        queries: Float[np.ndarray, "queries spaces dim"],
        shares: Float[np.ndarray, " spaces"],
        k: int,
        keep: Bool[np.ndarray, " rows"] | None = None,
        probes: int | None = None,
    ) -> list[Neighbours]:
        """The same for several queries; `probes` lists are visited for each."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        rescaled = (queries * shares[:, None]).reshape(len(queries), -1).astype(np.float32)
        parameters: dict[str, Any] = {"nprobe": probes or self.visited(shares)}
        if keep is not None:
            bits = np.packbits(keep, bitorder="little")
            parameters["sel"] = self._faiss.IDSelectorBitmap(bits)
        wanted = min(k * _SPARE, self.spaces.rows)
        # faiss.contrib.torch_utils, which pytorch-metric-learning imports, puts a `search` without params in place of
        # FAISS's own in the whole process, and leaves that as `search_numpy`.
        search = getattr(self._index, "search_numpy", self._index.search)
        _, rows = search(rescaled, wanted, params=self._faiss.SearchParametersIVF(**parameters))
        return [self._exactly(row[row >= 0], query, shares, k) for row, query in zip(rows, queries, strict=True)]

    def visited(self, shares: Float[np.ndarray, " spaces"]) -> int:
        """How many lists a search under a mix visits: lists hold rows that are alike in all spaces, so that what is
        near in one alone lies in many of them."""
        is_even = shares.max() <= _EVEN / self.spaces.count
        return self.probes["equal"] if is_even else max(self.probes.values())

    def pays(self, shares: Float[np.ndarray, " spaces"]) -> bool:
        """Whether a search under a mix visits so few lists that it is faster than an exact one."""
        return self.visited(shares) <= _WORTH * self.lists

    def _exactly(
        self,
        rows: Int[np.ndarray, " candidates"],
        query: Float[np.ndarray, "spaces dim"],
        shares: Float[np.ndarray, " spaces"],
        k: int,
    ) -> Neighbours:
        scores, by_space = self.spaces.score(rows, query, shares)
        order = np.lexsort((rows, -scores))[:k]
        return Neighbours(rows[order], scores[order], by_space[order])

    def _built(self, seed: int) -> Any:
        faiss, stored = self._faiss, self.spaces.stored
        width = stored.shape[1]
        coarse = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFScalarQuantizer(
            coarse, width, self.lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
        )
        index.cp.seed, index.cp.niter = seed + 1, 10
        # FAISS asks for 39 rows a list, and says so in a warning; more than 64 hardly move the lists.
        few = min(len(stored), 64 * self.lists)
        sample = np.sort(np.random.default_rng(seed).choice(len(stored), few, replace=False))
        index.train(stored[sample].float().numpy())
        for start in range(0, len(stored), _ADDED):
            index.add(stored[start : start + _ADDED].float().numpy())
        return index

    def _calibrated(self, wanted: float, seed: int) -> tuple[dict[str, int], dict[str, float]]:
        """Under each mix asked the least power of two of lists that gives the recall, and what it then is."""
        spaces = self.spaces
        sample = np.random.default_rng(seed + 1).choice(spaces.rows, min(_SAMPLE, spaces.rows), replace=False)
        queries = spaces.vectors(sample).transpose(1, 0, 2)
        mixes = {"equal": np.full(spaces.count, 1 / spaces.count)}
        if spaces.count > 1:
            mixes |= {f"only {number}": one for number, one in enumerate(np.eye(spaces.count))}
        probes, recall = dict.fromkeys(mixes, 0), dict.fromkeys(mixes, 0.0)
        for name, shares in mixes.items():
            exact = spaces.nearest_of(queries, shares, _K)
            while probes[name] < self.lists and recall[name] < wanted:
                probes[name] = min(max(1, 2 * probes[name]), self.lists)
                approximate = self.nearest_of(queries, shares, _K, probes=probes[name])
                recall[name] = recall_of(approximate, exact)
        return probes, recall


def recall_of(approximate: Sequence[Neighbours], exact: Sequence[Neighbours]) -> float:
    """Recall: the share of the exact nearest rows that were found. A row that scores as high as the last is as good."""
    shares = []
    for some, best in zip(approximate, exact, strict=True):
        as_good = some.scores >= best.scores[-1] if len(best) else np.zeros(0, dtype=bool)
        shares.append(min(int(as_good.sum()), len(best)) / max(len(best), 1))
    return float(np.mean(shares))


def need_faiss() -> Any:
    """The library.

    Raises:
        RunError: if it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise RunError(
            'approximate search needs FAISS, which is not installed: pip install "mscon[faiss]".\n'
            "  Exact search needs nothing, and takes tens of milliseconds for a million rows."
        ) from None
    return faiss
