"""Random views of a whole batch of images at once, on its device, each image with random numbers of its own.

Steps of a view, in this order: crop, flip, rotate, shear and shift (one affine map, one resampling);
brightness, contrast, saturation, hue, grey (one 3 x 3 matrix and an offset); blur; one clip to [0, 1].
Which transforms suit a data set is said in its recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int64, Shaped, UInt8
from torch import Tensor

from mscon.data.inputs.image_transforms import (
    affine_maps,
    blur,
    colour_maps,
    crop_sizes,
    either_way,
    grid_lines,
    recolour,
    sample,
)
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
    """Inputs without augmentation, as used in evaluation: images as float32 in [0, 1], vectors unchanged."""
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
    size: int = 0,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Float[Tensor, "batch channels view_height view_width"]:
    """One random view of each image, as float32 in [0, 1], of the images' own size or of another.

    For several views of a row repeat the images first: equal images draw different views. A crop is
    never larger than the image, so a view of the image's own size is only ever magnified: bilinear
    interpolation needs no antialiasing there. Of images up to twice as large as their views it skips no
    pixel. Where a rotated or shifted crop
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
        size: side of the views, which are then square; 0 for that of the images.
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
    shape = torch.Size((*images.shape[:2], size, size)) if size else images.shape
    views = torch.empty(shape, dtype=torch.float32, device=images.device, memory_format=memory_format)
    if not len(images):  # of which torch has no complex view
        return views
    # Autocast would round the colour matrix and the blur to 16 bits, coarser than a grey level.
    with torch.autocast(images.device.type, enabled=False):
        plan = _plan(dict(zip(_DRAWS, drawn.unbind(dim=1), strict=True)), settings, shape, shape != images.shape)
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


def _plan(draws: Mapping[str, Float[Tensor, " batch"]], s: Views, shape: torch.Size, is_resized: bool) -> _Plan:
    _, channels, pixel_rows, pixel_columns = shape
    lines, mirrored, colours, sigma = None, draws["flip"] < s.flip, None, None
    if is_resized or s.crop[0] < 1 or s.rotate or s.shear or s.translate:
        width, height = crop_sizes(draws["area"], draws["aspect"], s.crop, s.aspect)
        maps = affine_maps(
            left=draws["left"] * (1 - width),
            top=draws["top"] * (1 - height),
            width=width,
            height=height,
            mirrored=mirrored,
            degrees=either_way(draws["rotate"], s.rotate),
            shear_degrees=either_way(draws["shear"], s.shear),
            shift=torch.stack(
                [either_way(draws["shift_x"], s.translate), either_way(draws["shift_y"], s.translate)], 1
            ),
            ratio=pixel_columns / pixel_rows,
        )
        lines = grid_lines(maps, pixel_rows, pixel_columns)
    lit = s.colour_probability and (s.brightness or s.contrast)
    tinted = channels == 3 and (s.grey or (s.colour_probability and (s.saturation or s.hue)))
    if lit or tinted:
        coloured = draws["coloured"] < s.colour_probability
        factors = {
            name: 1 + either_way(draws[name], greatest) * coloured
            for name, greatest in (("brightness", s.brightness), ("contrast", s.contrast), ("saturation", s.saturation))
        }
        factors["saturation"] = torch.where(draws["grey"] < s.grey, 0.0, factors["saturation"])
        turns = either_way(draws["hue"], s.hue) * coloured
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
    out: Float[Tensor, "batch channels view_height view_width"],
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
        blurred = sigma.nonzero()[:, 0]
        x.index_copy_(0, blurred, blur(x.index_select(0, blurred), sigma[blurred]))
    # The only pass over memory that is not in the cache already, so there must be no other.
    torch.clamp(x, 0, 1, out=out)
