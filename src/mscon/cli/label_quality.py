"""The verb that finds wrong labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from mscon.cli.arguments import MOVED, RUN, TRUST, argument, flag, open_run, probability, verb

_SHOWN = 5
_LETTERS = 80


@verb(
    RUN,
    argument(
        "--features",
        "what labels are judged by: what the run began from (default), or the features of the run, which were trained "
        "on these labels",
        choices=("start", "run"),
        default="start",
    ),
    flag("--no-witnesses", "do not let the other label columns testify"),
    argument(
        "--corrected",
        "also write a CSV copy of the table with label issues replaced by what is predicted; must not exist",
        metavar="FILE",
        type=Path,
    ),
    argument(
        "--at-least",
        "replace only where the prediction is right with this probability (default: 0.9)",
        metavar="SHARE",
        type=probability,
        default=0.9,
    ),
    argument("--table", "the table for --corrected, if it is no longer where it was", metavar="TABLE", type=Path),
    MOVED,
    TRUST,
    examples="""
    mscon doubt runs/shoes
    mscon doubt runs/shoes --corrected corrected.csv --at-least 0.95
    """,
)
def doubt(arguments: argparse.Namespace) -> None:
    """Find labels that are probably wrong.

    Judges every label of the columns that the run was trained on or is probed for, by models and
    neighbours that did not learn from it, and by the other label columns. Prints the estimated
    share of wrong labels of each column, with a 95 % interval, and the most doubtful labels.
    Writes doubt.parquet, one row for each label, and doubt.json into the run; the report and the
    explorer show them.
    """
    import polars as pl

    from mscon.data.table.cell_text import cell_text
    from mscon.data.table.table import unit
    from mscon.errors import counted, shortened
    from mscon.evaluate.label_quality.corrections import need_table, write_corrected
    from mscon.evaluate.label_quality.doubt import doubt
    from mscon.evaluate.report.label_quality import sentences

    run = open_run(arguments.run, arguments.trust).moved(arguments.images)
    run.need_trust()
    if arguments.corrected is not None:
        need_table(run, arguments.corrected, arguments.table)
    labels = doubt(run, features=arguments.features, witnesses=not arguments.no_witnesses)
    word = unit(run.read_facts()["table"]["name"])
    record = run.read_doubt()
    print(f"{run.root}: labels judged by {record['features']}")
    columns = [*record["columns"], *record["skipped"]]
    for column, sentence in zip([one["column"] for one in columns], sentences(record), strict=True):
        print(f"  {sentence}")
        issues = labels.filter((pl.col("column") == column) & pl.col("is_label_issue")).head(_SHOWN)
        for line, label, predicted, score in issues.select(
            "line", "given_label", "predicted_label", "label_score"
        ).iter_rows():
            label_text, predicted_text = shortened(cell_text(label), _LETTERS), shortened(predicted, _LETTERS)
            print(f"    {word} {line}: {label_text} ({100 * score:.0f} % probable), predicted {predicted_text}")
    if arguments.corrected is not None:
        replaced = write_corrected(run, arguments.corrected, arguments.at_least, arguments.table)
        print(f"{arguments.corrected}: {counted(sum(replaced.values()), 'label')} replaced")
        for column, number in replaced.items():
            print(f"  {column}: {number:,}")
