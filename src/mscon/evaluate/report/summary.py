"""Summary: what was compared, which run is looked at closely, and the main finding in words.

The wording follows from the intervals, not from taste.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mscon.errors import counted
from mscon.evaluate.metrics.bootstrap import Interval
from mscon.evaluate.metrics.catalog import MEASURES, Measure
from mscon.evaluate.report.compare import FEWEST_SEEDS, Cell, Column, Comparison
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
    return str(first.run.read_facts().get("table", {}).get("name", "the table"))


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


def finding(comparison: Comparison) -> tuple[str, ...]:
    """Sentences, most important first: out of domain, in domain, retrieval, and what limits them."""
    out, within, retrieved = comparison.linear(False), comparison.linear(True), comparison.of("precision_at_1")
    sentences: list[str] = []
    if not comparison.columns:
        return ("No column was probed, so there is nothing to say about the features yet.",)
    if len(comparison.methods) == 1:
        sentences += [_alone(c) for c in (*out, *within)]
    else:
        what = ["a column that no method trained on", *["likewise never trained on"] * len(out)]
        sentences += [_among(c, comparison.methods, w) for c, w in zip(out, what, strict=False)]
        sentences += _summary(within, comparison.methods)
    sentences += _retrieval(retrieved, comparison.methods)
    if min(comparison.seeds) < FEWEST_SEEDS:
        alone = len(comparison.methods) == 1
        sentences.append(
            f"{'There are' if alone else 'At least one method has'} fewer than {FEWEST_SEEDS} seeds: "
            f"{'the' if alone else 'its'} intervals cover the choice of rows but hardly the luck of the seed"
            f"{'.' if alone else ', so nothing is called best against it.'}"
        )
    return tuple(sentences)


def percent(share: float) -> str:
    """0.3768 is "37.7 %", with a space that does not break."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def span(interval: Interval, about: Measure = MEASURES["accuracy"]) -> str:
    """The ends of an interval in percent or points, or the unit of its measure: "36.5 to 38.9"."""
    return f"{about.shown(interval.low)} to {about.shown(interval.high)}"


def _scored(column: Column) -> list[tuple[int, Cell]]:
    return [(i, cell) for i, cell in enumerate(column.cells) if cell is not None]


def _guessing(column: Column, cell: Cell) -> str:
    about = column.about
    word = about.guess if about.probe == "neighbours" else f"guessing the {about.guess}"
    if column.baseline is None:
        return f"with no {word} to compare with"
    guess = f"{word} ({about.with_unit(column.baseline)})"
    if cell.score.low > column.baseline:
        return f"{'worse than' if about.lower_is_better else 'above'} {guess}"
    if cell.score.high < column.baseline:
        return f"{'better than' if about.lower_is_better else 'below'} {guess}"
    return f"not told apart from {guess}"


def _score(column: Column, cell: Cell) -> str:
    """The number with its unit, and what it is where that is not plain: "R² 0.512"."""
    number = column.about.with_unit(cell.score.value)
    return number if column.measure == "accuracy" else f"{column.about.title} {number}"


def _alone(column: Column) -> str:
    ((_, cell),) = _scored(column)
    how = "which was trained on" if cell.trained else "which was not trained on"
    return (
        f"On “{column.column}”, {how}, a linear probe of the frozen features reaches {_score(column, cell)} "
        f"(95 % interval {span(cell.score, column.about)}), {_guessing(column, cell)}."
    )


def _among(column: Column, methods: Sequence[str], what: str) -> str:
    """One column with several methods: who leads, and whether that is more than chance."""
    about = column.about
    ranked = sorted(_scored(column), key=lambda entry: -about.sign * entry[1].score.value)
    leader, top = ranked[0]
    start = f"On “{column.column}”, {what}, "
    score = f"{_score(column, top)} (95\N{NO-BREAK SPACE}% interval {span(top.score, about)})"
    if len(ranked) == 1:
        return f"{start}only “{methods[leader]}” was asked: {score}, {_guessing(column, top)}."
    if top.standing == "best":
        # The rival that comes nearest to the leader, by the lower end of the difference.
        rival, near = min(ranked[1:], key=lambda entry: _gap(entry[1]).low)
        gap = _gap(near)
        return (
            f"{start}“{methods[leader]}” is ahead of every other method: {score}; the nearest, "
            f"“{methods[rival]}”, is {about.shown(gap.value)}{' points' * about.in_percent} behind "
            f"({span(gap, about)})."
        )
    level = [f"“{methods[i]}”" for i, cell in ranked[1:] if cell.standing == "level"]
    behind = sum(cell.standing == "behind" for _, cell in ranked)
    text = f"{start}“{methods[leader]}” has the {'lowest' if about.lower_is_better else 'highest'} mean, {score}"
    if level:
        text += f", but is not told apart from {_listed(level)}: the paired difference includes zero"
        worse = "higher" if about.lower_is_better else "lower"
        return text + (f". The other {behind} methods are clearly {worse}." if behind > 1 else ".")
    return text + "; its differences to all others exclude zero, but on too few seeds to call it best."


def _gap(cell: Cell) -> Interval:
    assert cell.behind_by is not None, "only the leader has no gap"
    return cell.behind_by


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{', '.join(names[:2])} and {len(names) - 2} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _summary(columns: Sequence[Column], methods: Sequence[str]) -> list[str]:
    """Columns that were trained on, in one or two sentences."""
    winners: dict[str, list[str]] = {}
    undecided = []
    for column in columns:
        best = [methods[i] for i, cell in _scored(column) if cell.standing == "best"]
        if best:
            winners.setdefault(best[0], []).append(f"“{column.column}”")
        else:
            undecided.append(f"“{column.column}”")
    sentences = [
        f"Of the columns that were trained on, “{method}” is clearly best on {_listed(won)}."
        for method, won in winners.items()
    ]
    if undecided:
        sentences.append(f"On {_listed(undecided)}, trained on by at least one method, no method is clearly best.")
    return sentences


def _retrieval(columns: Sequence[Column], methods: Sequence[str]) -> list[str]:
    """Precision at 1, of at most two columns, those first that no method trained on. The rest stands in the table."""
    sentences: list[str] = []
    for column in sorted(columns, key=lambda c: c.in_domain)[:2]:
        i, cell = max(_scored(column), key=lambda entry: entry[1].score.value)
        if cell.standing == "only":
            lead = _guessing(column, cell)
        else:
            best = cell.standing == "best"
            lead = "more often than for every other method" if best else "the highest mean, though not clearly"
        start = "It shares" if sentences else "Among rows of unseen groups, the nearest neighbour shares"
        sentences.append(
            f"{start} “{column.column}” in {percent(cell.score.value)} of cases ({span(cell.score)}) for "
            f"“{methods[i]}”, {lead}."
        )
    return sentences
