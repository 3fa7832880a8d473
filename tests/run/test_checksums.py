"""A file that is not as it was written is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscon.errors import RunError
from mscon.run import checksums
from mscon.run.run import Run


def write(folder, name, content):
    checksums.write_with(folder, name, lambda path: path.write_bytes(content))


def test_a_file_is_as_it_was_written_now_or_before(tmp_path):
    write(tmp_path, "a/b.bin", b"old")
    write(tmp_path, "a/b.bin", b"newer")
    assert checksums.fault(tmp_path, "a/b.bin") == ""
    # A crash lies between the line and the move: the old file is still one that is known.
    (tmp_path / "a" / "b.bin").write_bytes(b"old")
    assert checksums.fault(tmp_path, "a/b.bin") == ""


@pytest.mark.parametrize(
    ("content", "fault"), [(b"", "0 bytes, not 5"), (b"newe", "4 bytes, not 5"), (b"newes", "its content is another")]
)
def test_damage_is_described(tmp_path, content, fault):
    write(tmp_path, "b.bin", b"newer")
    (tmp_path / "b.bin").write_bytes(content)
    assert fault in checksums.fault(tmp_path, "b.bin")


def test_a_file_that_nobody_wrote_is_described(tmp_path):
    write(tmp_path, "b.bin", b"newer")
    (tmp_path / "c.bin").write_bytes(b"newer")
    assert "is not in checksums.jsonl" in checksums.fault(tmp_path, "c.bin")


def grown_fault(path: Path) -> str:
    return checksums.grown_fault(path.read_bytes(), checksums.read(path.parent).get(path.name, []))


def is_short(path: Path) -> bool:
    return checksums.is_short(path, checksums.read(path.parent).get(path.name, []))


def test_a_file_that_grows_is_checked_as_far_as_its_last_checksum(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"1\n2\n")
    assert grown_fault(path) == ""  # none was taken yet
    checksums.record(tmp_path, "log.jsonl")
    path.write_bytes(b"1\n2\n3\n")
    assert grown_fault(path) == ""
    path.write_bytes(b"1\n9\n3\n")
    assert "its content is another" in grown_fault(path)
    assert not is_short(path)


def test_a_file_that_grows_and_was_cut_short_is_right_as_far_as_it_goes(tmp_path):
    path = tmp_path / "log.jsonl"
    for content in (b"1\n2\n", b"1\n2\n3\n4\n"):
        path.write_bytes(content)
        checksums.record(tmp_path, "log.jsonl")
    path.write_bytes(b"1\n2\n3\n5\n")  # the newest checksum counts, not the one before
    assert "its content is another" in grown_fault(path)
    path.write_bytes(b"1\n2\n3")
    assert grown_fault(path) == "" and is_short(path)
    path.write_bytes(b"1\n9\n3")
    assert "its content is another" in grown_fault(path)
    path.unlink()
    assert is_short(path)


def test_a_torn_line_of_the_list_hides_no_other(tmp_path):
    write(tmp_path, "a", b"1")
    with (tmp_path / checksums.NAME).open("a") as file:
        file.write('{"file": "b", "by')
    write(tmp_path, "c", b"3")
    assert checksums.fault(tmp_path, "a") == checksums.fault(tmp_path, "c") == ""


def test_a_file_that_was_never_moved_into_place_is_not_gone(tmp_path):
    """Its checksum is there before it is; a process may be stopped between the two."""
    run = Run.create(tmp_path / "run")
    run._write_text("recipe.toml", "x")
    checksums.record(run.root, "masks.json", run.root / "recipe.toml")
    assert run.read_masks() is None
    run.write_masks([[1.0]])
    (run.root / "masks.json").unlink()
    with pytest.raises(RunError, match=r"masks\.json is gone: `mscon probe` wrote it here"):
        run.read_masks()
