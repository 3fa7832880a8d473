"""The script of the page: its modules by node's own tests, and as they are joined into the page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mscon.search.explorer.page import joined_script

TESTS = Path(__file__).parent / "js"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not here to run the script of the page")


@needs_node
def test_the_modules_do_what_they_say():
    command = ["node", "--test", str(TESTS / "page.test.mjs")]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stdout + process.stderr
    assert int(re.search(r"^# pass (\d+)$", process.stdout, re.MULTILINE)[1]) > 30


@needs_node
def test_the_joined_script_is_one_script(tmp_path):
    (tmp_path / "page.js").write_text(joined_script(), "utf-8")
    process = subprocess.run(["node", "--check", str(tmp_path / "page.js")], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr


def test_every_module_is_joined_and_no_two_of_them_share_a_name():
    """They share one scope in the page, where a second function of a name would silently replace the first."""
    script = joined_script()
    names = re.findall(r"^(?:const|let|class|(?:async )?function) (\w+)", script, re.MULTILINE)
    assert len(names) == len(set(names)) > 100
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    from importlib import resources

    for module in resources.files("mscon.search.explorer").joinpath("js").iterdir():
        first = module.read_text("utf-8").partition("\n")[0]
        assert script.count(first) == 1, module.name
