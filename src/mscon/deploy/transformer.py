"""Transformers: a trained model as a step of a scikit-learn pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from mscon.deploy.embedder import Embedder
from mscon.deploy.load import load


class ModelTransformer(TransformerMixin, BaseEstimator, ABC):
    """Rows in, vectors of a model out.

    Attributes:
        embedder_: the model; subclasses set it when they are fitted.
        similarity: whose projection it gives; None for features.
    """

    embedder_: Embedder
    similarity: str | None

    @abstractmethod
    def transform(self, X: Any) -> Float[np.ndarray, "rows dim"]:
        """Vectors of rows."""

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """ "features0", "features1", ..., or "<similarity>0", ... ."""
        del input_features
        check_is_fitted(self)
        stem = self.similarity or "features"
        return np.asarray([f"{stem}{k}" for k in range(self.embedder_.width(self.similarity))], dtype=object)


class EmbeddingTransformer(ModelTransformer):
    """Images in, vectors out. `fit` loads the model and learns nothing; `mscon.MSCon` learns one.

    Args:
        source: what `mscon.load` takes.
        similarity: the name of one, for its projection; None for features.
        batch_size: images in memory at a time.
        trust: see `mscon.load`.

    Attributes:
        embedder_: the loaded model.
    """

    def __init__(
        self,
        source: str | Path | None = None,
        similarity: str | None = None,
        batch_size: int = 256,
        trust: bool = False,
    ) -> None:
        # scikit-learn clones an estimator by these: they stay unchanged here, and are checked in fit.
        self.source = source
        self.similarity = similarity
        self.batch_size = batch_size
        self.trust = trust

    def fit(self, X: Any, y: Any = None) -> EmbeddingTransformer:
        """Load the model. `X` and `y` are ignored.

        Raises:
            RunError: see `mscon.load`; or if there is no such similarity.
            ValueError: if there is no source.
        """
        del X, y
        if self.source is None:
            raise ValueError("source is None: name a run directory, a packed model, or 'hf:owner/name'.")
        embedder = load(self.source, trust=self.trust)
        embedder.width(self.similarity)
        self.embedder_ = embedder
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "rows dim"]:
        """Vectors of images: a sequence of what `Embedder.embed` takes, or a table of one column of them.

        Of a model of vectors or of columns, what `Embedder.embed` takes.
        """
        check_is_fitted(self)
        one_column = self.embedder_.recipe.data.input in ("image", "text")
        return self.embedder_.embed(as_sequence(X) if one_column else X, self.similarity, self.batch_size)


def as_sequence(X: Any) -> Any:
    """The one column of a data frame, or of an array of paths, as a list; anything else as it is.

    Raises:
        ValueError: for a table of several columns.
    """
    if hasattr(X, "columns") or (isinstance(X, np.ndarray) and X.dtype.kind in "OUT" and X.ndim == 2):
        table = np.asarray(X)
        if table.shape[1] != 1:
            raise ValueError(f"X has {table.shape[1]} columns; an image is named by one.")
        return table[:, 0].tolist()
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUT":
        return X.tolist()
    return X
