"""UT-Zap50K: the layout on disk with its quirks, what a label is, and the way from the archives to a probed run."""

from __future__ import annotations

import csv
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from PIL import Image

from mscon.cli import main
from mscon.data.inputs.image_files import decode_some
from mscon.errors import TableError
from mscon.run.run import Run
from mscon.run.starting_recipes import recipe_text
from mscon_paper.sources import zappos50k
from mscon_paper.sources.zappos50k import CLASSES, heel_height


def read(table: Path) -> dict[str, dict[str, str]]:
    """Rows of a table by the stem of their image."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    row_of = {Path(row["image"]).stem: row for row in rows}
    assert len(row_of) == len(rows)
    return row_of


def prepare(root: Path, **settings: object) -> dict[str, dict[str, str]]:
    return read(zappos50k.prepare(root, **settings))  # type: ignore[arg-type]


# The layout ---------------------------------------------------------------------------------------


def test_every_row_gets_its_image_by_stem_and_its_labels_by_name(shoes):
    table = zappos50k.prepare(shoes.write())
    rows = read(table)
    assert table == shoes.root / "zappos50k.csv"
    assert len(rows) == 48
    assert rows["100001.72"] == {
        "image": "ut-zap50k-images/Boots/Oxfords/Clarks/100001.72.jpg",
        "split": rows["100001.72"]["split"],
        "product": "100001",
        "category": "boots",
        "closure": "slip on",
        "gender": "men",
        "brand": "Clarks",
        "heel_height": "0.5",
    }
    assert all((shoes.root / row["image"]).is_file() for row in rows.values())


def test_all_classes_are_read_as_the_data_spells_them(shoes):
    rows = prepare(shoes.write()).values()
    for name, classes in CLASSES.items():
        assert {row[name] for row in rows} == set(classes)


def test_the_parent_or_either_folder_can_be_named(shoes):
    root = shoes.write()
    whole = zappos50k.prepare(root).read_bytes()
    (root / "zappos50k.csv").unlink()
    for folder in (shoes.folder, shoes.meta.parent):
        table = zappos50k.prepare(folder)
        assert table == root / "zappos50k.csv"
        assert table.read_bytes() == whole


def test_a_relative_root_is_as_good(shoes, monkeypatch):
    shoes.write()
    monkeypatch.chdir(shoes.folder)
    assert zappos50k.prepare(Path(".")) == shoes.root / "zappos50k.csv"


def test_folders_nested_by_an_archiver_are_found(shoes, tmp_path):
    shoes.write()
    outer = tmp_path / "nested"
    (outer / "ut-zap50k-images").mkdir(parents=True)
    (outer / "ut-zap50k-data").mkdir()
    shoes.folder.rename(outer / "ut-zap50k-images" / "ut-zap50k-images")
    shoes.meta.parent.rename(outer / "ut-zap50k-data" / "ut-zap50k-data")
    table = zappos50k.prepare(outer)
    rows = read(table)
    assert len(rows) == 48
    assert all((table.parent / row["image"]).is_file() for row in rows.values())


def test_the_papers_images_come_before_the_square_ones_unless_these_are_named(shoes, capsys):
    square = type(shoes)(shoes.root, "ut-zap50k-images-square")
    square.fill()
    shoes.write()
    assert {Path(r["image"]).parts[0] for r in prepare(shoes.root).values()} == {"ut-zap50k-images"}
    assert "not from 'ut-zap50k-images-square'" in capsys.readouterr().err
    for settings in ({"root": shoes.root, "images": square.images}, {"root": square.folder}):
        assert {Path(r["image"]).parts[0] for r in prepare(**settings).values()} == {square.images}
    with pytest.raises(TableError, match=r"no images' folder 'round'.*'ut-zap50k-images', 'ut-zap50k-images-square'"):
        prepare(shoes.root, images="round")


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(shoes):
    before = zappos50k.prepare(shoes.write()).read_bytes()
    shoes.write(start="\ufeff", line_end="\r\n")
    assert zappos50k.prepare(shoes.root).read_bytes() == before
    assert b"\r" not in before


def test_what_systems_leave_in_the_tree_is_no_image(shoes, capsys):
    shoes.write()
    brand = next(shoes.folder.glob("*/*/*"))
    for name in ("._100001.72.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (brand / name).write_bytes(b"\0\1\2")
    hidden = shoes.root / "__MACOSX" / "ut-zap50k-data"
    hidden.mkdir(parents=True)
    (hidden / "meta-data.csv").write_bytes(b"\0")
    assert len(prepare(shoes.root)) == 48
    report = capsys.readouterr().err
    assert "48 images" in report
    assert "left out" not in report
    assert "without a row" not in report


def test_a_brand_that_ends_in_a_period_is_found_in_its_encoded_folder(shoes):
    rows = prepare(shoes.write())
    assert rows["100002.7"]["brand"] == "Kid Co."
    assert "/Kid Co%2E/" in rows["100002.7"]["image"]


def test_an_extension_in_capitals_is_an_image_too(shoes):
    path = shoes.add("200001-1")
    path.rename(path.with_suffix(".JPG"))
    assert "200001.1" in prepare(shoes.write())


def test_a_row_without_an_image_and_an_image_without_a_row_are_told(shoes, capsys):
    shoes.add("200001-1", image=False)
    shoes.save(shoes.folder / "Shoes" / "Oxfords" / "Clarks" / "300001.1.jpg", 999)
    rows = prepare(shoes.write())
    assert len(rows) == 48
    report = capsys.readouterr().err
    assert "1 row left out whose image is not there: line 50 (200001-1)" in report
    assert "1 image without a row, not used: Shoes/Oxfords/Clarks/300001.1.jpg" in report


def test_of_two_images_of_one_stem_the_one_in_the_rows_own_folder_is_taken(shoes):
    path = shoes.add("200001-1", Category="Boots")
    shoes.save(shoes.folder / "Sandals" / "Oxfords" / "Clarks" / path.name, 999)
    assert prepare(shoes.write())["200001.1"]["image"].startswith("ut-zap50k-images/Boots/")


def test_equal_images_of_one_stem_do_not_matter_and_different_ones_leave_the_row_out(shoes, capsys):
    first = shoes.add("200001-1", Category="Boots", brand="Clarks")
    again = shoes.folder / "Boots" / "Oxfords" / "Aerosoles" / first.name
    again.parent.mkdir()
    again.write_bytes(first.read_bytes())
    second = shoes.add("200002-1", Category="Boots", brand="Clarks")
    shoes.save(again.parent / second.name, 999)
    rows = prepare(shoes.write())
    assert "/Aerosoles/" in rows["200001.1"]["image"]
    assert "200002.1" not in rows
    assert "could be one of several that differ: line 51 (200002-1)" in capsys.readouterr().err


def test_rows_without_a_cid_or_with_that_of_another_are_left_out(shoes, capsys):
    shoes.add("100001-72", 2, image=False)
    shoes.add("", image=False)
    rows = prepare(shoes.write())
    assert len(rows) == 48
    assert rows["100001.72"]["category"] == "boots"
    report = capsys.readouterr().err
    assert "1 row left out whose CID stands in an earlier row: line 50 (100001-72)" in report
    assert "1 row left out without a CID: line 51 (no CID)" in report


def test_images_that_cannot_be_decoded_are_left_out_with_the_reason(shoes, capsys):
    cut, empty = shoes.add("200001-1"), shoes.add("200002-1")
    cut.write_bytes(cut.read_bytes()[:900])
    empty.write_bytes(b"")
    assert len(prepare(shoes.write())) == 48
    report = capsys.readouterr().err
    assert "1 row left out whose image is truncated: line 50 (200001-1)" in report
    assert "1 row left out whose image is empty: line 51" in report


def test_a_link_out_of_the_folder_is_left_out(shoes, tmp_path, capsys):
    path = shoes.add("200001-1")
    path.rename(tmp_path / "outside.jpg")
    path.symlink_to(tmp_path / "outside.jpg")
    assert len(prepare(shoes.write())) == 48
    assert "image path leads out of the folder: line 50" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_an_image_whose_name_is_no_utf8_is_told_and_not_used(shoes, capsys):
    path = os.fsencode(next(shoes.folder.glob("*/*/*"))) + b"/caf\xe9.jpg"
    try:
        Path(os.fsdecode(path)).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert len(prepare(shoes.write())) == 48
    assert "1 image whose name is not UTF-8" in capsys.readouterr().err


# Labels -------------------------------------------------------------------------------------------


def test_a_cell_that_is_empty_or_has_several_values_or_another_class_is_missing(shoes, capsys):
    shoes.add("200001-1", Closure="Lace up;Zipper", Gender="Boys;Girls")
    shoes.add("200002-1", Closure="", Gender="")
    shoes.add("200003-1", Closure="Zipper", Gender="Men")
    shoes.add("200004-1", Closure="Ankle Strap", Gender="Men; ")
    rows = prepare(shoes.write())
    assert [rows[f"20000{n}.1"]["closure"] for n in (1, 2, 3, 4)] == ["", "", "", ""]
    assert [rows[f"20000{n}.1"]["gender"] for n in (1, 2, 3, 4)] == ["", "", "men", "men"]
    report = " ".join(capsys.readouterr().err.split())
    assert (
        "closure 48 labels of 5 classes; 4 missing: 1 with several values ('Lace up;Zipper' 1), 1 empty, "
        "2 of another class ('Ankle Strap' 1, 'Zipper' 1)"
    ) in report
    assert "gender 50 labels of 4 classes; 2 missing: 1 with several values ('Boys;Girls' 1), 1 empty" in report


def test_the_strict_rule_keeps_rows_with_all_three_labels_only(shoes, capsys):
    shoes.add("200001-1", Closure="Lace up;Zipper")
    shoes.add("200002-1", Gender="")
    shoes.add("200003-1", HeelHeight="", brand="Rare")
    rows = prepare(shoes.write(), rule="strict", brands=3)
    assert set(rows) >= {"200003.1", "100001.72"}
    assert len(rows) == 49
    assert all(row[name] for row in rows.values() for name in CLASSES)
    assert rows["200003.1"]["heel_height"] == rows["200003.1"]["brand"] == ""
    report = capsys.readouterr().err
    assert "1 row left out without a label in closure: line 50 (200001-1)" in report
    assert "1 row left out without a label in gender: line 51 (200002-1)" in report


def test_the_most_frequent_brands_stay_and_of_equals_the_first(shoes, capsys):
    for number in range(20):  # with the three of the tree there are 23 brands
        for colour in range(2 if number < 18 else 1):
            shoes.add(f"{300_000 + number}-{colour}", brand=f"Brand {number:02}")
    brands = Counter(row["brand"] for row in prepare(shoes.write()).values())
    assert set(brands) == {"", "Bostonian", "Clarks", "Kid Co.", *(f"Brand {n:02}" for n in range(17))}
    assert brands[""] == 2 + 1 + 1
    assert "3 of a smaller brand" not in capsys.readouterr().err
    assert Counter(r["brand"] for r in prepare(shoes.root, brands=0).values())["Brand 19"] == 1


@pytest.mark.parametrize(
    ("cell", "inches"),
    [
        ("Flat", "0"),
        ("Under 1in", "0.5"),
        ("1in - 1 3/4in", "1.375"),
        ("2in - 2 3/4in", "2.375"),
        ("3in - 3 3/4in", "3.375"),
        ("4in - 4 3/4in", "4.375"),
        ("5in & over", "5.5"),
        ("  5in  and over ", "5.5"),
        ("Flat;Flat", "0"),
    ],
)
def test_heel_height_is_the_middle_of_its_range_in_inches(cell, inches):
    assert heel_height(cell).text == inches
    assert not heel_height(cell).fault


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (None, "empty"),
        ("", "empty"),
        ("Flat;Under 1in", "with several values"),
        ("High heel", "of no known range"),
        ("1in - 1 3/0in", "of no known range"),
    ],
)
def test_a_height_that_is_none_is_missing_and_why_is_kept(cell, fault):
    assert heel_height(cell).fault == fault
    assert not heel_height(cell).text


# The split ----------------------------------------------------------------------------------------


def test_the_split_is_70_10_20_by_image_and_the_same_every_time(shoes):
    for number in range(100):
        shoes.add(f"{400_000 + number}-1", number)
    rows = prepare(shoes.write())
    splits = Counter(row["split"] for row in rows.values())
    assert sum(splits.values()) == 148
    for name, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        assert abs(splits[name] - share * 148) <= 1
    assert prepare(shoes.root) == rows
    assert prepare(shoes.root, split_seed=1) != rows


def test_colours_of_a_shoe_may_be_torn_apart_by_image_but_not_by_product(shoes):
    def torn(**settings):
        of: dict[str, set[str]] = defaultdict(set)
        for row in prepare(shoes.write(), **settings).values():
            of[row["product"]].add(row["split"])
        return sum(len(splits) > 1 for splits in of.values())

    assert torn() > 0
    assert torn(split_by="product") == 0


def test_a_split_by_image_does_not_depend_on_the_order_of_the_rows(shoes):
    first = prepare(shoes.write())
    shoes.rows.reverse()
    assert prepare(shoes.write()) == first


def test_equal_images_in_two_splits_are_told_with_their_lines(shoes, capsys):
    paths = [shoes.add(f"{500_000 + n}-1", n) for n in range(12)]
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    rows = prepare(shoes.write())
    assert len({rows[path.stem]["split"] for path in paths}) > 1
    report = capsys.readouterr().err
    assert "12 rows in 1 group of images equal byte for byte; 1 group across splits" in report
    assert "line 50 (500000-1)" in report


# What is missing ----------------------------------------------------------------------------------


def refused(capsys, *arguments: str) -> str:
    assert main(["prepare", "zappos50k", *arguments]) == 2
    out, errors = capsys.readouterr()
    assert not out
    assert errors.startswith("mscon: ")
    assert errors.count("mscon: ") == 1
    return errors


def obtained(errors: str) -> bool:
    return "vision.cs.utexas.edu/projects/finegrained/utzap50k" in errors and "non-commercial" in errors


def test_a_folder_that_is_not_there_is_told_with_where_the_data_comes_from(tmp_path, capsys):
    errors = refused(capsys, str(tmp_path / "nowhere"))
    assert "There is no such folder" in errors
    assert "the file 'meta-data.csv'" in errors
    assert "the folder 'ut-zap50k-images'" in errors
    assert obtained(errors)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_beside_the_data_is_not_taken_for_it(shoes, capsys):
    shoes.write()
    empty = shoes.root / "empty"
    empty.mkdir()
    errors = refused(capsys, str(empty))
    assert "The folder is empty" in errors
    assert obtained(errors)
    assert not list(empty.iterdir())


def test_the_wrong_folder_is_told_with_what_is_in_it(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "ut-zap50k-images.zip").write_bytes(b"PK")
    errors = refused(capsys, str(tmp_path))
    assert "Found instead: 'photos/', 'ut-zap50k-images.zip'" in errors
    assert "Unpack 'ut-zap50k-images.zip' first" in errors
    assert obtained(errors)


@pytest.mark.parametrize("half", ["labels", "images"])
def test_one_half_alone_is_told_by_the_other(shoes, tmp_path, capsys, half):
    shoes.write()
    (shoes.meta if half == "images" else shoes.folder).rename(tmp_path / "away")
    errors = refused(capsys, str(shoes.root))
    assert ("the file 'meta-data.csv'" in errors) == (half == "images")
    assert ("the folder 'ut-zap50k-images'" in errors) == (half == "labels")
    assert not (shoes.root / "zappos50k.csv").exists()


def test_a_file_of_labels_without_its_columns_is_refused(shoes, capsys):
    shoes.write()
    shoes.meta.write_text("CID,Kategorie\n1-1,Shoes\n")
    errors = refused(capsys, str(shoes.root))
    assert "there is no column 'Closure'" in errors
    assert "there is no column 'Gender'" in errors
    assert not (shoes.root / "zappos50k.csv").exists()


def test_images_of_other_shoes_leave_no_row_and_no_table(shoes, capsys):
    shoes.rows = [row | {"CID": "9" + row["CID"]} for row in shoes.rows]
    errors = refused(capsys, str(shoes.write()))
    assert "no row of" in errors
    assert "48 rows whose image is not there" in errors
    assert not (shoes.root / "zappos50k.csv").exists()


def test_an_unknown_setting_or_value_is_refused_with_the_nearest(shoes, capsys):
    shoes.write()
    assert "Did you mean 'split_by'" in refused(capsys, str(shoes.root), "--set", "splitby=product")
    assert '"mask", "strict"' in refused(capsys, str(shoes.root), "--set", "rule=hard")
    assert "brands 0 or more" in refused(capsys, str(shoes.root), "--set", "brands=-1")
    assert "whose name ends in .csv" in refused(capsys, str(shoes.root), "--set", "table=there")
    assert not (shoes.root / "zappos50k.csv").exists()


def test_a_table_that_cannot_be_written_there_is_told_with_the_way_out(shoes, capsys):
    shoes.write()
    errors = refused(capsys, str(shoes.root), "--set", f"table={shoes.meta / 'under-a-file.csv'}")
    assert "cannot be written" in errors
    assert "--set table=FILE.csv" in errors


# The whole path -----------------------------------------------------------------------------------

TINY = [
    "encoder.name=small_cnn",
    "encoder.pretrained=false",
    "encoder.width=8",
    "data.image_size=16",
    "train.epochs=2",
    "train.batch_size=16",
    "probe.draws=100",
]
SHORT = [part for value in TINY for part in ("--set", value)]


def test_from_the_archives_to_a_probed_run(shoes, tmp_path, capsys):
    recipe, run = tmp_path / "zappos50k.toml", tmp_path / "run"
    recipe.write_text(recipe_text("zappos50k"))
    table = tmp_path / "elsewhere" / "shoes.csv"
    shoes.add("200001-1", Closure="Lace up;Zipper", Gender="")
    root = shoes.write(start="\ufeff", line_end="\r\n")
    assert main(["prepare", "zappos50k", str(root), "--set", f"table={table}", "--set", "split_by=product"]) == 0
    assert capsys.readouterr().out == f"{table}\n"
    where = ["--table", str(table), "--images", str(root)]
    assert main(["check", str(recipe), *where, *SHORT]) == 0
    printed = capsys.readouterr().out
    assert "'closure' (categorical): 5 classes" in printed
    assert "'brand' (probe): 3 classes" in printed
    assert main(["train", str(recipe), *where, *SHORT, "--out", str(run)]) == 0
    assert main(["probe", str(run)]) == 0
    is_trained = {score["column"]: score["trained"] for score in Run.open(run).read_probe()["linear"]}
    assert is_trained == {"category": True, "closure": True, "gender": True, "brand": False}


def test_a_wide_image_gives_its_middle_square(shoes):
    """136 x 102 pixels: the 17 columns at either side are cut off, as by resizing the short side and cropping."""
    path = shoes.add("200001-1")
    wide = Image.new("RGB", (136, 102), "red")
    wide.paste("blue", (17, 0, 119, 102))
    wide.save(path, "PNG")
    pixels = decode_some([path], 112, 3)[0][0]
    assert pixels.shape == (3, 112, 112)
    assert pixels[0].max() < 16 and pixels[2].min() > 240  # no red but what the resampling of the edge leaves
