"""MSCon: training as a scikit-learn estimator."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from mscon.data.table.label_columns import LabelColumns
from mscon.deploy.load import load
from mscon.deploy.transformer import ModelTransformer, as_sequence
from mscon.estimator import training_table
from mscon.estimator.training_table import TrainingInputs
from mscon.evaluate.neighbour_affinity import affinities
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train.fit import fit


class MSCon(ModelTransformer):
    """An encoder that is trained on label columns, and turns rows into vectors.

        model = mscon.MSCon(epochs=20).fit(X, Y)
        vectors = model.transform(X_new)

    It follows the conventions of scikit-learn: `clone`, `Pipeline`, `GridSearchCV` and `set_output` work. Training is
    that of `mscon.fit`, on all rows: no row is set aside for validation or test.

    Args:
        kinds: the kind of some label columns, such as {"price": "continuous"}, or with settings
            {"price": {"name": "continuous", "width": 500}}. Kinds of other columns are inferred from their cells.
        same_row: also learn that two random views of one row are alike. Without labels this is all it learns.
        similarity: the label column whose projection `transform` returns; None for features.
        recipe: all other settings: a Recipe, or the path of a recipe. Its similarities, inputs and split are not used.
            None for the defaults of `mscon.fit`.
        settings: values of the recipe that are changed, as in ["weighting.name=uncertainty"].
        epochs, batch_size, learning_rate: of [train] of the recipe; None for what the recipe says.
        random_state: seed of everything random; None for another one at each fit.
        out: a run directory to write, which must not exist; None for a temporary one, of which only the model stays.
        verbose: whether to show a progress bar and the inferred kinds on standard error.

    Attributes:
        embedder_: the trained model, an `mscon.deploy.embedder.Embedder`.
        recipe_: the complete recipe, with inferred kinds.
        n_features_in_: columns of X; not where rows are images.
        feature_names_in_: their names, where X is a data frame.
    """

    def __init__(
        self,
        kinds: Mapping[str, str | Mapping[str, Any]] | None = None,
        *,
        same_row: bool = True,
        similarity: str | None = None,
        recipe: Recipe | str | Path | None = None,
        settings: Sequence[str] = (),
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        random_state: Any = 0,
        out: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.kinds = kinds
        self.same_row = same_row
        self.similarity = similarity
        self.recipe = recipe
        self.settings = settings
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.out = out
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # vectors are float32, whatever X is
        return tags

    def fit(self, X: Any, y: Any = None) -> MSCon:
        """Train.

        Args:
            X: vectors, an array [rows, dim] of numbers; or a data frame of polars or pandas, of which numbers and names
                are encoded; or images: a sequence of paths, bytes of image files, Pillow images or uint8 arrays, or a
                data frame with the one column "image".
            y: label columns, [rows] or [rows, columns]: an array or a data frame. None, NaN and empty texts are
                missing labels, and so is -1 in a column of whole numbers whose kind is not "continuous". None to learn
                from views of rows alone.

        Raises:
            ValueError: for X or y that cannot be read, or that do not fit together; for `settings` that are no list.
            TableError: for labels or images that cannot be used.
            RecipeError: for a setting that does not exist, or a value out of range.
            RunError: if `out` exists; or if a loss was not finite.
        """
        inputs = self._inputs(X, reset=True)
        labels = pl.DataFrame() if y is None else training_table.labels_of(y, self.kinds or {})
        table = inputs.table if y is None else training_table.joined(inputs, labels)
        recipe = self._recipe(inputs, labels.columns)
        with tempfile.TemporaryDirectory(prefix="mscon-") as folder:
            out = Path(folder) / "run" if self.out is None else Path(self.out)
            run = fit(recipe, table, out, images=inputs.root, progress=self.verbose)
            assert isinstance(run, Run)
            self.embedder_ = load(run.root, trust=True)
            self.recipe_, self._states = run.read_recipe(), run.read_similarities()
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "rows dim"]:
        """Vectors of rows: features, or the projections of `similarity`, which have unit length.

        Args:
            X: inputs of the same form as those of `fit`.

        Raises:
            ValueError: for other columns than those of `fit`.
            TableError: for images or cells that cannot be read.
        """
        check_is_fitted(self)
        if training_table.is_images(X) and self.embedder_.recipe.data.input == "image":
            return self.embedder_.embed(as_sequence(X), self.similarity)
        validated = self._validated(X, reset=False)
        if self.embedder_.recipe.data.input == "columns" and not training_table.is_frame(X):
            validated = pl.DataFrame(validated, schema=self.feature_names_in_.tolist())
        return self.embedder_.embed(validated, self.similarity)

    def score(self, X: Any, y: Any) -> float:
        """How far rows that lie near to each other have the same labels, the mean over the label columns.

        Of each row its 10 nearest others among X are compared with it, in the space that `transform` returns. Of each
        column the agreement is corrected for chance: 0 as of rows drawn at random, 1 if all agree. See
        `mscon.evaluate.neighbour_affinity.affinities`.

        Args:
            X, y: as of `fit`, rows that it was not trained on.

        Raises:
            ValueError: if no label column of `fit` can be judged: fewer than 2 rows with a label, or all alike.
        """
        vectors, labels = self.transform(X), training_table.labels_of(y, self.kinds or {})
        if len(labels) != len(vectors):
            raise ValueError(f"X has {len(vectors):,} rows, but Y has {len(labels):,}.")
        columns = LabelColumns(labels, self.recipe_.to_plain(), self._states, trust=True)
        rows = np.arange(len(vectors))
        scores = [affinities([vectors], columns[name], rows, rows)[0] for name in columns.trained]
        if not (known := [score for score in scores if score is not None]):
            raise ValueError("no label column of y can be scored: it takes two rows with labels that differ.")
        return float(np.mean(known))

    def _inputs(self, X: Any, *, reset: bool) -> TrainingInputs:
        if training_table.is_images(X):
            return training_table.of_images(X)
        validated = self._validated(X, reset=reset)
        of = training_table.of_columns if training_table.is_frame(X) else training_table.of_vectors
        return of(validated)

    def _validated(self, X: Any, *, reset: bool) -> Any:
        is_frame = training_table.is_frame(X)
        if is_frame and (reset or self.embedder_.recipe.data.input == "columns"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        return validate_data(self, X, reset=reset, ensure_min_samples=2 if reset else 1)

    def _recipe(self, inputs: TrainingInputs, columns: Sequence[str]) -> Recipe:
        if isinstance(self.settings, str):
            raise ValueError(f"settings must be a list: write settings=[{self.settings!r}].")
        if isinstance(self.recipe, Recipe):
            plain = self.recipe.to_plain()
        else:
            plain = {} if self.recipe is None else recipes.read(self.recipe).to_plain()
        similarities: list[dict[str, Any]] = []
        for column in columns:
            kind = (self.kinds or {}).get(column, {})
            similarities.append({"column": column, **({"name": kind} if isinstance(kind, str) else kind)})
        if self.same_row or not columns:
            similarities.append({"name": "same_row"})
        if inputs.data["input"] != "image" and self.recipe is None:
            plain |= {"encoder": {"name": "mlp"}, "views": {"corrupt": 0.3}}
        train = {name: getattr(self, name) for name in ("epochs", "batch_size", "learning_rate")}
        train = {name: value for name, value in train.items() if value is not None}
        state = self.random_state
        train["seed"] = int(state if isinstance(state, int | np.integer) else check_random_state(state).randint(2**31))
        plain["similarity"] = similarities
        plain["train"] = {**plain.get("train", {}), **train}
        unsplit = {"split": "", "split_by": "", "split_shares": [1.0, 0.0, 0.0]}
        plain["data"] = {**plain.get("data", {}), **inputs.data, **unsplit}
        return recipes.of_plain(plain, self.settings)
