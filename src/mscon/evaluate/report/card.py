"""Card: what a trained model is, and the evidence for it, as the README of a model repository. Reads files only."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mscon.errors import counted
from mscon.evaluate.report.citations import bibtex
from mscon.evaluate.report.markdown import aligned, plain
from mscon.evaluate.report.scores import Score, scores_of
from mscon.run.recipe import names_of
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
    example = _EXAMPLES[_input(recipe)]
    title = _text(recipe.get("title") or run.name)
    columns = [part.get("column", part.get("name", "")) for part in recipe["similarity"]]
    trust = ", trust=True" if _foreign(recipe) or _text_model(recipe) else ""
    return "\n".join(
        [
            *_front_matter(run, recipe, title),
            f"# {title}",
            "",
            _summary(recipe, columns, (run.read_inputs() or {}).get("width")),
            "",
            "## Use",
            "",
            "```python",
            "import mscon",
            "",
            f'model = mscon.load("hf:{repository}"{trust})',
            f"features = model.embed({example})",
            f"near = model.embed({example}, similarity={columns[0]!r})  # where alike in that sense is near",
            "```",
            "",
            _needs(recipe),
            "",
            "## Evidence",
            "",
            *_evidence(run),
            "",
            "## Training data",
            "",
            *_data(run, recipe, columns),
            "",
            "## Licence",
            "",
            f"- of the weights: {_FILL_IN} Name it as `license` in the front matter, too.",
            f"- of the data: {_FILL_IN}",
            "",
            "## Intended use and limits",
            "",
            _FILL_IN,
            "",
            "Scores are of the rows of one table; on rows of another kind they say little.",
            "",
            "## Recipe",
            "",
            *_fenced(run.read_recipe_text().strip(), "toml"),
            "",
            *_environment(run),
            "",
            "## Citation",
            "",
            *_fenced(bibtex([recipe]), "bibtex"),
            "",
        ]
    )


def _input(recipe: Mapping[str, Any]) -> str:
    kind: str = recipe.get("data", {}).get("input", "image")
    return kind if kind in _EXAMPLES else "image"


def _foreign(recipe: Mapping[str, Any]) -> list[str]:
    """Classes from outside mscon without which the model cannot be built."""
    names = [str(recipe.get("encoder", {}).get("name", "")), *names_of(recipe, "heads")]
    return [name for name in dict.fromkeys(names) if ":" in name]


def _text_model(recipe: Mapping[str, Any]) -> str:
    """The sentence encoder that the publisher chose; empty for that of the extra, and where there are no sentences."""
    return str(recipe.get("data", {}).get("text_model", "")) if _input(recipe) == "text" else ""


def _needs(recipe: Mapping[str, Any]) -> str:
    """What it takes to load the model, and what of it executes."""
    sentences = ["The weights are safetensors; nothing in this repository executes."]
    if foreign := _foreign(recipe):
        listed = ", ".join(f"`{_code(name)}`" for name in foreign)
        sentences.append(
            f"To build the model mscon imports {listed}, code of its publisher that is not here and must be "
            "importable; `trust=True` says that you have read it."
        )
    if _input(recipe) == "text":
        sentences.append('Sentences need `pip install "mscon[text]"`.')
    if text_model := _text_model(recipe):
        sentences.append(
            f"They are read by the sentence encoder `{_code(text_model)}`, which is not here; `trust=True` lets it be "
            "loaded."
        )
    return " ".join(sentences)


def _front_matter(run: Run, recipe: Mapping[str, Any], title: str) -> list[str]:
    # JSON is YAML, and quotes whatever a column may be called.
    lines = [
        "---",
        "library_name: mscon",
        *(["pipeline_tag: image-feature-extraction"] if _input(recipe) == "image" else []),
        f"tags: {json.dumps(['mscon', 'contrastive-learning', 'metric-learning', 'multi-similarity'])}",
        "# license: to be filled in, such as apache-2.0",
    ]
    if run.has_probe and (scores := list(scores_of(run.read_probe(), "linear"))):
        results = [
            {
                "task": {"type": "other", "name": f"linear probe of {score.name}"},
                "dataset": {"type": "private", "name": "test rows of the table"},
                "metrics": [{"type": score.measure.name, "value": round(score.value, 4)}],
            }
            for score in scores
        ]
        lines.append(f"model-index: {json.dumps([{'name': title, 'results': results}], ensure_ascii=False)}")
    return [*lines, "---", ""]


def _summary(recipe: Mapping[str, Any], columns: Sequence[str], width: int | None) -> str:
    encoder, data = recipe.get("encoder", {}), recipe.get("data", {})
    shape = f"{data.get('image_size', 64)} x {data.get('image_size', 64)} pixels"
    colours = "in grey" if data.get("channels", 3) == 1 else "in colour"
    start = ", from published weights" if encoder.get("pretrained") else ""
    start = ", from the weights of another run" if encoder.get("start_from") else start
    of_width = f" of {counted(width, 'number')}" if width else ""
    frozen = " that was left as it was" if encoder.get("frozen") else ""
    of = {
        "image": f"images of {shape} {colours}",
        "vectors": f"vectors{of_width} that were made elsewhere",
        "columns": "columns of a table",
        "text": "sentences, as a frozen sentence encoder gives them",
    }[_input(recipe)]
    return (
        f"An encoder (`{_code(encoder.get('name', 'small_cnn'))}`{start}{frozen}) of {of}, trained by mscon "
        f"([paper](https://arxiv.org/abs/2307.02712)) on {counted(len(columns), 'similarity').replace('ys', 'ies')}: "
        f"{', '.join(_text(column) for column in columns)}. It gives features, and a projection for each similarity."
    )


def _evidence(run: Run) -> list[str]:
    if not run.has_probe:
        return ["None yet: `mscon probe` asks the features about every column, and then this card can be written anew."]
    probe = run.read_probe()
    lines: list[str] = []
    for how, title in (
        ("linear", "Linear probes of the frozen features, fitted on training rows, scored on test rows:"),
        ("neighbours", "Nearest neighbours among rows of groups that training never saw:"),
    ):
        if scores := list(scores_of(probe, how)):
            header = ("column", "role", "measure", "rows", "score", "95 % interval", "by guessing")
            lines += [title, "", aligned(header, [_row(score) for score in scores], words=3), ""]
    return [
        *lines,
        f"Intervals are over rows ({probe.get('draws', 0):,} bootstrap draws), of one run: they do not cover the luck "
        "of the seed, and are too narrow where rows are few or all answers are right. "
        f"Weights: checkpoint '{_text(str(probe.get('checkpoint', '')))}'.",
    ]


def _row(score: Score) -> tuple[str, ...]:
    shown = score.measure.shown
    return (
        _text(score.name),
        "trained on" if score.trained else "never seen",
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


def _environment(run: Run) -> list[str]:
    facts = run.read_facts()
    versions = ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items())
    parameters = facts.get("parameters", {})
    lines = [f"Made with {_text(versions)}."] if versions else []
    if "encoder" in parameters:
        lines.append(f"Weights: {parameters['encoder']:,} of the encoder, {parameters.get('heads', 0):,} of the heads.")
    return lines


def _fenced(text: str, language: str) -> list[str]:
    """A block of code whose fence no line of it can close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", text, fence]


def _text(text: str) -> str:
    """A name from the recipe or the table as words: no HTML, no links, no code."""
    safe = html.escape(plain(text), quote=False)
    return re.sub(r"([\\`*_\[\]])", r"\\\1", safe.replace("\\|", "|")).replace("|", "\\|")


def _code(text: str) -> str:
    return plain(text).replace("`", "'")
