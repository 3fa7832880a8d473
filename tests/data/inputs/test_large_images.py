"""Large images take bounded memory, whatever they are and however many threads decode."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscon.data.inputs import large_images
from mscon.data.inputs.image_files import decode_some
from mscon.data.inputs.large_images import PixelBudget, on_white
from process import call

SIDE = 3_000


def test_images_are_decoded_together_as_long_as_their_pixels_fit():
    budget, used, most, lock = PixelBudget(10), [0], [0], threading.Lock()

    def decode(pixels: int) -> None:
        with budget.spent(pixels):
            with lock:
                used[0] += pixels
                most[0] = max(most[0], used[0])
            time.sleep(0.002)
            with lock:
                used[0] -= pixels

    threads = [threading.Thread(target=decode, args=(pixels,)) for pixels in [3, 4, 5, 10, 1, 1, 6] * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert used == [0] and 5 < most[0] <= 10


def test_an_image_above_the_budget_is_decoded_alone():
    budget, order = PixelBudget(10), []
    with budget.spent(2):
        large = threading.Thread(target=lambda: order.append("large") if budget.spent(99).__enter__() is None else None)
        large.start()
        large.join(0.05)
        order.append("small")
    large.join(20)
    assert order == ["small", "large"]


def test_one_that_fails_gives_its_pixels_back():
    budget = PixelBudget(10)
    with pytest.raises(ValueError, match="x"), budget.spent(10):
        raise ValueError("x")
    with budget.spent(10):
        pass


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_in_strips_is_that_of_the_whole(mode, monkeypatch):
    monkeypatch.setattr(large_images, "_PIXELS_AT_ONCE", 100)
    pixels = np.random.default_rng(0).integers(0, 256, (33, 29, 4), dtype=np.uint8)
    image = (
        Image.fromarray(pixels).convert("RGB").convert("P") if mode == "P" else Image.fromarray(pixels).convert(mode)
    )
    if mode == "P":
        image.info["transparency"] = 3
    whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    for target in ("RGB", "L"):
        assert np.array_equal(np.asarray(on_white(image).convert(target)), np.asarray(whole.convert(target)))


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) * 1024


def peak_of(paths: list[Path]) -> int:
    """Bytes by which memory grows at most while these are decoded; printed."""
    decode_some(paths, 16, 3)  # what is loaded on the way, and the buffers of threads
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    pixels, faults = decode_some(paths, 16, 3)
    assert not faults and len(pixels) == len(paths)
    print(_status("VmHWM") - before)
    return 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "P", "CMYK"])
def test_no_image_takes_more_than_twelve_bytes_a_pixel(tmp_path, mode):
    kind = "tiff" if mode == "CMYK" else "png"
    size = (SIDE, SIDE)
    image = Image.fromarray(np.zeros(size, np.uint16)) if mode == "I;16" else Image.new(mode, size)
    image.save(tmp_path / f"x.{kind}", compress_level=1)
    outcome = call(peak_of, [tmp_path / f"x.{kind}"], cwd=tmp_path).wait()
    assert outcome.status == 0, outcome
    assert int(outcome.out) <= 12 * SIDE**2
