"""Rows: what a run uses of a table, and every complaint about it at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mscon.data.table.rows import left_out
from mscon.data.table.table import Table, read_table
from mscon.errors import TableError
from mscon.run.recipe import Data, Probe, Recipe, SimilarityPart, Train
from selected import selected

KIND, SAME_ROW = SimilarityPart("kind", "categorical"), SimilarityPart("same_row", "same_row")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "shoes"
    root.mkdir()
    for i in range(8):
        Image.new("L", (8, 8), i).save(root / f"{i}.png")
    return root


def recipe(
    *similarities: SimilarityPart, columns: tuple[str, ...] = (), neighbours: tuple[str, ...] = (), **data: Any
) -> Recipe:
    probe = Probe(columns=columns, neighbours=neighbours)
    return Recipe(similarities or (KIND, SAME_ROW), data=Data(**data), probe=probe)


def table(folder: Path, *lines: str, header: str = "image,split,kind,colour") -> Table:
    (folder / "shoes.csv").write_text("\n".join([header, *lines]) + "\n")
    return read_table(folder / "shoes.csv")


GOOD = (
    "0.png,train,boots,red",
    "1.png,train,sandals,",
    "2.png,train,,blue",
    "3.png,validation,boots,red",
    "4.png,test,boots,red",
    "5.png,unseen,clogs,red",
)


def complaints(table: Table, recipe: Recipe, images: Path | None = None) -> str:
    with pytest.raises(TableError) as caught:
        selected(table, recipe, images)
    return str(caught.value)


def test_the_rows_of_a_good_table(folder):
    rows = selected(table(folder, *GOOD), recipe())
    assert rows.schema == {
        "line": pl.Int64,
        "split": pl.String,
        "image": pl.String,
        "kind": pl.String,
        "colour": pl.String,
    }
    assert rows.row(2) == (4, "train", "2.png", None, "blue")
    assert rows.height == 6


def test_columns_by_other_names_come_out_by_ours(folder):
    lines = [f"{i}.png,{s},{k},x,9" for i, (s, k) in enumerate([("train", "a"), ("train", "b"), ("test", "a")])]
    messages = selected(table(folder, *lines, header="photo,fold,kind,split,line"), recipe(image="photo", split="fold"))
    assert messages.columns == ["line", "split", "image", "kind"]
    assert messages["image"].to_list() == ["0.png", "1.png", "2.png"]
    assert messages["split"].to_list() == [
        "train",
        "train",
        "test",
    ]
    assert messages["line"].to_list() == [2, 3, 4]


def test_images_may_lie_in_another_folder(folder, tmp_path):
    (tmp_path / "tables").mkdir()
    elsewhere = table(tmp_path / "tables", *GOOD)
    assert "does not exist (looked in" in complaints(elsewhere, recipe())
    assert selected(elsewhere, recipe(), folder).height == 6


def test_labels_outside_training_are_no_fault(folder):
    rows = selected(table(folder, *GOOD), recipe())
    assert rows["kind"].to_list()[-1] == "clogs"


def test_everything_wrong_is_told_at_once(folder):
    messages = complaints(
        table(
            folder,
            "0.png,train,boots,red",
            "./0.png,vlidation,boots,red",
            "gone.png,,boots,red",
            ",train,boots,red",
            "../1.png,train,boots,red",
            f"{folder}/2.png,train,boots,red",
        ),
        recipe(columns=("color", "split"), neighbours=("knd",)),
    )
    assert "shoes.csv: column 'split' must say" in messages
    assert "'vlidation' in 1 row: line 3. Did you mean 'validation'?" in messages
    assert "shoes.csv, line 5: the cell of column 'image' is empty." in messages
    assert "shoes.csv, line 6: image '../1.png' lies outside the folder" in messages
    assert "line 7" not in messages  # an absolute path that leads into the folder
    assert "shoes.csv, line 3: image './0.png' stands in line 2 already." in messages
    assert "shoes.csv, line 4: image 'gone.png' does not exist" in messages
    assert "pass --images DIR" in messages
    assert "column 'kind' has one value only, 'boots', in all rows" in messages
    assert "no column 'color'. Did you mean 'colour'?" in messages
    assert "[probe] columns" in messages
    assert "column 'split' is named by [probe] columns" in messages
    assert "no label column" in messages
    assert "no column 'knd'. Did you mean 'kind'?" in messages
    assert "[probe] neighbours" in messages


def test_one_file_spelt_in_two_ways_is_one_file(folder):
    (folder / "sub").mkdir()
    assert "image 'sub/../0.png' stands in line 2 already" in complaints(
        table(folder, *GOOD, "sub/../0.png,train,a,b"), recipe()
    )


def test_an_unknown_image_column_names_the_nearest(folder):
    messages = complaints(table(folder, *GOOD, header="images,split,kind,colour"), recipe())
    assert "no column 'image' with the paths of images. Did you mean 'images'?" in messages
    assert "[data] image" in messages
    assert "Did you mean 'IMAGE'?" in complaints(table(folder, *GOOD, header="IMAGE,split,kind,colour"), recipe())


def test_a_table_without_images_is_told_of_other_inputs_and_no_far_fetched_column(folder):
    messages = complaints(table(folder, *GOOD, header="make,split,kind,colour"), recipe())
    assert "Did you mean" not in messages
    for words in ('input = "columns" with numbers', 'input = "text"', 'input = "vectors" with vectors = "clip.npy"'):
        assert words in messages
    (folder / "v.jsonl").write_text('{"kind": "a", "clip": [1, 2]}\n{"kind": "b", "clip": [3, 4]}\n')
    assert 'vectors = "clip"' in complaints(read_table(folder / "v.jsonl"), recipe())


def test_malformed_labels_are_told_beside_a_split_and_images_at_fault(folder):
    heel = SimilarityPart("heel", "continuous")
    rows = ("0.png,trian,tall,red", ",train,3,blue", "9.png,test,4,red")
    messages = complaints(
        table(folder, *rows, header="image,split,heel,colour"), recipe(heel, SimilarityPart("no", "auto"))
    )
    assert "'trian' in 1 row: line 2." in messages
    assert "the cell of column 'image' is empty" in messages
    assert "column 'heel': 1 of 3 cells is not a number: line 2 'tall'." in messages
    assert messages.count("no column 'no'") == 1


def test_a_folder_of_images_that_is_not_there_is_one_complaint(folder):
    messages = complaints(table(folder, *GOOD), recipe(), folder / "none")
    assert "the folder of the images" in messages
    assert "does not exist" in messages
    assert "0.png" not in messages


def test_paths_of_another_system_get_a_hint(folder):
    assert "separated by '/'" in complaints(table(folder, *GOOD, "photos\\9.png,train,boots,red"), recipe())


def test_a_column_without_two_values_among_the_training_rows_is_refused(folder):
    lines = ("0.png,train,,red", "1.png,train,,red", "2.png,test,boots,blue", "3.png,test,clogs,red")
    messages = complaints(table(folder, *lines), recipe(columns=("colour",)))
    assert "column 'kind' is empty in every train row" in messages
    assert "column 'colour' has one value only, 'red', in all train rows that have any" in messages


def test_a_probe_may_have_labels_in_unseen_groups_only(folder):
    lines = ("0.png,train,a,", "1.png,train,b,", "2.png,test,a,", "3.png,unseen,a,red", "4.png,unseen,a,blue")
    selected(table(folder, *lines), recipe(neighbours=("colour",)))
    assert "'colour' is empty" in complaints(table(folder, *lines[:-1]), recipe(neighbours=("colour",)))


@pytest.mark.parametrize(("gone", "purpose"), [("train", "learns"), ("test", "scored")])
def test_a_split_without_rows_is_told(folder, gone, purpose):
    lines = [line for line in GOOD if f",{gone}," not in line]
    messages = complaints(table(folder, *lines), recipe())
    assert f"no row is left in the split '{gone}'" in messages
    assert purpose in messages
    assert "1 validation" in messages


def test_same_row_reads_no_column(folder):
    assert selected(table(folder, *GOOD), recipe(SimilarityPart("views", "same_row"))).height == 6


# Splits made here --------------------------------------------------------------------------------

UNSPLIT = tuple(f"{i}.png,{'ab'[i % 2]},p{i // 2}" for i in range(8))


def test_a_table_without_a_split_is_split_here_whatever_the_seed_of_training(folder):
    unsplit = table(folder, *UNSPLIT, header="image,kind,product")
    half = recipe(split_shares=(0.5, 0.0, 0.5))
    rows = selected(unsplit, half)
    assert sorted(rows["split"].to_list()) == ["test"] * 4 + ["train"] * 4
    assert rows.equals(selected(unsplit, replace(half, train=Train(seed=9))))
    others = [selected(unsplit, recipe(split_shares=(0.5, 0.0, 0.5), split_seed=n)) for n in range(5)]
    assert not all(rows.equals(other) for other in others)


def test_a_split_made_here_keeps_groups_together(folder):
    unsplit = table(folder, *UNSPLIT, header="image,kind,product")
    rows = selected(unsplit, recipe(split_by="product", split_shares=(0.5, 0.0, 0.5)))
    assert rows.group_by("product").agg(pl.col("split").n_unique())["split"].to_list() == [1] * 4


def test_what_could_be_a_misspelt_split_is_not_split_here(folder):
    messages = complaints(table(folder, *GOOD, header="image,Split,kind,colour"), recipe())
    assert "no column 'split'. Did you mean 'Split'?" in messages
    messages = complaints(table(folder, *GOOD), recipe(split="fold"))
    assert "no column 'fold'" in messages
    assert "an empty name" in messages
    messages = complaints(table(folder, *UNSPLIT, header="image,kind,product"), recipe(split_by="prodct"))
    assert "no column 'prodct'. Did you mean 'product'?" in messages


def test_two_sources_of_a_split_contradict_each_other(folder):
    messages = complaints(table(folder, *GOOD), recipe(split_by="kind"))
    assert "has a split column 'split'" in messages
    assert "split_by = 'kind'" in messages


# Rows left out -----------------------------------------------------------------------------------


def test_rows_without_a_readable_image_are_left_out_on_purpose_only(folder):
    (folder / "3.png").write_text("no image")
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:40])
    whole = table(folder, *GOOD, "gone.png,train,boots,red", "6.png,test,boots,red")
    assert "line 8: image 'gone.png' does not exist" in complaints(whole, recipe())
    rows = selected(whole, recipe(missing_images="drop"))
    assert rows["line"].to_list() == [2, 3, 4, 7, 9]
    assert left_out(rows, whole) == ("shoes.csv: 3 rows of 8 left out, whose image cannot be read (lines 5, 6, 8).")
    assert (
        left_out(selected(table(folder, *GOOD[:3], GOOD[5], "6.png,test,a,b"), recipe()), read_table(whole.path)) == ""
    )


def test_leaving_out_rows_may_leave_a_split_empty(folder):
    (folder / "4.png").unlink()
    messages = complaints(table(folder, *GOOD), recipe(missing_images="drop"))
    assert "no row is left in the split 'test'" in messages
    assert "does not exist" not in messages


def test_leaving_out_does_not_excuse_paths_outside_the_root(folder):
    assert "lies outside" in complaints(table(folder, *GOOD, "../x.png,train,boots,red"), recipe(missing_images="drop"))


def test_an_odd_cell_cannot_write_to_the_terminal(folder):
    assert "\x1b" not in complaints(table(folder, *GOOD, "\x1b[31m.png,tr\x1bain,boots,red"), recipe())


def test_rows_without_any_cell_are_left_out_and_told(folder):
    """As spreadsheets leave them at the end of a file."""
    whole = table(folder, *GOOD, ",,,", " ,, ,")
    rows = selected(whole, recipe())
    assert rows["line"].to_list() == [2, 3, 4, 5, 6, 7]
    assert left_out(rows, whole) == "shoes.csv: 2 rows of 8 left out, of which every cell is empty (lines 8, 9)."
    columns = Recipe((KIND,), data=Data(input="columns", numbers=("colour",)))
    assert selected(table(folder, *GOOD, ",,,"), columns).height == 6


def test_a_row_of_a_vector_is_one_though_it_has_no_label(folder):
    numbers = np.arange(14, dtype=np.float32).reshape(7, 2)
    np.save(folder / "v.npy", numbers)
    lines = ("a,", "b,", ",", "a,", "b,", "a,", ",")
    of_vectors = Recipe((KIND,), data=Data(input="vectors", vectors="v.npy"))
    assert selected(table(folder, *lines, header="kind,colour"), of_vectors).height == 7


def test_addresses_are_no_paths_and_are_told_short(folder):
    long = '"data:image/png;base64,' + "A" * 5_000 + '"'
    text = complaints(table(folder, *GOOD, "https://x.org/a.png,train,boots,red", f"{long},train,boots,red"), recipe())
    assert "line 8: image 'https://x.org/a.png' is an address that [data] remote does not allow." in text
    assert '[data] remote = ["https://x.org/"]' in text
    assert "line 9: image 'data:image/png;base64,AAA" in text
    assert "is an address of a kind that is not read here" in text
    assert len(complaints(table(folder, *GOOD, f"{long},train,boots,red"), recipe())) < 700
    assert "does not exist" in complaints(table(folder, *GOOD, f"{'a' * 5_000}.png,train,boots,red"), recipe())


def test_a_name_in_other_letters_is_offered(folder):
    assert "Did you mean '6.png'?" in complaints(table(folder, *GOOD, "6.PNG,train,boots,red"), recipe())


def test_files_that_no_decoder_reads_are_told_together_with_those_that_are_gone(folder):
    (folder / "6.png").write_text("<html>not found</html>")
    (folder / "7.png").write_bytes(b"")
    lines = (*GOOD, "6.png,train,boots,red", "7.png,train,boots,red", "8.png,train,boots,red")
    text = complaints(table(folder, *lines), recipe())
    for words in (
        "line 8: image '6.png' is a web page",
        "line 9: image '7.png' is empty",
        "line 10: image '8.png' does",
    ):
        assert words in text


def test_validation_rows_can_be_the_test_rows(folder):
    assert "call their split 'test'" in complaints(table(folder, *GOOD[:4]), recipe())


def test_a_table_of_vectors_only_is_told_what_is_wrong_with_it():
    vectors = read_table(pl.DataFrame({"v": [[1.0, 2.0]]}))
    assert "no row is left in the split 'test'" in complaints(vectors, recipe(SAME_ROW, input="vectors", vectors="v"))
