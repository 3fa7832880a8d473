"""Transforms of a batch of images, with parameters for each image: crop and affine map, colour, blur.

Nothing here is random: `mscon.data.inputs.views` draws the numbers.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

# RGB -> YIQ (NTSC 1953): luma, then two axes of chroma around which the hue turns.
_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def either_way(draw: Float[Tensor, " batch"], greatest: float) -> Float[Tensor, " batch"]:
    """A draw from [0, 1) as one from [-greatest, greatest)."""
    return (2 * draw - 1) * greatest


def crop_sizes(
    area: Float[Tensor, " batch"], aspect: Float[Tensor, " batch"], shares: tuple[float, ...], greatest_aspect: float
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Width and height of crops, as shares of the image's, from draws in [0, 1).

    The area is uniform in `shares`. The ratio of sides is log-uniform up to `greatest_aspect` either
    way, held back where a side would be longer than the image's: so the area is always as drawn.
    """
    share = shares[0] + (shares[1] - shares[0]) * area
    room = -share.log()  # both sides are at most 1 while |log aspect| <= -log area
    log_aspect = either_way(aspect, math.log(greatest_aspect)).clamp(-room, room)
    return ((share.log() + log_aspect) / 2).exp().clamp_max(1), ((share.log() - log_aspect) / 2).exp().clamp_max(1)


def affine_maps(
    *,
    left: Float[Tensor, " batch"],
    top: Float[Tensor, " batch"],
    width: Float[Tensor, " batch"],
    height: Float[Tensor, " batch"],
    mirrored: Bool[Tensor, " batch"],
    degrees: Float[Tensor, " batch"],
    shear_degrees: Float[Tensor, " batch"],
    shift: Float[Tensor, "batch 2"],
    ratio: float = 1.0,
) -> Float[Tensor, "batch 2 3"]:
    """Where each point of a view lies in its image; coordinates run from -1 to 1, x right, y down.

    The view is made by cropping a box, then mirroring, turning, shearing, shifting what is in it;
    the map is the inverse of that, so one resampling does it all.

    Args:
        left, top, width, height: the box, as shares of the image's sides.
        mirrored: left and right swapped.
        degrees: turned anticlockwise.
        shear_degrees: the lower half to the right, horizontally.
        shift: right and down, as shares of the view's sides.
        ratio: width over height of the images in pixels, so that a turn keeps right angles.
    """
    angle, slope = torch.deg2rad(degrees), torch.deg2rad(shear_degrees).tan()
    cos, sin, sign = angle.cos(), angle.sin(), 1 - 2 * mirrored.to(angle.dtype)
    # Rows of mirror @ turn^-1 @ shear^-1, in coordinates relative to the box, then stretched to it.
    x_row = torch.stack([cos, -(slope * cos + sin) / ratio], dim=1) * (sign * width)[:, None]
    y_row = torch.stack([sin * ratio, cos - slope * sin], dim=1) * height[:, None]
    linear = torch.stack([x_row, y_row], dim=1)
    centre = torch.stack([2 * left + width - 1, 2 * top + height - 1], dim=1)
    return torch.cat([linear, (centre - (linear @ (2 * shift)[:, :, None])[:, :, 0])[:, :, None]], dim=2)


def resample(
    images: Float[Tensor, "batch channels height width"], maps: Float[Tensor, "batch 2 3"]
) -> Float[Tensor, "batch channels height width"]:
    """Each image seen through its map: bilinear, edge pixels going on beyond the edge."""
    return sample(images, *grid_lines(maps, *images.shape[2:]))


def grid_lines(
    maps: Float[Tensor, "batch 2 3"], height: int, width: int
) -> tuple[Complex[Tensor, "batch 1 width"], Complex[Tensor, "batch height 1"]]:
    """Where each point of a view lies in its image, x + iy: the sum of a part of its column and one of its row.

    A map sends (x, y) to along * x + down * y + start. As complex numbers that is one sum over both
    coordinates: a fifth of the time of affine_grid's product with all points.
    """
    x = (torch.arange(width, device=maps.device, dtype=maps.dtype) * 2 + 1) / width - 1
    y = (torch.arange(height, device=maps.device, dtype=maps.dtype) * 2 + 1) / height - 1
    along, down, start = torch.view_as_complex(maps.mT.contiguous()).split(1, dim=1)
    return (along * x + start)[:, None, :], (down * y)[:, :, None]


def sample(
    images: Float[Tensor, "batch channels height width"],
    across: Complex[Tensor, "batch 1 view_width"],
    down: Complex[Tensor, "batch view_height 1"],
) -> Float[Tensor, "batch channels view_height view_width"]:
    """Each image at the points across + down, see `grid_lines`; `resample` in two parts."""
    grid = torch.view_as_real(across + down)
    return torch.nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def colour_maps(
    *,
    brightness: Float[Tensor, " batch"],
    contrast: Float[Tensor, " batch"],
    saturation: Float[Tensor, " batch"],
    turns: Float[Tensor, " batch"],
    channels: int,
) -> tuple[Float[Tensor, "batch channels channels"], Float[Tensor, "batch channels"]]:
    """Brightness, contrast, saturation and hue, in this order, as one linear map of colours an image.

    Brightness and contrast scale everything, contrast about the image's own mean luma. Saturation
    scales, and hue turns, the chroma in the YIQ plane, which leaves luma alone. Together they are
    brightness * contrast * (luma + saturation * turn @ chroma) + a grey that depends on the mean luma.

    Args:
        brightness, contrast, saturation: factors; 1 changes nothing, a saturation of 0 is grey.
        turns: of the hue, in full circles.
        channels: 3 for RGB; with 1 there is neither saturation nor hue.

    Returns:
        Per image the matrix by which a colour is multiplied, and the vector that, times the image's
        mean colour, is the grey to add. `recolour` applies both.
    """
    device, dtype = brightness.device, brightness.dtype
    if channels == 1:
        luma = torch.ones(1, 1, device=device, dtype=dtype)
        mixed = luma.expand(len(brightness), 1, 1)
    else:
        luma, chroma, turned = torch.tensor(_colour_parts(), dtype=dtype).to(device)
        along = (saturation * (2 * math.pi * turns).cos())[:, None, None]
        across = (saturation * (2 * math.pi * turns).sin())[:, None, None]
        mixed = luma + along * chroma + across * turned
    return (brightness * contrast)[:, None, None] * mixed, (brightness * (1 - contrast))[:, None] * luma[0]


@functools.cache
def _colour_parts() -> list[list[list[float]]]:
    """Matrices that give of a colour its luma, in all channels; its chroma; its chroma turned by a right angle.

    Numbers and not a tensor, which would belong to the mode (inference or not) of the first call.
    """
    yiq = torch.tensor(_YIQ, dtype=torch.float64)
    quarter = torch.tensor([[0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    luma = yiq[:1].expand(3, 3)
    chroma = torch.eye(3, dtype=torch.float64) - luma
    return torch.stack([luma, chroma, torch.linalg.solve(yiq, quarter @ yiq)]).tolist()


def recolour(
    images: Float[Tensor, "batch channels height width"],
    matrices: Float[Tensor, "batch channels channels"],
    offsets: Float[Tensor, "batch channels"],
) -> Float[Tensor, "batch channels height width"]:
    """Each image with its map of `colour_maps` applied, unclipped."""
    pixels = images.flatten(2)
    grey = torch.bmm(offsets[:, None], pixels.mean(dim=2, keepdim=True))
    return torch.baddbmm(grey, matrices, pixels).view(images.shape)


def blur(
    images: Float[Tensor, "batch channels height width"], sigma: Float[Tensor, " batch"]
) -> Float[Tensor, "batch channels height width"]:
    """Gaussian blur, each image with its own standard deviation in pixels (> 0), cut off at 4 of them.

    Near an edge the weights of the pixels inside are scaled to sum to 1. Written as two products with
    banded matrices and not as a grouped convolution: twice as fast on a CPU at 32 px, no slower at
    112 px, at the same cost for any sigma, and no padding.
    """
    height, width = images.shape[2:]
    across = _gaussians(width, sigma)
    down = across if height == width else _gaussians(height, sigma)
    rows = torch.bmm(images.flatten(1, 2), across.mT).view(images.shape)
    return down[:, None] @ rows


def _gaussians(side: int, sigma: Float[Tensor, " batch"]) -> Float[Tensor, "batch side side"]:
    """Row i holds the weights with which the pixels of a line make up its i-th blurred pixel."""
    distance = torch.arange(1 - side, side, device=sigma.device, dtype=sigma.dtype)
    squared = (distance / sigma[:, None].clamp_min(1e-3)).square()
    # Without the cut the far weights are denormal numbers, and the products 4 times as slow.
    weights = (-0.5 * squared).exp().masked_fill(squared > 16, 0)
    # Windows of the bell, so that side * 2 exponentials an image are taken instead of side * side.
    banded = weights.unfold(1, side, 1).flip(1)
    return banded / banded.sum(dim=2, keepdim=True)
