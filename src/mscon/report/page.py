"""The page: one HTML file that holds everything it shows, and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from mscon import __version__, whole
from mscon.errors import counted, first_few
from mscon.report import maps, palette
from mscon.report.citations import bibtex
from mscon.report.compare import FEWEST_SEEDS, Cell, Column, Comparison, compare, comparison_json
from mscon.report.confusion import Confusion, confusion
from mscon.report.figures import curves
from mscon.report.finding import finding
from mscon.report.gather import Gathered, Member, Method, gather, name_of
from mscon.report.masks import masks
from mscon.report.neighbours import grid
from mscon.report.similarities import learnt
from mscon.run import Run

# More maps than this say less.
_MOST_COLUMNS = 6

_SPLITS = ("train", "validation", "test", "unseen")


def build_report(runs: Sequence[Run], out: Path, comparison: Comparison | None = None) -> Path:
    """Write the report of some runs, and `report.json` with the numbers of the comparison beside it.

    Args:
        runs: trained and probed runs on the same rows. Those whose recipes share a title are seeds of one method.
        out: the HTML file to write, or a folder to write `report.html` into.
        comparison: what `compare(gather(runs))` gave, if that is there already.

    Returns:
        Path of the HTML file.

    Raises:
        RunError: see `gather`; nothing is written then.
    """
    gathered = gather(runs)
    comparison = compare(gathered) if comparison is None else comparison
    path = out if out.suffix.lower() in (".html", ".htm") else out / "report.html"
    page = render(gathered, comparison)
    whole.write_text(path, page)
    whole.write_json(path.with_suffix(".json"), {"mscon": __version__, **comparison_json(comparison)})
    return path


def render(gathered: Gathered, comparison: Comparison) -> str:
    """The whole page as text."""
    method, member = _main(gathered, comparison)
    facts = [m.run.facts for m in gathered.members]
    table = str(facts[0].get("table", {}).get("name", "the table"))
    blocks, maps_note = _maps(gathered, method, member)
    css = _file("page.css")
    count = len(list(gathered.members))
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            version=__version__,
            policy=_policy(css),
            css=jinja2.utils.markupsafe.Markup(css),
            title=_title(gathered.methods, table),
            finding=finding(comparison),
            headline=_headline(gathered, table),
            comparison=comparison,
            fewest_seeds=FEWEST_SEEDS,
            methods=gathered.methods,
            tables=_tables(comparison),
            skipped=_skipped(gathered),
            macro_f1=_macro_f1(gathered),
            curves=curves(gathered.methods),
            learnt=[(name, list(group)) for name, group in groupby(learnt(gathered.methods), key=lambda r: r.method)],
            masks=masks(gathered.methods),
            maps=blocks,
            maps_note=maps_note,
            grid=grid(member, gathered.rows, gathered.label_columns, _numbers(gathered)),
            main={"method": method.title, "seed": member.seed},
            confusions=_confusions(member),
            data=_data(gathered, table),
            commands=_commands(gathered, table),
            recipes=[{"title": m.title, "text": m.members[0].run.recipe_text.strip()} for m in gathered.methods],
            facts=_facts(facts),
            several=count > 1,
            bibtex=bibtex(m.recipe for m in gathered.members),
            runs=counted(count, "run"),
        )
    )


# How it is made ---------------------------------------------------------------------------------------


def _file(name: str) -> str:
    return resources.files("mscon.report").joinpath(name).read_text("utf-8").replace("\r\n", "\n")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,  # every text of a table, a recipe or a file name is a stranger's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.globals |= {
        "whisker": whisker,
        "colour": palette.colour,
        "turn": palette.turn,
        "others": palette.OTHERS,
    }
    return environment


def _policy(css: str) -> str:
    """Nothing is loaded but pictures inside the file, and no style applies but this page's own."""
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def whisker(column: Column, cell: Cell) -> tuple[float, float, float]:
    """Low end, mean and high end on a bar of 112 units that spans all intervals of the column."""
    scores = [c.score for c in column.cells if c is not None]
    low, high = min(s.low for s in scores), max(s.high for s in scores)
    width = (high - low) or 1.0
    return tuple(  # type: ignore[return-value]
        round(4 + 104 * (value - low) / width, 1) for value in (cell.score.low, cell.score.value, cell.score.high)
    )


# What it says -----------------------------------------------------------------------------------------


def _main(gathered: Gathered, comparison: Comparison) -> tuple[Method, Member]:
    """The run to look at closely: of the methods with most similarities, the highest mean out of domain."""

    def rank(i: int) -> tuple[int, float]:
        columns = comparison.of("out_of_domain") or comparison.of("in_domain")
        scores = [cell.score.value for column in columns if (cell := column.cells[i]) is not None]
        return len(gathered.methods[i].columns), float(np.mean(scores)) if scores else 0.0

    method = gathered.methods[max(range(len(gathered.methods)), key=rank)]
    return method, method.members[0]


def _title(methods: Sequence[Method], table: str) -> str:
    if len(methods) == 1:
        return f"{methods[0].title} on {table}"
    return f"{len(methods)} methods compared on {table}"


def _headline(gathered: Gathered, table: str) -> list[tuple[str, str]]:
    recipes = [member.recipe for member in gathered.members]
    trained = dict.fromkeys(column for method in gathered.methods for column in method.columns)
    rest = [q.column for q in gathered.questions if not q.in_domain]
    encoders = dict.fromkeys(
        r["encoder"]["name"] + (", pretrained" if r["encoder"].get("pretrained") else "") for r in recipes
    )
    epochs = dict.fromkeys(str(r["train"]["epochs"]) for r in recipes)
    sizes = dict.fromkeys(f"{r['data']['image_size']} px" for r in recipes)
    runs = counted(len(recipes), "run")
    methods = counted(len(gathered.methods), "method")
    return [
        ("Table", f"{table}, {counted(gathered.rows.height, 'row')}"),
        ("Rows per split", _split_counts(gathered.rows["split"].to_list())),
        ("Trained on", ", ".join(trained)),
        ("Asked but not trained on", ", ".join(dict.fromkeys(rest)) or "nothing"),
        ("Encoder", f"{', '.join(encoders)}; {' and '.join(sizes)}"),
        ("Trained", f"{methods}, {runs}, {' or '.join(epochs)} epochs"),
    ]


def _split_counts(splits: Sequence[str]) -> str:
    counts = Counter(splits)
    names = [*(s for s in _SPLITS if s in counts), *(s for s in counts if s not in _SPLITS)]
    return ", ".join(f"{counts[name]:,} {name}" for name in names)


@dataclass(frozen=True, slots=True)
class _Block:
    """Columns of one table that stand under one heading."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    title: str
    explained: str
    guess: str
    blocks: tuple[_Block, ...]
    headed: bool = True


# More columns than this do not fit beside each other.
_MOST_BESIDE = 6


def _tables(comparison: Comparison) -> list[_Table]:
    linear = _Table(
        "Linear probes",
        "Accuracy of a linear classifier on frozen features. In domain: columns that at least one method trained on. "
        "Out of domain: columns that none did, tasks the encoder never saw.",
        "Guessing the largest class",
        (_Block("In domain", comparison.of("in_domain")), _Block("Out of domain", comparison.of("out_of_domain"))),
    )
    retrieval = _Table(
        "Retrieval",
        "Rows of unseen groups search each other by cosine of the features. Precision@1: how often the nearest is of "
        "the same class. MAP@R: the same down to rank R, the number of others in the class, and their order counts.",
        "Chance",
        (_Block("Precision@1", comparison.of("precision_at_1")), _Block("MAP@R", comparison.of("map_at_r"))),
    )
    further = [
        _Table(
            f"{about.title[0].upper()}{about.title[1:]}",
            about.explained,
            about.guess[0].upper() + about.guess[1:],
            (
                _Block("In domain", tuple(c for c in columns if c.in_domain)),
                _Block("Out of domain", tuple(c for c in columns if not c.in_domain)),
            ),
        )
        for about, columns in comparison.further
    ]
    tables = []
    for table in (linear, retrieval, *further):
        blocks = tuple(block for block in table.blocks if block.columns)
        if sum(len(block.columns) for block in blocks) <= _MOST_BESIDE:
            tables += [replace(table, blocks=blocks)] if blocks else []
        else:
            # Explained once, above the first of them.
            tables += [
                replace(
                    table, title=b.title, explained=table.explained if b is blocks[0] else "", blocks=(b,), headed=False
                )
                for b in blocks
            ]
    return tables


def _skipped(gathered: Gathered) -> list[str]:
    """What the probes left out, and why, each once."""
    told = [
        f"{record['column']} ({record['probe']}): {record['reason']}"
        for member in gathered.members
        for record in member.run.probe.get("skipped", [])
    ]
    return list(dict.fromkeys(told))


def _macro_f1(gathered: Gathered) -> dict[str, Any]:
    """Mean, lowest and highest seed, and how many, by method and column."""
    probes = [[member.run.probe.get("linear", []) for member in method.members] for method in gathered.methods]
    columns = list(dict.fromkeys(q.column for q in gathered.questions if q.measure == "accuracy"))
    rows = []
    for method, group in zip(gathered.methods, probes, strict=True):
        cells = []
        for column in columns:
            values = [r["macro_f1"]["value"] for records in group for r in records if name_of(r) == column]
            cells.append((float(np.mean(values)), min(values), max(values), len(values)) if values else None)
        rows.append((method.title, cells))
    return {"columns": columns, "rows": rows}


def _confusions(member: Member) -> list[Confusion]:
    return [
        confusion(name_of(record), record["classes"], np.asarray(record["confusion"], dtype=np.int64))
        for record in member.run.probe.get("linear", [])
        if record.get("confusion")
    ]


def _maps(gathered: Gathered, method: Method, member: Member) -> tuple[list[dict[str, Any]], str]:
    rows = maps.held_out(gathered.rows["split"].to_list())
    if len(rows) < 3:
        return [], ""
    columns = list(gathered.label_columns)[:_MOST_COLUMNS]
    labels = {column: gathered.rows[column].gather(rows).to_list() for column in columns}
    labels |= {column: _fifths(labels[column]) for column in columns if column in _numbers(gathered)}
    features = member.run.features[rows]
    splits = set(gathered.rows["split"].gather(rows).to_list())
    note = (
        f"{counted(len(rows), 'row')} of {' and '.join(s for s in _SPLITS if s in splits)}"
        f"{'' if 'train' in splits else ', which training never saw'}. The same points in every map of a block, "
        "coloured by one column each; the 20 largest classes have a colour and a shape, the rest is grey."
    )
    blocks = []
    near = maps.neighbourhoods(features)
    own = f"{method.title}, seed {member.seed}"
    if near is not None:
        blocks.append(
            {
                "title": f"Neighbourhoods: {own}",
                "note": "t-SNE of the features at unit length. Near points are alike; distances between far groups, "
                "and their sizes, mean nothing.",
                "maps": [_titled(c, maps.coloured(near, labels[c], c, own, "t-SNE map")) for c in columns],
            }
        )
    first, second = (100 * share for share in maps.variance_shares(features))
    flat = maps.principal(features)
    blocks.append(
        {
            "title": f"Principal axes: {own}",
            "note": f"The two directions of largest variance, {first:.0f} and {second:.0f} % of it. "
            "Distances here are true, but most of the space is not seen.",
            "maps": [_titled(c, maps.coloured(flat, labels[c], c, own, "PCA map")) for c in columns],
        }
    )
    if len(gathered.methods) > 1 and columns:
        blocks.append(_by_method(gathered, rows, labels))
    return blocks, note


def _numbers(gathered: Gathered) -> set[str]:
    """Columns of numbers, by what was asked of them."""
    return {q.column for q in gathered.questions if q.measure in ("r2", "neighbour_difference")}


def _fifths(cells: Sequence[str | None]) -> list[str | None]:
    """Numbers as five classes of about as many rows each, named by their ends and in their order."""
    numbers = np.array([np.nan if cell is None else float(cell) for cell in cells])
    known = np.isfinite(numbers)
    if not known.any():
        return list(cells)
    ends = np.quantile(numbers[known], np.linspace(0, 1, 6))
    fifth = np.searchsorted(ends[1:-1], np.nan_to_num(numbers), side="right")
    names = [f"{i + 1}: {low:.4g} to {high:.4g}" for i, (low, high) in enumerate(pairwise(ends))]
    return [names[i] if there else None for i, there in zip(fifth, known, strict=True)]


def _by_method(gathered: Gathered, rows: np.ndarray, labels: Mapping[str, Sequence[str | None]]) -> dict[str, Any]:
    """One map a method, by a column that nobody trained on if there is one; of those the one with fewest classes."""
    unseen = [q.column for q in gathered.questions if not q.in_domain and q.column in labels]
    column = min(unseen or labels, key=lambda name: len(set(labels[name])))
    drawn = []
    for method in gathered.methods:
        places = maps.principal(method.members[0].run.features[rows])
        kind = "PCA map"
        drawn.append(_titled(method.title, maps.coloured(places, labels[column], column, method.title, kind)))
    return {
        "title": f"Principal axes of each method, coloured by {column}",
        "note": f"First seed of each. The colours of “{column}” are those of the legend above.",
        "maps": [{**d, "legend": False} for d in drawn],
    }


def _titled(title: str, drawn: maps.Map) -> dict[str, Any]:
    return {"title": title, "of": drawn, "legend": True}


def _data(gathered: Gathered, table: str) -> dict[str, Any]:
    rows = gathered.rows
    splits = [s for s in _SPLITS if s in set(rows["split"].to_list())]
    asked = {q.column for q in gathered.questions}
    columns = []
    for name in gathered.label_columns:
        values = rows[name]
        counts = values.drop_nulls().value_counts(sort=True)
        training = sum(name in method.columns for method in gathered.methods)
        part = [f"trained on by {training} of {len(gathered.methods)}"] if training else ["never trained on"]
        part += [] if name in asked else ["not probed"]
        columns.append(
            {
                "name": name,
                "part": ", ".join(part),
                "classes": counts.height,
                "largest": counts["count"][0] / counts["count"].sum() if counts.height else None,
                "missing": [_missing(values.filter(rows["split"] == split)) for split in splits],
            }
        )
    sentence = f"{table}: {counted(rows.height, 'row')} used, {_split_counts(rows['split'].to_list())}."
    if "unseen" in splits:
        sentence += " Rows of “unseen” belong to whole groups that training never saw."
    return {"sentence": sentence, "splits": splits, "columns": columns}


def _missing(values: Any) -> float | None:
    return values.null_count() / len(values) if len(values) else None


def _commands(gathered: Gathered, table: str) -> list[str]:
    lines = []
    for member in gathered.members:
        given = member.run.facts.get("command")
        name = shlex.quote(member.run.name)
        train = f"mscon train {shlex.quote(f'{member.run.name}/recipe.toml')} --table {shlex.quote(table)}"
        lines.append(str(given) if isinstance(given, str) else f"{train} --out again/{name}")
    return [*lines, "mscon probe again/*", "mscon report again/*"]


def _facts(facts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Every fact by its path, with all values that occur. Folders of the machine are nobody's business."""
    found: dict[str, list[str]] = {}
    for record in facts:
        for key, value in _flat(record):
            if not value.startswith(("/", "~", "\\\\")) and value not in found.setdefault(key, []):
                found[key].append(value)
    return [(key, _some(values)) for key, values in found.items() if values]


def _some(values: Sequence[str]) -> str:
    """A few values as they are; many numbers as their range."""
    if len(values) > 3:
        try:
            numbers = sorted(values, key=float)
            return f"{numbers[0]} to {numbers[-1]}"
        except ValueError:
            pass
    return first_few(values, 3)


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}: {key}".removeprefix(": ").replace("_", " "))
    elif isinstance(value, list):
        yield path, ", ".join(str(v) for v in value)
    elif value is not None and path != "command":
        yield path, str(value)
