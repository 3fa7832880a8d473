"""The verb that predicts label columns."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from mscon.cli.arguments import (
    ACCEPT_CHANGES,
    BATCH_SIZE,
    IMAGES,
    MODEL,
    OVERWRITE,
    TABLE,
    TRUST,
    VECTORS,
    argument,
    flag,
    open_run,
    probability,
    verb,
)


@verb(
    MODEL,
    replace(TABLE, options={**TABLE.options, "required": False}),
    flag("--missing", "instead of --table: fill the empty cells of the rows that the run was trained on"),
    argument("--out", "output file, .csv or .parquet", metavar="OUT", type=Path, required=True),
    argument(
        "--columns",
        "label columns of the run to predict (default: those trained on, those of [probe] columns, and those predicted "
        "before)",
        metavar="NAME",
        nargs="+",
        default=[],
    ),
    argument(
        "--abstain",
        "leave cells empty whose confidence is below X, from 0 to 1 (default: 0, none)",
        metavar="X",
        type=probability,
        default=0.0,
    ),
    IMAGES,
    VECTORS,
    BATCH_SIZE,
    ACCEPT_CHANGES,
    OVERWRITE.described("replace an existing OUT, unless it is a file that is read here"),
    TRUST,
    examples="""
    mscon predict runs/shoes --table new.csv --out predictions.csv
    mscon predict runs/shoes --table new.csv --columns closure --abstain 0.8 --out new.parquet
    mscon predict runs/shoes --missing --abstain 0.9 --out filled.csv
    mscon predict shoes.safetensors --table new.csv --out predictions.csv
    """,
    fault="a mistake in the model, the table or an image (OUT was not written)",
)
def predict(arguments: argparse.Namespace) -> None:
    """Predict label columns for the rows of a table, with calibrated confidences.

    Writes for each row its line, its image path, and for each column NAME and NAME_confidence:
    how likely the whole cell is right. Numbers have NAME_low and NAME_high instead, an interval
    that holds 90 % of new numbers. With --missing it writes the rows of the run with their empty
    cells filled; confidences stand beside these only. The table itself is never changed.

    The first use fits a linear model a column on the features of the training rows, as
    `mscon probe` does, calibrates it on the validation rows, measures it on the test rows, and
    writes all of it to the run. It is fitted again when the features have changed. The summary
    says for each column the accuracy on test rows and the expected calibration error.

    MODEL may also be a packed model that was written with predictors (`mscon export --include
    predictors`), or hf:OWNER/NAME. Then nothing is fitted, and no run is needed.
    """
    from mscon.data.table.table import read_table
    from mscon.deploy.inputs import changed_since_training
    from mscon.deploy.load import is_packed
    from mscon.errors import RunError
    from mscon.estimator.prediction import write_predictions

    if (arguments.table is None) == (not arguments.missing):
        raise RunError("name either --table TABLE, for new rows, or --missing, for the empty cells of the run's rows.")
    sentences = write_predictions(
        arguments.model,
        arguments.table,
        arguments.out,
        columns=arguments.columns,
        abstain=arguments.abstain,
        images=arguments.images,
        vectors=arguments.vectors,
        batch_size=arguments.batch_size,
        accept_changes=arguments.accept_changes,
        overwrite=arguments.overwrite,
        trust=arguments.trust,
    )
    if arguments.table is not None and not is_packed(arguments.model):
        run = open_run(Path(arguments.model), arguments.trust)
        data = run.read_recipe().data
        data = data if arguments.vectors is None else replace(data, vectors=arguments.vectors)
        if changed := changed_since_training(run, data, read_table(arguments.table), arguments.images):
            print(f"note: {changed} They are predicted as they are now.", file=sys.stderr)
    print(sentences)
