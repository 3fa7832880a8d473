"""Section [doubt] of a recipe: what training does with labels that `mscon doubt` has judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Doubt:
    """What training does with labels that `mscon doubt` has judged. Only training rows change; probes use all labels.

    Attributes:
        run: a run of the same table that `mscon doubt` has judged, relative to the current folder; "" for none, and
            then the other settings have no effect.
        labels: "drop" to treat label issues as missing; "weigh" to treat each judged label as missing in some epochs,
            chosen at random, so that it is used with the probability that it is right (its label_score); "all" to use
            all labels.
        weigh_columns: multiply the importance of each judged column by the share of its labels that are estimated to be
            right; these factors are scaled to a mean of 1.
    """

    run: str = ""
    labels: Literal["drop", "weigh", "all"] = "drop"
    weigh_columns: bool = False

    def __post_init__(self) -> None:
        if self.run and self.labels == "all" and not self.weigh_columns:
            raise ValueError(
                'run is set, but labels = "all" and weigh_columns = false use nothing of it. Set labels = "drop", or '
                "take [doubt] out."
            )
