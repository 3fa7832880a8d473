"""The demo: mscon compare on glyphs, then a report and an explorer page."""

from __future__ import annotations

import pytest

from mscon.cli import main
from mscon_paper import demo
from mscon_paper.sources import glyphs


@pytest.mark.usefixtures("short_probes")
def test_the_demo_ends_with_one_table_three_sentences_and_two_pages(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    families = ("abeezee", "fira-code", "bitter", "caveat", "lora", "space-mono")
    table = glyphs.prepare(tmp_path / "glyphs", characters="abcdefgh", families=families, unseen_families=2)
    monkeypatch.setattr(glyphs, "prepare", lambda root: table)
    monkeypatch.setattr(demo, "METHODS", ("simclr",))
    assert main(["demo", "--quick", "--jobs", "1", "--out", str(tmp_path / "demo")]) == 0
    lines = capsys.readouterr().out.splitlines()
    table_lines = lines[: lines.index("")]
    assert 4 <= len(table_lines) <= 25 and table_lines[0].startswith("| method")
    sentences = lines[len(table_lines) + 1 : lines.index("", len(table_lines) + 1)]
    assert len(sentences) == 3 and sentences[0].startswith("On the label columns")
    for page in ("report.html", "explorer.html"):
        assert (tmp_path / "demo" / page).is_file() and page in lines[-1]
    assert "weight, held out" in (tmp_path / "demo" / "table.md").read_text("utf-8")
