"""Embedder: a trained model as a function from images to vectors, and to predictions where it has predictors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Shaped

from mscon.data.inputs.views import plain
from mscon.deploy import packed
from mscon.deploy.cells import row_of_cells
from mscon.deploy.inputs import open_columns
from mscon.deploy.pictures import picture_batches, pictures
from mscon.deploy.vectors import RowVectors, need_dimensions, truncated
from mscon.errors import RunError, nearest, numbered
from mscon.model.digest import digest
from mscon.model.model import Model
from mscon.model.predictors.stored import StoredPredictor
from mscon.model.row_uncertainty import RowUncertainty
from mscon.run.recipe import Recipe


class Embedder:
    """A trained model in evaluation mode, in float32. A row's vectors depend on no other row.

    Args:
        model: encoder and heads.
        recipe: what images are like; names the similarities.
        name: what messages call it.
        known: how rows become vectors, from its run; None where they are images.
        checkpoint: which weights it has, where that is known.
        device: where it computes; None for a GPU if there is one.
        row_uncertainty: says how uncertain rows are; None where that is not known.
        predictors: reads those of its label columns; of none by default.
        truncate_dim: keep so many first dimensions of each projection, scaled to unit length again; None for all.

    Raises:
        RunError: if `truncate_dim` is no number of dimensions that projections have.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        name: str,
        known: Mapping[str, Any] | None = None,
        checkpoint: str = "",
        device: torch.device | str | None = None,
        row_uncertainty: RowUncertainty | None = None,
        predictors: Callable[[], Sequence[StoredPredictor]] = tuple,
        truncate_dim: int | None = None,
    ) -> None:
        if truncate_dim is not None:
            need_dimensions(name, model.heads.output_dim, truncate_dim)
        self.truncate_dim = truncate_dim
        self.recipe, self.name, self.known, self.checkpoint = recipe, name, known, checkpoint
        self.row_uncertainty, self._read_predictors = row_uncertainty, predictors
        self.device = torch.device(device or _device())
        self.model = model.to(self.device, torch.float32).eval()

    @property
    def similarities(self) -> tuple[str, ...]:
        """Names of the similarities, each of which has a projection."""
        return self.recipe.columns

    @cached_property
    def digest(self) -> str:
        """A hash of how the model is built and of every weight: the same for models that compute the same."""
        description = packed.describe(self.recipe, self.model, "", self.known)
        truncated = [] if self.truncate_dim is None else [self.truncate_dim]
        text = json.dumps([description["recipe"], description["inputs"], *truncated], sort_keys=True)
        return digest(text, self.model.state_dict())

    @cached_property
    def uncertainty_digest(self) -> str:
        """A hash of what says how uncertain rows are; "" where that is not known."""
        if self.row_uncertainty is None:
            return ""
        arrays, columns = self.row_uncertainty.to_arrays()
        return digest(json.dumps(columns), {name: torch.from_numpy(array) for name, array in arrays.items()})

    def width(self, similarity: str | None = None) -> int:
        """Numbers of a vector: of features, or of the projection of a similarity.

        Raises:
            RunError: if there is no such similarity.
        """
        self._number(similarity)
        return self.model.width if similarity is None else self.truncate_dim or self.model.heads.output_dim

    def embed(self, images: Any, similarity: str | None = None, batch_size: int = 256) -> Float[np.ndarray, "rows dim"]:
        """Vectors of images, as `mscon probe` makes them of a run's own: the same pixels, no augmentation.

        Args:
            images: paths, bytes of image files, Pillow images, arrays [height, width(, channels)] or tensors
                [channels, height, width] of uint8, in any mixture; or one array or tensor with a further axis before.
                A single image counts as a list of one. They may have any size. Of a model of vectors, [rows, dim] of
                them; of a model of sentences, those; of a model of columns, a table that has them: a polars or pandas
                DataFrame, or a path; or one row as a dictionary of its cells.
            similarity: the name of one, for its projection, scaled to unit length; None for features, which are not.
            batch_size: images in memory at a time; changes speed and memory only.

        Returns:
            Float32, a row an image.

        Raises:
            RunError: if there is no such similarity, or a vector is not finite.
            TableError: if a file cannot be read as an image, naming it; for columns or cells that are at fault.
            ValueError: for what is no image, or vectors of another width or with a number that is not finite.
        """
        self._number(similarity)
        blocks = [self.encode(inputs, similarity) for inputs in self.read(images, batch_size)]
        return np.concatenate(blocks) if blocks else np.zeros((0, self.width(similarity)), dtype=np.float32)

    def uncertainty(
        self, images: Any, similarity: str | None = None, batch_size: int = 256
    ) -> Float[np.ndarray, " rows"]:
        """How uncertain the vectors of images are, in [0, 1]: 0.95 is more uncertain than 95 % of validation rows.

        See `mscon.model.row_uncertainty`.

        Args:
            images: as `embed` takes them.
            similarity: the name of one, for the ambiguity of its column alone; None for the row as a whole.
            batch_size: images in memory at a time.

        Raises:
            RunError: if the model does not know, or the similarity has no classes; else as `embed`.
        """
        self._number(similarity)
        if self.row_uncertainty is None:
            raise RunError(
                f"{self.name} does not know how uncertain rows are. `mscon probe RUN` computes what that takes, for a "
                "run with validation rows, and `mscon export RUN --include uncertainty` packs it."
            )
        if not self.rates(similarity):
            judged = ", ".join(f"'{column.column}'" for column in self.row_uncertainty.columns)
            raise RunError(
                f"{self.name}: the column of similarity '{similarity}' has no classes that could be judged. "
                f"Those that have: {judged or 'none'}."
            )
        blocks = [self.encode_rated(inputs, similarity)[1] for inputs in self.read(images, batch_size)]
        return np.concatenate([np.zeros(0, dtype=np.float32), *(block for block in blocks if block is not None)])

    @cached_property
    def predictors(self) -> Sequence[StoredPredictor]:
        """Of its label columns; none where it has none, or where those of its run are out of date."""
        return self._read_predictors()

    def predict(
        self, images: Any, columns: Sequence[str] = (), abstain: float = 0.0, batch_size: int = 256
    ) -> pl.DataFrame:
        """Values of label columns, with calibrated confidences, by the predictors of a run or a packed model.

        `mscon.predict` takes tables, and fits predictors where a run has none.

        Args:
            images: as `embed` takes them.
            columns: names of label columns; empty for all that it has predictors for.
            abstain: a cell whose confidence is below it stays empty; from 0 to 1.
            batch_size: images in memory at a time.

        Returns:
            A row an image: uncertainty (where it is known), and for each predicted column NAME and NAME_confidence,
            or NAME_low and NAME_high where it is a number.

        Raises:
            RunError: if it has no predictors, or none for a column; or as `embed`.
            ValueError: for a threshold outside [0, 1]; or as `embed`.
        """
        from mscon.deploy.predict import need_width, predicted, shown_of

        shown = shown_of(self.predictors, self.name, columns, abstain)
        need_width(self, shown)
        blocks = [self.encode_rated(inputs) for inputs in self.read(images, batch_size)]
        vectors = np.concatenate([np.zeros((0, self.width()), dtype=np.float32), *(block for block, _ in blocks)])
        frame = predicted(shown, vectors, abstain)
        if self.row_uncertainty is None:
            return frame
        rated = [np.zeros(0, dtype=np.float32), *(block for _, block in blocks if block is not None)]
        return frame.insert_column(0, pl.Series("uncertainty", np.concatenate(rated)))

    def rates(self, similarity: str | None = None) -> bool:
        """Whether `uncertainty` is known, of rows as a whole or of the column of a similarity."""
        rated = self.row_uncertainty
        return rated is not None and (similarity is None or similarity in [column.column for column in rated.columns])

    def encode(
        self, inputs: Shaped[np.ndarray, "rows ..."], similarity: str | None = None
    ) -> Float[np.ndarray, "rows dim"]:
        """The same of inputs as a run stores them: uint8 images [channels, size, size], or float32 vectors."""
        return self.encode_rated(inputs, similarity)[0]

    def encode_rated(
        self, inputs: Shaped[np.ndarray, "rows ..."], similarity: str | None = None
    ) -> tuple[Float[np.ndarray, "rows dim"], Float[np.ndarray, " rows"] | None]:
        """The same with their `uncertainty`, which is None where it is not known."""
        number = self._number(similarity)
        if similarity is None or number is None:
            every = self.encode_all(inputs)
            return every.features, every.uncertainty
        vectors, rated = self._finite(self._embedded(inputs)[1][number]), self.row_uncertainty
        uncertainty = rated.of_column(similarity, vectors) if rated is not None and self.rates(similarity) else None
        return truncated(self.name, vectors, self.truncate_dim), uncertainty

    def encode_all(self, inputs: Shaped[np.ndarray, "rows ..."]) -> RowVectors:
        """Features, unit vectors of all similarities, and uncertainty of inputs as a run stores them, in one pass."""
        features, projections = map(self._finite, self._embedded(inputs))
        rated = self.row_uncertainty
        uncertainty = None if rated is None else rated.of(features, projections)
        projections = truncated(self.name, projections, self.truncate_dim)
        return RowVectors(features, projections, self.similarities, uncertainty)

    def embed_all(self, images: Any, batch_size: int = 256) -> RowVectors:
        """The same of images as `embed` takes them."""
        batches = [self.encode_all(inputs) for inputs in self.read(images, batch_size)]
        dim = self.truncate_dim or self.model.heads.output_dim
        none = np.zeros((0, self.model.width), np.float32), np.zeros((len(self.similarities), 0, dim), np.float32)
        return RowVectors.joined(batches or [RowVectors(*none, self.similarities)])

    def _embedded(
        self, inputs: Shaped[np.ndarray, "rows ..."]
    ) -> tuple[Float[np.ndarray, "rows width"], Float[np.ndarray, "similarities rows dim"]]:
        return self.model.embed(plain(torch.from_numpy(inputs).to(self.device)))

    def _finite(self, vectors: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
        if not np.isfinite(vectors).all():
            raise RunError(f"{self.name}: vectors are not finite. Its weights broke down while training.")
        return vectors

    def read(self, images: Any, batch_size: int = 256) -> Iterator[Shaped[np.ndarray, "rows ..."]]:
        """Images as `embed` takes them, in batches of what the model computes with; complains as `embed` does."""
        data = self.recipe.data
        if data.input == "image":
            yield from picture_batches(pictures(images), data, batch_size)
            return
        stored = self._vectors(images)
        for start in range(0, len(stored), batch_size):
            yield np.asarray(stored[np.arange(start, min(start + batch_size, len(stored)))], dtype=np.float32)

    def _vectors(self, inputs: Any) -> Any:
        """What is encoded, where it is no images; what indexing by rows gives is vectors."""
        data, known = self.recipe.data, self.known
        if data.input == "columns" and known is not None:
            return open_columns(row_of_cells(inputs, known) if isinstance(inputs, Mapping) else inputs, data, known)
        if data.input == "text":
            from mscon.data.inputs.text import embed

            inputs = [inputs] if isinstance(inputs, str) else list(inputs)
            if odd := [at for at, text in enumerate(inputs) if not isinstance(text, str)]:
                raise ValueError(
                    f"{self.name} takes texts, but of {len(inputs):,} {len(odd):,} {'is' if len(odd) == 1 else 'are'} "
                    f"something else: {numbered('row', odd)}, counted from 0. The first is {inputs[odd[0]]!r}."
                )
            return embed(inputs, data.text_model) if inputs else np.zeros((0, self.model.encoder.mean.numel()))
        with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is refused below
            vectors = np.asarray(inputs, dtype=np.float32)
        width = self.model.encoder.mean.numel()
        if vectors.ndim != 2 or vectors.shape[1] != width:
            raise ValueError(f"{self.name} takes vectors [rows, {width}], got {list(vectors.shape)}.")
        if broken := np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
            raise ValueError(
                f"of {len(vectors):,} vectors {len(broken):,} with a number that is NaN, infinite or too large: "
                f"{numbered('row', broken)}, counted from 0."
            )
        return vectors

    def _number(self, similarity: str | None) -> int | None:
        if similarity is None or similarity in self.similarities:
            return None if similarity is None else self.similarities.index(similarity)
        known = ", ".join(f"'{name}'" for name in self.similarities)
        raise RunError(
            f"{self.name} has no similarity '{similarity}'.{nearest(similarity, self.similarities)}\n"
            f"  Known: {known}; without one you get features."
        )

    def __repr__(self) -> str:
        return f"Embedder({self.name!r}, features={self.model.width}, similarities={self.similarities})"


def _device() -> str:
    # Of several processes that torchrun started each has a GPU of its own.
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
