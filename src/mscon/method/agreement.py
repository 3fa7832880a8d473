"""Agreement in words. How alike two cells are, as a number, is for their similarity to say: `Similarity.agreement`."""

from __future__ import annotations

from typing import Literal

Agreement = Literal["same", "partly", "different", "unknown"]

# Numbers are shown with two digits, so "partly 1.00" and "partly 0.00" must not be.
SAME, DIFFERENT = 0.995, 0.005


def in_words(weight: float) -> Agreement:
    """What a weight in [0, 1] says; NaN is unknown."""
    if weight >= SAME:
        return "same"
    if weight < DIFFERENT:
        return "different"
    return "partly" if weight == weight else "unknown"


def shown(weight: float) -> str:
    """The same for people, with the number where it is between: "partly 0.61"."""
    word = in_words(weight)
    return f"partly {weight:.2f}" if word == "partly" else word
