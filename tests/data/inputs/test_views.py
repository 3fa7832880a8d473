"""Views: each transform alone has its closed form, and every image draws for itself."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mscon.data.inputs import image_transforms, views
from mscon.run.recipe import Views

NOTHING = Views(
    crop=(1.0, 1.0), flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, colour_probability=0.0, grey=0.0
)
EVERYTHING = Views(rotate=20.0, shear=10.0, translate=0.1, blur=0.5, hue=0.3)


def only(**changes: object) -> Views:
    return dataclasses.replace(NOTHING, **changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(batch: int = 6, channels: int = 3, height: int = 12, width: int = 12, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (batch, channels, height, width), dtype=torch.uint8, generator=generator(seed))


def augmented(images: Tensor, seed: int = 0, **changes: object) -> Tensor:
    return views.augment(images, only(**changes), generator(seed))


def still(batch: int, **changes: object) -> dict[str, Tensor]:
    """Arguments of `affine_maps` that change nothing."""
    zero, one = torch.zeros(batch), torch.ones(batch)
    start = {"left": zero, "top": zero, "width": one, "height": one, "mirrored": torch.zeros(batch, dtype=torch.bool)}
    return {**start, "degrees": zero, "shear_degrees": zero, "shift": torch.zeros(batch, 2), **changes}  # type: ignore[dict-item]


def colours(**changes: Tensor) -> tuple[Tensor, Tensor]:
    """`colour_maps` of 6 images, with all but `changes` left alone."""
    one = torch.ones(6)
    factors = {"brightness": one, "contrast": one, "saturation": one, "turns": torch.zeros(6), **changes}
    return image_transforms.colour_maps(**factors, channels=3)


# Nothing asked for -------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_settings_that_ask_for_nothing_give_the_image_exactly(channels):
    images = noise(channels=channels)
    assert torch.equal(views.augment(images, NOTHING, generator()), images / 255)
    assert torch.equal(views.plain(images), images / 255)
    assert views.plain(images).dtype == torch.float32


def test_the_images_handed_in_are_left_alone():
    images = noise()
    before = images.clone()
    views.augment(images, EVERYTHING, generator())
    views.plain(images)
    assert torch.equal(images, before)


def test_an_empty_batch_has_empty_views():
    assert views.augment(noise(batch=0), EVERYTHING, generator()).shape == (0, 3, 12, 12)


def test_a_part_of_a_batch_draws_what_it_would_in_the_whole():
    """So that several processes see the views that one would."""
    images = torch.randint(0, 256, (7, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = views.augment(images, Views(blur=0.5), torch.Generator().manual_seed(3))
    for places in (torch.tensor([0, 1, 4, 5]), torch.tensor([2, 3, 6]), torch.tensor([], dtype=torch.int64)):
        part = views.Part(places, 7)
        part_views = views.augment(images[places], Views(blur=0.5), torch.Generator().manual_seed(3), part)
        torch.testing.assert_close(part_views, whole[places])


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(2, 4, 8, 8, dtype=torch.uint8)],
)
def test_what_is_no_batch_of_images_is_refused_with_its_shape(images):
    with pytest.raises(ValueError, match=r"uint8 \[batch, 1 or 3 channels.*got torch"):
        views._check(images)  # the types of the public functions are checked before, in tests


# Geometry ----------------------------------------------------------------------------------------


def test_a_flip_of_probability_1_mirrors_and_of_0_never_does():
    images = noise(batch=64)
    assert torch.equal(augmented(images, flip=1.0), views.plain(images.flip(-1)))
    assert torch.equal(augmented(images, flip=0.0), views.plain(images))
    # The same with a resampling that leaves the image where it is: a shift of next to nothing.
    torch.testing.assert_close(
        augmented(images, flip=1.0, translate=1e-9), views.plain(images.flip(-1)), rtol=0, atol=1e-4
    )


def test_a_flip_of_probability_one_half_mirrors_about_half_of_the_images():
    images = noise(batch=400)
    mirrored = (augmented(images, flip=0.5) == views.plain(images.flip(-1))).flatten(1).all(1)
    unchanged = (augmented(images, flip=0.5) == views.plain(images)).flatten(1).all(1)
    assert bool((mirrored ^ unchanged).all())
    assert 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_turning_by_90_degrees_is_rot90(ratio):
    images = noise().float()
    turned = image_transforms.resample(images, image_transforms.affine_maps(**still(6, degrees=torch.full((6,), 90.0))))
    torch.testing.assert_close(turned, torch.rot90(images, 1, (2, 3)), rtol=0, atol=0.05)
    # Turned about the middle, an image twice as wide as high keeps its middle square, turned.
    wide = noise(height=12, width=24).float()
    turned = image_transforms.resample(
        wide, image_transforms.affine_maps(**still(6, degrees=torch.full((6,), 90.0)), ratio=2.0)
    )
    torch.testing.assert_close(turned[..., 6:18], torch.rot90(wide[..., 6:18], 1, (2, 3)), rtol=0, atol=0.05)


def test_a_known_crop_is_that_box_enlarged():
    images = noise().float()
    box = {"left": torch.full((6,), 3 / 12), "top": torch.full((6,), 6 / 12), "width": torch.full((6,), 6 / 12)}
    result = image_transforms.resample(
        images, image_transforms.affine_maps(**still(6, **box, height=torch.full((6,), 3 / 12)))
    )
    expected = torch.nn.functional.interpolate(images[:, :, 5:10, 2:10], scale_factor=(4, 2), mode="bilinear")
    torch.testing.assert_close(result, expected[:, :, 4:16, 2:14], rtol=0, atol=0.01)


def test_a_shift_moves_right_and_down_and_repeats_the_edge():
    images = noise().float()
    shift = torch.tensor([3 / 12, 2 / 12]).expand(6, 2)
    moved = image_transforms.resample(images, image_transforms.affine_maps(**still(6, shift=shift)))
    expected = torch.nn.functional.pad(images, (3, 0, 2, 0), mode="replicate")[:, :, :12, :12]
    torch.testing.assert_close(moved, expected, rtol=0, atol=0.01)


def test_a_shear_of_45_degrees_moves_each_line_by_its_height():
    images = noise(height=11, width=11).float()
    sheared = image_transforms.resample(
        images, image_transforms.affine_maps(**still(6, shear_degrees=torch.full((6,), 45.0)))
    )
    for line in range(11):
        by = line - 5  # the middle line stays
        expected = images[:, :, line, [min(max(x - by, 0), 10) for x in range(11)]]
        torch.testing.assert_close(sheared[:, :, line], expected, rtol=0, atol=0.01)


def test_geometry_composes_as_crop_flip_turn_shear_shift():
    """One map of all five equals their maps one after the other."""

    def square(**changes):
        maps = image_transforms.affine_maps(**still(1, **changes)).double()
        return torch.cat([maps[0], torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)])

    box = {
        "left": torch.tensor([0.1]),
        "top": torch.tensor([0.3]),
        "width": torch.tensor([0.5]),
        "height": torch.tensor([0.6]),
    }
    steps = [
        box,
        {"mirrored": torch.tensor([True])},
        {"degrees": torch.tensor([25.0])},
        {"shear_degrees": torch.tensor([15.0])},
        {"shift": torch.tensor([[0.2, -0.1]])},
    ]
    together = square(**{k: v for step in steps for k, v in step.items()})
    # Each map leads from a view back to what it was made of, so the last step stands innermost.
    one_by_one = torch.linalg.multi_dot([square(**step) for step in steps])
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-6)


@given(
    least=st.floats(0.01, 1),
    most=st.floats(0.01, 1),
    aspect=st.floats(1, 4),
    draws=st.tuples(*[st.floats(0, 0.999)] * 2),
)
@settings(deadline=None, derandomize=True)
def test_a_crop_has_the_area_and_aspect_asked_for_and_fits(least, most, aspect, draws):
    least, most = min(least, most), max(least, most)
    area, ratio = (torch.tensor([d], dtype=torch.float64) for d in draws)
    width, height = image_transforms.crop_sizes(area, ratio, (least, most), aspect)
    assert 0 < width <= 1 and 0 < height <= 1
    assert math.isclose(width * height, least + (most - least) * draws[0], rel_tol=1e-6)
    assert 1 / aspect - 1e-6 <= width / height <= aspect + 1e-6


def test_crops_reach_every_edge_of_the_image_and_never_beyond():
    """On a ramp the view's values tell where it was cut."""
    ramp = torch.linspace(0, 255, 16).to(torch.uint8).expand(500, 1, 16, 16)
    for images in (ramp, ramp.mT):
        result = augmented(images, crop=(0.25, 0.25), aspect=1.0).mean(dim=(1, 2, 3))
        # A quarter of the area is half of each side; the centres of its pixels span a bit less.
        assert 0.22 < result.min() < 0.25 and 0.75 < result.max() < 0.78
        assert abs(float(result.mean()) - 0.5) < 0.03


# Colour ------------------------------------------------------------------------------------------


def test_brightness_multiplies_and_is_clipped_at_white():
    images = noise(batch=200)
    result, original = augmented(images, brightness=0.5, colour_probability=1.0), views.plain(images)
    dark = original.flatten(1).argmax(1)[:, None]
    factor = (result.flatten(1).gather(1, dark) / original.flatten(1).gather(1, dark))[:, :, None, None]
    factor = torch.where(result.amax(dim=(1, 2, 3), keepdim=True) < 1, factor, torch.nan)
    unclipped = ~factor.isnan().flatten()
    assert unclipped.sum() > 50
    torch.testing.assert_close(result[unclipped], (original * factor)[unclipped], rtol=0, atol=1e-5)
    assert 0.5 <= factor[unclipped].min() < 0.55 and result.max() == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_scales_the_distance_from_the_images_own_mean_grey(channels):
    images = noise(channels=channels).float()
    half = torch.full((6,), 0.5)
    one, none = torch.ones(6), torch.zeros(6)
    maps = image_transforms.colour_maps(brightness=one, contrast=half, saturation=one, turns=none, channels=channels)
    luma = torch.tensor([0.299, 0.587, 0.114]) if channels == 3 else torch.ones(1)
    mean = torch.einsum("bchw,c->bhw", images, luma).mean(dim=(1, 2))[:, None, None, None]
    torch.testing.assert_close(image_transforms.recolour(images, *maps), mean + (images - mean) / 2, rtol=0, atol=1e-3)


def test_brightness_comes_before_contrast():
    """Contrast is about the mean of the brightened image, so a contrast of 0 gives that mean."""
    images = noise().float()
    result = image_transforms.recolour(images, *colours(brightness=torch.full((6,), 0.5), contrast=torch.zeros(6)))
    mean = torch.einsum("bchw,c->bhw", images, torch.tensor([0.299, 0.587, 0.114])).mean(dim=(1, 2)) / 2
    torch.testing.assert_close(result, mean[:, None, None, None].expand_as(result), rtol=0, atol=1e-3)


def test_grey_of_probability_1_has_the_images_luma_in_all_channels():
    images = noise()
    result = augmented(images, grey=1.0)
    luma = torch.einsum("bchw,c->bhw", views.plain(images), torch.tensor([0.299, 0.587, 0.114]))
    torch.testing.assert_close(result, luma[:, None].expand_as(result), rtol=0, atol=1e-5)


def test_saturation_0_is_grey_and_1_is_the_image():
    images = noise().float()
    grey = image_transforms.recolour(images, *colours(saturation=torch.zeros(6)))
    torch.testing.assert_close(grey[:, 0], grey[:, 2], rtol=0, atol=1e-3)
    torch.testing.assert_close(image_transforms.recolour(images, *colours()), images, rtol=0, atol=1e-3)


def test_the_hue_turns_by_a_circle_keeping_luma_and_greys():
    images = noise().float()
    third = torch.full((6,), 1 / 3)
    once = image_transforms.recolour(images, *colours(turns=third))
    assert (once - images).abs().max() > 10
    thrice = image_transforms.recolour(image_transforms.recolour(once, *colours(turns=third)), *colours(turns=third))
    torch.testing.assert_close(thrice, images, rtol=0, atol=2e-2)
    luma = torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(torch.einsum("bchw,c->bhw", once, luma), torch.einsum("bchw,c->bhw", images, luma))
    grey = images[:, :1].expand(6, 3, 12, 12)
    torch.testing.assert_close(image_transforms.recolour(grey, *colours(turns=third)), grey, rtol=0, atol=1e-3)


def test_only_the_share_of_views_asked_for_is_recoloured():
    images = noise(batch=400)
    same = (augmented(images, brightness=0.4, contrast=0.4, colour_probability=0.25) == views.plain(images)).flatten(1)
    untouched = (augmented(images, brightness=0.4, colour_probability=0.25) - views.plain(images)).abs().amax(
        (1, 2, 3)
    ) < 1e-6
    assert 260 < int(untouched.sum()) < 340
    assert not same.all()


# Blur --------------------------------------------------------------------------------------------


def test_blur_is_a_separable_gaussian():
    images = noise(batch=2, height=25, width=31).float()
    sigma = torch.tensor([0.7, 1.6])
    result = image_transforms.blur(images, sigma)
    for image, s, blurred in zip(images, sigma.tolist(), result, strict=True):
        reach = 4 * s
        line = torch.tensor([math.exp(-0.5 * (d / s) ** 2) if abs(d) <= reach else 0.0 for d in range(-7, 8)])
        window = torch.outer(line, line)[None, None] / line.sum() ** 2
        expected = torch.nn.functional.conv2d(image[:, None], window)[:, 0]
        torch.testing.assert_close(blurred[:, 7:-7, 7:-7], expected, rtol=0, atol=1e-2)


def test_blur_keeps_a_flat_image_and_the_sum_of_a_spot_away_from_the_edge():
    flat = torch.full((1, 1, 16, 16), 0.7)
    torch.testing.assert_close(image_transforms.blur(flat, torch.tensor([2.0])), flat)
    spot = torch.zeros(1, 1, 33, 33)
    spot[..., 16, 16] = 1
    result = image_transforms.blur(spot, torch.tensor([2.0]))
    torch.testing.assert_close(result.sum(), torch.tensor(1.0))
    torch.testing.assert_close(result, result.mT)


def test_a_blur_of_next_to_nothing_changes_nothing():
    images = noise().float()
    torch.testing.assert_close(image_transforms.blur(images, torch.full((6,), 1e-30)), images)


def test_only_the_images_drawn_are_blurred():
    images = noise(batch=400)
    sharp = (augmented(images, blur=0.25, blur_sigma=(0.1, 0.2)) == views.plain(images)).flatten(1).all(1)
    assert 260 < int(sharp.sum()) < 340


# Draws -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"crop": (0.2, 0.9)},
        {"rotate": 30.0},
        {"shear": 20.0},
        {"translate": 0.3},
        {"blur": 1.0, "blur_sigma": (0.05, 0.2)},
    ]
    + [{k: 0.4, "colour_probability": 1.0} for k in ("brightness", "contrast", "saturation", "hue")],
    ids=lambda change: next(iter(change)),
)
def test_equal_images_draw_different_views(change):
    result = augmented(noise(batch=1).expand(16, -1, -1, -1), **change)
    distances = (result[:, None] - result).abs().amax(dim=(2, 3, 4)) + torch.eye(16)
    assert distances.min() > 1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_generator_gives_the_same_views_and_another_seed_others(channels):
    images = noise(channels=channels)
    first = views.augment(images, EVERYTHING, generator(3))
    assert torch.equal(first, views.augment(images, EVERYTHING, generator(3)))
    assert not torch.equal(first, views.augment(images, EVERYTHING, generator(4)))


def test_the_next_batch_draws_anew():
    source = generator()
    assert not torch.equal(views.augment(noise(), EVERYTHING, source), views.augment(noise(), EVERYTHING, source))


def test_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    views.augment(noise(), EVERYTHING, generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_draw_of_an_image_depends_on_its_place_only():
    """Neither on what the other images are, nor (on the CPU) on how many follow."""
    images = noise(batch=40)
    result = views.augment(images, EVERYTHING, generator())
    others = torch.cat([images[:20], noise(batch=20, seed=1)])
    torch.testing.assert_close(views.augment(others, EVERYTHING, generator())[:20], result[:20])
    torch.testing.assert_close(views.augment(images[:20], EVERYTHING, generator()), result[:20])


def test_switching_a_transform_on_leaves_the_draws_of_the_others():
    images = noise()
    plain_crop = augmented(images, crop=(0.3, 0.9), flip=0.5)
    and_grey = augmented(images, crop=(0.3, 0.9), flip=0.5, grey=1.0)
    luma = torch.einsum("bchw,c->bhw", plain_crop, torch.tensor([0.299, 0.587, 0.114]))
    torch.testing.assert_close(and_grey[:, 0], luma, rtol=0, atol=1e-5)


@pytest.mark.parametrize("floats", [1, 1_000, 10**9])
def test_the_size_of_the_blocks_worked_on_does_not_matter(monkeypatch, floats):
    images = noise(batch=9)
    expected = views.augment(images, EVERYTHING, generator())
    monkeypatch.setattr(views, "_BLOCK_FLOATS", floats)
    torch.testing.assert_close(views.augment(images, EVERYTHING, generator()), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_layout_in_memory_changes_no_value(channels):
    images = noise(batch=9, channels=channels)
    result = views.augment(images, EVERYTHING, generator(), memory_format=torch.channels_last)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(result, views.augment(images, EVERYTHING, generator()))


def test_autocast_changes_nothing():
    images = noise()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = views.augment(images, EVERYTHING, generator())
    assert torch.equal(result, views.augment(images, EVERYTHING, generator()))


def pairs_of(low: float, high: float) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(st.floats(low, high), st.floats(low, high)).map(lambda pair: tuple(sorted(pair)))


probabilities = ("flip", "brightness", "contrast", "saturation", "colour_probability", "grey", "blur")
all_settings = st.fixed_dictionaries(
    {
        "crop": pairs_of(0.001, 1),
        "aspect": st.floats(1, 4),
        "rotate": st.floats(0, 180),
        "shear": st.floats(0, 89.99),
        "translate": st.floats(0, 0.99),
        "hue": st.floats(0, 0.5),
        "blur_sigma": pairs_of(1e-6, 0.5),
        **dict.fromkeys(probabilities, st.floats(0, 1)),
    }
)


@given(
    settings_=all_settings,
    channels=st.sampled_from([1, 3]),
    size=st.tuples(*[st.integers(1, 9)] * 2),
    seed=st.integers(0, 99),
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_views_are_finite_and_in_range_whatever_the_settings(settings_, channels, size, seed):
    images = noise(batch=3, channels=channels, height=size[0], width=size[1], seed=seed)
    result = views.augment(images, Views(**settings_), generator(seed))
    assert result.shape == images.shape and result.dtype == torch.float32
    assert bool(result.isfinite().all())
    assert result.min() >= 0 and result.max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_generator_on_the_cpu_gives_the_same_views_on_a_gpu():
    images = noise(batch=40)
    here = views.augment(images, EVERYTHING, generator())
    there = views.augment(images.cuda(), EVERYTHING, generator())
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-3)


# Of images that are larger than their views -------------------------------------------------------


def test_a_view_may_be_smaller_than_its_image_and_then_shows_all_of_it():
    """A picture that is a straight slope of grey is the same slope in any size."""
    slope = torch.arange(18, dtype=torch.uint8).mul(10).expand(2, 3, 18, 18)
    for side, tolerance in ((12, 1e-3), (9, 1e-3)):
        view = views.augment(slope, NOTHING, generator(), size=side)
        centres = (torch.arange(side) + 0.5) * (18 / side) - 0.5
        torch.testing.assert_close(view, (centres * 10 / 255).expand(2, 3, side, side), rtol=0, atol=tolerance)


def test_up_to_half_the_size_no_pixel_is_skipped():
    dots = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    for row in range(16):
        for side in (8, 12):
            dots.zero_()[0, 0, row, 5] = 255
            assert views.augment(dots, NOTHING, generator(), size=side).sum() > 0


def test_a_crop_of_a_larger_image_has_more_detail_than_one_of_a_smaller():
    """A quarter of an image of twice the size is that quarter itself, pixel by pixel, up to where the crop begins."""
    large = noise(batch=1, height=32, width=32)
    view = views.augment(large, only(crop=(0.25, 0.25), aspect=1.0), generator(), size=16)
    windows = views.plain(large)[0].unfold(1, 17, 1).unfold(2, 17, 1)
    between = [windows[:, row, column] for row in range(16) for column in range(16)]
    nearest = min((_between(window, view[0]), n) for n, window in enumerate(between))
    assert nearest[0] < 1e-2


def _between(window, view):
    """How far a view is from the best mixture of the four windows that a window's corners begin."""
    corners = torch.stack([window[:, a : a + 16, b : b + 16].flatten() for a in (0, 1) for b in (0, 1)], dim=1)
    mixture = torch.linalg.lstsq(corners, view.flatten()[:, None]).solution
    return float((corners @ mixture - view.flatten()[:, None]).abs().max())


def test_the_size_of_the_images_themselves_changes_nothing():
    images = noise()
    expected = views.augment(images, EVERYTHING, generator())
    assert torch.equal(views.augment(images, EVERYTHING, generator(), size=12), expected)
