"""The files of the authors of conditional similarity networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from mscon.data.batches.triplets import read_triplets
from mscon.errors import TableError

NAMES = ["Shoes/Oxfords/Bostonian/1.2.jpg", "Boots/Ankle/X%2E/3.4.jpg", "Boots/Ankle/Y/5.6.jpg", "Slippers/Z/W/7.8.jpg"]
IMAGES = ["images/Boots/Ankle/Y/5.6.jpg", "images/Slippers/Z/W/7.8.jpg", "images/Boots/Ankle/X./3.4.jpg",
          "images/Shoes/Oxfords/Bostonian/1.2.jpg"]  # fmt: skip
ROW = [3, 2, 0, 1]  # of the table, for each line of NAMES


def write(folder: Path, lists: dict[str, str], names: Sequence[str] = NAMES) -> Path:
    (folder / "tripletlists").mkdir(parents=True)
    (folder / "filenames.json").write_text("\n".join(names) + "\n")
    for name, text in lists.items():
        (folder / "tripletlists" / f"{name}_train.txt").write_text(text)
    return folder


def read(folder: Path, conditions: Sequence[str] = ("class",), images: Sequence[str] = IMAGES, rows=range(4)):
    return read_triplets(folder, "train", conditions, list(images), torch.tensor(list(rows)))


def test_a_line_is_anchor_far_near_and_becomes_rows_of_the_table(tmp_path):
    lists = {"class_tripletlist": "0 1 2\n3 0 1\n", "heel_tripletlist": "1 2 3\n\n"}
    listed = read(write(tmp_path / "files", lists), ("class", "heel"))
    assert listed.condition.tolist() == [0, 0, 1]
    assert listed.anchor.tolist() == [ROW[0], ROW[3], ROW[1]]
    assert listed.far.tolist() == [ROW[1], ROW[0], ROW[2]]
    assert listed.near.tolist() == [ROW[2], ROW[1], ROW[3]]


def test_the_split_is_in_the_name_of_the_file(tmp_path):
    folder = write(tmp_path / "files", {})
    (folder / "tripletlists" / "class_tripletlist_val.txt").write_text("0 1 2\n")
    assert len(read_triplets(folder, "val", ["class"], IMAGES, torch.arange(4))) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 1", "not three whole numbers"),
        ("0 1 2 3", "not three whole numbers"),
        ("0 -1 2", "not three whole numbers"),
        ("0 1.0 2", "not three whole numbers"),
        ("0 1 " + "9" * 5_000, "not three whole numbers"),
        ("0 1 4", "4 is no line of filenames.json, which has 4, counted from 0"),
        ("0 1 1", "must be three images"),
    ],
)
def test_a_line_at_fault_is_named(tmp_path, line, words):
    folder = write(tmp_path / "files", {"class_tripletlist": f"0 1 2\n{line}\n{line}\n"})
    with pytest.raises(TableError) as raised:
        read(folder)
    text = str(raised.value)
    assert "class_tripletlist_train.txt, line 2: " in text
    assert words in text
    assert "2 lines of 3 cannot be used" in text


def test_an_image_that_is_no_row_is_named_with_its_line(tmp_path):
    folder = write(tmp_path / "files", {"class_tripletlist": "0 1 3\n"})
    with pytest.raises(
        TableError, match=r"line 1: image 'Slippers/Z/W/7\.8\.jpg' \(line 4 of .*is no row of the table"
    ):
        read(folder, images=[i for i in IMAGES if "Slippers" not in i], rows=range(3))


def test_a_triplet_does_not_mix_splits(tmp_path):
    folder = write(tmp_path / "files", {"class_tripletlist": "0 1 2\n"})
    with pytest.raises(TableError, match=r"'Boots/Ankle/Y/5.6.jpg' is in another split"):
        read(folder, rows=[1, 2, 3])


def test_two_rows_that_end_in_one_path_cannot_be_told_apart(tmp_path):
    folder = write(tmp_path / "files", {"class_tripletlist": "0 1 2\n"})
    with pytest.raises(TableError, match=r"line 3: .*'images/Boots/Ankle/Y/5.6.jpg' or 'more/Boots/Ankle/Y/5.6.jpg'"):
        read(folder, images=[*IMAGES, "more/Boots/Ankle/Y/5.6.jpg"], rows=range(5))


def test_all_files_are_complained_of_at_once(tmp_path):
    folder = write(tmp_path / "files", {"class_tripletlist": "x\n", "heel_tripletlist": "\n"})
    with pytest.raises(TableError) as raised:
        read(folder, ("class", "gender", "heel"))
    text = str(raised.value)
    assert "'x' is not three whole numbers" in text
    assert "gender_tripletlist_train.txt' does not exist" in text
    assert "heel_tripletlist_train.txt' holds no triplet" in text


def test_a_folder_without_names_says_what_it_must_hold(tmp_path):
    with pytest.raises(TableError, match=r"filenames.json' does not exist(?s:.*)must hold filenames.json and tripletl"):
        read(tmp_path)


def test_a_file_that_is_no_text_is_a_table_error(tmp_path):
    folder = write(tmp_path / "files", {})
    (folder / "tripletlists" / "class_tripletlist_train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(TableError, match="cannot be read"):
        read(folder)
