"""Suggestions: what a user may have meant by an option that a verb does not have."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Sequence

from mscon.errors import nearest


def suggestions(words: Sequence[str], options: Iterable[str], has_settings: bool) -> str:
    """ " Did you mean ...?" for each unknown option, or the empty string if nothing is near.

    Args:
        words: those that no argument of the verb takes: options, and what may be their values.
        options: of the verb.
        has_settings: whether the verb changes settings of a recipe, by --set.
    """
    known, sentences = list(options), []
    for word, following in zip(words, [*words[1:], "-"], strict=True):
        if not word.startswith("--"):
            continue
        option, equals, value = word.partition("=")
        if not equals:
            value = "VALUE" if following.startswith("-") else following
        keys = _keys_of(option.removeprefix("--").replace("-", "_")) if has_settings else []
        settings = " or ".join(f"--set {shlex.quote(f'{key}={value}')}" for key in keys)
        sentences.append(f" Did you mean {settings}?" if settings else nearest(option, known))
    return "".join(sentences)


def _keys_of(setting: str) -> list[str]:
    """Where a recipe has a setting of this name: ["train.epochs"]."""
    from mscon.run.recipe import Recipe

    defaults = Recipe(similarities=())
    sections = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(Recipe)}
    return [
        f"{name}.{field.name}"
        for name, section in sections.items()
        if dataclasses.is_dataclass(section)
        for field in dataclasses.fields(section)
        if field.name == setting
    ]
