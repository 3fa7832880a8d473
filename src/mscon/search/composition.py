"""Composition: examples to be like and unlike, and moves, as one query; and what each of them adds to a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from mscon.search.example import Example
from mscon.search.moves import Move
from mscon.search.spaces import unit

# The difference of equal vectors is a few roundings long, and its direction says nothing.
_NOTHING = 1e-9


@dataclass(frozen=True, eq=False)
class Composition:
    """A query that is made of several things.

    Attributes:
        like: at least one.
        unlike: may be none.
        moves: at most one a space.
    """

    like: Sequence[Example]
    unlike: Sequence[Example] = ()
    moves: Sequence[Move] = ()

    @property
    def wording(self) -> str:
        """What it is, in words."""
        texts = [" and ".join(example.weighted for example in self.like)]
        if self.unlike:
            texts.append(f"unlike {' and '.join(example.weighted for example in self.unlike)}")
        return ", ".join([*texts, *(move.wording for move in self.moves)])

    @property
    def rows(self) -> list[int]:
        """Rows of the run that are examples."""
        return [example.row for example in (*self.like, *self.unlike) if example.row is not None]

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of its examples."""
        return tuple(note for example in (*self.like, *self.unlike) for note in example.notes)

    def compared(self, column: str) -> Sequence[Example]:
        """Examples that rows are compared with in a column: where the query moves towards a value, that value."""
        for move in self.moves:
            if move.condition.column == column and not move.is_relative:
                return [Example(move.wording, lambda: self.query, carries=(move.condition,))]
        return self.like

    @cached_property
    def query(self) -> Float[np.ndarray, "spaces dim"]:
        """One vector in each space, of unit length; zeros where its parts cancel out."""
        query = together(self.like, self.unlike)
        for move in self.moves:
            there = (1 - move.amount) * query[move.space] + move.amount * move.direction
            query[move.space] = unit(there) if np.linalg.norm(there) > _NOTHING else 0.0
        return query

    @cached_property
    def parts(self) -> dict[str, Float[np.ndarray, "spaces dim"]]:
        """What of `query` comes from each example and move, by its name; their sum is the query."""
        scaled = [
            sign * example.weight / len(examples) * example.vectors
            for sign, examples in ((1, self.like), (-1, self.unlike))
            for example in examples
        ]
        parts = _shares(np.array(scaled))
        for move in self.moves:
            parts[:, move.space] *= 1 - move.amount
            addition = np.zeros((1, *parts.shape[1:]))
            addition[0, move.space] = move.amount * move.direction
            parts = np.concatenate([parts, addition])
            parts[:, [move.space]] = _shares(parts[:, [move.space]])
        names = [example.name for example in self.like] + [f"unlike {example.name}" for example in self.unlike]
        return dict(zip(_distinct([*names, *(move.wording for move in self.moves)]), parts, strict=True))


def together(like: Sequence[Example], unlike: Sequence[Example]) -> Float[np.ndarray, "spaces dim"]:
    """One unit vector in each space: towards the mean of some examples, away from that of others.

    Every example counts by its weight, also one that is the mean of many rows. Zeros where they cancel out.

    Args:
        like: at least one.
        unlike: may be none.
    """
    centre = np.mean([example.weight * example.vectors for example in like], axis=0)
    if unlike:
        centre = centre - np.mean([example.weight * example.vectors for example in unlike], axis=0)
    lengths = np.linalg.norm(centre, axis=1, keepdims=True)
    return unit(np.where(lengths > _NOTHING, centre, 0.0))


def _shares(parts: Float[np.ndarray, "parts spaces dim"]) -> Float[np.ndarray, "parts spaces dim"]:
    """Parts divided by the length of their sum, in each space; zeros where they cancel out."""
    lengths = np.linalg.norm(parts.sum(axis=0), axis=1)[:, None]
    return np.where(lengths > _NOTHING, parts / np.where(lengths > _NOTHING, lengths, 1.0), 0.0)


def _distinct(wordings: Sequence[str]) -> list[str]:
    """Equal wordings are numbered: "an image", "an image (2)"."""
    names: list[str] = []
    for wording in wordings:
        name, number = wording, 1
        while name in names:
            number += 1
            name = f"{wording} ({number})"
        names.append(name)
    return names
