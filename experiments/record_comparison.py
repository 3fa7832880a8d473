"""Keeps what `mscon compare` measured: `python experiments/record_comparison.py FOLDER NAME RECIPE COMMAND...`

Copies table.md and the recipe to experiments/compare/NAME and writes a README with the verdict and with
how far the recipe is behind the best of all methods on each column. What the README says below `<!-- /measured -->` is
written by hand and stays. Every number comes from the files of the comparison.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from record import expected

from mscon.errors import counted
from mscon.run.run import Run

HERE = Path(__file__).parent / "compare"
END = "<!-- /measured -->"


def against_the_best(comparison: dict[str, Any]) -> list[str]:
    """A line for each column, by its first measure: the recipe, the best method, and how far the recipe is behind it."""
    titles = [method["title"] for method in comparison["methods"]]
    recipe = next(n for n, title in enumerate(titles) if "this recipe" in title)
    lines = ["| column | trained on | measure | this recipe | best | behind it by |", "|---|---|---|---|---|---|"]
    before = set()
    for row in comparison["columns"]:
        cell = row["cells"][recipe]
        if cell is None or (row["column"], row["held_out"]) in before:
            continue
        before.add((row["column"], row["held_out"]))
        best = next(
            n for n, other in enumerate(row["cells"]) if other and other["standing"] in ("only", "best", "first")
        )
        gap = "is the best" if best == recipe else text(cell["behind_by"], row)
        lines.append(
            f"| {row['column']}{', held out' if row['held_out'] else ''} | {'yes' if row['in_domain'] else 'no'} "
            f"| {row['measure'].replace('_', ' ')}{' %' if row['unit'] == 'share' else ''} | {text(cell, row)} "
            f"| {titles[best]}, {text(row['cells'][best], row)} "
            f"| {f'**{gap}**' if cell['standing'] == 'behind' else gap} |"
        )
    return lines


def text(interval: dict[str, float], row: dict[str, Any]) -> str:
    scale, digits = (100, 1) if row["unit"] == "share" else (1, 3)
    value, low, high = (f"{scale * interval[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main(folder: Path, name: str, recipe: Path, command: list[str]) -> None:
    comparison = json.loads((folder / "compare.json").read_text("utf-8"))
    named = [names for part in (comparison["runs"], *comparison["runs_held_out"].values()) for names in part.values()]
    runs = [Run.open(folder / "runs" / run) for run in sorted({run for names in named for run in names})]
    out = HERE / name
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "table.md", out / "table.md")
    shutil.copyfile(recipe, out / "recipe.toml")
    facts = expected(comparison, runs, "; ".join(command))
    seeds = max(method["seeds"] for method in comparison["methods"])  # the start has one
    title = recipe.read_text("utf-8").splitlines()[0].removeprefix("# ").rstrip(".")
    readme = out / "README.md"
    by_hand = readme.read_text("utf-8").partition(END)[2] if readme.exists() else "\n"
    measured = [
        f"# {title}\n",
        "```bash",
        *command,
        "```\n",
        f"{counted(seeds, 'seed')}, {counted(len(runs), 'run')}, {sum(run.read_facts()['trained']['seconds'] for run in runs):,.0f} s "
        f"of training in all. Intervals are over rows{' and seeds' if seeds > 1 else ''}, paired; a gap in bold is "
        "clear. [table.md](table.md) has all methods and measures. "
        f"{facts['date']}, commit {facts['commit'][:7]}, torch {facts['versions']['torch']}.\n",
        *(f"- {sentence}" for sentence in comparison["verdict"]),
        "",
        *against_the_best(comparison),
        f"\n{END}",
    ]
    readme.write_text("\n".join(measured) + by_hand, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
