"""Which recipe to take, by validation rows alone, and the file that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tomli_w

from mscon.comparison.plan import Plan
from mscon.comparison.scores import error_to_share
from mscon.errors import counted
from mscon.run import recipe as recipes
from mscon.run.recipe import Part, Probe, Recipe
from mscon.run.run import Run

FEW_ROWS = 100
"""Below so many validation rows the standard error of an accuracy is 5 points or more at 50 %."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Mean scores of a method on validation rows, as shares.

    Attributes:
        title: of the method.
        trained: mean over the label columns, trained on all of them.
        unseen: mean over those held out in turn and those never trained on; None if there are none.
        mean: over all of these scores; methods are ranked by it.
    """

    title: str
    trained: float
    unseen: float | None
    mean: float


def validations(plan: Plan, labels: Sequence[str]) -> list[Validation]:
    """Of every method that was scored everywhere, the best first.

    A method that cannot be trained without one of the columns that are held out is not ranked: what it would be worth
    for an unseen task is not known.

    Args:
        plan: whose runs are finished; runs that are not there count as broken down.
        labels: the label columns.
    """
    ranked = []
    for method in plan.methods:
        whole = _scores([planned.out for planned in plan.groups[method.title].runs])
        apart = [
            _scores([planned.out for planned in groups[method.title].runs]).get(column)
            if method.title in groups
            else None
            for column, groups in plan.held_out.items()
        ]
        trained = [whole.get(column) for column in labels]
        unseen = [*apart, *(score for column, score in whole.items() if column not in labels)]
        scores = [score for score in (*trained, *unseen) if score is not None]
        if len(scores) < len(trained) + len(unseen):
            continue
        of_unseen = [score for score in unseen if score is not None]
        mean_unseen = float(np.mean(of_unseen)) if of_unseen else None
        of_labels = [score for score in trained if score is not None]
        ranked.append(Validation(method.title, float(np.mean(of_labels)), mean_unseen, float(np.mean(scores))))
    return sorted(ranked, key=lambda validation: -validation.mean)


def _scores(roots: Sequence[Any]) -> dict[str, float]:
    """By column the mean validation score over runs; nothing if a run is not there, or a column has no such score."""
    of_runs = []
    for root in roots:
        if not (root / "probe.json").is_file():
            return {}
        by_column: dict[str, list[float | None]] = {}
        for record in Run(root).read_probe()["linear"]:
            by_column.setdefault(record["column"], []).append(_score(record))
        of_runs.append(by_column)
    means = {}
    for column in of_runs[0]:
        scores = [score for run in of_runs for score in run.get(column, [None])]
        known = [score for score in scores if score is not None]
        if len(known) == len(scores):
            means[column] = float(np.mean(known))
    return means


def _score(record: Mapping[str, Any]) -> float | None:
    """On the scale of the means over columns."""
    score = record.get("validation_accuracy", record.get("validation_score"))
    if score is not None and record["kind"] == "rank":
        return error_to_share(float(score), len(record["classes"]))
    return score


def lead_text(ranked: Sequence[Validation], rows: int) -> str:
    """How far the first is ahead of the second, to be put after a statement; "" where it is alone.

    Args:
        ranked: the best first.
        rows: validation rows. A lead of less than one of them in the mean is called one by a hair: predictions of
            validation rows are not kept, so there is no paired interval.
    """
    if len(ranked) < 2:
        return ""
    first, second = ranked[:2]
    numbers = f"{100 * first.mean:.1f} against {100 * second.mean:.1f} of “{second.title}”"
    hair = "by a hair: " if (first.mean - second.mean) * rows < 1 else ""
    few = "; so few rows make the choice nearly arbitrary" if rows < FEW_ROWS else ""
    return f", {hair}{numbers} on {counted(rows, 'validation row')}{few}"


def recommended_toml(plan: Plan, best: Validation, second: Validation | None, probe: Probe, title: str) -> str:
    """The recommended recipe as TOML, with the reason as a comment.

    Args:
        plan: that has it.
        best, second: the methods that lead.
        probe: [probe] of the user's recipe.
        title: of the user's recipe, which it keeps; any other method has its own.
    """
    method = next(method for method in plan.methods if method.title == best.title)
    recipe = replace(method.recipe, title=title if method.name == "recipe" else method.title, probe=probe)
    reason = [
        f"Recommended by `mscon compare`: the method “{best.title}”.",
        f"It has the best mean score on validation rows: {_shown(best)}.",
        *([f"The next is “{second.title}”: {_shown(second)}."] if second else []),
        f"{plan.seeds} seed{'s' * (plan.seeds > 1)}. Test rows played no part in this choice.",
    ]
    comment = "\n".join(f"# {''.join(c if c.isprintable() else ' ' for c in line)}" for line in reason)
    return f"{comment}\n\n{tomli_w.dumps(_without_defaults(recipe))}"


def _without_defaults(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, without those that a recipe of the same similarities has by default."""
    plain = recipe.to_plain()
    similarities = [{k: v for k, v in part.items() if k != "importance" or v != 1} for part in plain["similarity"]]
    default = recipes.of_plain({"version": plain["version"], "similarity": similarities}).to_plain()
    sections = {
        name: section
        if isinstance(getattr(recipe, name), Part) and section["name"] != default[name]["name"]
        else {key: value for key, value in section.items() if key == "name" or value != default[name].get(key)}
        for name, section in plain.items()
        if isinstance(section, dict) and section != default[name]
    }
    top = {name: value for name, value in plain.items() if not isinstance(value, dict)}
    return {**top, "similarity": similarities, **sections}


def _shown(validation: Validation) -> str:
    unseen = "" if validation.unseen is None else f", unseen columns {100 * validation.unseen:.1f}"
    return f"{100 * validation.mean:.1f} (label columns {100 * validation.trained:.1f}{unseen})"
