"""Headline: what was compared, in a title and a few facts, and which run is looked at closely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mscon.errors import counted
from mscon.evaluate.report.compare import Comparison
from mscon.evaluate.report.gather import Gathered, Member, Method

SPLITS = ("train", "validation", "test", "unseen")


def closest_look(gathered: Gathered, comparison: Comparison) -> tuple[Method, Member]:
    """The run to look at closely: of the methods with most similarities, that with the best mean out of domain."""

    def rank(i: int) -> tuple[int, float]:
        columns = comparison.of("out_of_domain") or comparison.of("in_domain")
        scores = [cell.score.value for column in columns if (cell := column.cells[i]) is not None]
        return len(gathered.methods[i].columns), float(np.mean(scores)) if scores else 0.0

    method = gathered.methods[max(range(len(gathered.methods)), key=rank)]
    return method, method.members[0]


def table_name(gathered: Gathered) -> str:
    """Of the table that all runs saw, without its folder."""
    first = next(gathered.members)
    return str(first.run.facts.get("table", {}).get("name", "the table"))


def title(methods: Sequence[Method], table: str) -> str:
    if len(methods) == 1:
        return f"{methods[0].title} on {table}"
    return f"{len(methods)} methods compared on {table}"


def headline(gathered: Gathered, table: str) -> list[tuple[str, str]]:
    """What every reader asks first: how many rows, trained on what, with which encoder, for how long."""
    recipes = [member.recipe for member in gathered.members]
    trained = dict.fromkeys(column for method in gathered.methods for column in method.columns)
    rest = [q.column for q in gathered.questions if not q.in_domain]
    encoders = dict.fromkeys(
        r["encoder"]["name"] + (", pretrained" if r["encoder"].get("pretrained") else "") for r in recipes
    )
    epochs = dict.fromkeys(str(r["train"]["epochs"]) for r in recipes)
    sizes = dict.fromkeys(_input(r["data"]) for r in recipes)
    runs = counted(len(recipes), "run")
    methods = counted(len(gathered.methods), "method")
    return [
        ("Table", f"{table}, {counted(gathered.rows.height, 'row')}"),
        ("Rows per split", split_counts(gathered.rows["split"].to_list())),
        ("Trained on", ", ".join(trained)),
        ("Asked but not trained on", ", ".join(dict.fromkeys(rest)) or "nothing"),
        ("Encoder", f"{', '.join(encoders)}; {' and '.join(sizes)}"),
        ("Trained", f"{methods}, {runs}, {' or '.join(epochs)} epochs"),
    ]


def _input(data: Mapping[str, Any]) -> str:
    """What is encoded: images by their side in pixels, anything else by its name."""
    kind = data.get("input", "image")
    return f"{data['image_size']} px" if kind == "image" else str(kind)


def split_counts(splits: Sequence[str]) -> str:
    counts = Counter(splits)
    return ", ".join(f"{counts[name]:,} {name}" for name in in_order(counts))


def in_order(splits: Sequence[str] | Counter[str]) -> list[str]:
    """The splits that there are, train first."""
    there = dict.fromkeys(splits)
    return [*(s for s in SPLITS if s in there), *(s for s in there if s not in SPLITS)]
