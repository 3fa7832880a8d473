"""Keeps what a comparison found: `python experiments/record.py runs/demo experiments/glyphs_demo "mscon demo"`.

Copies report.html and report.json, writes table.md and expected.toml, and puts the table into the README,
between its markers. Every number there comes from the run directories; nothing is typed by hand.
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

from mscon.evaluate.report.compare import compare, comparison_text
from mscon.evaluate.report.gather import gather
from mscon.run.run import Run

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- results -->", "<!-- /results -->"


def expected(comparison: dict[str, Any], runs: list[Run], command: str) -> dict[str, Any]:
    """The numbers with their intervals, and where they come from."""
    facts = runs[0].facts
    trained = [run.facts["trained"]["seconds"] for run in runs]
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
                "measure": column["measure"],
                **{key: round(cell[key], 4) for key in ("value", "low", "high")},
            }
            for column in comparison["columns"]
            for title, cell in zip(titles, column["cells"], strict=True)
            if cell is not None
        ],
    }


def main(folder: Path, out: Path, command: str) -> None:
    runs = [Run.open(path.parent) for path in sorted(folder.glob("*/recipe.toml"))]
    table = comparison_text(compare(gather(runs))).strip() + "\n"
    out.mkdir(parents=True, exist_ok=True)
    for name in ("report.html", "report.json"):
        shutil.copyfile(folder / name, out / name)
    (out / "table.md").write_text(table, "utf-8")
    comparison = json.loads((out / "report.json").read_text("utf-8"))
    (out / "expected.toml").write_text(tomli_w.dumps(expected(comparison, runs, command)), "utf-8")
    text = README.read_text("utf-8")
    pattern = re.compile(f"({re.escape(START)}).*?({re.escape(END)})", re.DOTALL)
    blocks = table.split("\n\n")
    probes = blocks[:4]  # neighbours are in the report
    has_best = any("**" in block for block in probes)
    legend = "\n".join(f"- {line}" for line in blocks[-1].splitlines() if has_best or not line.startswith("**"))
    body = "\n\n".join(["## What it is worth", introduction(runs, out), *probes, legend])
    README.write_text(pattern.sub(lambda m: f"{m[1]}\n{body.strip()}\n{m[2]}", text), "utf-8")


def introduction(runs: list[Run], out: Path) -> str:
    rows = runs[0].rows.get_column("split").value_counts()
    counts = dict(rows.iter_rows())
    seeds = len({run.recipe.train.seed for run in runs})
    link = out.resolve().relative_to(README.parent.resolve())
    return (
        f"Rendered glyphs: {counts['train']:,} to train on and {counts['test']:,} to test, {seeds} seeds each; all "
        "methods share encoder, rows,\nbudget and views. `make demo` makes this table and, among rows of families "
        f"that no method ever saw, those of\nnearest neighbours: [report]({link}/report.html), "
        f"[numbers]({link}/expected.toml), [what they say]({link}/README.md)."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
