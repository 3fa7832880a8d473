"""Interpolation of trained with starting weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mscon.errors import RunError, first_few


def interpolated(start: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """(1 - share) * start + share * trained, tensor by tensor; what is no fraction, such as counts, as trained.

    Args:
        start, trained: tensors of the same names and shapes.
        share: from 0, which gives the start to the bit, to 1, which gives the trained ones to the bit.

    Raises:
        RunError: for tensors that do not fit one another, naming them.
        ValueError: for another share.

    Source: Wortsman et al. 2021, "Robust fine-tuning of zero-shot models" (WiSE-FT), https://arxiv.org/abs/2109.01903.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}.")
    faults = [
        f"'{name}' has shape {list(start[name].shape)} before and {list(trained[name].shape)} after training"
        for name in trained
        if name in start and start[name].shape != trained[name].shape
    ]
    faults += [f"'{name}' is on one side only" for name in sorted(start.keys() ^ trained.keys())]
    if faults:
        raise RunError(
            f"[keep] interpolate: starting and trained weights are not of the same encoder: {first_few(faults, 3)}."
        )
    if share in (0, 1):
        return dict(trained if share else start)
    return {
        name: start[name].lerp(value, share) if value.is_floating_point() else value for name, value in trained.items()
    }
