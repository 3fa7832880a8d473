"""How many starting features beside the learned ones: `python experiments/beside.py FOLDER`, of `mscon compare`.

Takes the features of the frozen start and of the finished runs of MSCon + same row, for all columns and with each one
held out, and probes the learned features beside all of the start or its first principal components. Prints the scores
on validation rows, by which to choose, and on test rows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from mscon.evaluate.column_probes import FrozenFeatures, linear
from mscon.evaluate.metrics.catalog import MEASURES
from mscon.evaluate.targets import probe_columns
from mscon.run.run import Run

LEADING = [name for name, measure in MEASURES.items() if measure.probe == "linear" and measure.leads]


def main(folder: Path) -> None:
    comparison = json.loads((folder / "compare.json").read_text("utf-8"))
    learned = next(title for title in comparison["runs"] if title.startswith("MSCon + same row"))
    start = Run.open(folder / "runs" / comparison["runs"]["frozen start"][0])
    runs = {"": comparison["runs"], **comparison["runs_held_out"]}
    recipe, rows, before = start.read_recipe(), start.read_rows(), start.read_features()
    train = (rows["split"] == "train").to_numpy()
    components = PCA(512, svd_solver="randomized", random_state=0).fit(before[train]).transform(before)
    for held_out, methods in runs.items():
        after = Run.open(folder / "runs" / methods[learned][0]).read_features()
        besides = {"all": before, **{str(count): components[:, :count] for count in (512, 256, 128)}}
        spaces = {"start alone": before, "learned alone": after}
        spaces |= {name: np.concatenate([part, after], axis=1, dtype=np.float32) for name, part in besides.items()}
        for column in probe_columns(start, recipe, rows)["linear"]:
            if held_out not in ("", column.column):
                continue
            for name, space in spaces.items():
                record, _ = linear(column, FrozenFeatures.of(space, rows, recipe))[0]
                measure = next(measure for measure in LEADING if measure in record)
                validation = record.get("validation_accuracy", record.get("validation_score"))
                print(
                    f"{column.column}{', held out' if held_out else ''}; {name}: {measure} "
                    f"{100 * validation:.1f} on validation rows, {100 * record[measure]['value']:.1f} on test rows"
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
