"""Packed judgement: predictors, and what says how uncertain rows are, in a packed model; only on request.

Predictors hold the names of classes. What says how uncertain rows are holds vectors and classes of training rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mscon.errors import RunError
from mscon.model.predictors.stored import StoredPredictor, current_predictors, stored_predictors
from mscon.model.row_uncertainty import RowUncertainty
from mscon.model.stored_uncertainty import of_arrays, read_uncertainty
from mscon.run.contents import fault_of
from mscon.run.run import Run

PREDICTORS, UNCERTAINTY = "predictors", "uncertainty"
PARTS = (PREDICTORS, UNCERTAINTY)


@dataclass(frozen=True, slots=True, eq=False)
class PackedJudgement:
    """What a packed model knows of label columns and rows besides its vectors."""

    predictors: Sequence[StoredPredictor] = ()
    row_uncertainty: RowUncertainty | None = None

    @classmethod
    def of_run(cls, run: Run, checkpoint: str, parts: Sequence[str]) -> PackedJudgement:
        """Those of a run.

        Args:
            run: a trained run.
            checkpoint: of the model that they are packed with.
            parts: some of `PARTS`.

        Raises:
            RunError: for all parts that the run does not have of this checkpoint.
        """
        is_usual = checkpoint == run.read_recipe().train.checkpoint
        predictors = current_predictors(run) if PREDICTORS in parts and is_usual else []
        stored = read_uncertainty(run, checkpoint) if UNCERTAINTY in parts else None
        advice = {PREDICTORS: "mscon predict", UNCERTAINTY: "mscon probe"}
        absent = [p for p in parts if not (predictors if p == PREDICTORS else stored)]
        if absent:
            raise RunError(
                "\n".join(
                    f"run '{run.root}' has no {part} of checkpoint '{checkpoint}' as it is now. `{advice[part]}` "
                    "computes them for the checkpoint that the recipe names."
                    for part in absent
                )
            )
        return cls(predictors, None if stored is None else stored[0])

    def to_json(self) -> dict[str, Any]:
        """All but the arrays, as plain values under "predictors" and "uncertainty"; nothing for what is not there."""
        columns = None if self.row_uncertainty is None else self.row_uncertainty.to_arrays()[1]
        return {
            **({PREDICTORS: [one.to_json() for one in self.predictors]} if self.predictors else {}),
            **({} if columns is None else {UNCERTAINTY: list(columns)}),
        }

    def to_tensors(self) -> dict[str, Tensor]:
        """The arrays; those of the i-th predictor are called "predictors/i/NAME"."""
        arrays = {
            f"{PREDICTORS}/{number}/{name}": array
            for number, one in enumerate(self.predictors)
            for name, array in one.to_arrays().items()
        }
        of_rows = {} if self.row_uncertainty is None else self.row_uncertainty.to_arrays()[0]
        arrays |= {f"{UNCERTAINTY}/{name}": array for name, array in of_rows.items()}
        return {name: torch.from_numpy(array).contiguous() for name, array in arrays.items()}

    @classmethod
    def of_file(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], similarities: Sequence[str]
    ) -> PackedJudgement:
        """The inverse of `to_json` and `to_tensors`.

        Args:
            config: the JSON of the packed model.
            tensors: those that `is_of_judgement` is true of.
            similarities: of the model.

        Raises:
            ValueError: if they do not fit together.
        """
        arrays: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        predictors: Sequence[StoredPredictor] = ()
        rows = None
        try:
            for name, tensor in tensors.items():
                part, _, rest = name.partition("/")
                arrays[part][rest] = tensor.numpy()
            if PREDICTORS in config:
                _need_shape("predictors.safetensors", {PREDICTORS: config[PREDICTORS], "source": "", "skipped": []})
                predictors = stored_predictors(config[PREDICTORS], arrays[PREDICTORS])
            if UNCERTAINTY in config:
                _need_shape("uncertainty.safetensors", {"checkpoint": "", "columns": config[UNCERTAINTY]})
                rows = of_arrays(arrays[UNCERTAINTY], config[UNCERTAINTY], similarities)
        except (KeyError, TypeError) as error:  # an array that is not there, or of a type that numpy does not know
            raise ValueError(f"{error}") from None
        return cls(predictors, rows)

    def fits(self, width: int, projection: int) -> bool:
        """Whether features and projections have these widths."""
        return all(one.predictor.linear_map.width == width for one in self.predictors) and (
            self.row_uncertainty is None or self.row_uncertainty.fits(width, projection)
        )


def is_of_judgement(tensor: str) -> bool:
    """Whether a tensor of a packed model, by its name, is one of these and not of the model itself."""
    return tensor.partition("/")[0] in PARTS and "/" in tensor


def _need_shape(file: str, values: Any) -> None:
    if fault := fault_of(file, values):
        raise ValueError(fault)
