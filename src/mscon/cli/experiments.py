"""Verbs that run many trainings at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from mscon.cli.arguments import IMAGES, JOBS, RECIPE, SET, TABLE, argument, flag, positive, verb


@verb(
    argument(
        "--out",
        "folder for runs and report (default: runs/demo)",
        metavar="DIR",
        type=Path,
        default=Path("runs/demo"),
    ),
    argument("--seeds", "runs of each method (default: 3; not with --quick)", metavar="N", type=positive),
    JOBS,
    flag("--quick", "one seed and two epochs; the scores mean nothing"),
    examples="""
    mscon demo
    mscon demo --seeds 5 --jobs 4 --out runs/demo5
    mscon demo --quick        # one seed, two epochs: does it work here?
    """,
)
def demo(arguments: argparse.Namespace) -> None:
    """Try everything on rendered letters: train, evaluate, compare, report.

    Renders the installed font packages to a table of letters with five label columns, trains
    MSCon and its baselines on three of them, evaluates the features on all five, and writes a
    report. Finished runs are not trained again. Needs the fonts: pip install "mscon[fonts]".
    """
    from mscon_paper import demo

    demo.demo(arguments.out, seeds=arguments.seeds, jobs=arguments.jobs, quick=arguments.quick)


@verb(
    RECIPE,
    TABLE,
    IMAGES,
    SET.described("change one value of every recipe, such as train.epochs=12; may be repeated"),
    argument("--out", "folder for runs and results (default: runs/compare-RECIPE)", metavar="DIR", type=Path),
    argument(
        "--also",
        "compare another recipe too; FILE, or TITLE=FILE; may be repeated",
        metavar="[TITLE=]FILE",
        action="append",
        default=[],
    ),
    argument(
        "--held-out",
        "label columns that are held out in turn, or 'none' (default: all, where there are several)",
        metavar="COLUMN",
        nargs="+",
    ),
    argument(
        "--methods",
        "compare the recipe with these only: start, cross_entropy, cross_entropy_same_row, supcon, simclr, mscon, "
        "mscon_same_row (default: all)",
        metavar="METHOD",
        nargs="+",
        default=[],
    ),
    argument("--seeds", "runs of each method (default: 3; not with --quick)", metavar="N", type=positive),
    flag("--quick", "one seed and two epochs; the scores mean nothing, and no recipe is recommended"),
    JOBS,
    examples="""
    mscon compare shoes.toml --table shoes.csv
    mscon compare shoes.toml --table shoes.csv --also "no views=plain.toml" --seeds 5
    mscon compare shoes.toml --table shoes.csv --held-out none --methods start mscon
    mscon compare shoes.toml --table shoes.csv --quick     # one seed, two epochs: does it work here?
    """,
    fault="a mistake in a recipe or the table (finished runs are kept)",
)
def compare(arguments: argparse.Namespace) -> None:
    """Compare a recipe with its frozen start and with specialists, and recommend one.

    Trains and evaluates under one budget: the frozen start (the pretrained encoder, or the vectors
    as they are), cross-entropy, SupCon of each column, SimCLR, MSCon and the recipe itself. Each
    label column is also held out in turn, to show what a task without labels gets. Prints an
    estimate of the time first; at the end one table and three sentences. Writes to OUT:
    compare.json, table.md, report.html, and recommended.toml, the recipe that is best on
    validation rows. The same command continues a comparison that was stopped, and its trainings
    from their last checkpoints.
    """
    from mscon.comparison.compare import compare
    from mscon.evaluate.report.markdown import plain

    held_out = arguments.held_out
    if held_out == ["none"]:
        held_out = []
    result = compare(
        arguments.recipe,
        arguments.table,
        arguments.out or Path("runs") / f"compare-{arguments.recipe.stem}",
        also=arguments.also,
        methods=arguments.methods,
        held_out=held_out,
        seeds=arguments.seeds,
        jobs=arguments.jobs,
        quick=arguments.quick,
        images=arguments.images,
        overrides=arguments.set,
    )
    sentences = [plain(sentence) for sentence in result.verdict]
    files = ["report.html", "table.md", *(["recommended.toml"] if result.recommended else [])]
    print("\n".join([result.text, "", *sentences, "", f"{result.out}: {', '.join(files)}"]))


@verb(
    argument("experiment", "such as glyphs/table3 (default: list all)", metavar="EXPERIMENT", nargs="?"),
    argument("--data", "folder of the data set, or its table", metavar="ROOT", type=Path),
    argument(
        "--seeds", "runs of each method (default: as the experiment says; not with --quick)", metavar="N", type=positive
    ),
    flag("--quick", "one seed and two epochs; the scores mean nothing"),
    JOBS,
    argument(
        "--out",
        "folder for runs and results (default: runs/reproduce)",
        metavar="DIR",
        type=Path,
        default=Path("runs/reproduce"),
    ),
    SET.described("change a value in every run, such as encoder.pretrained=false; it is then another experiment"),
    examples="""
    mscon reproduce
    mscon reproduce glyphs/table3 --jobs 4
    mscon reproduce zappos50k/table1 --data data/zappos --seeds 5
    mscon reproduce glyphs/figure3 --quick     # one seed, two epochs: does it work here?
    """,
    fault="a mistake in a name, the data or a recipe (finished runs are kept)",
)
def reproduce(arguments: argparse.Namespace) -> None:
    """Run an experiment of the paper and compare the numbers.

    Trains and evaluates all runs of the experiment that are not finished, several at the same
    time, and writes OUT/EXPERIMENT: table.md, results.json, figure.svg, figure.png, report.html.
    A finished run is used again if its recipe and its table are exactly the same, also by other
    experiments. The same command continues an experiment that was stopped, and its trainings
    from their last checkpoints.
    Without a name it lists all experiments with their number of runs and epochs.
    """
    from mscon_paper import reproduce

    if arguments.experiment is None:
        print(reproduce.listed())
        return
    reproduce.reproduce(
        arguments.experiment,
        data=arguments.data,
        seeds=arguments.seeds,
        quick=arguments.quick,
        jobs=arguments.jobs,
        out=arguments.out,
        overrides=arguments.set,
    )
