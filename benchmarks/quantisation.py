"""What storing vectors in fewer bits loses: recall@10 against the exact nearest rows of float32 vectors.

    python benchmarks/quantisation.py --runs glyphs out/glyphs/runs/mscon-seed* --runs icons out/icons/runs/mscon-seed*
    ... --write                                   also writes benchmarks/results/quantisation.md

Runs are only read. Queries are up to 500 test rows of each run, searched for among all other rows by cosine: in each
space of projections, in the mix of all of them with equal weights, and by features. Queries stay float32. "decoded" are
vectors as `mscon.deploy.vector_files.read_vectors` reads them; "as stored" is one inner product with the integers
themselves, times the step of each dimension, as an index computes it that knows no unit length. Of binary vectors the
best 40 by their decoded vectors are scored again, by the vectors in float32 or int8.

Recall@10 is the share of the exact 10 that are found. "cosine lost" is how much lower the mean cosine of the 10 found
is than that of the exact 10: where rows lie close together, others that are as near are found.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from machine import machine

from mscon.deploy.vectors import Quantisation, Statistics, unit
from mscon.run import atomic
from mscon.run.run import Run

RESULTS = Path(__file__).parent / "results"
K, CANDIDATES, MOST_QUERIES = 10, 40, 500
WAYS = (
    "float16",
    "int8, decoded",
    "int8, as stored",
    "binary, decoded",
    "binary, 40 rescored by float32",
    "binary, 40 rescored by int8",
)

Scores = Float[np.ndarray, "queries rows"]
Found = Int[np.ndarray, "queries hits"]


def best(scores: Scores, k: int) -> Found:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def found_by(
    vectors: Float[np.ndarray, "rows width"], widths: tuple[int, ...], queries: np.ndarray
) -> dict[str, Found]:
    """The 10 rows that each way finds, and those that are right."""

    def scores(rows: Float[np.ndarray, "rows width"]) -> Scores:
        values = vectors[queries].astype(np.float64) @ rows.T.astype(np.float64)
        values[np.arange(len(queries)), queries] = -np.inf
        return values

    statistics = Statistics.of(vectors)
    int8, binary = (Quantisation.fit(name, widths, statistics, True) for name in ("int8", "binary"))
    stored = int8.encode(vectors)
    exact, of_int8 = scores(vectors), scores(int8.decode(stored))
    of_binary = scores(binary.decode(binary.encode(vectors)))
    candidates = best(of_binary, CANDIDATES)

    def rescored(by: Scores) -> Found:
        return np.take_along_axis(candidates, best(np.take_along_axis(by, candidates, axis=1), K), axis=1)

    raw = scores(np.array(int8.offsets) + np.array(int8.steps) * stored)
    return {
        "exact": best(exact, K),
        "float16": best(scores(vectors.astype(np.float16)), K),
        "int8, decoded": best(of_int8, K),
        "int8, as stored": best(raw, K),
        "binary, decoded": best(of_binary, K),
        "binary, 40 rescored by float32": rescored(exact),
        "binary, 40 rescored by int8": rescored(of_int8),
    }


def spaces_of(run: Run) -> Mapping[str, tuple[Float[np.ndarray, "rows width"], tuple[int, ...]]]:
    """The vectors of a run by the names of their columns, each space of unit length."""
    projections = [unit(np.asarray(one, dtype=np.float32)) for one in run.read_projections()]
    names = [part["column"] for part in run.read_recipe_values()["similarity"]]
    widths = tuple(one.shape[1] for one in projections)
    features = unit(np.asarray(run.read_features(), dtype=np.float32))
    each = {name: (one, one.shape[1:]) for name, one in zip(names, projections, strict=True)}
    return {"mix": (np.concatenate(projections, axis=1), widths), "features": (features, features.shape[1:]), **each}


def measured(path: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """For each space and way the recall lost, and the cosine lost."""
    run = Run.open(path)
    test = np.flatnonzero(run.read_rows()["split"].to_numpy() == "test")
    queries = np.random.default_rng(0).choice(test, min(MOST_QUERIES, len(test)), replace=False)
    results: dict[str, dict[str, tuple[float, float]]] = {}
    for name, (vectors, widths) in spaces_of(run).items():
        found = found_by(vectors, widths, queries)
        cosines = {
            way: np.einsum("qd,qkd->qk", vectors[queries], vectors[rows]).mean() / len(widths)
            for way, rows in found.items()
        }
        results[name] = {
            way: (
                1
                - np.mean(
                    [np.isin(rows, right).mean() for rows, right in zip(found[way], found["exact"], strict=True)]
                ),
                float(cosines["exact"] - cosines[way]),
            )
            for way in WAYS
        }
    return results


def table_of(title: str, runs: list[dict[str, dict[str, tuple[float, float]]]]) -> list[str]:
    names = list(runs[0])
    lines = [f"## {title}, mean of {len(runs)} runs", "", f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for way in WAYS:
        cells = []
        for name in names:
            recall, cosine = (float(np.mean([run[name][way][n] for run in runs])) for n in (0, 1))
            cells.append(f"{recall:.3f} ({cosine:.1g})")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", nargs="+", action="append", required=True, metavar="NAME RUN", help="a name, and runs"
    )
    parser.add_argument("--write", action="store_true", help="write the tables under benchmarks/results")
    arguments = parser.parse_args()
    description = (__doc__ or "").split("\n\n", 2)[2].strip()
    lines = ["# Vectors in fewer bits", "", "Recall@10 lost, and in brackets the cosine lost.", "", description, ""]
    for title, *paths in arguments.runs:
        lines += table_of(title, [measured(Path(path)) for path in paths])
    lines += [f"{machine()}.", "", "Made by `python benchmarks/quantisation.py --write`.", ""]
    print("\n".join(lines))
    if arguments.write:
        atomic.write_text(RESULTS / "quantisation.md", "\n".join(lines))


if __name__ == "__main__":
    main()
