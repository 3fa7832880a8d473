"""Keeps what a comparison found: `python experiments/record.py runs/demo experiments/glyphs_demo "mscon demo"`.

Copies report.html, report.json, compare.json and table.md, writes expected.toml, and puts the verdict and the table of
methods into the README, between its markers. Every number there comes from the files of the comparison; nothing is
typed by hand.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import tomli_w

from mscon.run.run import Run

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- results -->", "<!-- /results -->"
_README_BLOCKS = 4  # three sentences, and the table of methods


def expected(comparison: dict[str, Any], runs: list[Run], command: str) -> dict[str, Any]:
    """The numbers with their intervals, and where they come from."""
    facts = runs[0].read_facts()
    trained = [run.read_facts()["trained"]["seconds"] for run in runs]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    titles = [method["title"] for method in comparison["methods"]]
    return {
        "command": command,
        "commit": commit,
        "date": date.today(),
        "machine": facts["machine"],
        "versions": facts["versions"],
        "seeds": min(method["seeds"] for method in comparison["methods"]),
        "median_seconds_to_train_a_run": sorted(trained)[len(trained) // 2],
        "number": [
            {
                "method": title,
                "column": column["column"],
                "held_out": column["held_out"],
                "measure": column["measure"],
                **{key: round(cell[key], 4) for key in ("value", "low", "high")},
            }
            for column in comparison["columns"]
            for title, cell in zip(titles, column["cells"], strict=True)
            if cell is not None
        ],
    }


def main(folder: Path, out: Path, command: str) -> None:
    comparison = json.loads((folder / "compare.json").read_text("utf-8"))
    runs = [Run.open(folder / "runs" / name) for names in comparison["runs"].values() for name in names]
    out.mkdir(parents=True, exist_ok=True)
    for name in ("report.html", "report.json", "compare.json", "table.md"):
        shutil.copyfile(folder / name, out / name)
    (out / "expected.toml").write_text(tomli_w.dumps(expected(comparison, runs, command)), "utf-8")
    table = (out / "table.md").read_text("utf-8")
    results = "\n\n".join(table.split("\n\n")[:_README_BLOCKS])
    pattern = re.compile(f"({re.escape(START)}).*?({re.escape(END)})", re.DOTALL)
    text = README.read_text("utf-8")
    README.write_text(pattern.sub(lambda markers: f"{markers[1]}\n{results}\n{markers[2]}", text), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
