"""30 % of the cells of every column are empty: what is learnt, asked and counted is that of a table without them.

The glyphs are really rendered, with a column of every kind; some rows lose all of their cells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.reference import (
    himulcon_loops,
    rank_n_contrast_loops,
    supcon_formula,
    supcon_loops,
    triplet_margin_loops,
)
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from mscon.data.batches.dataset import Dataset, fit_similarities
from mscon.data.batches.sampler import sampler_of
from mscon.data.check.check import describe
from mscon.data.inputs.open import open_inputs
from mscon.data.inputs.views import plain
from mscon.data.table.table import read_table
from mscon.evaluate.linear import linear_probe
from mscon.evaluate.metrics.retrieval import nearest_difference, retrieval
from mscon.evaluate.probe import probe
from mscon.evaluate.targets import codes_of
from mscon.method.similarities.base import BETWEEN_COLUMNS, Cell
from mscon.method.weightings.base import LabelledProjections
from mscon.method.weightings.exact import Exact
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train.assembly import method_of
from mscon.train.fit import fit
from mscon.train.module import TrainingModule
from mscon.train.step import Measured
from mscon_paper.sources import glyphs
from selected import selected

F64 = torch.float64
TEMPERATURE, OF_DISTANCES, MARGIN = 0.2, 1.5, 0.3
FAMILIES = ("crimson-pro", "roboto-slab", "exo-2", "jetbrains-mono", "inconsolata", "dancing-script")
STROKES = {"a": "bowl;stem", "b": "bowl;stem", "e": "bowl;bar", "k": "diagonal;stem", "n": "arch;stem", "t": "bar;stem"}
LEVELS = ("light", "regular", "bold", "black")
HOLED = ("character", "slant", "weight", "weight_number", "category", "family", "strokes", "path")

KINDS = {
    "character": '{ column = "character", name = "categorical" }',
    "slant": '{ column = "slant", name = "categorical" }',
    "weight": '{ column = "weight", name = "ordinal", levels = ["light", "regular", "bold", "black"] }',
    "weight_number": '{ column = "weight_number", name = "continuous", width = 150.0 }',
    "strokes": '{ column = "strokes", name = "multi_label" }',
    "path": '{ column = "path", name = "hierarchical" }',
    "family": '{ column = "family", name = "hierarchical", under = ["category"] }',
    "same_row": '{ column = "same_row", name = "same_row" }',
}
RECIPE = """
[data]
image_size = 16
channels = 1
[views]
crop = [0.8, 1.0]
flip = 0.0
[encoder]
width = 6
[heads]
output_dim = 5
[train]
epochs = 2
batch_size = 32
precision = "float32"
channels_last = "no"
"""


def recipe_of(columns: Sequence[str] = tuple(KINDS), *overrides: str, more: str = "") -> Recipe:
    similarities = ", ".join(KINDS[c] for c in columns)
    return recipes.parse(f"similarity = [{similarities}]\n{RECIPE}{more}", overrides)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSCON_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pl.DataFrame:
    """The table before cells are removed; some 300 rows, 2 families unseen."""
    root = tmp_path_factory.mktemp("glyphs")
    path = glyphs.prepare(
        root, size=16, characters="".join(STROKES), per_family=50, families=FAMILIES, unseen_families=2
    )
    table = pl.read_csv(path, infer_schema=False).with_columns(
        strokes=pl.col("character").replace_strict(STROKES),
        path=pl.col("category") + "/" + pl.col("family"),
    )
    table.write_csv(root / "whole.csv")
    return table.with_columns(root=pl.lit(str(root)))


@pytest.fixture(scope="module")
def holed(whole) -> Path:
    """The same without 30 % of the cells of every column, of some rows without any."""
    root, generator = Path(whole["root"][0]), np.random.default_rng(0)
    gone = {name: generator.permutation(whole.height) < 0.3 * whole.height for name in HOLED}
    everything = generator.permutation(whole.height)[:12]  # 0.3^8 of 300 rows would be none
    for column in gone.values():
        # The share stays 30 %: what these rows lose others keep.
        back = np.setdiff1d(np.flatnonzero(column), everything)[: len(np.setdiff1d(everything, np.flatnonzero(column)))]
        column[back], column[everything] = False, True
    frame = whole.drop("root").with_columns(
        pl.when(~pl.Series(column)).then(pl.col(name)).alias(name) for name, column in gone.items()
    )
    frame.write_csv(root / "holed.csv")
    return root / "holed.csv"


def rows_of(path: Path, recipe: Recipe) -> pl.DataFrame:
    return selected(read_table(path), recipe)


# The table ---------------------------------------------------------------------------------------


def test_every_column_lost_the_share_of_its_cells_and_some_rows_all(whole, holed):
    table = pl.read_csv(holed, infer_schema=False)
    for name in HOLED:
        assert table[name].null_count() == math.ceil(0.3 * whole.height), name
    assert table.filter(pl.all_horizontal(pl.col(c).is_null() for c in HOLED)).height >= 12


def test_check_counts_the_holes_of_the_training_rows(holed):
    recipe = recipe_of()
    rows = rows_of(holed, recipe)
    description = describe(rows, recipe, read_table(holed))
    assert description.rows == rows.height
    assert description.splits == {n: (rows["split"] == n).sum() for n in ("train", "validation", "test", "unseen")}
    train = rows.filter(pl.col("split") == "train")
    column_of = {column.name: column for column in description.columns}
    for name in KINDS:
        if name == "same_row":
            assert column_of[name].missing_share == 0
            continue
        empty = train[name].is_null()
        if name == "family":  # two columns: missing only where nothing is said
            empty &= train["category"].is_null()
        assert column_of[name].missing_share == pytest.approx(empty.mean()), name
    assert f"{train['character'].is_null().mean():.1%} missing" in description.to_text()


# The loss ----------------------------------------------------------------------------------------


def alike(column: str, a: Cell, b: Cell) -> float | None:
    """How alike two cells are, told from what is written in them; None where that is unknown."""
    if a is None or b is None:
        return None
    if column in ("character", "slant"):
        return float(a == b)
    if column == "weight":
        return 1 - abs(LEVELS.index(a) - LEVELS.index(b)) / 3
    if column == "weight_number":
        return math.exp(-(((float(a) - float(b)) / 150) ** 2) / 2)
    if column == "strokes":
        one, other = set(a.split(";")), set(b.split(";"))
        return len(one & other) / len(one | other)
    one, other = path_of(column, a), path_of(column, b)
    shorter = min(len(one), len(other))
    together = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    return together / 2 if together < shorter or shorter == 2 else None


def path_of(column: str, cell: Cell) -> tuple[str, ...]:
    """What a cell, or a joined pair of cells, says from the coarsest level on."""
    if cell is None:
        return ()
    parts = cell.split("/" if column == "path" else BETWEEN_COLUMNS)
    return tuple(parts[: parts.index("")] if "" in parts else parts)


class OneBatch:
    """A batch of the holed table through a real method in double precision, and what is known of its samples."""

    def __init__(self, path: Path, columns: Sequence[str], *overrides: str, size: int = 24) -> None:
        self.recipe = recipe_of(columns, *overrides)
        rows = rows_of(path, self.recipe)
        similarities = fit_similarities(rows, self.recipe.similarities)
        torch.manual_seed(0)
        self.method: TrainingModule = method_of(self.recipe, similarities).double()
        self.method.train()
        inputs = open_inputs(rows, path.parent, self.recipe.data, path.name)
        dataset = Dataset.build(rows, similarities, inputs)
        train = dataset.indices("train")
        none = rows["character"].is_null() & rows["family"].is_null() & rows["category"].is_null()
        without_any = torch.from_numpy(np.flatnonzero((none & (rows["split"] == "train")).to_numpy())[:2].copy())
        others = train[~torch.isin(train, without_any)][torch.randperm(len(train) - 2)[: size - 2]]
        self.batch = dataset.batch(torch.cat([without_any, others]))
        self.columns = list(columns)
        cells = {c: rows[c].to_list() for c in columns if c != "same_row"}
        if "family" in cells:
            both = zip(rows["category"].to_list(), rows["family"].to_list(), strict=True)
            cells["family"] = [None if a is b is None else BETWEEN_COLUMNS.join((a or "", b or "")) for a, b in both]
        numbers = self.batch.rows.tolist() * 2
        self.rows = numbers
        self.cells: dict[str, list[Cell]] = {c: [of_rows[n] for n in numbers] for c, of_rows in cells.items()}
        generator = torch.Generator().manual_seed(1)
        base = plain(self.batch.inputs).double()
        self.views = [base + 0.05 * torch.randn(base.shape, generator=generator, dtype=F64) for _ in range(2)]

    def learn(self) -> tuple[Measured, dict[str, Tensor]]:
        """What the step measures, and the gradient of every parameter."""
        make_views = [lambda _, view=view: view for view in self.views]
        measured = self.method(self.batch.inputs, self.batch.codes, self.batch.rows, make_views)
        return measured, self.gradients_of(measured.total)

    def gradients_of(self, total: Tensor) -> dict[str, Tensor]:
        self.method.zero_grad()
        total.backward()
        return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in self.method.named_parameters()}

    def projections(self) -> Tensor:
        return self.method.model(torch.cat(self.views))[1]

    def labelled(self, column: str) -> list[int]:
        """Samples of rows of which the column says something; all others are left out of the reference."""
        if column == "same_row":
            return list(range(len(self.rows)))
        if column in ("path", "family"):
            return [i for i, cell in enumerate(self.cells[column]) if path_of(column, cell)]
        return [i for i, cell in enumerate(self.cells[column]) if cell is not None]

    def pairs(self, column: str) -> tuple[Tensor, Tensor]:
        """Weights and what is known, of the labelled samples only."""
        samples = self.labelled(column)
        weight, known = (
            torch.zeros(len(samples), len(samples), dtype=F64),
            torch.zeros(len(samples), len(samples), dtype=torch.bool),
        )
        for i, a in enumerate(samples):
            for j, b in enumerate(samples):
                agreement = (
                    float(self.rows[a] == self.rows[b])
                    if column == "same_row"
                    else alike(column, self.cells[column][a], self.cells[column][b])
                )
                if agreement is not None and i != j:
                    weight[i, j], known[i, j] = agreement, True
        return weight, known


def of_supcon(batch: OneBatch, column: str, z: Tensor) -> tuple[Tensor, Tensor]:
    weight, known = batch.pairs(column)
    unit = normalize(z, dim=1)
    losses = supcon_formula(unit, unit, weight, known, TEMPERATURE)
    slow = supcon_loops(unit.detach().numpy(), unit.detach().numpy(), weight.numpy(), known.numpy(), TEMPERATURE)
    np.testing.assert_allclose(losses.detach().numpy(), slow, atol=1e-9)
    return losses, ((weight > 0) & known).any(dim=1)


def of_rank_n_contrast(batch: OneBatch, column: str, z: Tensor) -> tuple[Tensor, Tensor]:
    weight, known = (part.numpy() for part in batch.pairs(column))
    further = (weight[:, None, :] <= weight[:, :, None]) & known[:, None, :] & known[:, :, None]
    asked_pairs = known & (weight > 0)
    losses = rank_n_contrast_loops(z, z, further, asked_pairs, OF_DISTANCES)
    return losses, torch.from_numpy(asked_pairs.any(axis=1))


def of_triplet_margin(batch: OneBatch, column: str, z: Tensor) -> tuple[Tensor, Tensor]:
    weight, known = batch.pairs(column)
    distance = (z[:, None] - z[None]).square().sum(dim=2)
    distance = torch.where(distance > 0, distance, 1.0).sqrt().where(distance > 0, 0.0)
    more = (weight[:, :, None] - weight[:, None, :]).clamp_min(0) * (known[:, :, None] & known[:, None, :])
    total = more.sum(dim=(1, 2))
    hinge = (distance[:, :, None] - distance[:, None, :] + MARGIN).clamp_min(0)
    losses = (more * hinge).sum(dim=(1, 2)) / total.clamp_min(1e-300)
    flat = z.detach().numpy()
    slow = triplet_margin_loops(flat, flat, weight.numpy(), known.numpy(), MARGIN)
    np.testing.assert_allclose(losses.detach().numpy(), slow, atol=1e-9)
    return losses, total > 0


def of_himulcon(batch: OneBatch, column: str, z: Tensor) -> tuple[Tensor, Tensor]:
    """Zhang et al. 2022 with the constraint for each anchor; of classes there is one level."""
    if column not in ("path", "family"):
        return of_supcon(batch, column, z)
    paths = [path_of(column, batch.cells[column][i]) for i in batch.labelled(column)]
    unit, total, finer = normalize(z, dim=1), z.new_zeros(len(z)), z.new_zeros(len(z))
    for level, depth in ((1, 2), (2, 1)):  # the finest first
        far = torch.tensor([len(p) >= depth for p in paths])
        known = far[:, None] & far[None] & ~torch.eye(len(paths), dtype=torch.bool)
        weight = torch.tensor([[float(a[:depth] == b[:depth]) for b in paths] for a in paths], dtype=F64)
        losses = supcon_formula(unit, unit, weight, known, TEMPERATURE)
        there = ((weight > 0) & known).any(dim=1)
        finer = torch.maximum(finer, losses)
        total = total + 2 ** (1 / level) / 2 * finer * there
        counted = there
    slow = himulcon_loops(unit.detach().numpy(), paths, TEMPERATURE, True)
    np.testing.assert_allclose(total.detach().numpy(), slow, atol=1e-9)
    return total, counted


def of_cross_entropy(batch: OneBatch, column: str, z: Tensor) -> tuple[Tensor, Tensor]:
    number = batch.columns.index(column)
    classes = batch.method.similarities[number].classes
    prototypes = batch.method.objective.prototypes[number]
    y = torch.tensor([classes.index(batch.cells[column][i]) for i in batch.labelled(column)])
    return cross_entropy(prototypes(z), y, reduction="none"), torch.ones(len(y), dtype=torch.bool)


EVERY = tuple(KINDS)
CLASSES = ("character", "slant")
OBJECTIVES = {
    "supcon": (of_supcon, EVERY, [f"objective.temperature={TEMPERATURE}"]),
    "rank_n_contrast": (of_rank_n_contrast, EVERY, [f"objective.temperature={OF_DISTANCES}"]),
    "himulcon": (
        of_himulcon,
        ("character", "slant", "path", "family", "same_row"),
        [f"objective.temperature={TEMPERATURE}"],
    ),
    "triplet_margin": (of_triplet_margin, EVERY, [f"objective.margin={MARGIN}"]),
    "cross_entropy": (of_cross_entropy, CLASSES, ["heads.name=identity"]),
}


def reference(batch: OneBatch, objective: str) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Mean losses of all similarities with a gradient; and of each the labelled projections and anchors that count."""
    losses_of, _, _ = OBJECTIVES[objective]
    z, means, projected, counts = batch.projections(), [], [], []
    for number, column in enumerate(batch.columns):
        labelled = z[number][batch.labelled(column)]
        losses, counted = losses_of(batch, column, labelled)
        means.append(losses[counted].mean())
        projected.append(labelled)
        counts.append(counted)
    return torch.stack(means), projected, counts


def assert_equal(
    batch: OneBatch, measured: Measured, gradients: dict[str, Tensor], means: Tensor, total: Tensor
) -> None:
    torch.testing.assert_close(measured.loss, means.detach())
    torch.testing.assert_close(measured.total.detach(), total.detach())
    expected = batch.gradients_of(total)
    assert expected["model.encoder.backbone.stages.0.0.weight"].abs().max() > 1e-3
    for name, gradient in gradients.items():
        # Weights of pairs and codes of numbers are single precision whatever the network is.
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_and_gradients_are_those_of_the_reference_that_leaves_rows_out(holed, objective):
    _, columns, overrides = OBJECTIVES[objective]
    size = 10 if objective == "rank_n_contrast" else 24  # loops over triples of samples
    named = [f"objective.name={objective}", "weighting.name=equal"]
    batch = OneBatch(holed, columns, *named, *overrides, size=size)
    assert any(len(batch.labelled(c)) < 2 * size for c in columns)
    measured, gradients = batch.learn()
    means, _, _ = reference(batch, objective)
    assert measured.present.all()
    assert_equal(batch, measured, gradients, means, means.sum())


def floors_and_ceilings(batch: OneBatch) -> tuple[Tensor, Tensor]:
    """Of SupCon, by loops over the labelled samples: mean entropy of the weights, log of the number of candidates."""
    floors, ceilings = [], []
    for column in batch.columns:
        bounds: list[tuple[float, float]] = []
        for weight, known in zip(*batch.pairs(column), strict=True):
            total = float(weight.sum())
            if total > 0:
                shares = [float(w) / total for w in weight if w > 0]
                bounds.append((-math.fsum(q * math.log(q) for q in shares), math.log(int(known.sum()))))
        floors.append(sum(f for f, _ in bounds) / len(bounds))
        ceilings.append(sum(c for _, c in bounds) / len(bounds))
    return torch.tensor(floors, dtype=F64), torch.tensor(ceilings, dtype=F64)


def of_relative(batch: OneBatch, means: Tensor, projected: list[Tensor]) -> Tensor:
    del projected
    floors, ceilings = floors_and_ceilings(batch)
    excess = ((means.detach() - floors) / (ceilings - floors)).clamp(0, 1)
    inverse = 1 / (0.95 * 1 + 0.05 * excess + 0.1)
    return (inverse * len(inverse) / inverse.sum() * means).sum()


def of_uncertainty(batch: OneBatch, means: Tensor, projected: list[Tensor]) -> Tensor:
    del projected
    s = batch.method.weighting.log_variance
    return ((-s).exp() * means + s).sum()


def of_exact(batch: OneBatch, means: Tensor, projected: list[Tensor]) -> Tensor:
    """Each similarity judged by itself, shown the samples of rows with a label and no others."""
    weights_of_columns = []
    for column, labelled_projections in zip(batch.columns, projected, strict=True):
        labelled = batch.labelled(column)
        names = sorted({batch.cells[column][i] or "" for i in labelled}) if column != "same_row" else batch.rows
        classes = torch.tensor([names.index(batch.cells[column][i]) for i in labelled])
        alone = Exact(1, fit_on="training").double()
        samples = LabelledProjections(
            labelled_projections.detach()[None], classes[None], torch.tensor([batch.rows[i] for i in labelled])
        )
        alone.fit_to(samples, [TEMPERATURE])
        weights_of_columns.append((-alone.log_variance).exp())
    weights = torch.cat(weights_of_columns)
    return (weights * len(weights) / weights.sum() * means).sum()


WEIGHTINGS = {
    "relative": (of_relative, EVERY, []),
    "uncertainty": (of_uncertainty, EVERY, ["weighting.initial_log_variance=0.3"]),
    "exact": (of_exact, CLASSES, ["weighting.fit_on=training"]),
}


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_are_those_of_the_rows_that_are_left(holed, weighting):
    total_of, columns, overrides = WEIGHTINGS[weighting]
    named = ["objective.name=supcon", f"objective.temperature={TEMPERATURE}", f"weighting.name={weighting}"]
    batch = OneBatch(holed, columns, *named, *overrides)
    measured, gradients = batch.learn()
    means, projected, _ = reference(batch, "supcon")
    assert_equal(batch, measured, gradients, means, total_of(batch, means, projected))


# Runs --------------------------------------------------------------------------------------------

PROBES = """
[probe]
draws = 100
"""


@pytest.fixture(scope="module")
def run(holed, tmp_path_factory) -> Run:
    """Trained on all columns at once, and probed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    trained = fit(recipe_of(more=PROBES), read_table(holed), out, progress=False)
    assert trained is not None
    probe(trained, progress=False)
    return trained


def test_a_run_on_every_kind_has_no_number_that_is_none_and_tells_the_rows_it_had(run, holed):
    weights, position = run.read_checkpoint("last")
    assert position["epoch"] == 2
    assert all(t.isfinite().all() for t in weights.values() if t.is_floating_point())
    steps = [record for record in run.read_log() if record["kind"] == "step"]
    for key in ("loss", "floor", "ceiling", "weight", "positive_share"):
        assert all(math.isfinite(record[key][name]) for record in steps for name in KINDS), key
    assert np.isfinite(run.read_features()).all()
    assert "NaN" not in json.dumps(run.read_probe())
    assert not run.read_probe()["skipped"]
    table = pl.read_csv(holed, infer_schema=False)
    assert run.read_rows().height == table.height
    assert run.read_facts()["table"]["rows"] == dict(table.group_by("split").len().iter_rows())


def test_probes_are_fitted_and_scored_as_if_rows_with_a_hole_were_not_there(run):
    """Here those rows are taken out of the features before the probe sees them; the numbers of a run must be these."""
    rows, x = run.read_rows(), run.read_features()
    split = rows["split"].to_numpy()

    def parts(y: np.ndarray, known: np.ndarray) -> list[np.ndarray]:
        return [a[(split == n) & known] for n in ("train", "validation", "test") for a in (x, y)]

    for record in run.read_probe()["linear"]:
        column, cells = record["column"], rows[record["column"]].to_list()
        known = rows[column].is_not_null().to_numpy()
        if column == "family":
            known &= rows["category"].is_not_null().to_numpy()
        if column == "family" and record["level"] == 1:
            column, cells = "category", rows["category"].to_list()
            known = rows["category"].is_not_null().to_numpy()
        if column == "path" and record["level"] == 1:
            cells = [None if c is None else c.split("/")[0] for c in cells]
        if record["kind"] == "class":
            trained_classes = {c for c, k, s in zip(cells, known, split, strict=True) if k and s == "train"}
            known &= np.array(
                [c in trained_classes for c in cells]
            )  # families that no training row has are told of, not scored
            codes, names = codes_of([c if k else None for c, k in zip(cells, known, strict=True)])
            result = linear_probe("class", *parts(codes, known), names)
            expected = {"accuracy": result.scores["accuracy"].mean()}
        elif record["kind"] == "number":
            y = np.array([np.nan if c is None else float(c) for c in cells])
            numbers = linear_probe("number", *parts(y, known))
            expected = {name: values.mean() for name, values in numbers.scores.items()}
        elif record["kind"] == "rank":
            y = np.array([np.nan if c is None else float(LEVELS.index(c)) for c in cells])
            levels = linear_probe("rank", *parts(y, known))
            expected = {name: values.mean() for name, values in levels.scores.items()}
        else:
            labels = record["classes"]
            y = np.array([[float(label in (c or "").split(";")) for label in labels] for c in cells])
            result = linear_probe("labels", *parts(y, known), labels)
            probability = run.read_predictions()[f"linear/{_number(run, record)}/probability"]
            np.testing.assert_allclose(probability, result.predicted)
            expected = {}
        for part, name in (("train", "train_rows"), ("validation", "validation_rows"), ("test", "test_rows")):
            assert record[name] == ((split == part) & known).sum(), (column, name)
        for name, value in expected.items():
            assert record[name]["value"] == pytest.approx(value, abs=1e-9), (column, name)


def _number(run: Run, record: dict[str, object]) -> int:
    return run.read_probe()["linear"].index(record)


def test_neighbours_are_those_of_the_table_without_the_rows(run):
    unseen = run.read_rows().with_row_index().filter(pl.col("split") == "unseen")
    record_of = {record["column"]: record for record in run.read_probe()["neighbours"]}
    assert {"character", "weight", "weight_number", "strokes"} <= set(record_of)
    there = unseen.filter(pl.col("character").is_not_null())
    codes, _ = codes_of(there["character"].to_list())
    result = retrieval(run.read_features()[there["index"].to_numpy()], codes)
    character = record_of["character"]
    assert character["precision_at_1"]["value"] == pytest.approx(result.precision_at_1.mean())
    assert character["map_at_r"]["value"] == pytest.approx(result.map_at_r.mean())
    assert character["rows"] + character["left_out"] == there.height < unseen.height
    there = unseen.filter(pl.col("weight_number").is_not_null())
    numbers = there["weight_number"].cast(pl.Float64).to_numpy()
    difference = nearest_difference(run.read_features()[there["index"].to_numpy()], numbers).difference.mean()
    assert record_of["weight_number"]["neighbour_difference"]["value"] == pytest.approx(difference)


# Batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["shuffled", "balanced", "balanced, kept"])
def test_rows_with_holes_are_neither_dropped_nor_repeated_without_a_word(holed, sampler):
    recipe = recipe_of(EVERY, f"sampler.name={sampler.partition(',')[0]}")
    if "kept" in sampler:
        recipe = recipe_of(EVERY, "sampler.name=balanced", "sampler.short=keep")
    rows = rows_of(holed, recipe)
    train = np.flatnonzero((rows["split"] == "train").to_numpy())
    empty = rows.with_row_index().filter(
        (pl.col("split") == "train") & pl.all_horizontal(pl.col(c).is_null() for c in HOLED)
    )["index"]
    assert len(empty) >= 3
    sampler_ = sampler_of(
        recipe.sampler,
        rows,
        fit_similarities(rows, recipe.similarities),
        batch_size=recipe.train.batch_size,
        seed=recipe.train.seed,
    )
    batched_rows: set[int] = set()
    for number in (1, 2, 3):
        epoch = sampler_.epoch(number)
        batched = torch.cat(epoch.batches).tolist()
        assert sorted([*batched, *epoch.left_over.tolist()]) == train.tolist()
        assert len(epoch.left_over) < (32 if sampler == "shuffled" else 1 if "kept" in sampler else 0.1 * len(train))
        batched_rows |= set(batched)
    assert set(empty.to_list()) <= batched_rows


def test_what_a_balanced_run_leaves_over_is_in_its_log(holed, tmp_path):
    recipe = recipe_of(("character", "path"), "sampler.name=balanced", "sampler.at_least=3", "train.batch_size=16")
    run = fit(recipe, read_table(holed), tmp_path / "run", progress=False)
    assert run is not None
    rows = run.read_rows()
    sampler = sampler_of(
        recipe.sampler,
        rows,
        fit_similarities(rows, recipe.similarities),
        batch_size=recipe.train.batch_size,
        seed=recipe.train.seed,
    )
    logged = [record["left_over"] for record in run.read_log() if record["kind"] == "sampler"]
    assert logged == [sampler.epoch(number).left_over.numel() for number in (1, 2)]
