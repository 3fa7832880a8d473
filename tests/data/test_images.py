"""Images: pixels as promised whatever the file, decoded once, and nothing read outside the root."""

from __future__ import annotations

import multiprocessing
import os
import struct
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mscon.data import images
from mscon.data.images import ImageStore, cache_folder, decode, locate, open_store, unreadable
from mscon.errors import RunError, TableError
from mscon.recipe import Data

SMALL = Data(image_size=16, channels=3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(5):
        pattern(i).save(folder / f"{i}.png")
    return folder


def pattern(seed: int, size: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def rows(*names: str) -> pl.DataFrame:
    return pl.DataFrame({"line": [2 + i for i in range(len(names))], "image": list(names)})


ALL = rows(*(f"{i}.png" for i in range(5)))


def saved(folder: Path, image: Image.Image, name: str = "x.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


# Decoding -----------------------------------------------------------------------------------------


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path):
    path = saved(tmp_path, pattern(0))
    assert np.array_equal(decode(path, 16, 3), np.asarray(pattern(0)).transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(20, 60), (60, 20)])
def test_it_is_the_short_side_resized_and_the_centre_cropped(tmp_path, shape):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    whole = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)
    left, top = (whole.width - 10) // 2, (whole.height - 10) // 2
    expected = np.asarray(whole.crop((left, top, left + 10, top + 10))).transpose(2, 0, 1)
    assert np.array_equal(decode(saved(tmp_path, picture), 10, 3), expected)


def test_a_small_image_is_enlarged(tmp_path):
    assert (decode(saved(tmp_path, Image.new("RGB", (1, 3), (9, 8, 7))), 16, 3)[0] == 9).all()


def test_a_very_long_strip_takes_no_gigantic_memory(tmp_path):
    assert decode(saved(tmp_path, Image.new("L", (60_000, 1), 77)), 512, 1).shape == (1, 512, 512)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (16, 16), "black")
    image.paste((255, 255, 255), (0, 0, 16, 8))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: white to the right
    pixels = decode(saved(tmp_path, image, exif=exif), 16, 1)[0]
    assert pixels[:, 8:].min() == 255
    assert pixels[:, :8].max() == 0


def test_transparency_is_laid_on_white(tmp_path):
    clear = Image.new("RGBA", (16, 16), (200, 0, 0, 0))
    assert (decode(saved(tmp_path, clear), 16, 3) == 255).all()
    half = Image.new("LA", (16, 16), (0, 51))
    assert (decode(saved(tmp_path, half), 16, 1) == 204).all()
    keyed = Image.new("RGB", (16, 16), (1, 2, 3))
    assert (decode(saved(tmp_path, keyed, transparency=(1, 2, 3)), 16, 3) == 255).all()


def test_palettes_become_colours(tmp_path):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert decode(saved(tmp_path, image), 16, 3)[:, 0, 0].tolist() == [10, 20, 30]
    assert (decode(saved(tmp_path, image, transparency=1), 16, 3) == 255).all()
    assert (decode(saved(tmp_path, image, transparency=b"\xff\x00"), 16, 3) == 255).all()


def test_cmyk_becomes_rgb(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "x.tiff")
    assert decode(path, 16, 3)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["x.png", "x.tiff"])
def test_sixteen_bits_are_cut_to_eight_and_not_clipped(tmp_path, name):
    deep = np.full((16, 16), 128 * 257, dtype=np.uint16)
    deep[0] = 65_535
    pixels = decode(saved(tmp_path, Image.fromarray(deep), name), 16, 1)[0]
    assert pixels[0, 0] == 255
    assert pixels[1, 0] == 128


def test_one_bit_is_black_and_white(tmp_path):
    assert (decode(saved(tmp_path, Image.new("1", (16, 16), 1)), 16, 3) == 255).all()


def test_thirty_two_bits_have_no_agreed_white(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.zeros((16, 16), np.float32)), "x.tiff")
    with pytest.raises(TableError, match="32 bits a pixel"):
        decode(path, 16, 1)


def test_a_large_jpeg_decoded_at_a_fraction_looks_the_same(tmp_path):
    ramp = np.linspace(0, 255, 1024, dtype=np.uint8)[None].repeat(1024, 0)
    exact = decode(saved(tmp_path, Image.fromarray(ramp)), 32, 1).astype(int)
    quick = decode(saved(tmp_path, Image.fromarray(ramp), "x.jpg", quality=95), 32, 1).astype(int)
    assert abs(exact - quick).max() <= 3


def test_a_moving_image_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    path = saved(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
    assert decode(path, 16, 3)[:, 0, 0].tolist() == [255, 0, 0]


def test_a_file_is_told_by_its_content_and_not_by_its_name(tmp_path):
    path = saved(tmp_path, pattern(0))
    path.rename(tmp_path / "x.jpg")
    assert decode(tmp_path / "x.jpg", 16, 3).shape == (3, 16, 16)


def huge(path: Path, side: int) -> Path:
    """A PNG of a few bytes that claims to be very large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [9_500, 60_000])
def test_images_that_would_fill_the_memory_are_refused(tmp_path, side):
    with pytest.raises(TableError, match="has more than 89,478,485 pixels"):
        decode(huge(tmp_path / "bomb.png", side), 16, 3)


def test_postscript_is_never_given_to_another_program(tmp_path):
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n")
    with pytest.raises(TableError, match="not an image of a kind that is read here"):
        decode(tmp_path / "x.png", 16, 3)


def test_warnings_of_the_decoder_do_not_reach_the_user(tmp_path):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    path = saved(tmp_path, image, transparency=b"\x80\x80")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode(path, 16, 3)
    assert not seen


# The root -----------------------------------------------------------------------------------------


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


def test_a_root_that_is_itself_a_link_is_followed(root, tmp_path):
    (tmp_path / "alias").symlink_to(root)
    assert len(open_store(ALL, tmp_path / "alias", SMALL, "t.csv")) == 5


def test_the_store_reads_nothing_outside_the_root(root, tmp_path):
    """The rows may come from a run directory that somebody sent."""
    pattern(9).save(tmp_path / "secret.png")
    with pytest.raises(TableError, match=r"line 3: image '\.\./secret.png' lies outside the folder"):
        open_store(rows("0.png", "../secret.png"), root, SMALL, "t.csv")


# The store ----------------------------------------------------------------------------------------


def test_the_store_holds_the_images_in_the_order_of_the_rows(root):
    store = open_store(ALL, root, SMALL, "t.csv")
    assert len(store) == 5
    for i in (4, 0):
        assert np.array_equal(store[[i]][0], np.asarray(pattern(i)).transpose(2, 0, 1))
    assert np.array_equal(store[np.array([3, 1, 3])], np.stack([store.images[i] for i in (3, 1, 3)]))
    assert store[[]].shape == (0, 3, 16, 16)


def test_more_images_than_one_task_takes_keep_their_order(root):
    names = [f"n{i}.png" for i in range(100)]
    for i, name in enumerate(names):
        Image.new("L", (8, 8), i).save(root / name)
    store = open_store(rows(*names), root, Data(image_size=8, channels=1), "t.csv")
    assert store.images[:, 0, 0, 0].tolist() == list(range(100))


def test_what_the_store_gives_out_is_a_copy(root):
    store = open_store(ALL, root, SMALL, "t.csv")
    got = store[[0]]
    got[:] = 0
    assert type(got) is np.ndarray
    assert store[[0]].any()


@pytest.mark.parametrize("row", [-1, 5])
def test_a_row_that_is_not_there_is_refused(root, row):
    with pytest.raises(IndexError, match="store of 5 images"):
        open_store(ALL, root, SMALL, "t.csv")[[row]]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_thumbnail_is_the_stored_image(root, channels, mode):
    thumbnail = open_store(ALL, root, replace(SMALL, channels=channels), "t.csv").thumbnail(2)
    assert thumbnail.mode == mode
    assert thumbnail.size == (16, 16)
    assert np.array_equal(np.asarray(thumbnail), np.asarray(pattern(2).convert(mode)))


def test_a_second_run_decodes_nothing(root, monkeypatch):
    first = open_store(ALL, root, SMALL, "t.csv")[range(5)]
    monkeypatch.setattr(images, "_decode", None)
    assert np.array_equal(open_store(ALL, root, SMALL, "t.csv")[range(5)], first)


def test_a_changed_image_another_size_and_other_rows_are_decoded_anew(root, cache):
    open_store(ALL, root, SMALL, "t.csv")
    pattern(77).save(root / "3.png")
    os.utime(root / "3.png", ns=(1, 1))
    assert np.array_equal(open_store(ALL, root, SMALL, "t.csv").images[3], np.asarray(pattern(77)).transpose(2, 0, 1))
    open_store(ALL, root, replace(SMALL, image_size=8), "t.csv")
    open_store(ALL, root, replace(SMALL, channels=1), "t.csv")
    open_store(ALL[1:], root, SMALL, "t.csv")
    assert len(list(cache.glob("*.npy"))) == 5


def test_a_spoilt_store_is_made_again(root, cache):
    good = open_store(ALL, root, SMALL, "t.csv")[range(5)]
    for path in cache.glob("*.npy"):
        path.write_bytes(b"\x93NUMPY rubbish")
    assert np.array_equal(open_store(ALL, root, SMALL, "t.csv")[range(5)], good)


def test_what_a_killed_decoding_left_is_swept_away(root, cache):
    open_store(ALL, root, SMALL, "t.csv")
    (path,) = cache.glob("*.npy")
    path.rename(cache / f".{path.name}.abc.npy")
    open_store(ALL, root, SMALL, "t.csv")
    assert [p.name for p in cache.iterdir() if p.suffix == ".npy"] == [path.name]


def test_an_interrupted_decoding_leaves_no_store(root, cache, monkeypatch):
    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "_decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_store(ALL, root, SMALL, "t.csv")
    assert not list(cache.glob("*.npy"))
    assert not list(cache.glob(".*.npy"))


def _open_in_another_process(root: Path, names: list[str], queue: multiprocessing.Queue) -> None:
    queue.put(int(open_store(rows(*names), root, SMALL, "t.csv").images.astype(np.int64).sum()))


def test_processes_that_start_together_end_with_one_store(root, cache):
    names = [f"{i}.png" for i in range(5)]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_open_in_another_process, args=(root, names, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    sums = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert sums == {int(open_store(ALL, root, SMALL, "t.csv").images.astype(np.int64).sum())}
    assert len(list(cache.glob("*.npy"))) == 1


def test_all_images_that_cannot_be_read_are_told_at_once(root, cache):
    whole = (root / "1.png").read_bytes()
    (root / "1.png").write_bytes(whole[: len(whole) // 2])
    (root / "2.png").write_text("not an image")
    (root / "4.png").write_bytes(b"")
    huge(root / "big.png", 60_000)
    with pytest.raises(TableError) as caught:
        open_store(rows("0.png", "1.png", "2.png", "none.png", "4.png", "big.png"), root, SMALL, "shoes.csv")
    text = str(caught.value)
    assert "shoes.csv, line 3: image '1.png' is truncated.\n  1 of 6 rows has this problem." in text
    assert "shoes.csv, line 4: image '2.png' is not an image of a kind that is read here" in text
    assert "2 of 6 rows have this problem: lines 4, 6." in text
    assert "shoes.csv, line 5: image 'none.png' does not exist." in text
    assert "shoes.csv, line 7: image 'big.png' has more than 89,478,485 pixels" in text
    assert 'missing_images = "drop"' in text
    assert not list(cache.glob("*.npy"))
    assert not list(cache.glob(".*.npy"))


def test_a_truncated_jpeg_is_no_grey_picture(root):
    pattern(0, 256).save(root / "j.jpg")
    (root / "j.jpg").write_bytes((root / "j.jpg").read_bytes()[:-8000])
    with pytest.raises(TableError, match="is truncated"):
        open_store(rows("j.jpg"), root, SMALL, "t.csv")


def test_unreadable_images_are_found_once_and_remembered(root, monkeypatch):
    (root / "2.png").write_text("no")
    names = ["0.png", "2.png", "gone.png", "../x.png"]
    assert unreadable(root, names, SMALL) == [1, 2, 3]
    monkeypatch.setattr(images, "_decode", None)
    assert unreadable(root, names, SMALL) == [1, 2, 3]


def test_an_image_that_came_back_is_tried_again(root):
    assert unreadable(root, ["gone.png"], SMALL) == [0]
    pattern(0).save(root / "gone.png")
    assert unreadable(root, ["gone.png"], SMALL) == []


def test_a_full_disk_is_told_before_decoding(root, monkeypatch):
    monkeypatch.setattr(images.shutil, "disk_usage", lambda folder: type("U", (), {"free": 10})())
    with pytest.raises(RunError, match=r"need 0.0 GB .* MSCON_CACHE"):
        open_store(ALL, root, SMALL, "t.csv")


def test_a_cache_that_cannot_be_written_is_told(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunError, match=r"cannot be written to .* MSCON_CACHE"):
        open_store(ALL, root, SMALL, "t.csv")


def test_the_cache_follows_the_users_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "cache" / "images"
    monkeypatch.delenv("MSCON_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "mscon" / "images"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "mscon" / "images"


def test_no_rows_make_no_store(root):
    with pytest.raises(ValueError, match="no rows"):
        open_store(ALL[:0], root, SMALL, "t.csv")


def test_a_store_can_be_made_of_an_array_in_memory():
    assert len(ImageStore(np.zeros((2, 1, 8, 8), np.uint8))) == 2
