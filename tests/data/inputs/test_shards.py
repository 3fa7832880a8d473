"""Images in shards: the same pixels as those of files, nothing outside the root, and words for what is wrong."""

from __future__ import annotations

import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from image_shards import encoded, parquet, tar
from mscon.data.inputs import shards
from mscon.data.inputs.images import open_store, some_images, unreadable
from mscon.data.table.image_column import unusable_images
from mscon.data.table.table import read_table
from mscon.errors import TableError
from mscon.run.recipe import Data
from sample_images import pattern

SMALL = Data(image_size=16, channels=3)
IMAGES = [encoded(pattern(i)) for i in range(6)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "shards").mkdir(parents=True)
    (folder / "shards/a.tar").write_bytes(tar({f"img/{i}.png": IMAGES[i] for i in range(3)}))
    parquet(folder / "shards/b.parquet", IMAGES, group=2)
    for i in range(6):
        pattern(i).save(folder / f"{i}.png")
    return folder


def rows(*names: str) -> pl.DataFrame:
    return pl.DataFrame({"line": [2 + i for i in range(len(names))], "image": list(names)})


MIXED = rows(
    "tar://img/2.png::shards/a.tar", "parquet://image/4::shards/b.parquet", "0.png", "tar://img/1.png::shards/a.tar"
)


def pixels(*numbers: int) -> np.ndarray:
    return np.stack([np.asarray(pattern(i)).transpose(2, 0, 1) for i in numbers])


def refused(root: Path, *names: str, data: Data = SMALL) -> str:
    with pytest.raises(TableError) as refusal:
        open_store(rows(*names), root, data, "t.csv")
    return str(refusal.value)


@pytest.mark.parametrize("decode", ["once", "always"])
def test_members_of_shards_are_decoded_as_files_are(root, decode):
    store = open_store(MIXED, root, replace(SMALL, decode=decode), "t.csv")
    assert np.array_equal(store[[0, 1, 2, 3]], pixels(2, 4, 0, 1))
    assert np.array_equal(store[np.array([3, 0, 3])], pixels(1, 2, 1))
    assert np.array_equal(store.images[1:3], pixels(4, 0))
    assert np.array_equal(store.images[3], pixels(1)[0])
    assert store.images.shape == (4, 3, 16, 16)
    assert store[[]].shape == (0, 3, 16, 16)
    files = open_store(rows("2.png", "4.png", "0.png", "1.png"), root, SMALL, "t.csv")
    assert len(store) == 4
    assert len({bytes(one) for one in store.fingerprints}) == 4
    # Pillow writes the same bytes into a file and into memory.
    assert np.array_equal(store.fingerprints, files.fingerprints)


def test_images_that_are_decoded_always_leave_no_pixels_in_the_cache(root, cache):
    store = open_store(MIXED, root, replace(SMALL, decode="always"), "t.csv")
    assert sum(path.stat().st_size for path in cache.rglob("*.npy")) < 500
    opened = open_store(MIXED, root, replace(SMALL, decode="always"), "t.csv")  # nothing is tried again
    assert np.array_equal(opened.fingerprints, store.fingerprints)
    assert np.array_equal(some_images(MIXED, np.array([2]), root, replace(SMALL, decode="always"))[0], pixels(0))


def test_an_image_that_changes_after_all_were_tried_is_named(root):
    store = open_store(MIXED, root, replace(SMALL, decode="always"), "t.csv")
    pattern(9).save(root / "0.png")
    with pytest.raises(TableError, match=r"t\.csv, line 4: image '0.png' has changed since all images were tried"):
        store[[0, 2]]
    assert np.array_equal(store[[0, 1]], pixels(2, 4))
    (root / "0.png").unlink()
    with pytest.raises(TableError, match=r"line 4: image '0.png' does not exist"):
        store[[1, 2]]


def test_shards_that_changed_are_decoded_anew(root):
    open_store(MIXED, root, SMALL, "t.csv")
    (root / "shards/a.tar").write_bytes(tar({f"img/{i}.png": IMAGES[5 - i] for i in range(3)}))
    assert np.array_equal(open_store(MIXED, root, SMALL, "t.csv")[[0, 3]], pixels(3, 4))


def test_a_shard_is_read_from_its_beginning_to_its_end_once(root, monkeypatch):
    """Whatever the order of the rows, and by several threads."""
    for name in "cd":
        (root / f"shards/{name}.tar").write_bytes(tar({f"{i}.png": encoded(pattern(i, 4)) for i in range(40)}))
    names = [f"tar://{i}.png::shards/{name}.tar" for i in range(40) for name in "cd"]
    shards._tar_index.cache_clear()
    order: list[str] = []
    read = shards.ImageAt.read
    monkeypatch.setattr(shards.ImageAt, "read", lambda image: (order.append(Path(image.place).name), read(image))[1])
    monkeypatch.setattr("mscon.data.inputs.image_files._workers", lambda: 1)
    open_store(rows(*names), root, Data(image_size=8, channels=1), "t.csv")
    assert order == ["c.tar"] * 40 + ["d.tar"] * 40
    assert shards._tar_index.cache_info().misses == 2


def test_the_column_of_the_hugging_face_and_names_as_tar_writes_them(root):
    cells = [{"bytes": content, "path": None} for content in IMAGES[:2]]
    pl.DataFrame({"photo": cells}).write_parquet(root / "hf.parquet")
    (root / "dot.tar").write_bytes(tar({"./a/0.png": IMAGES[3]}))
    store = open_store(rows("parquet://photo/1::hf.parquet", "tar://a/0.png::dot.tar"), root, SMALL, "t.csv")
    assert np.array_equal(store[[0, 1]], pixels(1, 3))


# What is wrong -----------------------------------------------------------------------------------------


def test_a_member_that_is_missing_is_named_with_its_line(root):
    text = refused(root, "0.png", "tar://img/9.png::shards/a.tar", "parquet://image/6::shards/b.parquet")
    assert "t.csv, line 3: image 'tar://img/9.png::shards/a.tar' is not in its shard." in text
    assert "t.csv, line 4: image 'parquet://image/6::shards/b.parquet' is not in its shard, which has 6 rows." in text
    assert "which has no column 'photo'" in refused(root, "parquet://photo/0::shards/b.parquet")
    parquet(root / "gap.parquet", [IMAGES[0], None])
    assert "line 2: image 'parquet://image/1::gap.parquet' is an empty cell of its shard." in refused(
        root, "parquet://image/1::gap.parquet"
    )
    pl.DataFrame({"n": [1]}).write_parquet(root / "numbers.parquet")
    assert "is no column of bytes in its shard" in refused(root, "parquet://n/0::numbers.parquet")


def test_of_a_tar_that_is_cut_off_whole_members_can_be_used_and_others_are_told(root):
    path, names = root / "shards/a.tar", [f"tar://img/{i}.png::shards/a.tar" for i in range(3)]
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        ends = [member.offset_data + member.size for member in archive.getmembers()]
    for cut in range(100, ends[2], 300):
        path.write_bytes(whole[:cut])
        lacking = [number for number, end in enumerate(ends) if end > cut]
        assert unreadable(root, names, SMALL) == lacking, cut
        text = refused(root, *names)
        assert text.startswith(f"t.csv, line {2 + lacking[0]}: image '{names[lacking[0]]}' is ")
        fault = "in a shard that is no tar file" if cut < 512 else "not in its shard, which is cut off or damaged."
        assert fault in text


def test_a_parquet_file_that_is_cut_off_and_files_of_other_kinds_are_told(root):
    path = root / "shards/b.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert "is in a shard that is no Parquet file, or is cut off or damaged." in refused(
        root, "parquet://image/0::shards/b.parquet"
    )
    (root / "text.tar").write_text("no archive" * 100)
    with tarfile.open(root / "packed.tar.gz", "w:gz") as archive:
        archive.add(root / "0.png", "0.png")
    for name in ("text.tar", "packed.tar.gz"):
        assert "is in a shard that is no tar file, or a compressed one: unpack that first." in refused(
            root, f"tar://0.png::{name}"
        )
    assert "is in a shard that does not exist." in refused(root, "tar://0.png::nowhere.tar")
    (root / "t.tar").write_bytes(tar({"0.png": b"text"}))
    assert "is not an image of a kind that is read here" in refused(root, "tar://0.png::t.tar")


def test_a_package_that_is_missing_is_named(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert 'needs the package pyarrow (pip install "mscon[remote]")' in refused(
        root, "parquet://image/0::shards/b.parquet"
    )


@pytest.mark.parametrize(
    "cell",
    [
        "tar://a.png",
        "tar://::x.tar",
        "tar://a.png::",
        "parquet://image::x.parquet",
        "parquet://image/x::b.parquet",
        "parquet:///1::b.parquet",
        "parquet://image/-1::b.p",
    ],
)
def test_an_address_that_names_no_member_is_told_how_to_write_one(root, cell):
    text = refused(root, cell)
    assert f"t.csv, line 2: image {cell!r} does not name a member of a shard (A shard is named as tar://MEMBER" in text


# Hostile input -----------------------------------------------------------------------------------------


def test_shards_outside_the_root_are_not_read(root, tmp_path):
    (tmp_path / "secret.tar").write_bytes(tar({"0.png": IMAGES[0]}))
    (root / "link.tar").symlink_to(tmp_path / "secret.tar")
    for file in ("../secret.tar", "link.tar", str(tmp_path / "secret.tar")):
        assert "lies outside the folder of the images" in refused(root, f"tar://0.png::{file}")
    linked = replace(SMALL, link_folders=("..",))
    assert len(open_store(rows("tar://0.png::link.tar"), root, linked, "t.csv")) == 1


def test_members_of_a_tar_are_no_paths(root, tmp_path):
    """Links among members lead nowhere, and a member of any name is only bytes."""
    with tarfile.open(root / "odd.tar", "w") as archive:
        for name, kind in (
            ("soft.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("device.png", tarfile.CHRTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(root / "0.png")
            archive.addfile(entry)
        archive.add(root / "1.png", "../../1.png")
    for name in ("soft.png", "hard.png", "device.png"):
        assert "is not in its shard" in refused(root, f"tar://{name}::odd.tar")
    before = sorted(tmp_path.rglob("*.png"))
    assert np.array_equal(open_store(rows("tar://../../1.png::odd.tar"), root, SMALL, "t.csv")[[0]], pixels(1))
    assert sorted(tmp_path.rglob("*.png")) == before


def test_a_tar_whose_sizes_lead_back_ends(root):
    """CVE-2025-8194: tarfile goes round for ever."""
    content = bytearray(tar({"a.png": IMAGES[0], "b.png": IMAGES[1]}))
    size = 512 + -(-len(IMAGES[0]) // 512) * 512
    header = content[size : size + 512]
    header[124:136] = (2**96 - 1024).to_bytes(12, "big")  # minus 1,024, as GNU writes numbers
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[size : size + 512] = header
    (root / "round.tar").write_bytes(content)
    text = refused(root, "tar://a.png::round.tar", "tar://b.png::round.tar")
    assert "line 3: image 'tar://b.png::round.tar' is not in its shard, which is cut off or damaged." in text
    assert "line 2" not in text


def test_an_image_that_would_fill_the_memory_is_not_read(root, monkeypatch):
    monkeypatch.setattr(shards, "_LARGEST_IMAGE", 500)
    monkeypatch.setattr(shards, "_LARGEST_GROUP", 500)
    assert f"has {len(IMAGES[0]):,} bytes, more than 500." in refused(root, "tar://img/0.png::shards/a.tar")
    assert "is in a group of rows of" in refused(root, "parquet://image/0::shards/b.parquet")


# Tables ------------------------------------------------------------------------------------------------


def checked(folder: Path, *cells: str, data: Data = SMALL) -> set[int]:
    path = folder / "t.csv"
    path.write_text("image\n" + "\n".join(cells) + "\n")
    return unusable_images(read_table(path), data, folder)


def test_a_table_of_members_is_checked_before_anything_is_decoded(root):
    assert checked(root, *MIXED["image"]) == set()
    with pytest.raises(TableError, match=r"line 3: image 'tar://img/2.png::shards/../shards/a.tar' stands in line 2"):
        checked(root, "tar://img/2.png::shards/a.tar", "tar://img/2.png::shards/../shards/a.tar")
    with pytest.raises(
        TableError,
        match=r"(?s)line 2: image 'tar://a::no.tar' is in a shard that does not exist.*"
        r"line 3: image 'x.png' does not exist",
    ):
        checked(root, "tar://a::no.tar", "x.png")
    drop = replace(SMALL, missing_images="drop")
    assert checked(
        root, "tar://a::no.tar", "tar://img/0.png::shards/a.tar", "parquet://image/9::shards/b.parquet", data=drop
    ) == {0, 2}
    with pytest.raises(TableError, match="does not name a member"):
        checked(root, "tar://a", "0.png", data=drop)
