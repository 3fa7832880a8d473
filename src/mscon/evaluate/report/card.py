"""Card: what a trained model is, and the evidence for it, as the README of a model repository. Reads files only."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mscon.errors import counted
from mscon.evaluate.page import frame
from mscon.evaluate.report.environment import bibtex
from mscon.evaluate.report.gather import neighbours_among
from mscon.evaluate.report.markdown import aligned, plain
from mscon.evaluate.report.probe_scores import Score, scores_of
from mscon.run.recipe import is_trained, names_of
from mscon.run.run import Run

# What is encoded -> how a caller in Python hands it over.
_EXAMPLES = {
    "image": '["photo.jpg"]',
    "vectors": "vectors",
    "columns": "frame",
    "text": '["a sentence"]',
}
_FILL_IN = "*To be filled in by whoever publishes this model.*"


def model_card(run: Run, repository: str = "owner/name") -> str:
    """The card of a run, in Markdown with the front matter that the Hugging Face hub reads.

    What mscon cannot know (licences, what the data is, what the model is meant for) is marked to be filled in.
    Labels and paths of the table are left out; so is the name of the machine.

    Args:
        repository: where it is to lie, for the lines that show how to load it.

    Raises:
        RunError: if the run has not begun.
    """
    run = run.as_it_is()
    recipe = run.read_recipe_values()
    data, kind = recipe.get("data", {}), str(recipe.get("data", {}).get("input", "image"))
    columns = [part.get("column", part.get("name", "")) for part in recipe["similarity"]]
    # Classes from outside mscon without which the model cannot be built.
    names = [str(recipe.get("encoder", {}).get("name", "")), *names_of(recipe, "heads")]
    title = _text(recipe.get("title") or run.name)
    probe = run.read_probe() if run.has_probe else {}
    # Values are not escaped as HTML: each is made harmless for Markdown, here or by a filter in the template.
    templates = frame.environment("mscon.evaluate.report", "template", autoescape=False)
    templates.filters |= {"words": _text, "code": _code}
    text = templates.get_template("card.md.j2").render(
        input=kind if kind in _EXAMPLES else "image",
        example=_EXAMPLES.get(kind, _EXAMPLES["image"]),
        tags=json.dumps(["mscon", "contrastive-learning", "metric-learning", "multi-similarity"]),
        model_index=_model_index(probe, title),
        title=title,
        encoder=recipe.get("encoder", {}),
        beside=recipe.get("keep", {}).get("beside", 0),
        settings=data,
        width=(run.read_inputs() or {}).get("width"),
        columns=columns,
        trained=is_trained(recipe),
        repository=repository,
        similarity=repr(columns[0]),
        foreign=[name for name in dict.fromkeys(names) if ":" in name],
        text_model=str(data.get("text_model", "")) if kind == "text" else "",
        evidence=_evidence(probe, neighbours_among(recipe)),
        draws=probe.get("draws", 0),
        checkpoint=str(probe.get("checkpoint", "")),
        data="\n".join(_data(run, recipe, columns)),
        fill_in=_FILL_IN,
        recipe=_fenced(run.read_recipe_text().strip(), "toml"),
        facts=run.read_facts(),
        citation=_fenced(bibtex([recipe]), "bibtex"),
    )
    return f"{text}\n"


def _model_index(probe: Mapping[str, Any], title: str) -> str:
    """The scores for the hub; empty without any. JSON is YAML, and quotes whatever a column may be called."""
    results = [
        {
            "task": {"type": "other", "name": f"linear probe of {score.name}"},
            "dataset": {"type": "private", "name": "test rows of the table"},
            "metrics": [{"type": score.measure.name, "value": round(score.value, 4)}],
        }
        for score in scores_of(probe, "linear")
    ]
    return json.dumps([{"name": title, "results": results}], ensure_ascii=False) if results else ""


def _evidence(probe: Mapping[str, Any], among: str) -> list[tuple[str, str]]:
    """A heading and a table for each of the two probes that scored anything."""
    header = ("column", "role", "measure", "rows", "score", "95 % interval", "by guessing")
    headings = {
        "linear": "Linear probes of the frozen features, fitted on training rows, scored on test rows:",
        "neighbours": f"Nearest neighbours among {among}:",
    }
    tables = {how: [_row(score) for score in scores_of(probe, how)] for how in headings}
    return [(headings[how], aligned(header, body, words=3)) for how, body in tables.items() if body]


def _row(score: Score) -> tuple[str, ...]:
    shown = score.measure.shown
    return (
        _text(score.name),
        "trained on" if score.trained else "not trained on",
        _text(score.measure.title) + (" %" if score.measure.in_percent else ""),
        f"{score.rows:,}",
        shown(score.value),
        f"{shown(score.low)} to {shown(score.high)}",
        "" if score.guess is None else shown(score.guess),
    )


def _data(run: Run, recipe: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    from mscon.data.table.label_columns import LabelColumns  # which loads torch

    rows = run.read_rows()
    splits = run.read_facts().get("table", {}).get("rows", {})
    lines = [f"{counted(rows.height, 'row')}: " + ", ".join(f"{n:,} {_text(name)}" for name, n in splits.items()) + "."]
    lines += [f"What they show, and where they come from: {_FILL_IN}", ""]
    labels = LabelColumns(rows, recipe, run.read_similarities(), run.may_import)
    train = np.flatnonzero((rows.get_column("split") == "train").to_numpy()).tolist()
    body = []
    for part, column in zip(recipe["similarity"], columns, strict=True):
        kind, words = part.get("name", "categorical"), ("", "")
        if column in labels.trained:
            summary = labels[column].summary(train)
            words = (summary.size, f"{summary.missing_share:.1%}")
        body.append((_text(column), _text(kind), *words))
    return [*lines, aligned(("similarity", "kind", "training rows hold", "missing"), body, words=3)]


def _fenced(text: str, language: str) -> str:
    """A block of code whose fence no line of it can close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _text(text: str) -> str:
    """A name from the recipe or the table as words: no HTML, no links, no code."""
    safe = html.escape(plain(text), quote=False)
    return re.sub(r"([\\`*_\[\]])", r"\\\1", safe.replace("\\|", "|")).replace("|", "\\|")


def _code(text: str) -> str:
    return plain(text).replace("`", "'")
