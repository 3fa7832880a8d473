"""JSON Lines: an object a line, and every fault by its line."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.data.table.table import Table, read_table
from mscon.errors import TableError


def read(folder: Path, *lines: str) -> Table:
    (folder / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return read_table(folder / "t.jsonl")


def message(folder: Path, *lines: str) -> str:
    with pytest.raises(TableError) as caught:
        read(folder, *lines)
    return str(caught.value)


def test_keys_are_columns_and_values_what_a_person_would_write(tmp_path):
    table = read(
        tmp_path,
        '\ufeff{"kind": " boots ", "heel": 3.0, "new": true}',
        "",
        '{"heel": 0.1, " kind ": null, "size": 41, "new": false}',
        '{"kind": "", "heel": NaN}',
    )
    assert table.frame.columns == ["kind", "heel", "new", "size"]
    assert table.cells("kind") == ["boots", None, None]
    assert table.cells("heel") == ["3", "0.1", None]
    assert table.cells("new") == ["true", "false", None]
    assert table.cells("size") == [None, "41", None]
    assert table.lines == (1, 3, 4)
    assert table.place(1) == "t.jsonl, line 3"


def test_lists_of_numbers_are_vectors_and_a_missing_one_is_not_a_number(tmp_path):
    table = read(
        tmp_path, '{"k": "a", "v": null}', '{"k": "b", "v": [1, 2.5]}', '{"k": "c"}', '{"k": "d", "v": [3, 4]}'
    )
    assert table.frame.columns == ["k"]
    np.testing.assert_array_equal(table.vectors["v"], [[np.nan] * 2, [1, 2.5], [np.nan] * 2, [3, 4]])


def test_lists_of_texts_are_cells_with_several_labels(tmp_path):
    lists = ('{"k": ["a", "b c"]}', '{"k": []}', '{"k": null}', '{"k": "d"}')
    assert read(tmp_path, *lists).cells("k") == ["a;b c", None, None, "d"]


def test_columns_of_other_things_stop_the_table_only_where_they_are_used(tmp_path):
    table = read(
        tmp_path, '{"k": "a", "o": {"x": 1}, "l": [[1]], "s": ["a;b"]}', '{"k": "b", "o": "text", "l": [1, 2]}'
    )
    assert table.frame.columns == ["k"] and not table.vectors
    assert list(table.unreadable) == ["o", "l", "s"]
    for column, holds in (("o", "objects"), ("l", "lists of lists or of objects"), ("s", "lists of texts with ';'")):
        with pytest.raises(TableError, match=f"column '{column}' holds {holds}"):
            table.cells(column)
    assert "no column can be read: 'k' (objects)" in message(tmp_path, '{"k": {"a": 1}}')


def test_every_fault_is_told_by_its_line(tmp_path):
    assert "line 2: not JSON" in message(tmp_path, '{"k": 1}', '{"k": 1')
    assert "line 1: a JSON value, but not an object" in message(tmp_path, "[1]", '{"k": 2}')
    assert "line 2: column 'k' stands there more than once." in message(tmp_path, '{"k": 1}', '{"k": 1, "k ": 2}')
    gap = message(tmp_path, '{"k": [1, 2]}', '{"k": [1, null]}', '{"k": ["NaN", 2]}')
    assert "line 2: column 'k' holds a list of numbers with null among them." in gap
    assert "2 of 3 rows cannot be read, for this reason or another: lines 2, 3." in gap
    assert "as text" not in gap
    for line in ('{"k": "\\ud83d"}', '{"\\ud83d": 1}'):
        assert "line 2: '\\ud83d' is half of a letter" in message(tmp_path, '{"k": "\\ud83d\\ude00"}', line)
    assert "nested too deeply" in message(tmp_path, '{"k": ' + "[" * 100_000)
    both = message(tmp_path, '{"k": 1', '{"k": 1}', "x")
    assert "2 of 3 rows cannot be read, for this reason or another: lines 1, 3." in both


def test_a_key_of_its_own_in_every_line_is_refused_before_memory_is_gone(tmp_path):
    lines = [f'{{"{number}":1}}' for number in range(6_000)]
    tracemalloc.start()
    text = message(tmp_path, *lines)
    assert tracemalloc.get_traced_memory()[1] < 400e6
    tracemalloc.stop()
    assert "bytes but holds" in text
    assert "more than 100 times its size" in text


def test_a_number_too_large_in_a_list_is_told_by_its_line(tmp_path):
    assert "line 2: column 'v' holds a list with a number that is too large" in message(
        tmp_path, '{"v": [1]}', '{"v": [1' + "0" * 400 + "]}"
    )


def test_text_that_is_not_utf8_is_told_by_line(tmp_path):
    (tmp_path / "t.jsonl").write_bytes('{"k": "größe"}\n'.encode("latin-1"))
    with pytest.raises(TableError, match="line 1: not UTF-8"):
        read_table(tmp_path / "t.jsonl")


def test_vectors_of_several_lengths_and_lists_among_single_values_are_refused(tmp_path):
    ragged = message(tmp_path, '{"v": [1, 2]}', '{"v": [1, 2]}', '{"v": [1]}')
    assert "t.jsonl, line 3: column 'v' holds a list of 1, but mostly of 2 numbers." in ragged
    assert "lists in some rows and single values in others" in message(tmp_path, '{"v": [1, 2]}', '{"v": 3}')


def test_files_without_rows_or_columns_are_refused(tmp_path):
    assert "there is no row in it" in message(tmp_path, "", " ")
    assert "it has no columns" in message(tmp_path, "{}")


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), st.integers(), st.text())), min_size=1))
def test_reading_gives_back_what_was_written(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("t") / "t.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    names = list(dict.fromkeys(key for record in records for key in record))
    if not names:
        return
    table = read_table(path)
    assert table.frame.columns == names
    for name in names:
        values = [record.get(name) for record in records]
        assert table.cells(name) == [None if v is None else str(v).strip() or None for v in values]
