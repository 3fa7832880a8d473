"""What the first dimensions of projections are worth alone, with and without [heads] matryoshka.

    python benchmarks/matryoshka.py --runs "glyphs, without" a/* --runs "glyphs, with" b/* ... [--write]

Runs are only read; they were trained with and without `matryoshka = [8, 16]` on projections of 32 dimensions. Queries
are up to 500 test rows of each run. For the first 8, 16 and 32 dimensions of each space, scaled to unit length:

- retrieval: how alike the nearest 10 among training and test rows are to the query, from 0 to 1, by the similarity
  itself; in the space of each label column, and under an equal mix the mean over these columns;
- recall@10: the share of the nearest 10 by all 32 dimensions, under an equal mix, that are found.

Values are means over runs, with the standard deviation over runs in brackets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from machine import machine

from mscon.data.table.label_columns import LabelColumns
from mscon.deploy.vectors import unit
from mscon.run import atomic
from mscon.run.run import Run

RESULTS = Path(__file__).parent / "results"
DIMENSIONS, K, MOST_QUERIES = (8, 16, 32), 10, 500


def nearest(
    vectors: Float[np.ndarray, "rows dim"], queries: Int[np.ndarray, " queries"], among: Int[np.ndarray, " some"]
) -> Int[np.ndarray, "queries hits"]:
    scores = vectors[queries] @ vectors[among].T
    scores[queries[:, None] == among] = -np.inf
    return among[np.argsort(-scores, axis=1, kind="stable")[:, :K]]


def measured(path: Path) -> dict[str, list[float]]:
    """For each measure its values by `DIMENSIONS`."""
    run = Run.open(path)
    rows, recipe = run.read_rows(), run.read_recipe_values()
    labels = LabelColumns(rows, recipe, run.read_similarities(), run.may_import)
    split = rows["split"].to_numpy()
    test, among = np.flatnonzero(split == "test"), np.flatnonzero(np.isin(split, ["train", "test"]))
    queries = np.random.default_rng(0).choice(test, min(MOST_QUERIES, len(test)), replace=False)
    spaces = {part["column"]: n for n, part in enumerate(recipe["similarity"]) if part["column"] in labels.names}

    def retrieval(column: str, hits: Int[np.ndarray, "queries hits"]) -> float:
        one, other = (labels[column].read(numbers.ravel().tolist()) for numbers in (np.repeat(queries, K), hits))
        return float(np.nanmean(labels[column].agreement(one, other)))

    results: dict[str, list[float]] = {name: [] for name in (*spaces, "mix", "recall@10")}
    whole = np.concatenate(unit(np.asarray(run.read_projections(), dtype=np.float64)), axis=1)
    exact = nearest(whole, queries, among)
    for dimensions in DIMENSIONS:
        first = unit(np.asarray(run.read_projections()[:, :, :dimensions], dtype=np.float64))
        for column, number in spaces.items():
            results[column].append(retrieval(column, nearest(first[number], queries, among)))
        hits = nearest(np.concatenate(first, axis=1), queries, among)
        results["mix"].append(float(np.mean([retrieval(column, hits) for column in spaces])))
        results["recall@10"].append(float(np.mean([np.isin(a, b).mean() for a, b in zip(hits, exact, strict=True)])))
    return results


def table_of(title: str, runs: list[dict[str, list[float]]]) -> list[str]:
    names = list(runs[0])
    lines = [
        f"## {title}, {len(runs)} runs",
        "",
        f"| dimensions | {' | '.join(names)} |",
        f"|---|{'---:|' * len(names)}",
    ]
    for place, dimensions in enumerate(DIMENSIONS):
        values = {name: [run[name][place] for run in runs] for name in names}
        cells = (f"{np.mean(each):.3f} ({np.std(each, ddof=len(each) > 1):.3f})" for each in values.values())
        lines.append(f"| {dimensions} | {' | '.join(cells)} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", nargs="+", action="append", required=True, metavar="NAME RUN", help="a name, and runs"
    )
    parser.add_argument("--write", action="store_true", help="write the tables under benchmarks/results")
    arguments = parser.parse_args()
    lines = ["# First dimensions of projections", "", (__doc__ or "").split("\n\n", 2)[2].strip(), ""]
    for title, *paths in arguments.runs:
        lines += table_of(title, [measured(Path(path)) for path in paths])
    lines += [f"{machine()}.", "", "Made by `python benchmarks/matryoshka.py --write`.", ""]
    print("\n".join(lines))
    if arguments.write:
        atomic.write_text(RESULTS / "matryoshka.md", "\n".join(lines))


if __name__ == "__main__":
    main()
