"""Class folders: the folder says the class, and perhaps the split."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscon.data.table.table import read_table
from mscon.errors import TableError


def folder_of(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    return root


def test_a_folder_a_class(tmp_path):
    table = read_table(
        folder_of(tmp_path / "shoes", "boots/b.jpg", "boots/a.PNG", "clogs/deep/c.webp", "clogs/notes.txt")
    )
    assert table.frame.columns == ["image", "class"]
    assert table.cells("image") == ["boots/a.PNG", "boots/b.jpg", "clogs/deep/c.webp"]
    assert table.cells("class") == ["boots", "boots", "clogs"]
    assert table.folder == tmp_path / "shoes"
    assert table.place(2) == "shoes, row 3"


def test_folders_of_splits_above_those_of_classes(tmp_path):
    table = read_table(folder_of(tmp_path, "train/a/1.jpg", "val/a/2.jpg", "test/b/3.jpg"))
    assert dict(zip(table.cells("image"), table.cells("split"), strict=True)) == {
        "train/a/1.jpg": "train",
        "val/a/2.jpg": "validation",
        "test/b/3.jpg": "test",
    }
    assert sorted(map(str, table.cells("class"))) == ["a", "a", "b"]


def test_a_class_may_be_called_like_a_split_if_others_are_not(tmp_path):
    table = read_table(folder_of(tmp_path, "train/1.jpg", "bus/2.jpg"))
    assert table.cells("class") == ["bus", "train"]
    assert "split" not in table.frame.columns


def test_what_systems_leave_in_folders_is_no_class(tmp_path):
    table = read_table(folder_of(tmp_path, "a/1.jpg", "a/._1.jpg", ".git/x/2.jpg", "__MACOSX/a/3.jpg"))
    assert table.cells("image") == ["a/1.jpg"]


def test_images_in_no_class_folder_are_named(tmp_path):
    with pytest.raises(TableError, match=r"2 images in no class folder: '0.jpg', '1.jpg'.\n.*FOLDER/class here"):
        read_table(folder_of(tmp_path, "0.jpg", "1.jpg", "a/2.jpg"))
    with pytest.raises(TableError, match=r"1 image in no class folder: 'train/2.jpg'.\n.*FOLDER/split/class"):
        read_table(folder_of(tmp_path / "s", "train/2.jpg", "train/a/3.jpg", "test/a/4.jpg"))


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(TableError, match="is a folder, but not one of class folders"):
        read_table(folder_of(tmp_path, "tables/t.csv"))


def test_class_folders_that_are_links_are_followed_and_loops_are_not(tmp_path):
    real = folder_of(tmp_path / "real", "a/1.jpg", "b/2.jpg")
    links = tmp_path / "links"
    links.mkdir()
    for name in "ab":
        (links / name).symlink_to(real / name)
    (real / "a" / "up").symlink_to(tmp_path)
    (links / "c").symlink_to("/")
    assert read_table(links).cells("image") == ["a/1.jpg", "b/2.jpg"]
