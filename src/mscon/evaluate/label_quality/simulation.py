r"""Simulated labels: by how much the estimated share of wrong labels is off, measured where the share is known.

Labels are drawn as the fitted noise would make them: right ones from q, of which a share e goes wrong by T. Models
learn from these as they did from the labels of the table, and the share of wrong ones is estimated again. What this
estimate exceeds the known share by is the bias of the simulation, most of which is subtracted (a parametric bootstrap).
Rows that models predict badly make the bias large, and simulated rows are as hard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from mscon.evaluate.label_quality.noise import Judgement, Noise, judge, predictability

# The bias is the mean over simulations; of many rows one tells it well enough.
_SIMULATIONS, _ROWS = 2, 10_000
# How much of it is subtracted. Errors of the models are right labels of the simulation, which makes its rows harder
# than those of the table: with 1, estimates for columns of digits and glyphs were up to 5 points too low.
_SUBTRACTED = 0.6
# See `predictability`. What models predict less well they hardly learn from simulated labels, and the bias may be
# anything: 54 points where 40 % of the styles of icons are wrong, 20 for numbers in ranges of 15 rows.
_LEARNT = 0.2


def unbiased(
    sources_of: Callable[[Int[np.ndarray, " rows"]], Float[np.ndarray, "sources rows classes"]],
    labels: Int[np.ndarray, " rows"],
    rate: Float[np.ndarray, "rows classes"] | None = None,
) -> Judgement:
    """Judge labels, with a share of wrong ones from which its bias is subtracted.

    Args:
        sources_of: probabilities out of fold by models that learn from labels.
        labels: classes from 0.
        rate: see `judge`.

    Returns:
        A judgement whose `spread` includes that of the bias. Nothing is subtracted where labels are hardly predicted.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 10, bias by a parametric bootstrap.
    """
    sources = sources_of(labels)
    first = judge(sources, labels, rate)
    if predictability(sources, labels) <= _LEARNT:
        return first
    biases = []
    for seed in range(_SIMULATIONS if len(labels) <= _ROWS else 1):
        simulated, is_wrong = simulated_labels(first.noise, sources, rate, seed)
        again = judge(sources_of(simulated), simulated, rate, by_class=first.noise.by_class)
        biases.append(again.share - is_wrong.mean())
    moved = _SUBTRACTED * float(np.mean(biases))
    share = float(np.clip(first.share - moved, 0.0, 1.0))
    # A simulation has the sampling error of the labels themselves; and what is subtracted may be off by half of it.
    variance = first.spread.var() / len(labels)
    widened = variance * (1 + _SUBTRACTED**2 / len(biases)) + (moved / 2) ** 2
    spread = first.spread * np.sqrt(widened / max(variance, np.finfo(np.float64).tiny))
    judgement = judge(sources, labels, rate, share=share, by_class=first.noise.by_class)
    return replace(judgement, spread=spread)


def simulated_labels(
    noise: Noise,
    sources: Float[np.ndarray, "sources rows classes"],
    rate: Float[np.ndarray, "rows classes"] | None = None,
    seed: int = 0,
) -> tuple[Int[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
    """Labels drawn by fitted noise, and which of them are wrong."""
    generator = np.random.default_rng(seed)
    right = _drawn(noise.pooled(torch.from_numpy(np.log(sources))).numpy(), generator)
    rows = np.arange(len(right))
    chance = float(noise.share) * (1.0 if rate is None else rate[rows, right])
    is_wrong = generator.random(len(right)) < chance
    return np.where(is_wrong, _drawn(noise.mistakes.numpy()[right], generator), right), is_wrong


def _drawn(
    probabilities: Float[np.ndarray, "rows classes"], generator: np.random.Generator
) -> Int[np.ndarray, " rows"]:
    """A class for each row, as likely as its probability."""
    below = probabilities.cumsum(axis=1)
    return (below > generator.random(len(below))[:, None] * below[:, -1:]).argmax(axis=1)
