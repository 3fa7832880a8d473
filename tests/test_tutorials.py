"""Every block of a tutorial, and of the pages for those who come from other libraries, runs, on fewer rows."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from pages import blocks, run
from shapes import unchecked_shapes

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs" / "tutorials").glob("*.md"), *(ROOT / "docs" / "migrating").glob("*.md")])
FOLDERS: dict[Path, Path] = {}
pytestmark = pytest.mark.usefixtures("short_probes")


def finished(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a page was run, once; it begins with a copy of that of the page that it goes on from."""
    for module in re.findall(r"<!-- tests of this page need (\w+) -->", page.read_text("utf-8")):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if page not in FOLDERS:
        folder = tmp_path_factory.mktemp(page.stem) / "folder"
        before = re.search(r"goes on where \[[^\]]+\]\(([^)]+)\) ends", page.read_text("utf-8"))
        if before:
            shutil.copytree(finished(page.parent / before[1], tmp_path_factory), folder)
        else:
            folder.mkdir()
        with unchecked_shapes():
            assert run(page, folder) >= 3
        FOLDERS[page] = folder
    return FOLDERS[page]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_runs_from_top_to_bottom(page, tmp_path_factory, capsys):
    finished(page, tmp_path_factory)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_what_a_page_shows_and_tests_do_not_run_is_output_or_installation(page):
    languages = {block.language for block in blocks(page)}
    assert languages <= {"python", "bash", "toml", "text", "console"}
    lines = [line for block in blocks(page) if block.language == "console" for line in block.code.splitlines()]
    assert all(re.match(r"\$ (python3 -m venv|\. |pip install|mscon (doctor|train|report))", line) for line in lines)
