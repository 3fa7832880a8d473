"""Packed: a trained model as one safetensors file that needs no run directory. Data only: nothing in it executes.

The file holds the tensors of encoder and heads, named as in a checkpoint, and under "mscon" in its metadata JSON that
says how to build what they belong to:

    {"format": "mscon model", "version": 1, "mscon": "0.1.0", "title": "MSCon", "checkpoint": "last",
     "recipe": {"encoder": {...}, "data": {...}, "heads": {...}},      as in a recipe; "similarity" for own heads
     "keep": {...} in "recipe", "start": "encoder",                    only where starting features stand beside learned
     "inputs": null,                                                   how rows become vectors, if they are no images
     "similarities": ["category", "colour"],                           one projection each, in this order
     "features": 1280, "projection": 32,                               widths
     "predictors": [...], "uncertainty": [...]}                        only on request; "version" is 2 then

and under "sha256" the `checksum` of all else, so that a file that was damaged on its way is noticed.
`load_packed` is the reader. Without mscon: `safetensors.safe_open(path, "pt")`, then `metadata()["mscon"]`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mscon import __version__
from mscon.data.inputs.tabular import ColumnCoding
from mscon.deploy.packed_judgement import PackedJudgement, is_of_judgement
from mscon.errors import RunError
from mscon.model.beside import STARTS, Start, build_beside
from mscon.model.digest import digest
from mscon.model.model import Model, build_model, load_model
from mscon.model.weight_budget import WeightBudget
from mscon.run import atomic, outputs, recipe
from mscon.run.parsing import parse_json
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.run.trust import foreign_code, need_trust

FORMAT = "mscon model"
VERSION, VERSION_WITH_JUDGEMENT = 1, 2

# Where a folder, or a repository, has its packed model, and the same JSON for people and hubs.
FILE_NAME = "model.safetensors"
CONFIG_NAME = "config.json"

_CHECKSUM = "sha256"

# Settings of [data] that concern the table, or the views of training, not the images.
_OF_THE_TABLE = (
    *("store_size", "split", "split_by", "split_shares", "split_seed", "missing_images", "link_folders"),
    *("remote", "cache_bytes", "decode"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """What a packed file holds.

    Attributes:
        model: on the CPU, in evaluation mode.
        recipe: of which only [data], [encoder], [heads] and the names of the similarities are those of the run.
        inputs: how rows become vectors, from the run; None where they are images.
        checkpoint: name of the run's checkpoint.
        judgement: predictors and row uncertainty, where they were packed too.
    """

    model: Model
    recipe: Recipe
    inputs: dict[str, Any] | None
    checkpoint: str
    judgement: PackedJudgement


def describe(
    trained_by: Recipe, model: Model, checkpoint: str, inputs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """How to build a model again; plain JSON values.

    Args:
        trained_by: the recipe that it was trained by.
        model: the model itself.
        checkpoint: which weights it has.
        inputs: how rows become vectors, from the run.
    """
    training_only = {"pretrained": False, "start_from": "", "weights": "", "frozen": False, "stored_views": 0}
    encoder = dataclasses.asdict(trained_by.encoder) | training_only
    del encoder["lora"]  # merged into the weights
    data = {k: v for k, v in dataclasses.asdict(trained_by.data).items() if k not in _OF_THE_TABLE}
    own_heads = [
        {"column": s.column, "heads": s.heads.to_toml()} for s in trained_by.similarities if s.heads is not None
    ]
    config = {
        "format": FORMAT,
        "version": VERSION,
        "mscon": __version__,
        "title": trained_by.title,
        "checkpoint": checkpoint,
        "recipe": {"encoder": encoder, "data": data, "heads": trained_by.heads.to_toml()}
        | ({"similarity": own_heads} if own_heads else {})
        | ({"keep": {"beside": trained_by.keep.beside, "width": trained_by.keep.width}} if model.beside else {}),
        **({"start": model.beside.start} if model.beside else {}),
        "inputs": None if inputs is None else dict(inputs),
        "similarities": list(trained_by.columns),
        "features": model.width,
        "projection": model.heads.output_dim,
    }
    plain: dict[str, Any] = json.loads(json.dumps(config, allow_nan=False))  # tuples are lists there
    return plain


def checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """The checksum of everything else in a packed file, which its metadata holds."""
    others = {key: value for key, value in metadata.items() if key != _CHECKSUM}
    return digest(json.dumps(others, sort_keys=True), tensors)


def pack(
    run: Run,
    out: str | Path,
    checkpoint: str | None = None,
    overwrite: bool = False,
    include: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the model of a run as one file, and its JSON beside it, with .json for .safetensors.

    Args:
        out: a name that ends in .safetensors; a packed model that is there is replaced, with its JSON.
        checkpoint: "last" or "best"; None for the one that the run's recipe names.
        overwrite: also replace files that are no packed model; never one of the run's.
        include: "predictors" for those of `mscon predict`, with the names of classes; "uncertainty" for what says how
            uncertain rows are, with vectors and classes of training rows.

    Returns:
        The JSON.

    Raises:
        RunError: if the run has no such checkpoint or part, or the files cannot be written or are in the way.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise RunError(f"--out '{out}': a packed model's name ends in .safetensors.")
    beside = out.with_suffix(".json")
    outputs.need_free([out, beside], reads=run.files, images=run.images, is_ours=_is_own, overwrite=overwrite)
    config = write(run, out, checkpoint, include)
    with outputs.writing(beside):
        atomic.write_json(beside, config)
    return config


def _is_own(path: Path) -> bool:
    """Whether a file is a packed model, or the JSON file beside one."""
    if path.suffix == ".json":
        return outputs.json_object(path).get("format") == FORMAT
    try:
        with safe_open(path, framework="pt") as file:
            return "mscon" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def write(run: Run, out: Path, checkpoint: str | None = None, include: Sequence[str] = ()) -> dict[str, Any]:
    """The same under any name, without the JSON beside it."""
    settings = run.read_recipe()
    name = checkpoint or settings.train.checkpoint
    model = load_model(run, name)
    judgement = PackedJudgement.of_run(run, name, include)
    config = describe(settings, model, name, run.read_inputs()) | judgement.to_json()
    config["version"] = VERSION_WITH_JUDGEMENT if include else VERSION
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    tensors |= judgement.to_tensors()
    text = json.dumps(config, allow_nan=False)
    metadata = {"format": "pt", "mscon": text}
    metadata[_CHECKSUM] = checksum(metadata, tensors)
    with outputs.writing(out):
        atomic.write_with(out, lambda path: save_file(tensors, path, metadata=metadata))
    return config


def load_packed(path: Path, trust: bool = False) -> Packed:
    """The model of a packed file, and what it is built from.

    Args:
        path: the safetensors file.
        trust: also build classes from outside mscon ("pkg.mod:Class") that the file names: they must be importable
            here, and importing them executes them.

    Raises:
        RunError: if there is no such file, or it is no packed model, or damaged; or names code from outside mscon,
            without trust.
        RecipeError: if this mscon does not know what the file names.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"there is no packed model '{path}'. `mscon export RUN --to safetensors` writes one.") from None
    except (SafetensorError, OSError) as error:
        raise RunError(f"'{path}' is not a safetensors file that can be read: {error}.") from None
    config = _config(metadata, tensors, path)
    settings = _recipe(config, path, trust)
    inputs = _inputs(config, settings, path)
    dim = None if inputs is None else inputs["width"]
    start = _start(config, settings, path) if settings.keep.transforms else None
    of_judgement = {key: tensors.pop(key) for key in [key for key in tensors if is_of_judgement(key)]}
    try:
        with WeightBudget(tensors):
            model = build_model(settings, settings.similarities, dim)
            if start is not None:
                model.beside = build_beside(settings.keep, start, model.encoder, dim)
        model.load_state_dict(tensors)
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1].strip()
        raise RunError(
            f"the tensors of '{path}' are not of the model that it describes: {last}\n"
            f"  It was written by mscon {config.get('mscon')}, this is {__version__}; or timm is of another version."
        ) from None
    try:
        judgement = PackedJudgement.of_file(config, of_judgement, settings.columns)
    except ValueError as error:
        raise RunError(f"the predictors or the uncertainty of rows in '{path}' cannot be read: {error}") from None
    if not judgement.fits(model.width, model.heads.output_dim):
        raise RunError(f"the predictors or the uncertainty of rows in '{path}' are not of its model.")
    return Packed(model.eval(), settings, inputs, str(config.get("checkpoint", "")), judgement)


def _config(metadata: Mapping[str, str], tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    if _CHECKSUM in metadata and metadata[_CHECKSUM] != checksum(metadata, tensors):
        raise RunError(
            f"'{path}' is damaged: its content is not what was written to it. Copy or download it again, or write it "
            "again with `mscon export`."
        )
    try:
        config = parse_json(metadata.get("mscon", ""))
    except ValueError:
        config = None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise RunError(
            f"'{path}' holds tensors but is no packed model of mscon. `mscon export RUN --to safetensors` writes one."
        )
    if config.get("version") not in (VERSION, VERSION_WITH_JUDGEMENT):
        raise RunError(
            f"'{path}' has version {config.get('version')!r} of the format, but this mscon reads versions {VERSION} "
            f"and {VERSION_WITH_JUDGEMENT}."
        )
    if _CHECKSUM not in metadata:
        raise RunError(f"'{path}' has no checksum: an older mscon wrote it. Write it again with `mscon export`.")
    return config


def _inputs(config: Mapping[str, Any], settings: Recipe, path: Path) -> dict[str, Any] | None:
    """How rows become vectors, checked as far as building a model needs it."""
    inputs = config.get("inputs")
    if settings.data.input == "image":
        return None
    if not isinstance(inputs, dict) or not isinstance(inputs.get("width"), int) or not 1 <= inputs["width"] <= 2**24:
        raise RunError(f"'{path}' does not describe how rows become vectors, which its model needs.")
    if settings.data.input == "columns":
        try:
            ColumnCoding.from_json(inputs)
        except RunError as error:
            raise RunError(f"'{path}': {error}") from None
    return inputs


def _start(config: Mapping[str, Any], settings: Recipe, path: Path) -> Start:
    starts = [start for start in STARTS if start == config.get("start")]
    reads_vectors = config["inputs"] or settings.encoder.adapter
    if not starts or (starts[0] in ("inputs", "standardised") and not reads_vectors):
        raise RunError(f"'{path}' does not describe what its starting features are, which its model needs.")
    return starts[0]


def _recipe(config: Mapping[str, Any], path: Path, trust: bool) -> Recipe:
    values, columns = config.get("recipe"), config.get("similarities")
    if not (isinstance(values, dict) and isinstance(columns, list)):
        raise RunError(f"'{path}' does not describe its model: recipe and similarities are missing.")
    need_trust(f"'{path}'", foreign_code(values), trust)
    sections = {key: values[key] for key in ("encoder", "data", "heads", "keep") if key in values}
    # Read as every recipe is, so that every value is checked. Of a similarity no more than its name is needed here.
    parts = values.get("similarity", [])
    if not (isinstance(parts, list) and all(isinstance(part, dict) for part in parts)):
        raise RunError(f"'{path}' does not describe the heads of its similarities.")
    heads = {str(part.get("column")): {"heads": part["heads"]} for part in parts if "heads" in part}
    similarities = [{"column": column, **heads.get(str(column), {})} for column in columns]
    settings = recipe.of_plain({**sections, "similarity": similarities}, where=f"{path}: ")
    # The weights are in the file, so none are taken from a hub or another run.
    bare = dataclasses.replace(settings.encoder.bare, frozen=False)
    return dataclasses.replace(settings, encoder=bare, title=str(config.get("title", "")))
