"""MEDIC: the layout on disk with its quirks, what is missing and left out, and the way to a probed run."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from mscon.cli import main
from mscon.data.inputs.image_files import decode_some
from mscon.errors import TableError
from mscon.run.run import Run
from mscon.run.starting_recipes import recipe_text
from mscon_paper.sources import medic
from mscon_paper.sources.medic import CLASSES

ALL = 42 + 8 + 14


def read(table: Path) -> dict[str, dict[str, str]]:
    """Rows of a table by image."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    row_of = {row["image"]: row for row in rows}
    assert len(row_of) == len(rows)
    return row_of


def prepare(root: Path) -> dict[str, dict[str, str]]:
    return read(medic.prepare(root))


# The layout ---------------------------------------------------------------------------------------


def test_the_three_files_become_one_table_with_the_published_split(disasters):
    table = medic.prepare(disasters.write())
    assert table == disasters.root / "medic.csv"
    rows = read(table)
    assert Counter(row["split"] for row in rows.values()) == {"train": 42, "validation": 8, "test": 14}
    assert rows["data/aidr_disaster_types/flood/0.jpg"] == {
        "image": "data/aidr_disaster_types/flood/0.jpg",
        "split": "train",
        "damage_severity": "little_or_none",
        "disaster_types": "earthquake",
        "humanitarian": "affected_injured_or_dead_people",
        "informative": "informative",
    }
    for name, classes in CLASSES.items():
        assert {row[name] for row in rows.values()} == set(classes)


def test_the_order_of_columns_and_the_two_that_are_swapped_do_not_matter(disasters):
    before = medic.prepare(disasters.write()).read_bytes()
    columns = ("disaster_types", "image_path", "event_name", "informative", "humanitarian", "damage_severity", "extra")
    for rows in disasters.rows.values():
        for row in rows:
            row["extra"] = "?"
    assert medic.prepare(disasters.write(columns=columns)).read_bytes() == before


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(disasters):
    before = medic.prepare(disasters.write()).read_bytes()
    assert medic.prepare(disasters.write(start="\ufeff", line_end="\r\n")).read_bytes() == before


def test_the_folder_around_and_the_images_folder_can_be_named(disasters):
    root = disasters.write()
    for named in (root, root.parent, root / "data"):
        assert medic.prepare(named) == root / "medic.csv"


@pytest.mark.parametrize("name", ["MEDIC_validation.tsv", "MEDIC_val.tsv"])
def test_the_validation_file_may_go_by_another_name(disasters, name):
    disasters.names = {"dev": name}
    assert Counter(r["split"] for r in prepare(disasters.write()).values())["validation"] == 8


def test_two_validation_files_are_refused(disasters):
    disasters.write()
    (disasters.root / "MEDIC_val.tsv").write_bytes((disasters.root / "MEDIC_dev.tsv").read_bytes())
    with pytest.raises(TableError, match=r"several files for one split: 'MEDIC_dev\.tsv', 'MEDIC_val\.tsv'"):
        medic.prepare(disasters.root)


# Labels -------------------------------------------------------------------------------------------


def test_empty_and_unknown_labels_are_missing_and_told(disasters, capsys):
    path = disasters.add("train", damage_severity="", disaster_types="tsunami", humanitarian="Not Humanitarian")
    row = prepare(disasters.write())[str(path.relative_to(disasters.root))]
    assert row["damage_severity"] == row["disaster_types"] == ""
    assert row["humanitarian"] == "not_humanitarian"
    report = capsys.readouterr().err
    assert f"{ALL} labels of 3 classes; 1 missing: 1 empty" in report
    assert f"{ALL} labels of 7 classes; 1 missing: 1 of another class ('tsunami' 1)" in report


# Images -------------------------------------------------------------------------------------------


def test_palette_cmyk_grey_and_16_bit_images_stay(disasters):
    noise = Image.effect_noise((60, 48), 80)
    for number, (mode, suffix) in enumerate({"P": "png", "CMYK": "jpg", "L": "jpg", "I;16": "png"}.items()):
        path = disasters.root / f"data/odd/{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        (noise.convert("I").point(lambda v: v * 256).convert("I;16") if mode == "I;16" else noise.convert(mode)).save(
            path
        )
        with Image.open(path) as image:
            assert image.mode == mode
        disasters.add("train", number, path=f"data/odd/{number}.{suffix}", image=False)
    rows = prepare(disasters.write())
    odd = [path for path in rows if path.startswith("data/odd/")]
    assert len(odd) == 4
    for path in odd:
        pixels = decode_some([disasters.root / path], 32, 3)[0][0]
        assert pixels.shape == (3, 32, 32)
        assert pixels.std() > 20


def test_damaged_absent_and_unnamed_images_are_left_out_with_the_reason(disasters, capsys):
    cut, page = disasters.add("train"), disasters.add("test")
    cut.write_bytes(cut.read_bytes()[:700])
    page.write_text("<html>not found</html>")
    disasters.add("dev", path="data/gone.jpg", image=False)
    disasters.add("dev", image=False, image_path="")
    disasters.add("dev", path="data/" + 300 * "x" + ".jpg", image=False)
    assert len(prepare(disasters.write())) == ALL
    report = capsys.readouterr().err
    assert "whose image is truncated: MEDIC_train.tsv, line 44" in report
    assert "whose image is a web page: MEDIC_test.tsv, line 16" in report
    assert "2 rows left out whose image is not there: MEDIC_dev.tsv, line 10 ('data/gone.jpg')" in report
    assert "1 row left out without an image path: MEDIC_dev.tsv, line 11" in report


def test_paths_out_of_the_folder_are_left_out_and_told(disasters, tmp_path, capsys):
    outside = tmp_path / "outside.jpg"
    Image.new("RGB", (60, 48)).save(outside)
    disasters.add("train", path="data/../../outside.jpg", image=False)
    disasters.add("train", path=str(outside), image=False)
    link = disasters.add("train", path="data/link.jpg")
    link.unlink()
    link.symlink_to(outside)
    inside = disasters.add("train", path="data/crisismmd/../inside.jpg")
    rows = prepare(disasters.write())
    assert len(rows) == ALL + 1
    assert str(inside.relative_to(disasters.root)) in rows
    report = capsys.readouterr().err
    assert "3 rows left out whose image path leads out of the folder: MEDIC_train.tsv, line 44 " in report
    assert "'data/../../outside.jpg'" in report


def test_of_rows_that_name_one_image_the_tested_one_stays(disasters, capsys):
    path = "data/twice.jpg"
    disasters.add("train", path=path)
    disasters.add("train", path="data/./twice.jpg", image=False)
    disasters.add("dev", path=path, image=False)
    disasters.add("test", path=path, image=False)
    rows = prepare(disasters.write())
    assert len(rows) == ALL + 1
    assert rows[path]["split"] == "test"
    report = capsys.readouterr().err
    assert "3 rows left out whose image has another row" in report
    assert "MEDIC_dev.tsv, line 10 (as MEDIC_test.tsv, line 16)" in report


def test_equal_images_across_splits_stay_and_are_told(disasters, capsys):
    one, other = disasters.add("train"), disasters.add("test", 1)
    other.write_bytes(one.read_bytes())
    twin = disasters.add("dev", 2)
    again = disasters.add("dev", 2)
    again.write_bytes(twin.read_bytes())
    assert len(prepare(disasters.write())) == ALL + 4
    report = capsys.readouterr().err
    assert "4 rows in 2 groups of images equal byte for byte; 1 group across splits" in report
    assert "MEDIC_train.tsv, line 44 train = MEDIC_test.tsv, line 16 test" in report


def test_images_of_equal_size_are_not_taken_for_equal(disasters, capsys):
    for number in (1, 2):
        path = disasters.add("train", number, path=f"data/{number}.bmp", image=False)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    prepare(disasters.write())
    assert "no two images are equal" in capsys.readouterr().err


# What is missing ----------------------------------------------------------------------------------


def refused(capsys, *arguments: str) -> str:
    assert main(["prepare", "medic", *arguments]) == 2
    out, errors = capsys.readouterr()
    assert not out
    assert errors.startswith("mscon: ")
    assert errors.count("mscon: ") == 1
    return errors


def obtained(errors: str) -> bool:
    return "https://crisisnlp.qcri.org/medic" in errors and "CC BY-NC-SA 4.0" in errors


def test_an_empty_folder_is_told_with_where_the_data_comes_from(tmp_path, capsys):
    errors = refused(capsys, str(tmp_path))
    assert "'MEDIC_train.tsv'" in errors and "'MEDIC_dev.tsv'" in errors and "'MEDIC_test.tsv'" in errors
    assert "the folder 'data'" in errors
    assert "The folder is empty" in errors
    assert obtained(errors)
    assert "There is no such folder" in refused(capsys, str(tmp_path / "nowhere"))
    assert not list(tmp_path.iterdir())


def test_a_missing_file_of_the_three_is_told_alone(disasters, capsys):
    disasters.write()
    (disasters.root / "MEDIC_dev.tsv").unlink()
    errors = refused(capsys, str(disasters.root))
    assert "the file 'MEDIC_dev.tsv'." in errors
    assert "Found instead: 'MEDIC_test.tsv', 'MEDIC_train.tsv', 'data/'" in errors
    assert obtained(errors)
    assert not (disasters.root / "medic.csv").exists()


def test_missing_columns_are_told_for_all_files_at_once(disasters, capsys):
    disasters.write(columns=[c for c in disasters.rows["train"][0] if c not in ("informative", "image_path")])
    errors = refused(capsys, str(disasters.root))
    for name in ("train", "dev", "test"):
        assert f"MEDIC_{name}.tsv: there is no column 'informative'" in errors
        assert f"MEDIC_{name}.tsv: there is no column 'image_path'" in errors
    assert not (disasters.root / "medic.csv").exists()


def test_settings_of_another_source_are_refused(disasters, capsys):
    assert "[medic] has no setting 'rule'" in refused(capsys, str(disasters.write()), "--set", "rule=strict")


# The whole path -----------------------------------------------------------------------------------

TINY = [
    "encoder.name=small_cnn",
    "encoder.pretrained=false",
    "encoder.width=8",
    "data.image_size=16",
    "train.epochs=2",
    "train.batch_size=16",
    "probe.draws=100",
    'similarity=[{column="disaster_types"}, {column="humanitarian"}, {column="informative"}]',
]
SHORT = [part for value in TINY for part in ("--set", value)]


def test_from_the_archive_to_a_run_with_one_column_held_out(disasters, tmp_path, capsys):
    recipe, run = tmp_path / "medic.toml", tmp_path / "run"
    recipe.write_text(recipe_text("medic"))
    disasters.add("train", disaster_types="", humanitarian="tsunami")
    cut = disasters.add("train")
    cut.write_bytes(cut.read_bytes()[:700])
    root = disasters.write()
    assert main(["prepare", "medic", str(root)]) == 0
    table = capsys.readouterr().out.strip()
    assert main(["check", str(recipe), "--table", table, *SHORT]) == 0
    printed = capsys.readouterr().out
    assert "43 train, 8 validation, 14 test" in printed
    assert "'damage_severity' (probe): 3 classes" in printed
    assert main(["train", str(recipe), "--table", table, *SHORT, "--out", str(run)]) == 0
    assert main(["probe", str(run)]) == 0
    is_trained = {score["column"]: score["trained"] for score in Run.open(run).read_probe()["linear"]}
    assert is_trained == {"disaster_types": True, "humanitarian": True, "informative": True, "damage_severity": False}
