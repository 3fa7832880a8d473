"""The documentation as a site: built without a warning, complete, and without a request to another host."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mscon
from mscon.cli import command_parser
from mscon.method import catalogue

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("mkdocs", "material", "mkdocstrings_handlers")),
    reason="the extra 'docs' is not installed",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Its folder. `--strict` makes each warning an error: a link that leads nowhere, a name that is gone."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr[-3000:]
    return folder


def shown(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text("utf-8")))


def test_the_home_page_is_the_readme(site):
    text = shown(site / "index.html")
    assert "Train one embedding from several label columns" in text and "make demo" in text
    assert 'src="explorer.png"' in (site / "index.html").read_text("utf-8")


def test_the_reference_has_every_verb_as_its_help_prints_it(site):
    text = shown(site / "reference" / "commands.html")
    for name, verb in command_parser()[1].choices.items():
        assert f"usage: mscon {name}" in text
        assert re.sub(r"\s+", " ", verb.description or "") in re.sub(r"\s+", " ", text), name


def test_the_reference_has_every_public_name_and_every_part_of_the_catalogue(site):
    ids = set(re.findall(r'id="(mscon[\w.]+)"', "".join(p.read_text("utf-8") for p in (site / "reference").glob("*"))))
    public = {f"{home}.{name}" for name, home in mscon._HOME.items() if name not in mscon._MODULES}
    parts = {catalogue.find(kind, name) for kind in catalogue.kinds() for name in catalogue.names(kind)}
    assert public | {f"{part.__module__}.{part.__qualname__}" for part in parts} <= ids
    assert "probability of mirroring the image left to right" in shown(site / "reference" / "recipes.html")


def test_sources_of_docstrings_are_paragraphs(site):
    pages = [path.read_text("utf-8") for path in (site / "reference").glob("*.html")]
    assert sum(page.count("<strong>Source:</strong>") for page in pages) > 40
    assert not any('<details class="source"' in page for page in pages)


def test_the_site_asks_no_other_host_for_anything(site):
    pages = [path for path in site.rglob("*.html") if "repository" not in path.parts]
    assert len(pages) > 80
    for page in pages:
        text = re.sub(r"<link rel=\"canonical\"[^>]*>", "", page.read_text("utf-8"))
        assert not re.findall(r"<(?:script|img|iframe|link)[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>", text), page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text("utf-8")), sheet.name


def test_search_knows_pages_and_leaves_out_source_files(site):
    entries = json.loads((site / "search" / "search_index.json").read_text("utf-8"))["docs"]
    places = {entry["location"].partition("#")[0] for entry in entries}
    assert {"tutorials/first_table.html", "glossary.html", "reference/commands.html"} <= places
    assert not any(place.startswith("repository/") for place in places)


def test_what_llms_txt_links_to_is_beside_it(site):
    targets = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text("utf-8"))
    assert len(targets) > 20 and all((site / target).is_file() for target in targets)


def test_every_page_but_decisions_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if not page.startswith("decisions/") and f" {page}\n" not in f"{text}\n"} == set()
