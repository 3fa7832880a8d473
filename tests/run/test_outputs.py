"""Outputs: what may be replaced, what never is, and that nothing is changed by asking."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile

import pytest

from mscon.errors import RunError
from mscon.run import outputs
from mscon.run.outputs import need_free


def is_mine(path) -> bool:
    return path.read_text() == "mine"


def test_what_is_free_or_its_own_may_be_written(tmp_path):
    (tmp_path / "own.txt").write_text("mine")
    need_free([tmp_path / "own.txt", tmp_path / "new.txt", tmp_path / "a" / "b" / "deep.txt"], is_ours=is_mine)
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]


def test_what_others_made_is_named_and_may_be_replaced_on_purpose_only(tmp_path):
    paths = [tmp_path / name for name in ("1.txt", "2.txt", "3.txt")]
    for path in paths[:2]:
        path.write_text("yours")
    with pytest.raises(RunError, match=r"1.txt', '.*2.txt' exist and were not written by this command: not replaced\."):
        need_free(paths, is_ours=is_mine)
    with pytest.raises(RunError, match=r"1.txt' exists\. Choose another --out\.$"):
        need_free(paths[:1])
    need_free(paths, is_ours=is_mine, overwrite=True)


def test_no_message_advises_what_would_destroy_a_file(tmp_path):
    (tmp_path / "1.txt").write_text("yours")
    with pytest.raises(RunError) as refused:
        need_free([tmp_path / "1.txt"], is_ours=is_mine)
    assert "overwrite" not in str(refused.value)


@pytest.mark.parametrize("spelling", ["same", "dots", "link", "target of a link", "hard link"])
@pytest.mark.parametrize("kind", ["reads", "images"])
def test_what_is_read_is_never_replaced_whatever_it_is_called(tmp_path, spelling, kind):
    table = tmp_path / "t.csv"
    table.write_text("yours")
    (tmp_path / "folder").mkdir()
    out, read = {
        "same": (table, table),
        "dots": (tmp_path / "folder" / ".." / "t.csv", table),
        "link": (tmp_path / "link.csv", table),
        "target of a link": (table, tmp_path / "link.csv"),
        "hard link": (tmp_path / "hard.csv", table),
    }[spelling]
    (tmp_path / "link.csv").symlink_to(table)
    os.link(table, tmp_path / "hard.csv")
    with pytest.raises(RunError, match="is a file that is read here"):
        need_free([out], **{kind: [read]}, overwrite=True)


def test_a_name_that_is_kept_is_kept_before_there_is_a_file(tmp_path):
    with pytest.raises(RunError, match="or that a run keeps"):
        need_free([tmp_path / "x" / ".." / "probe.json"], reads=[tmp_path / "probe.json"], overwrite=True)


def test_images_are_looked_at_only_where_something_would_be_replaced(tmp_path):
    def images():
        pytest.fail("looked at the images")
        yield

    (tmp_path / "own.txt").write_text("mine")
    need_free([tmp_path / "own.txt", tmp_path / "new.txt"], images=images(), is_ours=is_mine, overwrite=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "it is a folder"),
        ("file.txt/under.html", "file.txt' is not a folder"),
        ("file.txt/deep/under.html", "file.txt' is not a folder"),
        ("nowhere.html", "it is no ordinary file"),
        ("pipe", "it is no ordinary file"),
    ],
)
def test_where_no_file_can_be_is_said_in_one_message(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("yours")
    (tmp_path / "nowhere.html").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match=rf"{name}' cannot be written: .*{words}\. Choose another --out\.$"):
        need_free([tmp_path / name], is_ours=is_mine, overwrite=True)


@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_folder_that_takes_no_files_is_told_before_the_work(tmp_path, monkeypatch, error):
    def refused(dir, **_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    message = re.escape(f"new/page.html' cannot be written: {os.strerror(error)} (in '{tmp_path}'). Choose another")
    with pytest.raises(RunError, match=message):
        need_free([tmp_path / "new" / "page.html"])


def test_a_name_that_is_too_long_for_the_disk_is_told_before_the_work(tmp_path):
    """Also where only the file that is written first would have a name too long."""
    need_free([tmp_path / ("x" * 235 + ".html")])
    with pytest.raises(RunError, match="cannot be written: File name too long"):
        need_free([tmp_path / ("x" * 245 + ".html")])
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_refuses_is_one_message(tmp_path):
    with (
        pytest.raises(RunError, match=r"a.txt' cannot be written: No such file or directory\. Choose another --out\.$"),
        outputs.writing(tmp_path / "a.txt"),
    ):
        (tmp_path / "nowhere" / "a.txt").write_text("x")


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\xff", "[" * 100_000])
def test_what_is_no_json_object_says_nothing(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content.encode("latin-1"))
    assert outputs.json_object(path) == {}
    path.write_text(json.dumps({"mscon": "1"}))
    assert outputs.json_object(path) == {"mscon": "1"}


def test_a_page_says_of_what_kind_it_is(tmp_path):
    path = tmp_path / "x.html"
    path.write_text('<html><head><meta name="generator" content="mscon report 0.1.0">')
    assert outputs.is_page(path, "report") and not outputs.is_page(path, "explorer")
    path.write_text("<p>mscon report 0.1.0</p>")
    assert not outputs.is_page(path, "report")
    assert not outputs.is_page(tmp_path / "none.html", "report")
