"""Files are written whole or not at all."""

from __future__ import annotations

import pytest

from mscon import whole


def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "kept.txt"
    whole.write_text(path, "old")

    def fails(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole.write_with(path, fails)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_folders_are_made_and_files_are_readable_by_others(tmp_path):
    path = tmp_path / "a" / "b.json"
    whole.write_json(path, {"x": 1.5})
    assert path.read_text() == '{\n  "x": 1.5\n}\n'
    assert path.stat().st_mode & 0o777 == 0o644


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        whole.write_json(tmp_path / "x.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())
