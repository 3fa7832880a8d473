"""Large images take bounded memory, whatever they are and however many threads decode."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscon.data.inputs import large_images
from mscon.data.inputs.large_images import PixelBudget, on_white

SIDE = 2_000


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


# In a process of its own, without torch: for each file the bytes by which memory grows at most while it is decoded.
PEAKS = """
import sys
from pathlib import Path
from mscon.data.inputs.image_files import decode_some

def status(name):
    return int(Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0]) * 1024

folder = Path(sys.argv[1])
decode_some(sorted(folder.glob("small.*")), 16, 3)  # what is loaded on the way
for path in sorted(folder.glob("large.*")):
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    _, faults = decode_some([path], 16, 3)
    assert not faults, faults
    print(path.name, status("VmHWM") - before)
"""

# Bytes a pixel. Decoders of WebP, JPEG 2000 and AVIF hold the image too, so these count twice in the budget.
MOST = {".png": 12.5, ".tiff": 12.5, ".jpg": 12.5, ".webp": 25, ".jp2": 25}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of memory from /proc")
def test_no_image_takes_more_memory_than_is_said(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned, which copies it
    for side, name in ((40, "small"), (SIDE, "large")):
        for ending in MOST:
            image = Image.new("CMYK" if ending in (".tiff", ".jpg") else "RGBA", (side, side))
            image.save(tmp_path / f"{name}{ending}", **({} if ending == ".jp2" else {"exif": exif}))
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)).save(tmp_path / "large.16.png")
    # So that what one image has freed does not count for the next.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    ran = subprocess.run([sys.executable, "-c", PEAKS, str(tmp_path)], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    peaks = {name: int(size) / SIDE**2 for name, size in (line.split() for line in ran.stdout.splitlines())}
    assert len(peaks) == len(MOST) + 1
    assert {name: peak for name, peak in peaks.items() if peak > MOST[Path(name).suffix]} == {}
