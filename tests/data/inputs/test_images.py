"""The store of images: decoded once, in the order of the rows, and nothing read outside the root."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mscon.data.inputs import decoding, image_files, images
from mscon.data.inputs.images import ImageStore, open_store, some_images, unreadable
from mscon.errors import RunError, TableError
from mscon.run.cache import cache_folder
from mscon.run.recipe import Data
from sample_images import huge, pattern

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


def rows(*names: str) -> pl.DataFrame:
    return pl.DataFrame({"line": [2 + i for i in range(len(names))], "image": list(names)})


ALL = rows(*(f"{i}.png" for i in range(5)))


def test_a_root_that_is_itself_a_link_is_followed(root, tmp_path):
    (tmp_path / "alias").symlink_to(root)
    assert len(open_store(ALL, tmp_path / "alias", SMALL, "t.csv")) == 5


def test_the_store_reads_nothing_outside_the_root(root, tmp_path):
    """The rows may come from a run directory that somebody sent."""
    pattern(9).save(tmp_path / "secret.png")
    with pytest.raises(TableError, match=r"line 3: image '\.\./secret.png' lies outside the folder"):
        open_store(rows("0.png", "../secret.png"), root, SMALL, "t.csv")


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
    image = store[[0]]
    image[:] = 0
    assert type(image) is np.ndarray
    assert store[[0]].any()


@pytest.mark.parametrize("row", [-1, 5])
def test_a_row_that_is_not_there_is_refused(root, row):
    with pytest.raises(IndexError, match="store of 5 images"):
        open_store(ALL, root, SMALL, "t.csv")[[row]]


def test_a_second_run_decodes_nothing(root, monkeypatch):
    first = open_store(ALL, root, SMALL, "t.csv")[range(5)]
    monkeypatch.setattr(images, "decode_with_fingerprint", None)
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


def test_other_images_of_the_same_size_and_time_are_decoded_anew(root):
    """As an archive with times of its own unpacks them over the ones that were there."""
    names = [f"{i}.bmp" for i in range(300)]
    for name in names:
        pattern(1).save(root / name)
    before = [(root / name).stat() for name in names]
    assert open_store(rows(*names), root, SMALL, "t.csv").images.any()
    for name, status in zip(names, before, strict=True):
        Image.new("RGB", (16, 16)).save(root / name)
        os.utime(root / name, ns=(status.st_atime_ns, status.st_mtime_ns))
        now = (root / name).stat()
        assert (now.st_size, now.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert not open_store(rows(*names), root, SMALL, "t.csv").images.any()


def test_a_store_has_the_fingerprints_of_the_files_wherever_they_are_copied(root, tmp_path, monkeypatch):
    store = open_store(ALL, root, SMALL, "t.csv")
    expected = [hashlib.sha256((root / f"{i}.png").read_bytes()).digest()[:16] for i in range(5)]
    assert [bytes(fingerprint) for fingerprint in store.fingerprints] == expected
    shutil.copytree(root, tmp_path / "copied")
    for again in (root, tmp_path / "copied"):
        assert np.array_equal(open_store(ALL, again, SMALL, "t.csv").fingerprints, store.fingerprints)
    monkeypatch.setattr(decoding, "_READ_AT_ONCE", 10)  # files that are too large to be read at once
    other = open_store(ALL, root, replace(SMALL, image_size=8), "t.csv")
    assert np.array_equal(other.fingerprints, store.fingerprints)


def changing(root: Path, decode: Callable[..., Any]) -> Callable[..., Any]:
    """Decodes, and lets image 3 be written anew meanwhile."""

    def decode_and_write(path: Path, *arguments: Any, **named: Any) -> Any:
        decoded_image = decode(path, *arguments, **named)
        if path.name == "3.png":
            pattern(77).save(root / "new.png")
            (root / "new.png").replace(root / "3.png")
        return decoded_image

    return decode_and_write


def test_what_is_decoded_while_a_file_changes_is_not_kept(root, cache, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode_with_fingerprint", changing(root, decoding.decode_with_fingerprint))
        with pytest.raises(TableError) as caught:
            open_store(ALL, root, SMALL, "t.csv")
    assert "t.csv, line 5: image '3.png' has changed while the images were being decoded." in str(caught.value)
    assert "1 of 5 rows has this problem." in str(caught.value)
    assert not [path for path in cache.iterdir() if path.suffix == ".npy"]
    assert np.array_equal(open_store(ALL, root, SMALL, "t.csv").images[3], np.asarray(pattern(77)).transpose(2, 0, 1))


def test_what_was_unreadable_while_a_file_changed_is_not_remembered(root, cache, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode_with_fingerprint", changing(root, decoding.decode_with_fingerprint))
        with pytest.raises(TableError, match=r"1 of 2 images in '.*' changed while they were being decoded: '3\.png'"):
            unreadable(root, ["2.png", "3.png"], SMALL)
    assert not list(cache.glob("*.json"))
    assert unreadable(root, ["2.png", "3.png"], SMALL) == []


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

    monkeypatch.setattr(images, "decode_with_fingerprint", interrupted)
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
    assert "shoes.csv, line 6: image '4.png' is empty." in text
    assert f"shoes.csv, line 5: image 'none.png' does not exist (looked in {root})." in text
    assert "pass --images DIR" in text
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
    monkeypatch.setattr(images, "decode_with_fingerprint", None)
    assert unreadable(root, names, SMALL) == [1, 2, 3]


@pytest.mark.parametrize("damaged", [(), ("2.png", "4.png"), tuple(f"{i}.png" for i in range(5))])
def test_the_images_that_could_be_read_are_not_decoded_again(root, damaged, monkeypatch):
    for name in damaged:
        (root / name).write_text("no")
    names = [f"{i}.png" for i in range(5)]
    faulty = unreadable(root, names, SMALL)
    assert [names[n] for n in faulty] == list(damaged)
    readable = [name for name in names if name not in damaged]
    if not readable:
        return
    monkeypatch.setattr(images, "decode_with_fingerprint", None)
    store = open_store(rows(*readable), root, SMALL, "t.csv")
    for row, name in enumerate(readable):
        assert np.array_equal(store.images[row], np.asarray(pattern(int(name[0]))).transpose(2, 0, 1))
        digest = hashlib.sha256((root / name).read_bytes()).digest()[:16]
        assert store.fingerprints is not None
        assert store.fingerprints[row].tobytes() == digest


@pytest.mark.parametrize("stored", [True, False])
def test_a_few_images_are_taken_from_the_store_or_alone_decoded(root, stored, monkeypatch):
    if stored:
        open_store(ALL, root, SMALL, "t.csv")
    decoded, decode = [], image_files.decode_one
    monkeypatch.setattr(
        image_files, "decode_one", lambda path, *shape, **how: decoded.append(path.name) or decode(path, *shape)
    )
    pixels, faults = some_images(ALL, np.array([3, 1]), root, SMALL)
    assert sorted(decoded) == ([] if stored else ["1.png", "3.png"])
    assert not faults
    assert np.array_equal(pixels[0], np.asarray(pattern(3)).transpose(2, 0, 1))


def test_an_image_that_came_back_is_tried_again(root):
    assert unreadable(root, ["gone.png"], SMALL) == [0]
    pattern(0).save(root / "gone.png")
    assert unreadable(root, ["gone.png"], SMALL) == []


def test_a_full_disk_is_told_before_decoding(root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("U", (), {"free": 10})())
    with pytest.raises(RunError, match=r"need 0.00392 MB in .* where 1e-05 MB are free.* MSCON_CACHE"):
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
