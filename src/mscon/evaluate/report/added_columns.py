"""Added columns: whether runs that differ only in further similarities predict the columns of both worse with them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from mscon.evaluate.metrics.bootstrap import Interval, difference
from mscon.evaluate.metrics.catalog import MEASURES
from mscon.evaluate.report.gather import Gathered, Question
from mscon.evaluate.report.methods import Method, settings_of
from mscon.evaluate.report.summary import span

# Settings that say which columns there are, or what a method is called.
_OF_COLUMNS = ("similarity", "derived", "title")


def worse_with_more(gathered: Gathered) -> list[str]:
    """A sentence for each column on which the method with more columns is clearly behind, by a paired interval."""
    methods = gathered.methods
    return [
        _sentence(question, gap, methods[few], methods[many])
        for few, many in permutations(range(len(methods)), 2)
        if _adds(methods[few], methods[many])
        for question, gap in _falling(gathered, few, many)
    ]


def _adds(few: Method, many: Method) -> bool:
    """Whether the one has all similarities of the other and more, and all other settings in common."""
    recipe, other = few.members[0].recipe, many.members[0].recipe
    shared = [part for part in other["similarity"] if part["column"] in few.columns]
    if not (few.trained and many.trained and shared == list(recipe["similarity"]) and len(many.columns) > len(shared)):
        return False
    settings, others = (
        {key: value for key, value in settings_of(r).items() if key not in _OF_COLUMNS} for r in (recipe, other)
    )
    return settings == others


def _falling(gathered: Gathered, few: int, many: int) -> Iterator[tuple[Question, Interval]]:
    for question in gathered.questions:
        about, before, after = MEASURES[question.measure], question.values[few], question.values[many]
        is_asked = about.leads and about.probe == "linear" and question.trained[few] and question.trained[many]
        if is_asked and before is not None and after is not None:
            gap = difference(after, before, groups=question.groups)
            if gap.low > 0 if about.lower_is_better else gap.high < 0:
                yield question, gap


def _sentence(question: Question, gap: Interval, few: Method, many: Method) -> str:
    about = MEASURES[question.measure]
    added = ", ".join(f"“{column}”" for column in many.columns if column not in few.columns)
    unit = " points" if about.in_percent else f" in {about.title}"
    return (
        f"“{question.column}” is predicted worse with more columns: “{many.title}” is {about.shown(gap.value)}{unit} "
        f"({span(gap, about)}) from “{few.title}”, which is the same without {added}; try a lower importance for what "
        "was added, or leave it out."
    )
