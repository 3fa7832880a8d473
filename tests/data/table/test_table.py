"""Tables: cells as text, exact lines, and one message for each way a file can be wrong."""

from __future__ import annotations

import csv
import datetime
import hashlib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.data.table.formats import delimited, json_lines
from mscon.data.table.formats import parquet as parquet_files
from mscon.data.table.formats.typed import as_text
from mscon.data.table.table import Table, read_table
from mscon.errors import TableError


def write(folder: Path, text: str | bytes, name: str = "shoes.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def parquet(folder: Path, frame: pl.DataFrame) -> Table:
    frame.write_parquet(folder / "shoes.parquet")
    return read_table(folder / "shoes.parquet")


def message(path: Path) -> str:
    with pytest.raises(TableError) as caught:
        read_table(path)
    return str(caught.value)


def test_cells_are_stripped_and_blank_ones_missing(tmp_path):
    table = read_table(write(tmp_path, "image, kind ,heel\na.png, boots ,\nb.png,   ,4.50\n"))
    assert table.frame.columns == ["image", "kind", "heel"]
    assert table.cells("kind") == ["boots", None]
    assert table.cells("heel") == [None, "4.50"]
    assert set(table.frame.dtypes) == {pl.String}


def test_a_row_stands_where_it_begins_in_the_file(tmp_path):
    text = 'image,note\r\na.png,"two\r\nlines, ""quoted"""\r\n\r\nb.png,plain\r\n   \r\nc.png,"x\n\ny"\nd.png,z'
    table = read_table(write(tmp_path, text))
    assert table.lines == (2, 5, 7, 10)
    assert table.cells("note")[0] == 'two\r\nlines, "quoted"'
    assert table.place(1) == "shoes.csv, line 5"


@given(st.lists(st.tuples(st.text('ab,"\n\r x', max_size=6), st.text("cd\n", max_size=4)), min_size=1, max_size=8))
def test_reading_gives_back_what_was_written_and_lines_point_at_it(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["p", "q"])
        starts = []
        for row in rows:
            file.flush()
            content = path.read_bytes().decode().replace("\r\n", "\n").replace("\r", "\n")
            starts.append(content.count("\n") + 1)
            writer.writerow(row)
    table = read_table(path)
    assert table.cells("p") == [p.strip() or None for p, _ in rows]
    assert table.cells("q") == [q.strip() or None for _, q in rows]
    assert list(table.lines) == starts


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    assert read_table(write(tmp_path, b"\xef\xbb\xbfimage,k\na,b\n")).frame.columns == ["image", "k"]


def test_tabs_separate_the_cells_of_a_tsv(tmp_path):
    assert read_table(write(tmp_path, "image\tk\na,1\tb\n", "t.tsv")).cells("image") == ["a,1"]


def test_a_missing_file_names_its_neighbour(tmp_path):
    write(tmp_path, "a\n1\n")
    assert "does not exist. Did you mean 'shoes.csv'?" in message(tmp_path / "shoe.csv")
    assert "Its folder" in message(tmp_path / "no" / "shoe.csv")
    assert "is a folder" in message(_folder(tmp_path / "d.csv"))


def test_a_device_is_not_read_to_its_end(tmp_path):
    (tmp_path / "t.csv").symlink_to("/dev/zero")
    assert "is a device, not a table" in message(tmp_path / "t.csv")


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_other_kinds_of_file_are_refused_by_name(tmp_path):
    assert "must end in .csv, .tsv, .parquet" in message(write(tmp_path, "a\n1\n", "shoes.xlsx"))


def test_text_that_is_not_utf8_is_told_by_line(tmp_path):
    text = message(write(tmp_path, "image,k\na,b\nc,größe\n".encode("latin-1")))
    assert "line 3: not UTF-8" in text
    assert "CSV UTF-8" in text


def test_empty_files_and_files_without_rows_are_told_apart(tmp_path):
    assert "is empty: not even column names" in message(write(tmp_path, ""))
    assert "has column names but no rows" in message(write(tmp_path, "image,k\n\n"))


def test_faults_of_the_first_line_and_of_all_rows_come_together(tmp_path):
    text = message(write(tmp_path, "image,k,,k\na,b,c,d\na,b\n\na,b,c,d,e\n"))
    assert "1 column of 4 without a name (number 3)" in text
    assert "more than once: 'k'" in text
    assert "line 3: 2 cells, but there are 4 columns" in text
    assert "2 of 3 rows with another number of cells: lines 3, 5." in text


@pytest.mark.parametrize(
    ("separator", "ending"), [(";", "csv"), ("\t", "csv"), ("|", "csv"), (",", "tsv"), (";", "tsv")]
)
def test_a_table_with_another_separator_is_read_by_it(tmp_path, separator, ending):
    lines = ["image;kind;price", 'a;"b;c";1,5', "d;e;"]
    text = "\r\n".join(line.replace(";", separator) for line in lines)
    if separator == ",":
        text = text.replace("1,5", '"1,5"')
    table = read_table(write(tmp_path, text, f"t.{ending}"))
    assert table.frame.rows() == [("a", f"b{separator}c", "1,5"), ("d", "e", None)]
    assert "4 cells, but there are 3 columns" in message(write(tmp_path, f"{text}\n{separator * 3}", f"t.{ending}"))


def test_a_column_of_one_quoted_name_with_a_separator_in_it_stays_one(tmp_path):
    assert read_table(write(tmp_path, '"a;b"\nx\n')).frame.rows() == [("x",)]


def test_an_open_quote_is_told_by_the_line_where_its_row_begins(tmp_path):
    text = message(write(tmp_path, 'image,k\na,b\nc,"d\ne,f\n'))
    assert "line 3: the row that begins here cannot be read" in text
    assert "quote left open" in text


def test_an_unknown_column_names_the_nearest(tmp_path):
    table = read_table(write(tmp_path, "image,closure\na,b\n"))
    with pytest.raises(
        TableError, match=r"no column 'closre'. Did you mean 'closure'\?\n  Columns: 'image', 'closure'"
    ):
        table.cells("closre")


def test_a_complaint_says_what_where_how_many_and_what_to_do(tmp_path):
    table = read_table(write(tmp_path, "image\n" + "".join(f"{i}\n" for i in range(9))))
    assert table.complaint([1], "is odd.", "Mend it.") == (
        "shoes.csv, line 3: is odd.\n  1 of 9 rows has this problem.\n  Mend it."
    )
    assert "2 of 9 rows have this problem: lines 3, 4." in table.complaint([1, 2], "is odd.")
    assert "7 of 9 rows have this problem; the first five are lines 2, 3, 4, 5, 6." in table.complaint(range(7), "odd")


def test_parquet_values_become_what_a_person_would_write(tmp_path):
    table = parquet(
        tmp_path,
        pl.DataFrame(
            {
                " whole ": [3, None],
                "float": [3.0, 0.1],
                "nan": [float("nan"), 1e300],
                "single": pl.Series([0.1, -2.0], dtype=pl.Float32),
                "truth": [True, False],
                "text": ["  boots ", " "],
                "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
                "day": [datetime.date(2024, 2, 29), None],
                "none": [None, None],
            }
        ),
    )
    assert table.cells("whole") == ["3", None]
    assert table.cells("float") == ["3", "0.1"]
    assert table.cells("nan") == [None, "1e+300"]
    assert table.cells("single") == ["0.1", "-2"]
    assert table.cells("truth") == ["true", "false"]
    assert table.cells("text") == ["boots", None]
    assert table.cells("kind") == ["a", "b"]
    assert table.cells("day") == ["2024-02-29", None]
    assert table.cells("none") == [None, None]
    assert set(table.frame.dtypes) == {pl.String}
    assert table.place(1) == "shoes.parquet, row 2"


def test_lists_of_texts_are_cells_with_several_labels(tmp_path):
    table = parquet(tmp_path, pl.DataFrame({"tags": [["a", "b c"], [], None, [None, "d"]]}))
    assert table.cells("tags") == ["a;b c", None, None, "d"]


def test_columns_of_other_things_stop_the_table_only_where_they_are_used(tmp_path):
    other = {"long": [datetime.timedelta(1)], "deep": [[["a"]]], "odd": [["a;b"]], "pair": [{"x": 1}]}
    table = parquet(tmp_path, pl.DataFrame({"k": ["a"], **other}))
    assert table.frame.columns == ["k"]
    assert list(table.unreadable) == list(other)
    with pytest.raises(TableError, match=r"column 'odd' holds lists of texts with ';' in them.* A cell is text"):
        table.cells("odd")
    with pytest.raises(TableError, match="column 'long' holds values of type Duration"):
        table.cells("long")
    with pytest.raises(TableError, match=r"no column can be read: 'long' \(values of type Duration.*'deep'"):
        parquet(tmp_path, pl.DataFrame(other))


def test_a_file_that_only_says_it_is_parquet_is_refused(tmp_path):
    assert "is not a Parquet file" in message(write(tmp_path, "image\na\n", "t.parquet"))
    assert "does not exist" in message(tmp_path / "none.parquet")


def test_a_parquet_file_without_rows_is_refused(tmp_path):
    with pytest.raises(TableError, match="no rows"):
        parquet(tmp_path, pl.DataFrame({"image": []}, schema={"image": pl.String}))


def test_parquet_columns_of_one_name_are_refused_by_name(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet_files = pytest.importorskip("pyarrow.parquet")
    columns = [pyarrow.array(["a", "b"])] * 2 + [pyarrow.array([{"kind": 1, "deep": [1.0]}, None])]
    parquet_files.write_table(pyarrow.table(columns, names=["kind", "kind", "nested"]), tmp_path / "shoes.parquet")
    assert "shoes.parquet: column names must differ: column with name 'kind'" in message(tmp_path / "shoes.parquet")


def test_a_parquet_file_of_far_more_rows_than_bytes_is_refused_before_it_is_read(tmp_path, monkeypatch):
    pl.select(k=pl.repeat(True, 30_000_000)).write_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr(pl, "read_parquet", lambda file: pytest.fail("it was read"))
    text = message(tmp_path / "rows.parquet")
    assert "bytes but holds 30,000,000 rows of 1 column, more than 100 times its size" in text
    assert "take out the columns that are not used" in text


def test_a_parquet_file_of_far_more_text_than_bytes_is_refused(tmp_path):
    """In polars equal cells share their memory; as cells of a table they would not."""
    pl.DataFrame({"k": ["x" * 2_000_000] * 600, "n": ["a"] * 600}).write_parquet(tmp_path / "text.parquet")
    assert "bytes but holds 1,200,000,600 bytes of text, more than 100" in message(tmp_path / "text.parquet")


@given(st.lists(st.one_of(st.floats(), st.floats(-1e5, 1e5).map(lambda x: round(x, 3)), st.integers(-(2**60), 2**60))))
def test_floats_are_written_as_python_writes_them_but_whole_ones_without_a_point(values):
    series = pl.Series([float(value) for value in values], dtype=pl.Float64)
    texts = [
        None if v != v else str(int(v)) if v.is_integer() and abs(v) < 2**53 else repr(v) for v in series.to_list()
    ]
    assert as_text(series).to_list() == texts


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_table_that_changes_while_it_is_read_is_refused_and_afterwards_is_the_one_that_was_read(
    tmp_path, ending, monkeypatch
):
    path = tmp_path / f"t{ending}"

    def write_cells(cells):
        frame = pl.DataFrame({"a": cells, "b": cells})
        {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}[ending](path)

    write_cells(["x", "y"])
    content = path.read_bytes()
    table = read_table(path)
    write_cells(["x", "y", "z"])
    assert table.sha256 == hashlib.sha256(content).hexdigest() != read_table(path).sha256
    module = {".csv": delimited, ".jsonl": json_lines, ".parquet": parquet_files}[ending]
    read = module.read

    def read_and_change(path):
        result = read(path)
        write_cells(["x"])
        return result

    monkeypatch.setattr(module, "read", read_and_change)
    with pytest.raises(TableError, match=f"t{ending}' has changed while it was being read"):
        read_table(path)


def test_a_frame_is_not_taken_for_a_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pl.DataFrame({"a": ["x", "y"]})
    before = read_table(frame).sha256
    Path("DataFrame").write_text("of somebody else")
    assert read_table(frame).sha256 == before
