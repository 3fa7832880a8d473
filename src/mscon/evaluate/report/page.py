"""The page: one HTML file that holds everything it shows, and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import jinja2

from mscon import __version__
from mscon.errors import counted
from mscon.evaluate.report import palette
from mscon.evaluate.report.atlas import atlas
from mscon.evaluate.report.citations import bibtex
from mscon.evaluate.report.compare import FEWEST_SEEDS, Comparison, compare, comparison_json
from mscon.evaluate.report.confusion import confusions
from mscon.evaluate.report.curves import curves
from mscon.evaluate.report.data import census
from mscon.evaluate.report.diversity import Diversity, diversity
from mscon.evaluate.report.environment import commands, facts, recipes
from mscon.evaluate.report.gather import Gathered, gather
from mscon.evaluate.report.masks import masks
from mscon.evaluate.report.neighbours import grid
from mscon.evaluate.report.results import FILE as RESULTS_FILE
from mscon.evaluate.report.results import Results, read_results
from mscon.evaluate.report.similarities import learnt
from mscon.evaluate.report.summary import closest_look, finding, headline, table_name, title
from mscon.evaluate.report.tables import macro_f1, skipped, tables, whisker
from mscon.run import atomic, outputs
from mscon.run.run import Run


def build_report(
    runs: Sequence[Run],
    out: str | Path,
    comparison: Comparison | None = None,
    results: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> Path:
    """Write the report of some runs, of experiments, or of both, and `report.json` with the numbers beside it.

    Args:
        runs: trained and probed runs on the same rows. Those whose recipes share a title are seeds of one method.
        out: the HTML file to write, or a folder to write `report.html` into.
        comparison: what `compare(gather(runs))` gave, if that is there already.
        results: folders that `mscon reproduce` wrote; with them `runs` may be empty, and no numbers are written
            beside the page then, since they lie there already.
        overwrite: also replace files that are no report; never one that a report is made from.

    Returns:
        Path of the HTML file.

    Raises:
        RunError: see `gather` and `read_results`; also for a file in the way, or one that cannot be written. Nothing
            is written then.
    """
    page_path, numbers_path = report_files(Path(out))
    folders = [Path(folder) for folder in results]
    runs = [run.as_it_is() for run in runs]
    outputs.need_free(
        [page_path, numbers_path] if runs else [page_path],
        reads=[*chain.from_iterable(run.files for run in runs), *(folder / RESULTS_FILE for folder in folders)],
        images=chain.from_iterable(run.images for run in runs),
        is_ours=is_report,
        overwrite=overwrite,
    )
    found = [read_results(folder) for folder in folders]
    if found and not runs:
        with outputs.writing(page_path):
            atomic.write_text(page_path, render_results(found))
        return page_path
    gathered = gather(runs)
    comparison = compare(gathered) if comparison is None else comparison
    alike = diversity(gathered)
    page = render(gathered, comparison, found, alike)
    told = {"mscon": __version__, **comparison_json(comparison), "diversity": _diversity_json(alike)}
    with outputs.writing(page_path):
        atomic.write_text(page_path, page)
        atomic.write_json(numbers_path, told)
    return page_path


def report_files(out: Path) -> tuple[Path, Path]:
    """The page and its numbers, for an HTML file or a folder."""
    page = out if out.suffix.lower() in (".html", ".htm") else out / "report.html"
    return page, page.with_suffix(".json")


def is_report(path: Path) -> bool:
    """Whether a file is the page of a report, or its numbers."""
    if path.suffix == ".json":
        return {"mscon", "diversity"} <= outputs.json_object(path).keys()
    return outputs.is_page(path, "report")


def render(
    gathered: Gathered,
    comparison: Comparison,
    results: Sequence[Results] = (),
    alike: tuple[int, tuple[Diversity, ...]] | None = None,
) -> str:
    """The whole page as text."""
    method, member = closest_look(gathered, comparison)
    table = table_name(gathered)
    count = len(list(gathered.members))
    alike = diversity(gathered) if alike is None else alike
    taken, label_sets = confusions(member)
    return _page(
        title=title(gathered.methods, table),
        finding=[*finding(comparison), *_failures(alike[1]), *lost_logs([m.run for m in gathered.members])],
        headline=headline(gathered, table),
        comparison=comparison,
        fewest_seeds=FEWEST_SEEDS,
        tables=tables(comparison),
        skipped=skipped(gathered),
        macro_f1=macro_f1(gathered),
        results=results,
        curves=curves(gathered.methods),
        learnt=[(name, list(group)) for name, group in groupby(learnt(gathered.methods), key=lambda r: r.method)],
        diversity=alike,
        masks=masks(gathered.methods),
        atlas=atlas(gathered, method, member),
        grid=grid(member, gathered.rows, gathered.labels),
        main={"method": method.title, "seed": member.seed},
        confusions=taken,
        label_sets=label_sets,
        census=census(gathered, table),
        commands=commands(gathered, table),
        recipes=recipes(gathered),
        facts=facts(gathered),
        several=count > 1,
        bibtex=bibtex(m.recipe for m in gathered.members),
        made_from=counted(count, "run") + (f" and {counted(len(results), 'experiment')}" if results else ""),
    )


def render_results(results: Sequence[Results]) -> str:
    """The page of experiments alone."""
    what = results[0].title if len(results) == 1 else counted(len(results), "experiment")
    return _page(
        title=f"{what[0].upper()}{what[1:]}",
        finding=[],
        headline=[("On", ", ".join(dict.fromkeys(r.source for r in results)))],
        comparison=None,
        results=results,
        bibtex=bibtex([]),
        made_from=counted(len(results), "experiment"),
    )


def _page(**told: Any) -> str:
    css = _file("page.css")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(version=__version__, policy=_policy(css), css=jinja2.utils.markupsafe.Markup(css), **told)
    )


def _file(name: str) -> str:
    return resources.files("mscon.evaluate.report").joinpath("template", name).read_text("utf-8").replace("\r\n", "\n")


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


def _failures(alike: Sequence[Diversity]) -> list[str]:
    """What nobody should have to scroll down for."""
    return [f"“{one.method}”: {one.words}" for one in alike if one.failed]


def lost_logs(runs: Sequence[Run]) -> list[str]:
    """A sentence for each run whose curves are not whole."""
    return [
        f"The log.jsonl of run “{run.name}” has lost records of its training, so its curves are not whole."
        for run in runs
        if run.has_lost_log
    ]


def _diversity_json(alike: tuple[int, Sequence[Diversity]]) -> Mapping[str, Any]:
    rows, methods = alike
    return {
        "measure": "linear CKA",
        "rows": rows,
        "methods": [
            {
                "title": one.method,
                "similarities": list(one.names),
                "mean": [[entry.value for entry in line] for line in one.table],
                "seeds": [{"seed": seed, "cka": [list(line) for line in matrix]} for seed, matrix in one.seeds],
                "failed": one.failed,
            }
            for one in methods
        ],
    }
