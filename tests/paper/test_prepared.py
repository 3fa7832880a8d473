"""Prepared: what data sets of unpacked archives share; their own quirks are tested with each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.errors import RunError, TableError
from mscon_paper.prepared import (
    Label,
    Prepared,
    equal_files,
    is_clutter,
    missing_data,
    plain,
    read_label,
    shown,
    table_path,
)

CLASSES = ("buckle", "hook and loop", "lace up")


@given(st.lists(st.sampled_from(["Buckle", "BUCKLE", "Zipper", " Lace-up ", ""]), max_size=4))
def test_a_label_counts_exactly_if_it_is_one_and_known(parts):
    values = {plain(part) for part in parts} - {""}
    label = read_label(";".join(parts), CLASSES, ";")
    expected = {"buckle": "buckle", "laceup": "lace up"}.get(*values, "") if len(values) == 1 else ""
    assert label.text == expected
    assert bool(label.fault) == (not expected)


def test_a_name_cannot_move_the_cursor_of_a_terminal():
    assert shown("a\x1b[2Jb.jpg") == "'a\\x1b[2Jb.jpg'"
    assert shown("Kid Co%2E/é.jpg") == "Kid Co%2E/é.jpg"


def test_without_a_separator_a_cell_is_one_value():
    assert read_label("Buckle;Lace up", CLASSES) == Label("", "of another class", "Buckle;Lace up")
    assert read_label(None, CLASSES).fault == "empty"


def test_names_are_compared_without_case_and_punctuation():
    assert plain("Hook and Loop") == plain("hook.and-loop") == plain("HookAndLoop")
    assert plain("Slip-On") != plain("Pull-on")


@given(st.lists(st.binary(min_size=1, max_size=2), min_size=1, max_size=8))
def test_files_are_grouped_exactly_by_their_content(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("files")
    for number, content in enumerate(contents):
        (folder / str(number)).write_bytes(content)
    groups = equal_files(folder, [str(n) for n in range(len(contents))])
    assert all(len(group) > 1 and len({contents[n] for n in group}) == 1 for group in groups)
    assert sum(map(len, groups)) == sum(contents.count(content) > 1 for content in contents)


@pytest.mark.parametrize("name", ["._shoe.jpg", ".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "__MACOSX"])
def test_what_systems_leave_behind_is_known(name):
    assert is_clutter(name)
    assert not is_clutter("shoe.jpg")


def prepared(base) -> Prepared:
    (base / "a, b.jpg").write_bytes(b"")
    table = Prepared("mine", base, ("image", "split", "kind"), ["mine: 2 rows"])
    table.add("line 2", ("a, b.jpg", "train"), {"kind": Label("x")})
    table.leave_out("without sense", "line 3")
    return table


def test_a_table_is_written_beside_the_data_or_where_it_is_asked_for(tmp_path):
    table = prepared(tmp_path)
    beside = table_path("mine", tmp_path, table.header, "")
    assert table.write(beside) == beside == tmp_path / "mine.csv"
    assert beside.read_bytes() == b'image,split,kind\n"a, b.jpg",train,x\n'
    deeper = table_path("mine", tmp_path, table.header, str(tmp_path / "deep" / "er.csv"))
    assert table.write(deeper).read_bytes() == beside.read_bytes()


def test_the_report_counts_what_is_there_and_what_is_not(tmp_path):
    text = prepared(tmp_path).report()
    for words in ("1 row in the table: 1 train", "1 row left out without sense: line 3", "1 label of 1 class"):
        assert words in text


def test_no_row_and_no_place_are_refused(tmp_path):
    table = prepared(tmp_path)
    table.write(tmp_path / "mine.csv")
    with pytest.raises(TableError, match=r"ends in \.csv"):
        table_path("mine", tmp_path, table.header, "table.tsv")
    with pytest.raises(RunError, match=r"mine\.csv' is not a folder. Name another place with --set table=FILE\.csv"):
        table_path("mine", tmp_path, table.header, str(tmp_path / "mine.csv" / "t.csv"))
    table.rows.clear()
    with pytest.raises(TableError, match=r"no row of(.|\n)*can be used(.|\n)*1 row without sense: line 3"):
        table.write(tmp_path / "mine.csv")


def test_a_table_that_was_prepared_before_is_replaced_and_no_other_file(tmp_path):
    table, path = prepared(tmp_path), tmp_path / "mine.csv"
    table.write(path)
    assert table_path("mine", tmp_path, table.header, "") == path
    for content in ("image,split,kind,note\na.jpg,train,x,mine\n", "image,split\n", ""):
        path.write_text(content)
        with pytest.raises(RunError, match=r"was not written by this command: not replaced\. Name another place"):
            table_path("mine", tmp_path, table.header, "")
        assert path.read_text() == content


def test_what_is_there_instead_is_told_shortly(tmp_path):
    def message() -> str:
        return str(missing_data("mine", tmp_path / "data", ["the file 'x'", "the folder 'y'"], "  From there."))

    assert message().endswith("There is no such folder.\n  From there.")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".DS_Store").write_bytes(b"")
    assert "The folder is empty." in message()
    for number in range(12):
        (tmp_path / "data" / f"{number:02}.tar.gz").write_bytes(b"")
    assert "'07.tar.gz' and 4 more. Unpack '00.tar.gz'" in message()
    assert "missing in" in message() and "the file 'x'; the folder 'y'" in message()
