"""Random views of a whole batch of images at once, on its device, each image drawing for itself.

Steps of a view, in this order: crop, flip, rotate, shear and shift (one affine map, one resampling);
brightness, contrast, saturation, hue, grey (one 3 x 3 matrix and an offset); blur; one clip to [0, 1].
This module does not know what an image is of: what a data set can bear is said in the recipe.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int64, Shaped, UInt8
from torch import Tensor

from mscon.run.recipe import Views

# What every image draws, whether it is used or not, so that switching one transform on or off
# leaves all others as they were.
_DRAWS = (
    "area", "aspect", "left", "top", "flip", "rotate", "shear", "shift_x", "shift_y",
    "coloured", "brightness", "contrast", "saturation", "hue", "grey", "blurred", "sigma",
)  # fmt: skip

# Floats that a CPU core works on at a time. The dozen passes over a block then stay in its cache: at
# 112 px this is twice as fast as a whole batch of 256.
_BLOCK_FLOATS = 300_000

# RGB -> YIQ (NTSC 1953): luma, then two axes of chroma around which the hue turns.
_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@dataclass(frozen=True, slots=True)
class Part:
    """The images of a batch that one of several processes has.

    Attributes:
        places: where they stand in the batch.
        count: how many images the batch has.
    """

    places: Int64[Tensor, " part"]
    count: int


def plain(inputs: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
    """Inputs as they are, which is what is evaluated on: images as float32 in [0, 1], vectors unchanged."""
    if inputs.is_floating_point():
        return inputs
    _check(inputs)
    return inputs.to(torch.float32).div_(255)


@torch.no_grad()
def augment(
    images: UInt8[Tensor, "batch channels height width"],
    settings: Views,
    generator: torch.Generator,
    part: Part | None = None,
    *,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Float[Tensor, "batch channels height width"]:
    """One random view of each image, as float32 in [0, 1], of the images' own size.

    For several views of a row repeat the images first: equal images draw different views. A crop is
    never larger than the image and its view as large as the image, so resampling only ever
    magnifies: bilinear interpolation needs no antialiasing here. Where a rotated or shifted crop
    reaches beyond its box it shows what is there; beyond the image's edge the edge pixels go on
    ("border"), which is paper on paper for a glyph or product picture, where black corners would
    tell how far it was turned. What the settings do not ask for is skipped; settings that ask for
    nothing give exactly `plain(images)`.

    Args:
        images: 1 channel (grey) or 3 (RGB). One channel knows brightness and contrast only.
        settings: greatest strength, or probability, of each transform; `count` is not read here.
        generator: all draws come from it. It may live on another device than the images: a generator
            on the CPU gives the same draws whatever the device. On the CPU an image's draws depend on
            the generator's state and on its place in the batch, not on the images nor on how many
            follow.
        part: which images of a larger batch these are, to draw what they would there; None for all of it.
        memory_format: of the views. They are made in it, which spares a pass over all of them.

    Raises:
        ValueError: if images are not uint8 [batch, 1 or 3, height, width].

    Source: crop, flip, colour and blur are the views of SimCLR (Chen et al. 2020, appendix A,
        https://arxiv.org/abs/2002.05709). Differences: colour changes in one fixed order, with one
        clip at the end instead of one after each step; hue turns chroma in YIQ, not HSV; a crop
        whose sides would not fit becomes squarer instead of being drawn again.
    """
    _check(images)
    count, places = (len(images), None) if part is None else (part.count, part.places.to(generator.device))
    drawn = torch.rand(count, len(_DRAWS), generator=generator, device=generator.device)
    drawn = (drawn if places is None else drawn[places]).to(images.device)
    views = torch.empty(images.shape, dtype=torch.float32, device=images.device, memory_format=memory_format)
    if not len(images):  # of which torch has no complex view
        return views
    # Autocast would round the colour matrix and the blur to 16 bits, coarser than a grey level.
    with torch.autocast(images.device.type, enabled=False):
        plan = _plan(dict(zip(_DRAWS, drawn.unbind(dim=1), strict=True)), settings, images.shape)
        for block in _blocks(images):
            _make(images[block], plan, block, out=views[block])
    return views


def _check(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise ValueError(
            f"images must be uint8 [batch, 1 or 3 channels, height, width], got {images.dtype} {list(images.shape)}."
        )


def _blocks(images: Tensor) -> Iterator[slice]:
    """Parts of the batch to work on one after the other: what fits a CPU's cache; all on other devices."""
    size = len(images)
    if images.device.type == "cpu":
        size = max(1, torch.get_num_threads() * _BLOCK_FLOATS // images[0].numel())
    return (slice(i, i + size) for i in range(0, len(images), size))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is done to each image of a batch; None for what is done to none.

    Attributes:
        lines: for `sample`.
        mirrored: images to mirror where there are no lines, which else do it.
        colours: for `recolour`, and already divided by 255.
        sigma: for `blur`, in pixels; 0 for images that stay sharp.
    """

    lines: tuple[Complex[Tensor, "batch 1 width"], Complex[Tensor, "batch height 1"]] | None
    mirrored: Bool[Tensor, " batch"] | None
    colours: tuple[Float[Tensor, "batch channels channels"], Float[Tensor, "batch channels"]] | None
    sigma: Float[Tensor, " batch"] | None


def _plan(draws: Mapping[str, Float[Tensor, " batch"]], s: Views, shape: torch.Size) -> _Plan:
    _, channels, pixel_rows, pixel_columns = shape
    lines, mirrored, colours, sigma = None, draws["flip"] < s.flip, None, None
    if s.crop[0] < 1 or s.rotate or s.shear or s.translate:
        width, height = crop_sizes(draws["area"], draws["aspect"], s.crop, s.aspect)
        maps = affine_maps(
            left=draws["left"] * (1 - width),
            top=draws["top"] * (1 - height),
            width=width,
            height=height,
            mirrored=mirrored,
            degrees=_either_way(draws["rotate"], s.rotate),
            shear_degrees=_either_way(draws["shear"], s.shear),
            shift=torch.stack(
                [_either_way(draws["shift_x"], s.translate), _either_way(draws["shift_y"], s.translate)], 1
            ),
            ratio=pixel_columns / pixel_rows,
        )
        lines = grid_lines(maps, pixel_rows, pixel_columns)
    lit = s.colour_probability and (s.brightness or s.contrast)
    tinted = channels == 3 and (s.grey or (s.colour_probability and (s.saturation or s.hue)))
    if lit or tinted:
        coloured = draws["coloured"] < s.colour_probability
        factors = {
            name: 1 + _either_way(draws[name], greatest) * coloured
            for name, greatest in (("brightness", s.brightness), ("contrast", s.contrast), ("saturation", s.saturation))
        }
        factors["saturation"] = torch.where(draws["grey"] < s.grey, 0.0, factors["saturation"])
        turns = _either_way(draws["hue"], s.hue) * coloured
        matrices, offsets = colour_maps(**factors, turns=turns, channels=channels)
        colours = (matrices / 255, offsets / 255)
    if s.blur:
        least, most = s.blur_sigma
        drawn_sigma = min(pixel_rows, pixel_columns) * (least + (most - least) * draws["sigma"])
        sigma = torch.where(draws["blurred"] < s.blur, drawn_sigma, 0.0)
    return _Plan(lines, mirrored if s.flip and lines is None else None, colours, sigma)


def _make(
    images: UInt8[Tensor, "batch channels height width"],
    plan: _Plan,
    block: slice,
    out: Float[Tensor, "batch channels height width"],
) -> None:
    """Fill `out` with the views of a block of images."""
    x = images.to(torch.float32)
    if plan.lines is not None:
        across, down = plan.lines
        x = sample(x, across[block], down[block])
    if plan.mirrored is not None:
        x = torch.where(plan.mirrored[block, None, None, None], x.flip(-1), x)
    if plan.colours is not None:
        matrices, offsets = plan.colours
        x = recolour(x, matrices[block], offsets[block])
    else:
        x = x.div_(255)
    if plan.sigma is not None:
        sigma = plan.sigma[block]
        chosen = sigma.nonzero()[:, 0]
        x.index_copy_(0, chosen, blur(x.index_select(0, chosen), sigma[chosen]))
    # The only pass over memory that is not in the cache already, so there must be no other.
    torch.clamp(x, 0, 1, out=out)


def _either_way(draw: Float[Tensor, " batch"], greatest: float) -> Float[Tensor, " batch"]:
    """A draw from [0, 1) as one from [-greatest, greatest)."""
    return (2 * draw - 1) * greatest


def crop_sizes(
    area: Float[Tensor, " batch"], aspect: Float[Tensor, " batch"], shares: tuple[float, ...], greatest_aspect: float
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Width and height of crops, as shares of the image's, from draws in [0, 1).

    The area is uniform in `shares`. The ratio of sides is log-uniform up to `greatest_aspect` either
    way, held back where a side would be longer than the image's: so the area is always as drawn.
    """
    kept = shares[0] + (shares[1] - shares[0]) * area
    room = -kept.log()  # both sides are at most 1 while |log aspect| <= -log area
    log_aspect = _either_way(aspect, math.log(greatest_aspect)).clamp(-room, room)
    return ((kept.log() + log_aspect) / 2).exp().clamp_max(1), ((kept.log() - log_aspect) / 2).exp().clamp_max(1)


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
    across: Complex[Tensor, "batch 1 width"],
    down: Complex[Tensor, "batch height 1"],
) -> Float[Tensor, "batch channels height width"]:
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
