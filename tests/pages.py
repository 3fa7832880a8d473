"""Pages: the blocks of a document, run from top to bottom in one folder, as a reader would."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mscon.cli import main

_FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# In a page: "<!-- tests use 40 for 400 -->", for the blocks below it.
_SMALLER = re.compile(r"<!-- tests use (.+?) for (.+?) -->")
# Before a block: "<!-- tests need pytorch_metric_learning -->"; where that is not installed, the block does not run.
_NEEDS = re.compile(r"<!-- tests need (\w+) -->\s*$")
# What bash does and argv cannot: then the line is not only a call of mscon.
_SHELL = re.compile(r"[|<>;&$*`]")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code in a page.

    Attributes:
        language: such as "bash".
        file: what it is called; it is the content of that file.
        code: without its fences.
        line: of its fence, from 1.
    """

    language: str
    file: str | None
    code: str
    line: int


def blocks(page: Path, *, as_shown: bool = False) -> Iterator[Block]:
    """In their order, as tests run them, or as readers see them."""
    text = page.read_text("utf-8")
    smaller = [] if as_shown else list(_SMALLER.finditer(text))
    for fence in _FENCE.finditer(text):
        needs = _NEEDS.search(text, 0, fence.start())
        if needs and importlib.util.find_spec(needs[1]) is None:
            continue
        code = fence[3]
        for comment in smaller:
            if comment.start() < fence.start():
                code = code.replace(comment[2], comment[1])
        yield Block(fence[1], fence[2], code, text.count("\n", 0, fence.start()) + 1)


def run(page: Path, folder: Path) -> int:
    """Run `python` and `bash` blocks of a page and write its named files; returns how many blocks there were.

    All python blocks share their names. A call of mscon runs in this process, where imports are done.
    """
    names: dict[str, object] = {"__name__": "page"}
    count = 0
    with contextlib.chdir(folder), _path(folder):
        for block in blocks(page):
            count += 1
            if block.file is not None:
                Path(block.file).write_text(block.code, "utf-8")
            elif block.language == "python":
                exec(compile("\n" * block.line + block.code, str(page), "exec"), names)
            elif block.language == "bash":
                for command in _commands(block.code):
                    _call(command)
            else:
                count -= 1
    return count


@contextlib.contextmanager
def _path(folder: Path) -> Iterator[None]:
    """Modules that the page writes can be imported, as with PYTHONPATH=.; afterwards they are forgotten."""
    known = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]


def _commands(code: str) -> list[str]:
    lines = code.replace("\\\n", " ").splitlines()
    return [line for line in lines if shlex.split(line, comments=True)]


def _call(command: str) -> None:
    words = shlex.split(command, comments=True)
    words = words[1:] if words[0] == "PYTHONPATH=." else words
    if words[0] == "mscon" and not _SHELL.search(re.sub(r"'[^']*'", "", command)):
        assert main(words[1:]) == 0, command
    else:
        subprocess.run(["bash", "-e", "-c", command], check=True)
