"""Summary: what was compared, which run is looked at closely, and the main results in three sentences.

The wording follows from the intervals, not from taste.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mscon.errors import counted
from mscon.evaluate.metrics.bootstrap import Interval
from mscon.evaluate.metrics.catalog import Measure
from mscon.evaluate.report.against_start import start_words
from mscon.evaluate.report.compare import ColumnScores, Comparison, MethodScore
from mscon.evaluate.report.gather import Gathered
from mscon.evaluate.report.methods import Member, Method

SPLITS = ("train", "validation", "test", "unseen")


def closest_look(gathered: Gathered, comparison: Comparison) -> tuple[Method, Member]:
    """The run to look at closely: of the methods with most similarities, that with the best mean out of domain."""

    def rank(i: int) -> tuple[int, float]:
        accuracies = [c for c in comparison.columns if c.measure == "accuracy"]
        columns = [c for c in accuracies if not c.in_domain] or accuracies
        scores = [cell.score.value for column in columns if (cell := column.cells[i]) is not None]
        return len(gathered.methods[i].trained), float(np.mean(scores)) if scores else 0.0

    method = gathered.methods[max(range(len(gathered.methods)), key=rank)]
    return method, method.members[0]


def default_title(methods: Sequence[Method], table: str) -> str:
    if len(methods) == 1:
        return f"{methods[0].title} on {table}"
    return f"{len(methods)} methods compared on {table}"


def facts_at_a_glance(gathered: Gathered, comparison: Comparison) -> list[tuple[str, str]]:
    """What every reader asks first: how many rows, trained on what, with which encoder, for how long."""
    recipes = [member.recipe for member in gathered.members]
    trained = dict.fromkeys(column for method in gathered.methods for column in method.trained)
    rest = [q.column for q in gathered.questions if not q.in_domain]
    held_out = [row.column for row in comparison.columns if row.held_out]
    encoders = dict.fromkeys(
        r["encoder"]["name"] + (", pretrained" if r["encoder"].get("pretrained") else "") for r in recipes
    )
    epochs = dict.fromkeys(str(r["train"]["epochs"]) for r in recipes)
    inputs = dict.fromkeys(_input(r["data"]) for r in recipes)
    return [
        ("Table", f"{gathered.table}, {counted(gathered.rows.height, 'row')}"),
        ("Rows of each split", split_counts(gathered.rows["split"].to_list())),
        ("Trained on", ", ".join(trained) or "nothing"),
        *(
            [("Probed, but not trained on", ", ".join(dict.fromkeys(rest)) or "nothing")]
            if rest or not held_out
            else []
        ),
        *([("Held out in turn", "; ".join(dict.fromkeys(held_out)))] if held_out else []),
        ("Encoder", f"{', '.join(encoders)}; {' and '.join(inputs)}"),
        (
            "Training",
            f"{counted(len(gathered.methods), 'method')}, {counted(len(recipes), 'run')}, {' or '.join(epochs)} epochs",
        ),
    ]


def _input(data: Mapping[str, Any]) -> str:
    """What is encoded: images by their side in pixels, anything else by its name."""
    kind = data.get("input", "image")
    return f"{data['image_size']} px" if kind == "image" else str(kind)


def split_counts(splits: Sequence[str]) -> str:
    counts = Counter(splits)
    return ", ".join(f"{counts[name]:,} {name}" for name in in_order(counts))


def in_order(splits: Iterable[str]) -> list[str]:
    """The splits that there are, train first."""
    there = dict.fromkeys(splits)
    return [*(s for s in SPLITS if s in there), *(s for s in there if s not in SPLITS)]


def sentences(comparison: Comparison) -> tuple[str, ...]:
    """At most three, most important first.

    Of one method how it stands to what it began from, then to guessing; of several how they stand to one another: on
    columns not trained on, on those trained on, by neighbours. Then what to know of few seeds.
    """
    if not comparison.columns:
        return ("No column was probed, so there is nothing to say about the features yet.",)
    other, trained = comparison.leading("not trained on"), comparison.leading("trained on")
    methods = comparison.methods
    if len(comparison.trained_methods) == 1:
        lines = [
            _over_start(comparison),
            _against_guessing(other, f"“{methods[0]}” was not trained on"),
            _against_guessing(trained, f"“{methods[0]}” was trained on"),
        ]
    else:
        lines = [
            _between_methods(other, methods, "no method was trained on"),
            _between_methods(trained, methods, "at least one method was trained on"),
        ]
    return tuple(line for line in (*lines, _neighbours(comparison), comparison.few_seeds) if line)[:3]


def _over_start(comparison: Comparison) -> str:
    """One method: what training gained, or lost, on each column over what it began from."""
    parts = []
    for role in ("not trained on", "trained on"):
        gaps = [
            f"“{column.column}” {_gain(column, gap)}"
            for column in comparison.leading(role)
            if column.cells[0] is not None and (gap := column.cells[0].over_start) is not None
        ]
        parts += [f"on columns {role}: {_listed(gaps)}"] if gaps else []
    return f"Against {start_words(comparison.methods[1])}, {'; '.join(parts)}." if parts else ""


def behind_start(comparison: Comparison) -> list[str]:
    """A sentence for each of several methods that is clearly worse on some column than what it began from."""
    sentences = []
    for number, method in enumerate(comparison.trained_methods):
        losses = [
            f"“{column.column}” ({_gain(column, gap)})"
            for column in comparison.columns
            if column.about.leads
            and (cell := column.cells[number]) is not None
            and (gap := cell.over_start) is not None
            and (gap.low > 0 if column.about.lower_is_better else gap.high < 0)
        ]
        if losses:
            sentences.append(f"“{method}” is clearly behind the features that it began from on {_listed(losses)}.")
    return sentences if len(comparison.trained_methods) > 1 else []


def _gain(column: ColumnScores, gap: Interval) -> str:
    about = column.about
    points = " points" if about.in_percent else f" in {about.title}{', lower is better' * about.lower_is_better}"
    return f"{'+' * (gap.value >= 0)}{about.shown(gap.value)}{points} ({span(gap, about)})"


def _against_guessing(columns: Sequence[ColumnScores], role: str) -> str:
    """One method: which columns are predicted better than by guessing."""
    by_mark: dict[str, list[str]] = {}
    for column in columns:
        for _, cell in column.scored[:1]:
            by_mark.setdefault(column.against_guessing(cell), []).append(
                f"“{column.column}” ({_with_guess(column, cell)})"
            )
    words = {
        "above": "better than guessing",
        "chance": "not distinguishably better than guessing",
        "below": "worse than guessing",
        "": "with no guess to compare with",
    }
    results = [f"{words[mark]}: {_listed(by_mark[mark])}" for mark in words if mark in by_mark]
    return f"On columns that {role}, linear probes of its features are {'; '.join(results)}." if results else ""


def _with_guess(column: ColumnScores, cell: MethodScore) -> str:
    guess = "" if column.baseline is None else f"; guessing {column.about.with_unit(column.baseline)}"
    return f"{_score(column, cell)}{guess}"


def _between_methods(columns: Sequence[ColumnScores], methods: Sequence[str], role: str) -> str:
    """Several methods: who leads where, and whether that is more than chance. One column in full, more in counts."""
    if not columns:
        return ""
    if len(columns) == 1:
        return f"On “{columns[0].column}”, which {role}, {_leader(columns[0], methods)}."
    best: dict[str, list[str]] = {}
    undecided: list[str] = []
    for column in columns:
        winner = next((methods[i] for i, cell in column.scored if cell.standing == "best"), None)
        (undecided if winner is None else best.setdefault(winner, [])).append(f"“{column.column}”")
    parts = [f"“{method}” is clearly best on {_listed(names)}" for method, names in best.items()]
    if undecided:
        parts.append(f"no method is clearly best on {_listed(undecided)}")
    return f"Of the {len(columns)} columns that {role}, {'; '.join(parts)}."


def _leader(column: ColumnScores, methods: Sequence[str]) -> str:
    about = column.about
    ranked = sorted(column.scored, key=lambda entry: -about.sign * entry[1].score.value)
    leader, top = ranked[0]
    score = f"{_score(column, top)}, 95\N{NO-BREAK SPACE}% interval {span(top.score, about)}"
    if len(ranked) == 1:
        return f"only “{methods[leader]}” was scored ({score})"
    if top.standing == "best":
        # The rival that comes nearest to the leader, by the lower end of the difference.
        rival, near = min(ranked[1:], key=lambda entry: _gap(entry[1]).low)
        gap = _gap(near)
        return (
            f"“{methods[leader]}” is clearly best ({score}); the nearest, “{methods[rival]}”, is "
            f"{about.shown(gap.value)}{' points' * about.in_percent} behind ({span(gap, about)})"
        )
    text = f"“{methods[leader]}” has the {'lowest' if about.lower_is_better else 'highest'} mean ({score})"
    level = [f"“{methods[i]}”" for i, cell in ranked[1:] if cell.standing == "level"]
    if level:
        return f"{text}, but is not distinguishable from {_listed(level)}"
    return f"{text}, on too few seeds to call it best"


def _neighbours(comparison: Comparison) -> str:
    """Precision at 1 of one column, of those that no method trained on if there is one. The rest is in the table."""
    columns = sorted(
        (c for c in comparison.columns if c.measure == "precision_at_1"), key=lambda column: column.in_domain
    )
    if not columns:
        return ""
    column = columns[0]
    i, cell = max(column.scored, key=lambda entry: entry[1].score.value)
    lead = {
        "only": f"by chance {column.about.with_unit(column.baseline)}" if column.baseline is not None else "",
        "best": "clearly more often than for every other method",
    }.get(cell.standing, "the highest mean, but not clearly best")
    return (
        f"Among {comparison.neighbours_among}, the nearest neighbour has the same “{column.column}” in "
        f"{percent(cell.score.value)} of cases for “{comparison.methods[i]}” ({span(cell.score, column.about)}"
        f"{f'; {lead}' if lead else ''})."
    )


def percent(share: float) -> str:
    """0.3768 is "37.7 %", with a space that does not break."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def span(interval: Interval, about: Measure) -> str:
    """The ends of an interval in percent or points, or the unit of its measure: "36.5 to 38.9"."""
    return f"{about.shown(interval.low)} to {about.shown(interval.high)}"


def _score(column: ColumnScores, cell: MethodScore) -> str:
    """The number with its unit, and what it is: "R² 0.512"."""
    return f"{column.about.title} {column.about.with_unit(cell.score.value)}"


def _gap(cell: MethodScore) -> Interval:
    assert cell.behind_by is not None, "only the leader has no gap"
    return cell.behind_by


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{', '.join(names[:2])} and {len(names) - 2} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
