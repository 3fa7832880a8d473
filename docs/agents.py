"""What coding agents read, written from the pages that people read: docs/llms.txt and docs/skill/SKILL.md.

`python docs/agents.py` writes both. A test fails if they differ from what this would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mscon.cli import command_parser
from mscon.method import catalogue

DOCS = Path(__file__).parent
_PROMISE = "One embedding from several label columns of a table, and search by any mix of them (PyTorch)."

_SKILL = """---
name: mscon
description: Train, evaluate and search one embedding from several label columns of a table (images, vectors, texts \
or columns of numbers) with the mscon command line or its PyTorch loss; find wrong labels; predict missing ones. Use \
it when rows have more than one label column, or are to be searched by colour, shape, price or any mix of these.
---

# mscon

{promise}

Written by `docs/agents.py` from the tutorials, the help texts and the catalogue. Every command below is run by a test.

## Rules

- Look before you train: `mscon init` proposes a recipe with reasons, `mscon check` reads the whole table and writes
  nothing, `mscon train --dry-run` takes two steps.
- Exit status 2 is a mistake in the input: one message says where it is and what to do, and nothing was written.
  Repair that, do not retry.
- An empty cell is a missing label. Empty cells that say `unknown` or `-1` first; they would be a class.
- Change one value of a recipe with `--set train.epochs=12`, not by rewriting the file.
- Existing outputs are refused. `--overwrite` replaces what mscon wrote; use it only if the user wants that.
- Never pass `--trust` for a run or a model that somebody sent: it imports and executes code that they name.
- Report scores with their intervals, and with the score of what training started from (`mscon probe` prints both).
  A gain within its interval is none.
- `mscon doctor --json` says what is installed; `mscon VERB --help` and `mscon list` say everything else.

## Commands by task

{tasks}

## In a training loop

```python
{loop}```

## Verbs

{verbs}

## Kinds of similarity

{kinds}

More: [llms.txt](../llms.txt) lists every page of the documentation.
"""


def skill() -> str:
    """The text of docs/skill/SKILL.md."""
    tasks = "\n\n".join(
        f"**{_title(page)}** ([tutorial](../{page}))\n\n```bash\n{commands}\n```"
        for page in pages("Tutorials")
        if (commands := "\n".join(_commands(page)))
    )
    (loop,) = re.findall(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text("utf-8"), re.DOTALL)
    verbs = {name: (verb.description or "").partition("\n")[0] for name, verb in command_parser()[1].choices.items()}
    kinds = {name: catalogue.find("similarity", name).__doc__ or "" for name in catalogue.names("similarity")}
    return _SKILL.format(
        promise=_PROMISE,
        tasks=tasks,
        loop=loop,
        verbs="\n".join(f"- `mscon {name}`: {summary}" for name, summary in verbs.items()),
        kinds="\n".join(f"- `{name}`: {text.strip().partition(chr(10))[0]}" for name, text in kinds.items()),
    )


def llms() -> str:
    """The text of docs/llms.txt, after https://llmstxt.org."""
    lines = ["# mscon", "", f"> {_PROMISE}", ""]
    lines += [
        "`mscon VERB --help` and `mscon list` print the reference; docs/skill/SKILL.md is a skill for agents.",
        "",
    ]
    for section in ("Tutorials", "How to", "Explanation", "Coming from"):
        lines += [f"## {section}", ""]
        for page in pages(section):
            headings = re.findall(r"^## (.+)$", _text(page), re.MULTILINE)
            lines.append(": ".join(filter(None, (f"- [{_title(page)}]({page})", "; ".join(headings)))))
        lines.append("")
    return "\n".join(lines)


def pages(section: str) -> list[str]:
    """The pages of a section of the navigation that are files, from docs/."""
    text = (DOCS.parent / "mkdocs.yml").read_text("utf-8").split("\nnav:\n")[1]
    (block,) = re.findall(rf"^  - {section}:\n((?:      - .+\n)+)", f"{text}\n", re.MULTILINE)
    return [page for page in re.findall(r"- (\S+\.md)\n", block) if (DOCS / page).is_file()]


def _commands(page: str) -> Iterator[str]:
    for block in re.findall(r"^```bash\n(.*?)^```", _text(page), re.DOTALL | re.MULTILINE):
        yield from (line for line in block.splitlines() if re.match(r"(PYTHONPATH=\. )?mscon ", line))


def _title(page: str) -> str:
    return _text(page).partition("\n")[0].removeprefix("# ")


def _text(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


FILES = {DOCS / "llms.txt": llms, DOCS / "skill" / "SKILL.md": skill}

if __name__ == "__main__":
    for path, text in FILES.items():
        path.write_text(text(), "utf-8")
