"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mscon.run import atomic


def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "kept.txt"
    atomic.write_text(path, "old")

    def fails(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.write_with(path, fails)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_folders_are_made_and_files_are_readable_by_others(tmp_path):
    path = tmp_path / "a" / "b.json"
    atomic.write_json(path, {"x": 1.5})
    assert path.read_text() == '{\n  "x": 1.5\n}\n'
    assert path.stat().st_mode & 0o777 == 0o644


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "x.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_content_reaches_the_disk_before_its_name_and_the_name_before_the_call_returns(tmp_path, monkeypatch):
    events = []
    replace, sync = Path.replace, os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (events.append(os.readlink(f"/proc/self/fd/{handle}")), sync(handle))
    )
    monkeypatch.setattr(Path, "replace", lambda self, target: (events.append("moved"), replace(self, target))[1])
    atomic.write_text(tmp_path / "new" / "a.txt", "x")
    folder = str(tmp_path / "new")
    assert events[0] == str(tmp_path)  # where the new folder's name stands
    assert events[1].startswith(f"{folder}/.a.txt.")
    assert events[2:] == ["moved", folder]


def test_names_of_what_is_not_yet_moved_are_known_again(tmp_path):
    names = []
    for name in ("run.json", "README", "checkpoints"):
        atomic.write_with(tmp_path / name, lambda temporary: (names.append(temporary.name), temporary.write_text("x")))
    assert atomic.is_leftover(names[0], "run.json") and atomic.is_leftover(names[1], "README")
    assert not atomic.is_leftover(names[0], "other.json")
    assert not any(atomic.is_leftover(name, "run.json") for name in ("run.json", ".run.json", ".run.json.abc.json"))


def test_lines_are_added_whole_and_torn_ones_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    atomic.append_json(path, {"a": 1})
    with path.open("ab") as file:
        file.write(b'{"a": "\xc3')
    atomic.append_json(path, {"a": 3})
    assert atomic.json_lines(path.read_bytes()) == [{"a": 1}, {"a": 3}]
