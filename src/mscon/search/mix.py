"""Mix: how much each similarity counts in a search."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mscon.errors import RunError, nearest


@dataclass(frozen=True, slots=True)
class Mix:
    """A weight for each similarity of a run; only their proportions matter.

    With s_c the cosine of two rows in the space of similarity c, a mix of weights m scores them
    sum_c m_c s_c / sum_c m_c, which lies in [-1, 1].

    Attributes:
        names: the similarities of the run, in the order of its heads.
        weights: one for each, finite, 0 or above, at least one of them above.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, mix: Mix | Mapping[str, Any] | str | None, names: Sequence[str]) -> Mix:
        """The mix that a user means.

        Args:
            mix: "closure=1,category=0.5", or the same as a mapping. Similarities that it leaves out have weight 0.
                None for all equal.
            names: the similarities of the run.

        Raises:
            RunError: once for all that is wrong: a name that the run does not have or that comes twice, a weight that
                is no number, negative or not finite, and weights that are all 0.
        """
        if mix is None:
            return cls(tuple(names), (1.0,) * len(names))
        if not isinstance(mix, str | Mapping | Mix):
            raise ValueError(f"mix must be text or a dictionary of similarities and weights, got {mix!r}.")
        if isinstance(mix, Mix):
            mix = dict(mix.items())
        pairs, complaints = _pairs(mix) if isinstance(mix, str) else (list(mix.items()), [])
        weights: dict[str, float] = {}
        for name, value in pairs:
            if name not in names:
                complaints.append(f"there is no similarity '{name}'.{nearest(str(name), names)}")
            elif name in weights:
                complaints.append(f"'{name}' stands there twice.")
            else:
                weights[name] = _weight(name, value, complaints)
        if not complaints and not any(weights.values()):
            complaints.append("every weight is 0, so nothing would count." if weights else "it is empty.")
        if complaints:
            listed_complaints = "\n  ".join(complaints)
            listed = ", ".join(f"'{name}'" for name in names)
            example = ",".join(f"{name}={weight}" for name, weight in zip(names, ("1", "0.5"), strict=False))
            form = f"A mix is written {example}: names of similarities and numbers, 0 or above."
            raise RunError(f"mix {_shown(mix)}: {listed_complaints}\n  {form}\n  Similarities here: {listed}.")
        return cls(tuple(names), tuple(weights.get(name, 0.0) for name in names))

    @property
    def shares(self) -> Float[np.ndarray, " spaces"]:
        """The weights, scaled so that they add up to 1."""
        weights = np.array(self.weights, dtype=np.float64)
        weights /= weights.max()  # huge weights must not add up to infinity
        return weights / weights.sum()

    def items(self) -> Iterator[tuple[str, float]]:
        """Names with their weights, those of 0 left out."""
        return ((name, weight) for name, weight in zip(self.names, self.weights, strict=True) if weight)

    def __str__(self) -> str:
        return ",".join(f"{name}={weight:g}" for name, weight in self.items())


def _pairs(text: str) -> tuple[list[tuple[str, Any]], list[str]]:
    pairs: list[tuple[str, Any]] = []
    complaints: list[str] = []
    for part in text.split(","):
        name, sign, value = part.rpartition("=")  # the last: a name may have one of its own
        if sign:
            pairs.append((name.strip(), value.strip()))
        elif part.strip():
            complaints.append(f"'{part.strip()}' has no weight: an '=' and a number are missing.")
    return pairs, complaints


def _weight(name: str, value: Any, complaints: list[str]) -> float:
    try:
        weight = float(value)
    except (TypeError, ValueError, OverflowError):
        complaints.append(f"the weight of '{name}' is {value!r}, which is no number.")
        return 1.0
    if not (math.isfinite(weight) and weight >= 0):
        what = "negative" if weight < 0 and math.isfinite(weight) else "not finite"
        complaints.append(f"the weight of '{name}' is {what}: {value}.")
        return 1.0
    return weight


def _shown(mix: Mapping[str, Any] | str) -> str:
    return f"'{mix}'" if isinstance(mix, str) else str(dict(mix))
