"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from mscon.run import atomic
from mscon.run.cache import new_array
from mscon.run.locks import lock
from process import call


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


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_folders_are_made_and_the_umask_says_who_may_read_files(tmp_path, umask, mode):
    path, log = tmp_path / "a" / "b.json", tmp_path / "log.jsonl"
    before = os.umask(umask)
    try:
        atomic.write_json(path, {"x": 1.5})
        atomic.append_json(log, {})
        with atomic.new_folder(tmp_path / "c") as folder:
            (folder / "d.txt").write_text("x")
    finally:
        os.umask(before)
    assert path.read_text() == '{\n  "x": 1.5\n}\n'
    for file in (path, log, tmp_path / "c" / "d.txt"):
        assert file.stat().st_mode & 0o777 == mode
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o777 & ~umask


def test_what_killed_processes_left_goes_and_what_a_process_writes_now_stays(tmp_path):
    def write(temporary):
        for name in (".a.txt.00c0ffee.txt", ".b.txt.00c0ffee.txt", ".a.txt.00c0ffee"):
            (tmp_path / name).mkdir()
            (tmp_path / name / ".tmpabcdef").write_text("half")
        (tmp_path / ".a.txt.0000old_.txt").write_text("half, as older versions left it")
        (tmp_path / "a.txt.00c0ffee.txt").write_text("of the user")
        # Another process writes the same file meanwhile, and others were killed over it.
        atomic.write_text(tmp_path / "a.txt", "of another")
        temporary.write_text("whole")
        (temporary.parent / ".tmpabcdef").write_text("what a library leaves")

    atomic.write_with(tmp_path / "a.txt", write)
    assert (tmp_path / "a.txt").read_text() == "whole"
    names = [".a.txt.00c0ffee", ".b.txt.00c0ffee.txt", "a.txt", "a.txt.00c0ffee.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def _fill_and_stop(path: Path) -> None:
    with atomic.new_folder(path) as folder:
        (folder / "b").mkdir()
        raise KeyboardInterrupt


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    left, living = tmp_path / ".pictures.00c0ffee", tmp_path / ".pictures.0badcafe"
    for folder in (left, living):
        (folder / "a").mkdir(parents=True)
    handle = os.open(living, os.O_RDONLY)
    assert lock(handle) == "ours"
    with pytest.raises(KeyboardInterrupt):
        _fill_and_stop(tmp_path / "pictures")
    assert list(tmp_path.iterdir()) == [living]
    os.close(handle)
    with atomic.new_folder(tmp_path / "pictures") as folder:
        (folder / "b").mkdir()
        (folder / "b" / "1.png").write_text("x")
    assert list(tmp_path.iterdir()) == [tmp_path / "pictures"]
    assert (tmp_path / "pictures" / "b" / "1.png").read_text() == "x"


def _refused(folder: Path) -> None:
    """In a process that may write no large file, let libraries write one; print what they raise."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, resource.RLIM_INFINITY))
    numbers = np.arange(10_000.0)
    frame = pl.DataFrame({"a": numbers}).lazy()
    for name, write in {
        "a.safetensors": lambda path: save_file({"a": numbers}, path),
        "a.parquet": frame.collect().write_parquet,
        "b.parquet": frame.sink_parquet,
        "a.npy": lambda path: np.save(path, numbers),
        "b.npy": lambda path: new_array(path, numbers.dtype, numbers.shape),
        "a.txt": lambda path: path.write_bytes(bytes(10_000)),
    }.items():
        try:
            atomic.write_with(folder / name, write)
        except OSError as error:
            print(name, error.errno in (errno.EFBIG, errno.ENOSPC))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
def test_what_the_disk_refuses_is_one_error_whatever_library_writes(tmp_path):
    outcome = call(_refused, tmp_path, cwd=tmp_path).wait()
    assert outcome.out.split("\n") == [f"{name} True" for name in (
        "a.safetensors", "a.parquet", "b.parquet", "a.npy", "b.npy", "a.txt"
    )] + [""], outcome  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["(os error 28)", "serializing: IoError(Os { code: 28, kind: StorageFull })"])
def test_the_disks_errors_are_known_as_old_and_new_libraries_write_them(words, tmp_path):
    with pytest.raises(OSError, match="No space left") as refusal, atomic.refusals_as_oserror(tmp_path):
        raise RuntimeError(words)
    assert refusal.value.errno == errno.ENOSPC


def test_an_error_that_is_not_the_disks_stays_what_it_is(tmp_path):
    with pytest.raises(pl.exceptions.ComputeError):
        atomic.write_with(tmp_path / "a", lambda path: pl.read_csv(b"a\nx", schema={"a": pl.Int64}).write_parquet(path))


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

        def write(temporary):
            names.append(temporary.parent.name)
            temporary.write_text("x")

        atomic.write_with(tmp_path / name, write)
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
