"""Verbs that ask what a run is worth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mscon.cli.arguments import Verbs, add_accept_changes, add_overwrite, add_runs, add_trust, add_verb, open_run

if TYPE_CHECKING:
    from mscon.run.run import Run


def probe(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "probe",
        _run_probe,
        "ask the frozen features of a run about every column",
        "Fits a linear model per column on the training rows (a classifier, one for each\n"
        "label or step between levels, or ridge regression, by the kind of the column),\n"
        "scores it on the test rows with bootstrap intervals, and asks nearest neighbours\n"
        "among rows of groups that training never saw. Columns: those trained on, and\n"
        "[probe] columns. Images and vectors must be those that the run was trained on.",
        "  mscon probe runs/shoes\n  mscon probe runs/*",
    )
    add_runs(parser)
    add_trust(parser)
    add_accept_changes(parser)


def _run_probe(arguments: argparse.Namespace) -> None:
    from mscon.evaluate.probe import probe as ask

    runs = [open_run(path, arguments.trust) for path in arguments.runs]
    for run in runs:
        run.need_trust()
    for run in runs:
        ask(run, accept_changes=arguments.accept_changes)
        print(_scores(run))


def _scores(run: Run) -> str:
    from mscon.evaluate.report.probe_scores import scores_of

    lines = [f"{run.root}"]
    for how, whose in (("linear", ""), ("neighbours", "unseen rows")):
        for score in scores_of(run.read_probe(), how):
            measure, shown = score.measure, score.measure.shown
            guess = "" if score.guess is None else f"  {measure.guess} {measure.with_unit(score.guess)}"
            role = whose or ("trained" if score.trained else "never seen")
            lines.append(
                f"  {score.name:<16} {measure.title:<12} {measure.with_unit(score.value):>8}  "
                f"[{shown(score.low)}, {shown(score.high)}]{guess}  {role}"
            )
    lines += [f"  {s['column']:<16} not probed ({s['probe']}): {s['reason']}" for s in run.read_probe()["skipped"]]
    return "\n".join(lines)


def report(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "report",
        _run_report,
        "write one page that shows what runs have learned",
        "One self-contained HTML file: scores with intervals, training curves, whether the\n"
        "similarities differ, maps of the features and of every space, nearest neighbours.\n"
        "Runs of one title that differ in their seed only are seeds of one method; others of\n"
        "that title are told apart by their folders. Folders that `mscon reproduce` wrote, such\n"
        "as a figure of the paper, can be given too, with runs or alone. The page prints well.",
        "  mscon report runs/shoes\n  mscon report runs/equal runs/uncertainty --out comparison.html\n"
        "  mscon report runs/shoes runs/reproduce/glyphs/figure3 runs/reproduce/glyphs/figure4_epochs",
    )
    parser.add_argument("paths", metavar="RUN", type=Path, nargs="+", help="run directories, or folders of results")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: report.html in the run, or beside the runs")
    parser.add_argument("--title", default="", help="of the page (default: the method's title and the table's name)")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images (default: where they lay in training)"
    )
    parser.add_argument("--no-maps", action="store_true", help="leave out the maps, which take most of the time")
    add_trust(parser)
    add_overwrite(parser)


def _run_report(arguments: argparse.Namespace) -> None:
    from mscon.evaluate.report.experiments import holds_results
    from mscon.evaluate.report.page import build_report

    results = [path for path in arguments.paths if holds_results(path)]
    runs = [open_run(path, arguments.trust) for path in arguments.paths if path not in results]
    places = [run.root for run in runs] or results
    folder = places[0] if len(places) == 1 else places[0].parent
    path = build_report(
        runs,
        arguments.out or folder / "report.html",
        results=results,
        overwrite=arguments.overwrite,
        title=arguments.title,
        images=arguments.images,
        with_maps=not arguments.no_maps,
        note=lambda sentence: print(f"note: {sentence}", file=sys.stderr),
    )
    print(path)


def card(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "card",
        _run_card,
        "write the model card of a run, with the evidence for it",
        "Markdown: how to load the model, scores of the probes with intervals, counts of the\n"
        "data, the recipe, what to cite. Licences and intended use are left for you to fill in;\n"
        "`mscon push` takes the card as you leave it.",
        "  mscon card runs/shoes                     # writes runs/shoes/README.md\n"
        "  mscon card runs/shoes --out card.md",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--out", metavar="FILE", type=Path, help="default: README.md in the run")
    parser.add_argument("--overwrite", action="store_true", help="replace a card that is there")


def _run_card(arguments: argparse.Namespace) -> None:
    from mscon.errors import RunError
    from mscon.evaluate.report.card import model_card
    from mscon.run import atomic, outputs

    run = open_run(arguments.run)
    if arguments.out is None:
        if run.read_card() is not None and not arguments.overwrite:
            raise RunError(f"run '{run.root}' has a card, which you may have edited. {outputs.ADVICE}")
        with outputs.writing(run.root):
            print(run.write_card(model_card(run)))
        return
    outputs.need_free([arguments.out], reads=run.files, images=run.images, overwrite=arguments.overwrite)
    with outputs.writing(arguments.out):
        atomic.write_text(arguments.out, model_card(run))
    print(arguments.out)
