"""Links: from the outputs of a linear model to probabilities."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_NEARLY_NEVER = 1e-9


def logits_of_classes(outputs: Float[np.ndarray, "rows outputs"]) -> Float[np.ndarray, "rows classes"]:
    """One a class; a model of two classes has the log-odds of the second only."""
    return np.column_stack([np.zeros(len(outputs)), outputs]) if outputs.shape[1] == 1 else outputs


def softmax(logits: Float[np.ndarray, "rows classes"]) -> Float[np.ndarray, "rows classes"]:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = odds / odds.sum(axis=1, keepdims=True)
    return shares


def sigmoid(log_odds: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    half: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * log_odds))  # does not overflow
    return half


def log_odds_of(probability: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """Kept finite where a probability is nearly 0 or 1."""
    within = probability.clip(_NEARLY_NEVER, 1 - _NEARLY_NEVER)
    odds: np.ndarray = np.log(within) - np.log1p(-within)
    return odds
