"""What coding agents read is what this checkout would write, and its commands and links lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from pages import blocks

DOCS = Path(__file__).parent.parent / "docs"
SCRIPT = runpy.run_path(str(DOCS / "agents.py"))


@pytest.mark.parametrize("path", SCRIPT["FILES"], ids=lambda path: path.name)
def test_what_agents_read_is_up_to_date(path):
    assert path.read_text("utf-8") == SCRIPT["FILES"][path](), "run: python docs/agents.py"


def test_every_command_of_the_skill_is_one_that_a_tutorial_runs():
    tutorials = (block for page in (DOCS / "tutorials").glob("*.md") for block in blocks(page, as_shown=True))
    run = {line for block in tutorials if block.language == "bash" for line in block.code.splitlines()}
    (*shown, loop) = blocks(DOCS / "skill" / "SKILL.md")
    commands = {line for block in shown for line in block.code.splitlines()}
    assert len(commands) > 10 and commands <= run
    assert loop.language == "python"  # that of README.md, which is run too


def test_the_skill_names_itself_and_says_when_to_use_it():
    head = (DOCS / "skill" / "SKILL.md").read_text("utf-8").split("---\n")[1]
    fields = dict(line.split(": ", 1) for line in head.strip().splitlines())
    assert fields["name"] == "mscon" and "Use it when" in fields["description"] and len(fields["description"]) < 1024


def test_every_link_of_llms_txt_is_a_file():
    targets = re.findall(r"\]\(([^)]+)\)", (DOCS / "llms.txt").read_text("utf-8"))
    assert len(targets) > 20
    assert [target for target in targets if not (DOCS / target).is_file()] == []
