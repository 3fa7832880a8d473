"""PixPro against loops over positions, and where crops do not overlap."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mscon.method.cores.pixel_consistency import pixel_positives, pixpro, propagate

F64 = torch.float64
HEIGHT, WIDTH = 2, 3
FIRST = torch.tensor([[0.0, 0.0, 60.0, 40.0], [0.0, 0.0, 30.0, 20.0], [60.0, 0.0, 0.0, 40.0]], dtype=F64)
SECOND = torch.tensor([[10.0, 5.0, 50.0, 45.0], [300.0, 300.0, 330.0, 320.0], [0.0, 0.0, 60.0, 40.0]], dtype=F64)


def drawn(seed: int, rows: int = 3) -> Tensor:
    return torch.randn(rows, 4, HEIGHT, WIDTH, dtype=F64, generator=torch.Generator().manual_seed(seed))


def centre(box: list[float], row: int, column: int) -> tuple[float, float]:
    left, top, right, bottom = box
    return left + (right - left) / WIDTH * (column + 0.5), top + (bottom - top) / HEIGHT * (row + 0.5)


def places() -> list[tuple[int, int]]:
    return [(row, column) for row in range(HEIGHT) for column in range(WIDTH)]


@pytest.mark.parametrize("distance", [0.4, 0.55, 0.7, 0.85])
def test_positives_are_positions_whose_centres_are_near(distance):
    positives = pixel_positives(FIRST, SECOND, (HEIGHT, WIDTH), distance=distance)
    assert positives.any()
    for row, (one, other) in enumerate(zip(FIRST.tolist(), SECOND.tolist(), strict=True)):
        diagonal = max(math.hypot((b[2] - b[0]) / WIDTH, (b[3] - b[1]) / HEIGHT) for b in (one, other))
        expected = [
            [math.dist(centre(one, *p), centre(other, *q)) / diagonal < distance for q in places()] for p in places()
        ]
        assert positives[row].tolist() == expected


def test_a_mirrored_crop_has_left_and_right_exchanged():
    mirrored = pixel_positives(FIRST, SECOND, (HEIGHT, WIDTH), distance=0.1)[2]
    assert mirrored.nonzero().tolist() == [[0, 2], [1, 1], [2, 0], [3, 5], [4, 4], [5, 3]]


def test_propagation_by_loops():
    maps, values = drawn(0), drawn(1)
    propagated = propagate(maps, values, exponent=2.0)
    for row in range(len(maps)):
        for r, c in places():
            expected = torch.zeros(4, dtype=F64)
            for i, j in places():
                one, other = maps[row, :, r, c], maps[row, :, i, j]
                cosine = float(one @ other / one.norm() / other.norm())
                expected += max(cosine, 0.0) ** 2 * values[row, :, i, j] / values[row, :, i, j].norm()
            torch.testing.assert_close(propagated[row, :, r, c], expected)


def test_the_loss_by_loops():
    maps, targets = drawn(2), drawn(3)
    positives = pixel_positives(FIRST, SECOND, (HEIGHT, WIDTH))
    for row, loss in enumerate(pixpro(maps, targets, positives).tolist()):
        cosines = [
            float(normalize(maps[row, :, *places()[p]], dim=0) @ normalize(targets[row, :, *places()[q]], dim=0))
            for p, q in positives[row].nonzero().tolist()
        ]
        assert loss == pytest.approx(-math.fsum(cosines) / max(len(cosines), 1))


def test_crops_without_a_common_place_have_no_loss_and_no_gradient():
    maps = drawn(4).requires_grad_()
    loss = pixpro(propagate(maps), drawn(5), pixel_positives(FIRST, SECOND, (HEIGHT, WIDTH)))
    (gradient,) = torch.autograd.grad(loss.sum(), maps)
    assert loss[1] == 0 and (gradient[1] == 0).all() and (gradient[0] != 0).any()


def test_equal_maps_of_one_crop_have_the_least_loss_and_targets_get_no_gradient():
    maps, targets = drawn(6).requires_grad_(), drawn(6).requires_grad_()
    positives = torch.eye(HEIGHT * WIDTH, dtype=torch.bool).expand(3, -1, -1)
    loss = pixpro(maps, targets, positives)
    torch.testing.assert_close(loss, torch.full((3,), -1.0, dtype=F64))
    assert torch.autograd.grad(loss.sum(), targets, allow_unused=True) == (None,)


def test_the_gradient_is_that_of_finite_differences():
    positives, targets = pixel_positives(FIRST, SECOND, (HEIGHT, WIDTH)), drawn(8)
    maps = drawn(7).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: pixpro(propagate(m), targets, positives), (maps,))


def test_an_exponent_below_one_is_refused():
    with pytest.raises(ValueError, match=r"exponent must be at least 1, got 0\.5"):
        propagate(drawn(0), exponent=0.5)
