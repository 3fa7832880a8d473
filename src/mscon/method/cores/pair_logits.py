"""How near two sets of vectors are, computed as precisely as losses need it, whatever autocast says."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.kernels.lengths import lengths_of
from mscon.method.template import Logits, cosine_logits


def pair_logits(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"],
    temperature: float | Tensor = 1.0,
) -> Logits:
    """Cosines divided by a temperature, with their bounds; in float32 or wider.

    Args:
        anchors, candidates: of any length.
        temperature: > 0: a number, or a tensor that broadcasts to [anchors, candidates].

    Raises:
        ValueError: for a vector that is zero or not finite, other widths of anchors than of candidates, and a
            temperature that is not positive.
    """
    if not (torch.as_tensor(temperature) > 0).all():
        raise ValueError(f"temperature must be positive, got {temperature}.")
    if anchors.shape[1] != candidates.shape[1]:
        raise ValueError(f"vectors must be of one width, got {anchors.shape[1]} and {candidates.shape[1]}.")
    for vectors, name in ((anchors, "anchors"), (candidates, "candidates")):
        lengths_of(vectors[None], name)  # complains of what has no direction
    wide = torch.promote_types(anchors.dtype, torch.float32)
    return cosine_logits(anchors.to(wide), candidates.to(wide), temperature)
