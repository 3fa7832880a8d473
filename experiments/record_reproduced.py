"""Keeps what `mscon reproduce` found: `python experiments/record_reproduced.py runs/reproduce glyphs/table3 ...`

Without names it goes over all experiments. Of one that was reproduced as it is written, table.md, results.json, the
figure and expected.toml are put into experiments/SOURCE/NAME; of one on a data set that is not at hand, a table.md
with the paper's numbers, if it has any, and the reason why ours are missing. A README is written where there is none;
what it says of the results is written by hand. Every number comes from the run directories.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import textwrap
from datetime import date
from pathlib import Path
from typing import Any

import tomli_w

from mscon.run.run import Run
from mscon_paper import files
from mscon_paper.experiment import Experiment
from mscon_paper.results import read
from mscon_paper.table import result_text

HERE = Path(__file__).parent
KEPT = ("table.md", "results.json", "figure.svg", "figure.png", "curves.svg", "curves.png")


def record(name: str, runs: Path, trained_at: str) -> None:
    one, folder = files.find(name), HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    made = runs / name
    if (made / "results.json").is_file():
        results = json.loads((made / "results.json").read_text("utf-8"))
        if results["changed"]:
            raise SystemExit(f"{made} was changed from the experiment ({results['changed']}); it is not kept.")
        for kept in KEPT:
            if (made / kept).is_file():
                shutil.copyfile(made / kept, folder / kept)
        told = expected(name, results, runs / one.source / "runs", trained_at)
        (folder / "expected.toml").write_text(tomli_w.dumps(told), "utf-8")
    elif one.data and one.numbers:
        planned = one.plan(1)
        reason = f"not run: {one.source_title} is not at hand here; `mscon reproduce {name} --data ROOT` runs it"
        result = read(one, planned, folder, {run.name: reason for run in planned})
        (folder / "table.md").write_text(result_text(result), "utf-8")
    readme = folder / "README.md"
    if not readme.exists():
        readme.write_text(introduction(name, one), "utf-8")


def expected(name: str, results: dict[str, Any], pool: Path, trained_at: str) -> dict[str, Any]:
    """The numbers with their intervals, and where they come from."""
    names = sorted({run for reading in results["readings"] for run in reading["runs"]})
    runs = [Run.open(pool / one) for one in names]
    seconds = sorted(run.read_facts()["trained"]["seconds"] for run in runs)
    commit = subprocess.run(["git", "rev-parse", trained_at], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "command": f"mscon reproduce {name}",
        "commit": commit,
        "date": date.today(),
        "machine": runs[0].read_facts()["machine"],
        "versions": runs[0].read_facts()["versions"],
        "precision": runs[0].read_facts()["precision"],
        "seeds": max(reading["seeds"] for reading in results["readings"]),
        "runs": len(runs),
        "median_seconds_to_train_a_run": seconds[len(seconds) // 2],
        "minutes_of_training_in_all": round(sum(seconds) / 60, 1),
        "number": [
            {
                "method": reading["row"],
                **({"case": reading["case"]} if reading["case"] else {}),
                "measure": reading["measure"],
                "column": reading["column"],
                **{key: round(reading["ours"][key], 4) for key in ("value", "low", "high")},
            }
            for reading in results["readings"]
            if reading["ours"] is not None
        ],
    }


def introduction(name: str, one: Experiment) -> str:
    data = f" --data ROOT   # ROOT: {one.data}" if one.data else ""
    file = _file(name)
    up = "../../../src/mscon_paper/experiments"
    if one.numbers:
        beside = "The paper's numbers stand in [table.md](table.md)."
    elif one.published:
        beside = f"The paper's {one.paper} is on {' and '.join(one.published)}; its numbers stand below ours."
    else:
        beside = f"No number of the paper stands beside ours: {one.reason}."
    missing = f" Not run here: {one.source_title} is not at hand." if one.data else ""
    return f"""# {one.title}

{_wrapped(f"On {one.source_title}. {one.about}")}

{_wrapped(beside + missing)}

```bash
mscon reproduce {name}{data}
```

What is run is [`{file}.toml`]({up}/{file}.toml), the methods are [`methods.toml`]({up}/methods.toml); `mscon reproduce`
without a name tells how many runs that is.
`python experiments/record_reproduced.py runs/reproduce {name}` keeps here `table.md` (the paper's numbers and ours),
`results.json`, the figure, and `expected.toml` (every number, machine, commit).
"""


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _file(name: str) -> str:
    """The file that an experiment is written in; several may be in one."""
    stems = [f.stem for f in (HERE.parent / "src/mscon_paper/experiments").glob("*.toml")]
    own = name.partition("/")[2]
    return max((stem for stem in stems if own == stem or own.startswith(f"{stem}_")), key=len)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="what `mscon reproduce` was given as --out")
    parser.add_argument("names", nargs="*", help="experiments; all by default")
    parser.add_argument("--trained-at", metavar="COMMIT", default="HEAD", help="commit that trained the runs")
    asked = parser.parse_args()
    for name in asked.names or files.names():
        record(name, asked.out, asked.trained_at)
