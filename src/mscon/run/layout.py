"""Layout: the files of a run directory. The only module that spells their names, beside those who read or write one."""

from __future__ import annotations

from collections.abc import Mapping

CHECKSUMS = "checksums.jsonl"

# What makes a folder a run, the last file to be written when it begins; and what training can continue from.
FACTS, LAST_CHECKPOINT = "run.json", "checkpoints/last.safetensors"

FILES: Mapping[str, str] = {
    # File, the verb that writes it, and what it holds. Nothing else is removed where a run is replaced.
    "recipe.toml": "mscon train",  # the recipe with every default; it trains the same run again
    FACTS: "mscon train",  # versions, machine, table (path, content hash, counts), resolved hardware choices
    "similarities.json": "mscon train",  # what the codes of each similarity stand for
    "signature.json": "mscon train",  # shows that its user trained it on this machine, see mscon.run.trust
    "inputs.json": "mscon train",  # how rows become vectors, where they are not images
    "vectors.safetensors": "mscon train",  # the vectors, where they were in a column and not in a file of their own
    "teachers.safetensors": "mscon train",  # for each similarity of kind teacher a vector a row, as float16
    "label_weights.safetensors": "mscon train",  # with what probability each label is used, where [doubt] says so
    "fingerprints.safetensors": "mscon train",  # 16 bytes a row, of its image or vector in a file outside the run
    "rows.parquet": "mscon train",  # the rows used: line, split, image path, and every label column
    "log.jsonl": "mscon train",  # one record a line: {"kind": "step" | "validation" | ..., "epoch", "step", ...}
    LAST_CHECKPOINT: "mscon train",  # weights, and all else that training needs to continue
    "checkpoints/start.safetensors": "mscon train",  # the encoder's weights before training, where [keep] needs them
    "checkpoints/best.safetensors": "mscon train",  # the weights that were best on the validation rows
    "checkpoints/breakdown.safetensors": "mscon train",  # a step with a loss or gradient that is not finite
    "features/features.safetensors": "mscon probe",  # one vector for each row of rows.parquet, in its order
    "features/projections.safetensors": "mscon probe",  # the same for each similarity
    "masks.json": "mscon probe",  # what heads of kind "masks" let through of the embedding
    "probe.json": "mscon probe",  # scores with intervals, one record each
    "predictions.safetensors": "mscon probe",  # predictions row by row, for paired comparison
    "predictors.safetensors": "mscon predict",  # a calibrated linear model for each column, and its test rows
    "uncertainty.safetensors": "mscon probe",  # of each row, and what it takes to compute that of new rows
    "layers.json": "mscon probe",  # the same of intermediate layers of the encoder, by the name of the layer
    "layer_predictions.safetensors": "mscon probe",
    "affinity.json": "mscon affinity",  # of label columns: which say the same, help each other, pull apart
    "doubt.json": "mscon doubt",  # for each label column the share of wrong labels, with an interval
    "doubt.parquet": "mscon doubt",  # each label, how probably it is right, and what is predicted instead
    "README.md": "mscon card",  # the model card; changes made by hand are kept
    "transfer.json": "mscon reproduce",  # scores by the number of labelled rows, where an experiment asks for them
    "report.html": "mscon report",
    "report.json": "mscon report",
    "explorer.html": "mscon explore",
    CHECKSUMS: "mscon train",  # size and SHA-256 of each of these files, compared when it is read
}

# Files of a run that their verbs also write elsewhere.
SHOWN = ("README.md", "report.html", "report.json", "explorer.html")

# Held by the process that trains; and a run that is to replace the one in this folder.
LOCK, NEXT = ".lock", ".next"

# Copies of the log, where the recipe names these loggers: the folder of each, and what the logger writes in it.
LOGGERS: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("events.out.tfevents.*",),
    "wandb": ("offline-run-*", "run-*", "latest-run", "debug*.log"),
}


def checkpoint_file(name: str) -> str:
    """The file of the checkpoint of a name: "last", "best", ..."""
    return f"checkpoints/{name}.safetensors"
