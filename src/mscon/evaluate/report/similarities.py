"""What training made of each similarity: its loss, relative excess and weight at the end, and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mscon.evaluate.report.curves import series
from mscon.evaluate.report.gather import Method

# The end of training: the mean over this share of the logged steps is steadier than the last batch.
_END = 0.05


@dataclass(frozen=True, slots=True)
class Learnt:
    """One similarity of one method at the end of training, means over seeds; None where not logged.

    Attributes:
        loss: nats, training.
        excess: relative excess in training, 0 learnt, 1 chance.
        validation: the same on validation rows.
        weight: in the total.
        share: of labelled anchors that had a positive.
        words: what that means.
    """

    method: str
    column: str
    loss: float | None
    excess: float | None
    validation: float | None
    weight: float | None
    share: float | None
    words: str


def learnt(methods: Sequence[Method]) -> tuple[Learnt, ...]:
    """A record for each similarity of each method."""
    records = []
    for method in methods:
        logs = [member.run.read_log() for member in method.members]
        weights = {column: _end(logs, "step", "weight", column) for column in method.columns}
        known = [weight for weight in weights.values() if weight is not None]
        mean = sum(known) / len(known) if known else 0.0
        for column, weight in weights.items():
            loss, excess, share = (
                _end(logs, "step", quantity, column) for quantity in ("loss", "relative_excess", "positive_share")
            )
            validation = _end(logs, "validation", "relative_excess", column)
            emphasis = weight / mean if weight is not None and mean > 0 else None
            words = in_words(excess, validation, emphasis)
            records.append(Learnt(method.title, column, loss, excess, validation, weight, share, words))
    return tuple(records)


def _end(logs: Sequence[Sequence[Mapping[str, Any]]], kind: str, quantity: str, column: str) -> float | None:
    ends = []
    for log in logs:
        _, values = series(log, kind, quantity, column)
        if len(values):
            count = 1 if kind == "validation" else max(1, round(_END * len(values)))
            ends.append(values[-count:].mean())
    return float(np.mean(ends)) if ends else None


def in_words(excess: float | None, validation: float | None, emphasis: float | None = None) -> str:
    """What a relative excess says; validation rows count where there are any, since training rows can be memorised.

    Args:
        excess: on training rows.
        validation: on validation rows.
        emphasis: its weight over the mean weight of its method's similarities; said where it is far from 1.
    """
    told = validation if validation is not None else excess
    if told is None:
        return "No relative excess was logged." if emphasis is not None else "Nothing was logged."
    if told < 0.1:
        text = "Learnt: close to the least loss that its labels allow"
    elif told < 0.5:
        text = "Mostly learnt"
    elif told < 0.9:
        text = "Partly learnt: most of the way from chance is left"
    else:
        text = "Hardly better than chance: noisy, not visible in the input, or not trained long enough"
    if validation is not None and excess is not None and validation - excess > 0.2:
        text += "; much better on training rows, so some of it is memorised"
    if emphasis is not None and not 0.8 < emphasis < 1.25:
        text += f". It counted {emphasis:.1f} times as much as its method's similarities do on average"
    return text + "."
