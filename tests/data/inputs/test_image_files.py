"""Image files: found within the folder of the images, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mscon.data.inputs.image_files import decode_some, locate
from sample_images import pattern


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(5):
        pattern(i).save(folder / f"{i}.png")
    return folder


def test_paths_that_leave_the_root_are_found_out(root, tmp_path):
    pattern(9).save(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "twin.png").symlink_to(root / "0.png")
    outside = ["../secret.png", str(root / "0.png"), "link.png", "up/secret.png", "..", "a/../../secret.png", "0\0.png"]
    assert locate(root, outside) == [None] * len(outside)
    inside = ["0.png", "./0.png", "none/here.png", "twin.png", "none/../0.png"]
    assert locate(root, inside) == [root / name for name in inside]


def test_a_sibling_folder_with_a_longer_name_is_outside(root):
    sibling = root.with_name(root.name + "2")
    sibling.mkdir()
    assert locate(root, [f"../{sibling.name}/0.png"]) == [None]


def test_some_images_are_decoded_and_the_others_told_with_their_numbers(root):
    (root / "text.png").write_text("no")
    pixels, faults = decode_some([root / "0.png", None, root / "text.png", root / "3.png"], 16, 3)
    assert np.array_equal(pixels[3], np.asarray(pattern(3)).transpose(2, 0, 1))
    assert not pixels[1].any()
    assert sorted(faults) == [1, 2]
    assert "outside" in faults[1]
    assert "not an image" in faults[2]
