"""Trained run: a run directory as a model, with the functions that apply and evaluate it as methods."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ParamSpec, overload

import numpy as np
import polars as pl
from jaxtyping import Float

from mscon.deploy.load import load
from mscon.estimator.prediction import predict
from mscon.evaluate.features import extract
from mscon.evaluate.probe import probe
from mscon.evaluate.report.probe_scores import scores_of
from mscon.run.run import Run
from mscon.search.hits import Hits
from mscon.search.index import open_index
from mscon.train import fit as training

Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, slots=True)
class TrainedRun(Run):
    """A run that embeds, searches, predicts and is probed; `mscon.fit` and `mscon.resume` return one.

    `TrainedRun.open("runs/shoes")` makes one of a directory. Each method loads what it needs: for many calls in a row
    use `mscon.load` and `mscon.open_index`, which load once.
    """

    def embed(self, inputs: Any, similarity: str | None = None, batch_size: int = 256) -> Float[np.ndarray, "rows dim"]:
        """Vectors of new rows; arguments, result and errors are those of `Embedder.embed`."""
        return load(self.root, trust=self.trust).embed(inputs, similarity, batch_size)

    def search(self, query: Any, **settings: Any) -> Hits:
        """The rows of the run that are most like a query; settings, result and errors are those of `Index.search`.

        Features of the rows are computed first where there are none.
        """
        extract(self, progress=False)
        return open_index(self).search(query, **settings)

    def predict(self, table: object = None, **settings: Any) -> pl.DataFrame:
        """Label columns of new rows, with confidences; settings, result and errors are those of `mscon.predict`."""
        return predict(self, table, **{"trust": self.trust, **settings})

    def probe(self, **settings: Any) -> dict[str, float]:
        """Score the features on the test rows, see `mscon.probe`, whose settings and errors these are.

        Returns:
            The score of a linear model for each column that could be probed; of a hierarchy for each level.
            `read_probe` has the rest.
        """
        probe(self, **settings)
        return {score.name: score.value for score in scores_of(self.read_probe(), "linear")}


@overload
def _trained(train: Callable[Arguments, Run]) -> Callable[Arguments, TrainedRun]: ...
@overload
def _trained(train: Callable[Arguments, Run | None]) -> Callable[Arguments, TrainedRun | None]: ...
def _trained(train: Callable[Arguments, Run | None]) -> Callable[Arguments, TrainedRun | None]:
    """A function that trains, with what it returns as a TrainedRun."""

    @functools.wraps(train)
    def with_methods(*arguments: Arguments.args, **settings: Arguments.kwargs) -> TrainedRun | None:
        run = train(*arguments, **settings)
        return None if run is None else TrainedRun(**{field.name: getattr(run, field.name) for field in fields(run)})

    return with_methods


fit = _trained(training.fit)
resume = _trained(training.resume)
