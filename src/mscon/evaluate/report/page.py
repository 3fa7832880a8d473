"""The page: one self-contained HTML file that makes no network requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from mscon import __version__
from mscon.errors import counted
from mscon.evaluate.page import colours, frame
from mscon.evaluate.report import environment
from mscon.evaluate.report.added_columns import worse_with_more
from mscon.evaluate.report.affinity import affinity_maps
from mscon.evaluate.report.compare import FEWEST_SEEDS, MARKS, Comparison, compare
from mscon.evaluate.report.comparison_json import comparison_json
from mscon.evaluate.report.confusion import confusions
from mscon.evaluate.report.data import census
from mscon.evaluate.report.environment import bibtex
from mscon.evaluate.report.experiments import FILE as RESULTS_FILE
from mscon.evaluate.report.experiments import Results, read_results
from mscon.evaluate.report.gather import Gathered, gather
from mscon.evaluate.report.heads import HEIGHT, Diversities, diversity, masks
from mscon.evaluate.report.label_quality import LabelQuality, label_quality
from mscon.evaluate.report.maps import SIDE, Atlas, atlas
from mscon.evaluate.report.methods import Method
from mscon.evaluate.report.neighbours import Grid, grid
from mscon.evaluate.report.projections import projection_scores
from mscon.evaluate.report.reliability import calibration_of
from mscon.evaluate.report.summary import behind_start, closest_look, default_title, facts_at_a_glance, sentences
from mscon.evaluate.report.training import BOTTOM, LEFT, RIGHT, TOP, WIDTH, curves, endings
from mscon.evaluate.report.training import HEIGHT as CHART_HEIGHT
from mscon.evaluate.report.uncertainty import risk_coverage
from mscon.evaluate.report.uniformity import uniformities
from mscon.model.collapse import collapse
from mscon.run import atomic, outputs
from mscon.run.run import Run

_OF_ADAPTER = ", read through an adapter of random weights"
_NOT_JUDGED = LabelQuality()
_PACKAGE, _FOLDER = "mscon.evaluate.report", "template"


def build_report(
    runs: Sequence[Run | str | Path] | Run | str | Path,
    out: str | Path,
    comparison: Comparison | None = None,
    results: Sequence[str | Path] = (),
    overwrite: bool = False,
    *,
    title: str = "",
    lead: Sequence[str] = (),
    images: str | Path | None = None,
    with_maps: bool = True,
    note: Callable[[str], None] | None = None,
) -> Path:
    """Write the report of some runs, of experiments, or of both, and `report.json` with the numbers beside it.

    Args:
        runs: trained and probed runs on the same rows, or their directories. Those whose recipes share a title and
            differ in their seed only are seeds of one method.
        out: the HTML file to write, or a folder to write `report.html` into.
        comparison: what `compare(gather(runs))` gave, if that is there already.
        results: folders that `mscon reproduce` wrote; with them `runs` may be empty, and no numbers are written
            beside the page then, since they lie there already.
        overwrite: also replace files that are no report; never one that a report is made from.
        title: of the page; by default the title of the method and the name of the table.
        lead: the sentences that the page begins with; by default what the scores say.
        images: folder of the images, if they are no longer where they lay when the run was trained.
        with_maps: whether to draw maps, which takes most of the time.
        note: is called with each sentence that the user should read besides: logs and pictures that are missing.

    Returns:
        Path of the HTML file.

    Raises:
        RunError: see `gather` and `read_results`; also if `images` is no folder or rows are no images, and for a
            file in the way, or one that cannot be written. Nothing is written then.
    """
    page_path, numbers_path = report_files(Path(out))
    folders = [Path(folder) for folder in results]
    listed = [runs] if isinstance(runs, Run | str | Path) else runs
    opened = [Run.of(run).as_it_is() for run in listed]
    outputs.need_free(
        [page_path, numbers_path] if opened else [page_path],
        reads=[*chain.from_iterable(run.files for run in opened), *(folder / RESULTS_FILE for folder in folders)],
        images=chain.from_iterable(run.images for run in opened),
        is_ours=is_report,
        overwrite=overwrite,
    )
    experiments = [read_results(folder) for folder in folders]
    if experiments and not opened:
        page = render_results(experiments, title)
        with outputs.writing(page_path):
            atomic.write_text(page_path, page)
        return page_path
    gathered = gather(opened)
    comparison = compare(gathered) if comparison is None else comparison
    method, member = closest_look(gathered, comparison)
    folder = None if images is None else Path(images)
    neighbours = grid(member, gathered.rows, gathered.labels, folder)
    quality = label_quality(member, gathered.rows, gathered.label_columns, folder)
    maps = atlas(gathered, method, member) if with_maps else Atlas("", ())
    spaces = diversity(gathered)
    page = render(gathered, comparison, neighbours, maps, spaces, experiments, title, lead, quality)
    numbers = {"mscon": __version__, **comparison_json(comparison), "diversity": spaces.to_json()}
    with outputs.writing(page_path):
        atomic.write_text(page_path, page)
        atomic.write_json(numbers_path, numbers)
    for sentence in (*lost_logs(opened), neighbours.missing):
        if sentence and note is not None:
            note(sentence)
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
    neighbours: Grid,
    maps: Atlas,
    spaces: Diversities,
    experiments: Sequence[Results] = (),
    title: str = "",
    lead: Sequence[str] = (),
    quality: LabelQuality = _NOT_JUDGED,
) -> str:
    """The whole page as text."""
    method, member = closest_look(gathered, comparison)
    members = list(gathered.members)
    matrices, label_sets = confusions(member)
    made_from = counted(len(members), "run")
    return _page(
        title=title or default_title(gathered.methods, gathered.table),
        sentences=lead or sentences(comparison),
        warnings=[
            *behind_start(comparison),
            *worse_with_more(gathered),
            *_collapsed(gathered),
            *_failure_signs(gathered),
            *spaces.failures,
            *lost_logs([m.run for m in members]),
            *([] if lead else _not_trained(gathered)),  # what leads says what a method without training is for
        ],
        glance=facts_at_a_glance(gathered, comparison),
        comparison=comparison,
        projections=projection_scores(gathered),
        uniformity=uniformities(gathered),
        skipped=_skipped(gathered),
        experiments=experiments,
        curves=curves(gathered.methods),
        endings=[(name, list(group)) for name, group in groupby(endings(gathered.methods), key=lambda e: e.method)],
        diversity=spaces,
        masks=masks(gathered.methods),
        atlas=maps,
        grid=neighbours,
        quality=quality,
        main={"method": method.title, "seed": member.seed},
        affinity=affinity_maps(member.run.read_affinity()),
        certainty=risk_coverage(member.run.read_probe()),
        calibration=calibration_of(member.run),
        confusions=matrices,
        label_sets=label_sets,
        census=census(gathered),
        commands=environment.commands(gathered),
        recipes=environment.recipes(gathered),
        facts=environment.facts(gathered),
        bibtex=bibtex(m.recipe for m in members),
        made_from=made_from + (f" and {counted(len(experiments), 'experiment')}" if experiments else ""),
    )


def render_results(experiments: Sequence[Results], title: str = "") -> str:
    """The page of experiments alone."""
    default = experiments[0].title if len(experiments) == 1 else counted(len(experiments), "experiment")
    return _page(
        title=title or f"{default[0].upper()}{default[1:]}",
        sentences=[],
        warnings=[],
        glance=[("On", ", ".join(dict.fromkeys(r.source for r in experiments)))],
        comparison=None,
        experiments=experiments,
        bibtex=bibtex([]),
        made_from=counted(len(experiments), "experiment"),
    )


def lost_logs(runs: Sequence[Run]) -> list[str]:
    """A sentence for each run whose curves are not whole."""
    return [
        f"The log.jsonl of run “{run.name}” has lost records of its training, so its curves are not whole."
        for run in runs
        if run.has_lost_log
    ]


def _collapsed(gathered: Gathered) -> list[str]:
    """A sentence for each method with a run whose features have collapsed."""
    sentences = {
        method.title: next(filter(None, (collapse(member.run.read_features()) for member in method.members)), "")
        for method in gathered.methods
    }
    return [f"“{title}”: {sentence}" for title, sentence in sentences.items() if sentence]


def _failure_signs(gathered: Gathered) -> list[str]:
    """What training warned of, of several seeds once; how alike heads are in the end is judged elsewhere."""
    signs = {
        (method.title, record.get("sign"), *record.get("columns", ())): record.get("sentence", "")
        for method in gathered.methods
        for member in reversed(method.members)
        for record in member.run.read_log()
        if record.get("kind") == "sign" and record.get("sign") != "same_space"
    }
    return [f"“{title}”: {sentence}" for (title, *_), sentence in signs.items()]


def _not_trained(gathered: Gathered) -> list[str]:
    """A sentence for each method that was not trained."""
    return [
        f"“{method.title}” was not trained (train.epochs = 0): its scores are those of the starting weights"
        f"{_OF_ADAPTER if _has_random_adapter(method) else ''}. Its heads have learnt nothing, so only its features "
        "are shown."
        for method in gathered.methods
        if not method.trained
    ]


def _has_random_adapter(method: Method) -> bool:
    encoder = method.members[0].recipe["encoder"]
    return bool(encoder.get("adapter") and not encoder.get("start_from"))


def _skipped(gathered: Gathered) -> list[str]:
    """What the probes left out, and why, each once."""
    lines = [
        f"{record['column']} ({record['probe']}): {record['reason']}"
        for member in gathered.members
        for record in member.run.read_probe().get("skipped", [])
    ]
    return list(dict.fromkeys(lines))


def _page(**values: Any) -> str:
    css = frame.file_text(_PACKAGE, _FOLDER, "page.css")
    templates = frame.environment(_PACKAGE, _FOLDER)
    templates.globals |= {
        "hue": colours.hue,
        "shape": colours.shape,
        "chart": {"width": WIDTH, "height": CHART_HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        "signs": MARKS,
        "fewest_seeds": FEWEST_SEEDS,
        "side": SIDE,
        "mask_height": HEIGHT,
    }
    return templates.get_template("page.html.j2").render(
        version=__version__, policy=frame.content_policy(css), css=frame.trusted(css), **values
    )
