"""Image files: found within the folder of the images, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mscon.data.inputs.image_files import decode_some, link_folder, locate, similar_name, ways_out
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
    absolute = str(tmp_path / "secret.png")
    outside = ["../secret.png", absolute, "link.png", "up/secret.png", "..", "a/../../secret.png", "0\0.png"]
    assert locate(root, outside) == [None] * len(outside)
    inside = ["0.png", "./0.png", "none/here.png", "twin.png", "none/../0.png", str(root / "0.png")]
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


def test_links_lead_into_folders_that_are_named_and_no_further(root, tmp_path):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for folder in (blobs, tmp_path):
        pattern(9).save(folder / "secret.png")
    (root / "blob.png").symlink_to("../blobs/secret.png")
    (root / "class").symlink_to(blobs)
    (root / "far.png").symlink_to(tmp_path / "secret.png")
    (blobs / "further").symlink_to(tmp_path)
    images = ["blob.png", "class/secret.png", "far.png", "class/further/secret.png", "0.png"]
    assert locate(root, images) == [None, None, None, None, root / "0.png"]
    allowed = [root / "blob.png", root / "class/secret.png", None, None, root / "0.png"]
    assert locate(root, images, ["../blobs"]) == allowed
    assert locate(root, images, [str(blobs)]) == allowed


def test_no_folder_is_offered_that_would_open_more_than_links_need(root, tmp_path):
    (tmp_path / "secret.png").touch()
    (root / "far.png").symlink_to(tmp_path / "secret.png")
    assert link_folder(root, ["far.png"]) == ""  # it holds the root itself
    assert link_folder(root, ["../secret.png", str(tmp_path / "secret.png")]) == ""  # these are no links


def test_the_way_out_of_links_and_of_absolute_paths_is_told(root, tmp_path):
    (tmp_path / "blobs").mkdir()
    for i in range(3):
        (root / f"link{i}.png").symlink_to(f"../blobs/{i}")
    assert 'link_folders = ["../blobs"]' in ways_out(root, [f"link{i}.png" for i in range(3)])
    assert f"--images '{tmp_path / 'a'}'" in ways_out(
        root, [str(tmp_path / "a" / "1.png"), str(tmp_path / "a/b/2.png")]
    )
    assert "--images DIR" in ways_out(root, ["../x.png"])
    misspelt = ways_out(root, ["link0.png"], ["../blob", "../blobs"])
    assert misspelt.startswith(f"[data] link_folders: there is no folder '../blob', looked for relative to '{root}'.")
    assert 'link_folders = ["../blobs"]' in misspelt
    assert "there is no folder" not in ways_out(root, ["link0.png"], ["../blobs"])


@pytest.mark.parametrize(
    ("name", "similar"),
    [("IMG0.PNG", "img0.png"), ("img0.jpg", "img0.png"), ("imq0.png", "img0.png"), ("other.png", ""), ("\0", "")],
)
def test_a_file_of_a_similar_name_is_offered(tmp_path, name, similar):
    (tmp_path / "img0.png").touch()
    assert similar_name(tmp_path / name) == (f" Did you mean '{similar}'?" if similar else "")
    assert similar_name(tmp_path / "none" / name) == ""


def test_zero_bytes_name_no_file_and_no_folder(root):
    """A recipe may hold them, a name of a file may not."""
    assert locate(root, ["0.png", "a\0.npy"], ["b\0"]) == [root / "0.png", None]
    assert link_folder(root, ["a\0.png"]) == ""
    for name in ("a\0.npy", "/a\0.npy"):
        assert "zero byte" in ways_out(root, [name])
    assert "there is no folder 'b\\x00'" in ways_out(root, ["../0.png", "/\0"], ["b\0"])
