"""Hits: what a search found, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mscon.method.agreement import Agreement, in_words
from mscon.search.mix import Mix


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found.

    Attributes:
        row: its number in the run, from 0.
        line: its line in the table.
        name: its cell in the column that rows are called by; None if there is none.
        image: its path as the table has it; None where rows are not images.
        split: which one it is in.
        score: under the mix, in [-1, 1]; 1 is the same direction in every space that counts.
        scores: in the space of each similarity alone; `score` is their mean by the weights of the mix.
        contributions: of each example and each move of the query, by its name, what it adds to `score` in each
            similarity; all of them add up to `score`.
        labels: of each label column, None where missing.
        weights: of each label column how alike it is to the query, as training weighs it: from 0 to 1, None where
            either is missing, or the examples differ among themselves.
        uncertainty: how uncertain its vectors are, in [0, 1], as a rank among validation rows, see
            `mscon.model.row_uncertainty`; None where that is not known.
    """

    row: int
    line: int
    name: str | None
    image: str | None
    split: str
    score: float
    scores: Mapping[str, float]
    contributions: Mapping[str, Mapping[str, float]]
    labels: Mapping[str, str | None]
    weights: Mapping[str, float | None]
    uncertainty: float | None = None

    @property
    def agreement(self) -> dict[str, Agreement]:
        """The same in words: "same", "partly", "different" or "unknown"."""
        return {name: in_words(math.nan if weight is None else weight) for name, weight in self.weights.items()}

    @property
    def explanation(self) -> str:
        """The score as a sum, in words: by similarity, and of each by the parts of the query."""
        by_similarity = {
            name: {part: numbers[name] for part, numbers in self.contributions.items() if numbers[name]}
            for name in self.scores
        }
        texts = []
        for name, parts in by_similarity.items():
            listed = ", ".join(f"{number:.3f} from {part}" for part, number in parts.items())
            if parts:
                texts.append(f"{sum(parts.values()):.3f} by {name} ({listed})")
        return f"{self.score:.3f} = {' + '.join(texts) or '0'}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: _plain(getattr(self, name)) for name in (*self.__slots__, "agreement")}


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found, best first; as good as a list of them.

    Attributes:
        query: the examples, in words.
        mix: how much each similarity counted.
        filters: as they were written.
        searched: how many rows could have been found.
        notes: sentences on columns of whose agreement nothing can be known.
        hits: the rows that were found.
        examples: rows of the run that the query is made of, with their scores; they are not among the hits.
    """

    query: str
    mix: Mix
    filters: tuple[str, ...]
    searched: int
    hits: tuple[Hit, ...]
    examples: tuple[Hit, ...] = ()
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, place: int) -> Hit:
        return self.hits[place]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "query": self.query,
            "mix": dict(zip(self.mix.names, self.mix.weights, strict=True)),
            "filters": list(self.filters),
            "searched": self.searched,
            "notes": list(self.notes),
            "examples": [hit.to_json() for hit in self.examples],
            "hits": [hit.to_json() for hit in self.hits],
        }


def _plain(value: Any) -> Any:
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, Mapping) else value
