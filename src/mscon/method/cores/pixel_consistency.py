"""PixPro: positions of two crops that show the same place of an image shall have the same vector."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from mscon.method.kernels.precision import no_rounding

Maps = Float[Tensor, "rows dim height width"]
Boxes = Float[Tensor, "rows 4"]


def pixel_positives(
    first: Boxes, second: Boxes, size: tuple[int, int], *, distance: float = 0.7
) -> Bool[Tensor, "rows positions positions"]:
    """Which positions of two feature maps show the same place of an image.

    Args:
        first, second: left, top, right, bottom of the crop that each map is computed from, in one unit, such as pixels
            of the whole image. Of a mirrored crop left and right are exchanged.
        size: height and width of the feature maps.
        distance: two positions are positives if their centres are nearer than this, in diagonals of one position of
            the larger crop.

    Source: Xie et al. 2021, "Propagate Yourself", https://arxiv.org/abs/2011.10043.
    """
    (centres, diagonal), (others, other_diagonal) = _positions(first, *size), _positions(second, *size)
    apart = torch.cdist(centres, others, compute_mode="donot_use_mm_for_euclid_dist")
    return apart < distance * torch.maximum(diagonal, other_diagonal)[:, None, None]


def _positions(boxes: Boxes, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres [rows, positions, 2], row by row of the map; and the diagonal of a position [rows]."""
    left, top, right, bottom = boxes.unbind(dim=1)
    along = [(torch.arange(n, device=boxes.device, dtype=boxes.dtype) + 0.5) / n for n in (height, width)]
    y = top[:, None] + (bottom - top)[:, None] * along[0]
    x = left[:, None] + (right - left)[:, None] * along[1]
    centres = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=3)
    return centres.flatten(1, 2), torch.hypot((right - left) / width, (bottom - top) / height)


def propagate(maps: Maps, values: Maps | None = None, *, exponent: float = 2.0) -> Maps:
    """Each position as the sum of all values of its map, weighted by max(cosine, 0) ** exponent.

    Args:
        maps: projections whose cosines are the weights.
        values: what is summed, such as a 1 x 1 convolution of the maps; scaled to unit length here, as in the authors'
            code. None for the maps themselves.
        exponent: at least 1.

    Source: the pixel propagation module of the same paper.
    """
    if not exponent >= 1:
        raise ValueError(
            f"exponent must be at least 1, got {exponent}: below, the gradient at a cosine of 0 is infinite."
        )
    with no_rounding(maps):
        unit = normalize(maps, dim=1).flatten(2)
        summed = unit if values is None else normalize(values, dim=1).flatten(2)
        alike = (unit.mT @ unit).clamp_min(0) ** exponent
        return (summed @ alike).unflatten(2, maps.shape[2:])


def pixpro(
    propagated: Maps, targets: Maps, positives: Bool[Tensor, "rows positions positions"]
) -> Float[Tensor, " rows"]:
    """-mean cosine of the positives, of each row: `propagate`d maps of one crop, and targets of the other.

    The loss of the paper is its sum over both directions. The authors' code multiplies it by 2, and counts crops
    without a common place in the mean; average over `positives.any(dim=(1, 2))` instead.

    Args:
        propagated: of the first crop, from the encoder that learns.
        targets: of the second crop, from the encoder's moving average; without a gradient here.
        positives: of `pixel_positives`, first crop against second.

    Returns:
        Exactly 0, with a gradient of 0, where there is no positive. At least -1.
    """
    with no_rounding(propagated):
        cosines = normalize(propagated, dim=1).flatten(2).mT @ normalize(targets.detach(), dim=1).flatten(2)
    return -(cosines * positives).sum(dim=(1, 2)) / positives.sum(dim=(1, 2)).clamp_min(1)
