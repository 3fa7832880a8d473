"""ONNX: a trained model as a graph for other runtimes, checked against torch before it is handed out.

The graph takes images as they are stored (uint8, square, of the run's size) and holds everything from there on:
division by 255, mean and standard deviation, encoder, heads. How to make such images of others is in its metadata.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mscon.data.inputs import image_files
from mscon.data.inputs.tabular import ColumnCoding
from mscon.deploy import packed
from mscon.errors import MSConError, RunError
from mscon.model.model import Model, load_model
from mscon.run import atomic, outputs
from mscon.run.run import Run

# Largest difference between the two that is taken for rounding; see `ExportCheck.difference`.
TOLERANCE = 1e-4

_IMAGES = 16
_NEEDED = ("onnx", "onnxruntime", "onnxscript")

_PIXELS = (
    "uint8 [channels, image_size, image_size]. With Pillow, s = image_size: ImageOps.exif_transpose(image); 16 bits "
    ">> 8, with `white` above 0 round(255 * value / white) instead; transparency on white; convert('RGB'), or 'L' for "
    "one channel; image.resize((s, s), BICUBIC, box=the largest centred square, (width - side) / 2 and so on without "
    "rounding, reducing_gap=3.0)"
)


@dataclass(frozen=True, slots=True)
class ExportCheck:
    """The comparison of an exported model with torch.

    Attributes:
        path: the exported file.
        difference: largest absolute difference of any number, divided by the largest absolute number of that output.
        images: how many were compared.
        real: whether they were images of the run, rather than random ones.
        outputs: names of the outputs, and their shapes.
    """

    path: Path
    difference: float
    images: int
    real: bool
    outputs: dict[str, str]


class _Graph(nn.Module):
    def __init__(self, model: Model, projections: bool) -> None:
        super().__init__()
        self.model, self.projections = model, projections

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        inputs = images if images.is_floating_point() else images.to(torch.float32) / 255
        inputs = self.model.read(inputs)
        learned = self.model.encoder(inputs)
        features = self.model.transformed(inputs, learned)
        if not self.projections:
            return (features,)
        return features, nn.functional.normalize(self.model.heads(learned), dim=-1).transpose(0, 1)


def export_onnx(
    run: Run,
    out: str | Path,
    *,
    checkpoint: str | None = None,
    projections: bool = False,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> ExportCheck:
    """Write the model of a run as ONNX, and compare what it computes with torch, in batches of several sizes.

    The input is `images` [batch, channels, image_size, image_size] of uint8, or `vectors` [batch, dim] of float32 for
    a model of vectors; the outputs are `features`
    [batch, features] and, on request, `projections` [batch, similarities, dim] of unit length, in the order of the
    metadata.

    Args:
        out: a name that ends in .onnx; a model that mscon exported there is replaced, once the new one has passed.
        checkpoint: "last" or "best"; None for the one that the run's recipe names.
        projections: also the projections.
        tolerance: greatest difference that passes.
        overwrite: also replace a file that is no such model; never one of the run's.

    Raises:
        RunError: if the extra `onnx` is not installed, the model cannot be exported, a file is in the way, or the two
            differ by more than the tolerance. Then nothing is left.
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise RunError(f"--out '{out}': the name of an ONNX file ends in .onnx.")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or above, got {tolerance}.")
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise RunError(
            f"exporting to ONNX needs packages that are not installed: {', '.join(missing)}.\n"
            '  Install them with `pip install "mscon[onnx]"`.'
        )
    outputs.need_free([out], reads=run.files, images=run.images, is_ours=_is_own, overwrite=overwrite)
    recipe = run.read_recipe()
    name = checkpoint or recipe.train.checkpoint
    model = load_model(run, name).float()
    config = packed.describe(recipe, model, name, run.read_inputs())
    pixels, real = _inputs(run, model)
    graph = _Graph(model, projections).eval()
    content = _exported(graph, pixels, config)
    checked: list[ExportCheck] = []

    def write(path: Path) -> None:
        path.write_bytes(content)
        difference, outputs = _difference(graph, path, pixels)
        if not difference <= tolerance:
            raise RunError(
                f"the exported model differs from torch by {difference:.2g}, more than the tolerance of {tolerance:.2g}"
                f" ({len(pixels)} {'images of the run' if real else 'random ones'}), so it was removed.\n"
                "  If that is precise enough for you, pass a larger --tolerance."
            )
        checked.append(ExportCheck(Path(out), difference, len(pixels), real, outputs))

    with outputs.writing(out):
        atomic.write_with(out, write)
    return checked[0]


def _is_own(path: Path) -> bool:
    """Whether a file is a model that mscon exported."""
    import onnx

    try:
        return "mscon" in {entry.key for entry in onnx.load(path, load_external_data=False).metadata_props}
    except Exception:  # of protobuf or onnx, for any other file
        return False


def _inputs(run: Run, model: Model) -> tuple[Shaped[np.ndarray, "images ..."], bool]:
    """Images of the run if they still lie where they lay, else random ones; and which. Random vectors for vectors."""
    data = run.read_recipe().data
    if data.input != "image":
        draws = np.random.default_rng(0).standard_normal((_IMAGES, model.encoder.mean.numel()), dtype=np.float32)
        return draws * model.encoder.std.numpy() + model.encoder.mean.numpy(), False
    try:
        names = run.read_rows().get_column("image").head(_IMAGES).to_list()
        paths = image_files.find_images(Path(run.read_facts()["images_root"]), names, data)
        pixels, faults = image_files.decode_some(paths, data.image_size, data.channels, data.white)
        if names and not faults:
            return pixels, True
    except (MSConError, OSError, KeyError):
        pass  # a run that was moved without its table
    shape = (_IMAGES, data.channels, data.image_size, data.image_size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), False


def _exported(graph: _Graph, pixels: Shaped[np.ndarray, "images ..."], config: dict[str, Any]) -> bytes:
    """The graph as an ONNX file, with its metadata."""
    import onnx

    names = ["features", "projections"] if graph.projections else ["features"]
    kind = _kind(pixels)
    encoder, data = graph.model.encoder, config["recipe"]["data"]
    try:
        # Two images or more: a batch of one would become a constant of the graph.
        example = torch.from_numpy(np.resize(pixels, (2, *pixels.shape[1:])))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the exporter does inside; what it made is compared below
            program = torch.onnx.export(
                graph,
                (example,),
                input_names=[kind],
                output_names=names,
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        proto = program.model_proto
    except Exception as error:  # the exporter raises what the model's operations raise, and more
        reason = str(error).strip().partition("\n")[0]
        hint = (
            "\n  torch 2.6's exporter is known to fail; update torch." if torch.__version__.startswith("2.6.") else ""
        )
        raise RunError(
            f"the encoder '{config['recipe']['encoder']['name']}' cannot be exported: {reason}{hint}"
        ) from None
    metadata = {
        "mscon": config["mscon"],
        "model": json.dumps(config, allow_nan=False),
        "similarities": json.dumps(config["similarities"]),
        **(
            {key: str(data[key]) for key in ("image_size", "channels", "white")} | {"pixels": _PIXELS}
            if kind == "images"
            else {"inputs": json.dumps(config["inputs"])}
        ),
        **_dimensions(config),
        "mean": json.dumps([round(v, 6) for v in encoder.mean.flatten().tolist()]),
        "std": json.dumps([round(v, 6) for v in encoder.std.flatten().tolist()]),
        "normalised_inside": "true",
    }
    onnx.helper.set_model_props(proto, metadata)
    content: bytes = proto.SerializeToString()
    return content


def _difference(graph: _Graph, path: Path, pixels: Shaped[np.ndarray, "images ..."]) -> tuple[float, dict[str, str]]:
    """Between the graph and the file, over batches of one, of some and of all images."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own, of which there are many
        raise RunError(f"onnxruntime cannot read the exported model: {str(error).partition(chr(10))[0]}") from None
    greatest = 0.0
    for count in sorted({1, min(3, len(pixels)), len(pixels)}):
        with torch.inference_mode():
            expected = [output.numpy() for output in graph(torch.from_numpy(pixels[:count]))]
        for by_torch, by_onnx in zip(expected, session.run(None, {_kind(pixels): pixels[:count]}), strict=True):
            greatest = max(greatest, _apart(by_torch, np.asarray(by_onnx)))
    return greatest, {output.name: str(output.shape) for output in session.get_outputs()}


def _dimensions(config: Mapping[str, Any]) -> dict[str, str]:
    """For a model of columns, what each number of its input is."""
    if config["recipe"]["data"]["input"] != "columns":
        return {}
    return {"dimensions": json.dumps(ColumnCoding.from_json(config["inputs"]).dimensions, ensure_ascii=False)}


def _kind(inputs: Shaped[np.ndarray, "images ..."]) -> str:
    return "images" if inputs.dtype == np.uint8 else "vectors"


def _apart(one: Float[np.ndarray, "*shape"], other: np.ndarray) -> float:
    if one.shape != other.shape:
        return float("inf")
    apart = float(np.abs(one - other).max() / max(1e-12, float(np.abs(one).max())))
    return apart if np.isfinite(apart) else float("inf")
