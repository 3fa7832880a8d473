"""A batch of the loss in one's own loop: projections, labels and numbers of rows, checked, as samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mscon.method.comparison import SampleOrigin
from mscon.method.labels import Values, integers, need_shape, tensor_of
from mscon.method.similarities.base import Similarity
from mscon.train.gather import CandidateSource, Samples

Projections = Mapping[str, Tensor] | Tensor
BatchLabels = Mapping[str, Values] | Values


def samples_of(
    projections: Projections,
    labels: BatchLabels | None,
    rows: Values | None,
    inputs: Values | None,
    similarities: Sequence[Similarity],
    candidates: CandidateSource,
    least_views: int = 1,
) -> Samples:
    """The samples of a batch, the views of a row one after the other.

    Args:
        projections, labels, rows, inputs: as of `MSConLoss.forward`.
        similarities: in the order of their projections.
        candidates: numbers the rows if the caller does not.
        least_views: how many views of a row the objective needs.

    Raises:
        ValueError: for shapes, types, sizes or names that do not fit.
    """
    names = [s.column for s in similarities]
    stacked = _stack_projections(projections, names)
    _, count, views, dim = stacked.shape
    if count == 0 and candidates.world_size == 1:  # of several processes one may have none: the others wait for it
        raise ValueError("projections of no rows: the batch is empty.")
    if views < least_views:
        raise ValueError(
            f"the objective compares views of a row: projections must be (rows, views, dim) each with {least_views} "
            f"views or more, got {views}."
        )
    columns = _columns(labels, [s for s in similarities if s.columns or s.reads_vectors])
    if rows is None:
        numbers = candidates.new_rows(count, stacked.device)
    else:
        numbers = integers("rows", rows, truth_values=False).to(stacked.device)
        need_shape("rows", numbers, words="one number a row")
    codes = [columns[s.column].to(stacked.device) if s.column in columns else numbers for s in similarities]
    for name, code in zip((*names, "rows"), (*codes, numbers), strict=True):
        if code.shape[0] != count:
            what = "rows" if name == "rows" else f"labels '{name}'"
            raise ValueError(f"{what} must have one value for each of {count} rows, got shape {tuple(code.shape)}.")
    places = torch.arange(count * views, device=stacked.device)
    if views > 1:
        row = places // views
        *codes, numbers = (code.index_select(0, row) for code in (*codes, numbers))
    view = places % views
    origin = SampleOrigin(numbers, view, _input_numbers(inputs, views, view))
    return Samples(stacked.reshape(len(names), count * views, dim), codes, origin)


def _input_numbers(inputs: Values | None, views: int, view: Int[Tensor, " samples"]) -> Int[Tensor, " samples"]:
    """The input of each sample, from that of each view."""
    if inputs is None:
        return torch.zeros_like(view)
    try:
        numbers = integers("inputs", inputs, truth_values=False)
    except ValueError:
        numbers = view[:0]
    if numbers.shape != (views,) or (numbers < 0).any():
        raise ValueError(
            f"inputs must be one integer >= 0 for each of {views} views, such as {[*range(views)]}, got {inputs!r}."
        )
    return numbers.to(view.device)[view]


def _stack_projections(projections: Projections, names: Sequence[str]) -> Float[Tensor, "similarities rows views dim"]:
    """Any accepted form as one tensor with a dimension of views."""
    if isinstance(projections, Mapping):
        _same_names("projections", projections, names)
        shapes = {name: tuple(_projected(f"projections '{name}'", projections[name]).shape) for name in names}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"projections must have one shape, got {shapes}.")
        stacked = torch.stack([projections[name] for name in names])
    else:
        stacked = _projected("projections", projections)
        if stacked.dim() < 3 or stacked.shape[0] != len(names):
            raise ValueError(
                f"projections must be (similarities, rows, dim) or (similarities, rows, views, dim) with "
                f"{len(names)} similarities {list(names)}, got {tuple(stacked.shape)}."
            )
    if not stacked.is_floating_point():
        raise ValueError(f"projections must be floating point, got {stacked.dtype}.")
    if stacked.dim() == 3:
        stacked = stacked.unsqueeze(2)
    if stacked.dim() != 4:
        raise ValueError(f"projections must be (rows, dim) or (rows, views, dim) each, got {tuple(stacked.shape[1:])}.")
    return stacked


def _columns(labels: BatchLabels | None, similarities: Sequence[Similarity]) -> dict[str, Shaped[Tensor, "rows ..."]]:
    """Any accepted form as the codes of each labelled similarity, where the labels lie."""
    names = [s.column for s in similarities]
    if labels is None:
        labels = {}
    if not isinstance(labels, Mapping):
        together = tensor_of("labels", labels, "numbers (classes as integers, -1 where missing)")
        if together.dim() != 2 or together.shape[1] != len(names):
            raise ValueError(
                f"labels must be (rows, {len(names)}) for {names}, got {tuple(together.shape)}. A similarity that "
                "takes several numbers a row wants them by name, as {name: labels}."
            )
        labels = {name: together[:, i] for i, name in enumerate(names)}
    _same_names("labels", labels, names)
    columns = {s.column: s.encode_tensor(labels[s.column]) for s in similarities}
    for name, codes in columns.items():
        if not (isinstance(codes, Tensor) and codes.dim()):
            raise ValueError(f"encode_tensor of similarity '{name}' must give a tensor with a row for each label.")
    return columns


def _projected(what: str, values: Any) -> Tensor:
    if not isinstance(values, Tensor):
        raise ValueError(f"{what} must be a tensor, which the gradient goes back to, got {type(values).__name__}.")
    return values


def _same_names(what: str, by_name: Mapping[str, Any], names: Sequence[str]) -> None:
    if set(by_name) != set(names):
        missing, unknown = sorted(set(names) - set(by_name)), sorted(set(by_name) - set(names))
        raise ValueError(f"{what} must be given for {list(names)}: missing {missing}, unknown {unknown}.")
