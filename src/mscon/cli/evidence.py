"""Verbs that evaluate runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscon.cli.arguments import ACCEPT_CHANGES, MOVED, OVERWRITE, RUN, RUNS, TRUST, argument, flag, open_run, verb

if TYPE_CHECKING:
    from mscon.run.run import Run


@verb(
    RUNS,
    MOVED,
    TRUST,
    ACCEPT_CHANGES,
    flag("--no-start", "do not probe the features that a run began from"),
    argument(
        "--layer",
        "probe an intermediate layer of an image encoder instead, by its name or its number from 0, and write the "
        'scores to layers.json; "list" prints the layers',
        metavar="NAME",
    ),
    examples="""
    mscon probe runs/shoes
    mscon probe runs/*
    mscon probe runs/shoes --layer list
    mscon probe runs/shoes --layer blocks.8
    """,
)
def probe(arguments: argparse.Namespace) -> None:
    """Evaluate runs by predicting every label column from their features.

    Computes the features of all rows with the trained encoder, which stays unchanged. Fits one
    linear model per column on the training rows (logistic regression for classes, labels and
    levels, ridge regression for numbers) and scores it on the test rows, with bootstrap
    intervals. Rows of groups that training never saw are scored by nearest neighbours. The
    columns are those trained on and those of [probe] columns in the recipe. Images and vectors
    must not have changed since training.

    Runs that began from pretrained weights, another run, vectors, columns or texts are compared
    with what they began from: the same probes of the pretrained features, or of the inputs as
    they are. The difference is the run's score minus that score, paired by row.
    """
    from mscon.evaluate.probe import probe

    runs = [open_run(path, arguments.trust).moved(arguments.images) for path in arguments.runs]
    for run in runs:
        run.need_trust()
    for run in runs:
        if arguments.layer is not None:
            print(_layer_text(run, arguments.layer, arguments.accept_changes))
            continue
        probe(run, accept_changes=arguments.accept_changes, start=not arguments.no_start)
        print(scores_text(run))


def _layer_text(run: Run, layer: str, accept_changes: bool) -> str:
    from mscon.evaluate.layers import layers_of, probe_layer

    if layer == "list":
        widths = layers_of(run)
        lines = [f"  {number:>3}  {name:<24} {width:>5} numbers" for number, (name, width) in enumerate(widths.items())]
        return "\n".join([f"{run.root}: layers of its encoder, first to last", *lines])
    name = probe_layer(run, layer, accept_changes=accept_changes)
    return "\n".join(_score_lines(f"{run.root}, layer {name}", run.read_layers()["layers"][name]))


def scores_text(run: Run) -> str:
    """The scores of a probed run, a line for each column, and how they compare with its start."""
    from mscon.evaluate.report.against_start import against_start, what_to_try
    from mscon.evaluate.report.uniformity import uniformity_text

    probe = run.read_probe()
    lines = _score_lines(str(run.root), probe)
    if evenness := uniformity_text(probe):
        lines.append(f"  {evenness}")
    if sentence := probe.get("collapse"):
        lines.append(sentence)
    for sentence in (against_start(probe), what_to_try(probe, run.read_recipe_values())):
        lines += [f"{sentence[0].upper()}{sentence[1:].rstrip('.')}."] if sentence else []
    return "\n".join(lines)


def _score_lines(heading: str, probe: Mapping[str, Any]) -> list[str]:
    from mscon.errors import counted
    from mscon.evaluate.report.against_start import signed
    from mscon.evaluate.report.probe_scores import scores_of

    lines = [f"{heading}: score on test rows [95 % interval], rows, baseline, whether training used the column"]
    for how, whose in (("linear", ""), ("neighbours", f"{probe.get('neighbours_among', 'unseen')} rows")):
        for score in scores_of(probe, how):
            measure, shown = score.measure, score.measure.shown
            start = ""
            if score.start is not None:
                gap = signed("%" if measure.in_percent else measure.name, score.start.difference)
                start = f"; start {measure.with_unit(score.start.value)}, difference {gap}"
            guess = "" if score.guess is None else f"  baseline {measure.with_unit(score.guess)} ({measure.guess})"
            role = whose or ("trained on" if score.trained else "not trained on")
            lines.append(
                f"  {score.name:<16} {measure.title:<12} {measure.with_unit(score.value):>8}  "
                f"[{shown(score.low)}, {shown(score.high)}]  {counted(score.rows, 'row')}{guess}  {role}{start}"
            )
    return lines + [f"  {s['column']:<16} not probed ({s['probe']}): {s['reason']}" for s in probe["skipped"]]


@verb(
    RUN,
    argument(
        "--columns",
        "label columns that are judged beside those trained on and those of [probe] columns",
        metavar="COLUMN",
        nargs="+",
        default=[],
    ),
    MOVED,
    TRUST,
    ACCEPT_CHANGES,
    examples="""
    mscon affinity runs/shoes
    mscon affinity runs/shoes --columns brand season
    """,
)
def affinity(arguments: argparse.Namespace) -> None:
    """Compare the label columns of a run with each other.

    Prints which columns tell which, which say the same, which pull the features in opposite
    directions, and which to try to leave out. For each column, trained on or not: how far the
    nearest rows in the space of each similarity agree in it (0 by chance, 1 always). For each
    two trained columns: normalised mutual information of the labels, linear CKA of the
    projections, and the cosine of the gradients of their losses at the features. Nothing is
    trained. The numbers are written to affinity.json in the run.
    """
    from mscon.evaluate.affinity import affinity
    from mscon.evaluate.affinity_words import tables

    run = open_run(arguments.run, arguments.trust)
    result = affinity(run, arguments.columns, accept_changes=arguments.accept_changes, images=arguments.images)
    print("\n".join([f"{run.root}: judged by {result.split} rows", *tables(result), "", *result.sentences]))


@verb(
    argument("paths", "run directories, or folders of `mscon reproduce`", metavar="RUN", type=Path, nargs="+"),
    argument("--out", "default: report.html in the run, or beside the runs", metavar="FILE", type=Path),
    argument("--title", "of the page (default: the method's title and the table's name)", default=""),
    argument("--images", "folder of the images (default: as in training)", metavar="DIR", type=Path),
    flag("--no-maps", "leave out the maps, which take most of the time"),
    TRUST,
    OVERWRITE,
    examples="""
    mscon report runs/shoes
    mscon report runs/equal runs/uncertainty --out comparison.html
    mscon report runs/shoes runs/reproduce/glyphs/figure3 runs/reproduce/glyphs/figure4_epochs
    """,
)
def report(arguments: argparse.Namespace) -> None:
    """Write one HTML page that compares runs.

    One file that needs nothing else: scores with paired intervals, training curves, how much the
    heads differ, maps of the features and of each similarity's projections, and nearest
    neighbours. Runs of one title that differ in their seed only are seeds of one method; other
    runs of that title are told apart by their folders. Folders that `mscon reproduce` wrote can
    be given too, beside runs or alone. The page can be printed.
    """
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


@verb(
    RUN,
    argument("--out", "default: README.md in the run", metavar="FILE", type=Path),
    OVERWRITE.described("replace an existing card"),
    examples="""
    mscon card runs/shoes                     # writes runs/shoes/README.md
    mscon card runs/shoes --out card.md
    """,
)
def card(arguments: argparse.Namespace) -> None:
    """Write the model card of a run.

    Markdown: how to load the model, scores with intervals, counts of the data, the recipe, what
    to cite. Licence and intended use are left for you to fill in. `mscon push` uploads the card
    as you edited it.
    """
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
