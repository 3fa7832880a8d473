"""Experiment files: `experiments/*.toml` read as experiments.

One file a question, with an entry [[on]] for each source it runs on. Methods stand once in `methods.toml`, sources
once in `sources.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from mscon.errors import RecipeError, nearest
from mscon_paper.experiment import Case, Experiment, Method, Paper, Plain

_PRIVATE = ("methods", "sources")
_METHOD_FIELDS = ("title", "paper", "columns", "same_row", "once", "on")


def _folder() -> Traversable:
    return resources.files("mscon_paper").joinpath("experiments")


def _toml(name: str) -> Plain:
    return tomllib.loads(_folder().joinpath(f"{name}.toml").read_text("utf-8"))


def names() -> tuple[str, ...]:
    """All experiments that come with mscon, by source and then by name: "glyphs/table1" and so on."""
    return tuple(sorted(_entries()))


def find(name: str) -> Experiment:
    """An experiment by name.

    Raises:
        RecipeError: if there is none, naming the nearest.
    """
    entries = _entries()
    if name not in entries:
        known = sorted(entries)
        raise RecipeError(
            f"there is no experiment '{name}'.{nearest(name, known)}\n  `mscon reproduce` lists all {len(known)}."
        )
    return _build(name, entries[name])


def _entries() -> dict[str, Plain]:
    """The settings of each experiment: those of its entry [[on]] override its file, which overrides its source."""
    sources = _toml("sources")
    experiments: dict[str, Plain] = {}
    files = (f.name.removesuffix(".toml") for f in _folder().iterdir() if f.name.endswith(".toml"))
    for stem in sorted(set(files) - set(_PRIVATE)):
        plain = _toml(stem)
        entries = plain.pop("on")
        plain["published"] = {sources[e["source"]]["title"]: e["numbers"] for e in entries if "numbers" in e}
        for entry in entries:
            source = sources[entry["source"]]
            experiment = {**source, "source_title": source["title"], **plain, **entry}
            experiments[f"{entry['source']}/{entry.get('name', stem)}"] = experiment
    return experiments


def _build(name: str, plain: Plain) -> Experiment:
    from mscon.run.starting_recipes import recipe_text

    methods = _toml("methods")
    filled = _filled(plain, {key: plain[key] for key in ("noisy", "twice") if key in plain})
    columns, beyond = tuple(filled["columns"]), tuple(filled["out_of_domain"])
    sweep, cases = filled.get("sweep"), _cases(filled, columns)
    as_written = ("title", "kind", "source", "source_title", "data", "paper")
    optional = ("hold_out", "seeds", "reason", "tuned_as", "settings", "transfer")
    return Experiment(
        name=name,
        about=" ".join(filled["about"].split()),
        base=recipe_text(filled["recipe"]),
        methods=tuple(_method(key, methods[key]) for key in filled["methods"]),
        cases=cases,
        read=tuple(filled["read"]),
        probed=tuple(dict.fromkeys([*columns, *beyond])),
        out_of_domain=beyond,
        sweep=(sweep["name"], sweep.get("axis", "linear")) if sweep else None,
        usual=_usual(filled, cases),
        claims=tuple((a, b) for a, b in filled.get("claims", [])),
        numbers=_paper(filled.get("numbers", {})),
        published={source: _paper(numbers) for source, numbers in filled["published"].items()},
        **{key: filled[key] for key in as_written},
        **{key: filled[key] for key in optional if key in filled},
    )


def _paper(plain: Mapping[str, Mapping[str, Sequence[float]]]) -> Paper:
    return {row: {column: (number[0], number[1]) for column, number in cells.items()} for row, cells in plain.items()}


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    """The same with "{noisy}" and "{twice}" replaced; other braces stay."""
    if isinstance(value, str):
        return re.sub(r"\{(noisy|twice)\}", lambda match: words.get(match[1], match[0]), value)
    if isinstance(value, dict):
        return {key: _filled(inner, words) for key, inner in value.items()}
    return [_filled(inner, words) for inner in value] if isinstance(value, list) else value


def _method(name: str, plain: Plain) -> Method:
    own_fields = {key: value for key, value in plain.items() if key in _METHOD_FIELDS}
    return Method(name, settings={k: v for k, v in plain.items() if k not in _METHOD_FIELDS}, **own_fields)


def _cases(plain: Plain, columns: tuple[str, ...]) -> tuple[Case, ...]:
    untouched, derived = columns, list(plain.get("derived", []))
    if noisy := plain.get("noisy"):
        untouched = tuple(c for c in columns if c != noisy)
        columns = tuple(f"{c}_noisy" if c == noisy else c for c in columns)
        derived.append({"column": f"{noisy}_noisy", "of": noisy})
    one = Case("", None, columns, untouched, tuple(derived), {})
    if plain.get("hold_out"):
        return tuple(replace(one, name=c, columns=tuple(o for o in columns if o != c), untouched=()) for c in columns)
    if sweep := plain.get("sweep"):
        steps = zip(*sweep["set"].values(), strict=True)
        return tuple(_swept(one, dict(zip(sweep["set"], step, strict=True))) for step in steps)
    if listed := plain.get("case"):
        return tuple(
            replace(
                one,
                name=case["name"],
                columns=(*columns, *case.get("add", [])),
                derived=(*derived, *case.get("derived", [])),
                settings=case.get("settings", {}),
            )
            for case in listed
        )
    return (one,)


def _usual(plain: Plain, cases: Sequence[Case]) -> str:
    """Of a sweep the point that it calls usual; else the first case, where there are others of the same columns."""
    if sweep := plain.get("sweep"):
        return f"{sweep['usual']:g}" if "usual" in sweep else ""
    return "" if plain.get("hold_out") else cases[0].name


def _swept(one: Case, step: Plain) -> Case:
    """The case at one point of the axis, which is the first of what is set there."""
    x = float(next(iter(step.values())))
    derived_settings = {key.partition(".")[2]: value for key, value in step.items() if key.startswith("derived.")}
    rest = {key: value for key, value in step.items() if not key.startswith("derived.")}
    return replace(
        one, name=f"{x:g}", x=x, derived=tuple({**d, **derived_settings} for d in one.derived), settings=rest
    )
