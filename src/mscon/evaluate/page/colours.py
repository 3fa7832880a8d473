"""Colours and shapes in a fixed order, told apart by people who see colours differently."""

from __future__ import annotations

# Okabe and Ito 2008, https://jfly.uni-koeln.de/color/, without its yellow, which white paper swallows; where they
# are used up, the shape of a point, or the dashes of a line, tell them apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
OTHERS = "#C9CCD1"
SHAPES = 3
MOST = len(COLOURS) * SHAPES - 1  # classes that a map colours: 20


def hue(position: int) -> int:
    """Number of the colour at this position."""
    return position % len(COLOURS)


def shape(position: int) -> int:
    """How often the colours were used up before this position: which dashes or shape it gets."""
    return position // len(COLOURS) % SHAPES
