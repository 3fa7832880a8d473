from __future__ import annotations

import polars as pl
import pytest
import torch

from mscon.data.batches.dataset import Dataset, fit_similarities
from mscon.data.inputs.images import open_store
from mscon.data.inputs.open import open_inputs
from mscon.data.table.rows import select_rows
from mscon.data.table.table import read_table
from mscon.run import recipe as recipes
from mscon.train.assembly import method_of, training_of
from mscon.train.loop import LOG_EVERY, derived_seed, train_epoch, validate
from selected import selected


@pytest.fixture
def training(recipe_with, table):
    recipe = recipe_with("train.batch_size=2")
    rows = selected(table, recipe)
    similarities = fit_similarities(rows, recipe.similarities)
    dataset = Dataset.build(rows, similarities, open_store(rows, table.path.parent, recipe.data, table.name))
    return training_of(recipe, dataset, method_of(recipe, similarities), "cpu")


def test_seeds_of_all_purposes_and_epochs_differ():
    seeds = {derived_seed(s, e, p) for s in range(4) for e in range(4) for p in ("views", "network", "validation")}
    assert len(seeds) == 48
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_every_step_is_in_exactly_one_record(training):
    steps = [record["step"] for record in train_epoch(training, 1, 100)]
    assert training.steps_an_epoch == 20
    assert steps == [100 + LOG_EVERY, 100 + 2 * LOG_EVERY]


def test_records_hold_means_over_their_steps(training, monkeypatch):
    import mscon.train.loop as loop

    measured = []
    measure = loop.Training.measure
    monkeypatch.setattr(loop.Training, "measure", lambda *a: measured.append(measure(*a)) or measured[-1])
    first = next(iter(train_epoch(training, 1, 0)))
    window = measured[:LOG_EVERY]
    for index, name in enumerate(training.recipe.columns):
        present = [m.loss[index].item() for m in window if m.present[index]]
        assert first["loss"][name] == pytest.approx(sum(present) / len(present))
    assert first["total"] == pytest.approx(sum(m.total.item() for m in window) / LOG_EVERY)


def test_an_epoch_is_the_same_whenever_it_is_run(training):
    before = {k: v.clone() for k, v in training.method.state_dict().items()}
    records = []
    for _ in range(2):
        training.method.load_state_dict(before)
        training.optimiser.state.clear()
        for group in training.optimiser.param_groups:
            group.update(lr=1e-3, betas=(0.9, 0.999))
        training.schedule.step = lambda: None  # the rate stands still
        records.append([r["loss"] for r in train_epoch(training, 3, 0)])
        torch.rand(5)
    assert records[0] == records[1]


def test_views_differ_from_epoch_to_epoch(training):
    images = training.dataset.batch(torch.arange(4)).inputs
    one, other = (
        training.view_maker(derived_seed(0, epoch, "views"))(images, training.recipe.views) for epoch in (1, 2)
    )
    assert not torch.equal(one, other)


def test_labels_and_vectors_keep_their_precision_in_bfloat16(monkeypatch):
    """4,097 and 4,098 are one number in bfloat16."""
    numbers = [-4096.0, *(4096.0 + n for n in range(11))]
    split = ["train"] * 8 + ["validation", "test"] * 2
    frame = pl.DataFrame({"x": numbers, "price": numbers, "split": split})
    recipe = recipes.parse(
        'similarity = [{ column = "price", name = "continuous", width = 1.0 }]\n'
        '[data]\ninput = "columns"\nnumbers = ["x"]\n[encoder]\nname = "mlp"\n'
        '[train]\nprecision = "bfloat16"\nbatch_size = 8'
    )
    table = read_table(frame)
    rows = select_rows(table, recipe.data, recipe.similarities)
    similarities = fit_similarities(rows, recipe.similarities)
    inputs = open_inputs(rows, table.folder, recipe.data, table.name)
    training = training_of(
        recipe, Dataset.build(rows, similarities, inputs), method_of(recipe, similarities, inputs), "cpu"
    )
    compared, encoded = [], []
    compare, encode = type(similarities[0]).compare, training.method.model.encoder.forward
    monkeypatch.setattr(
        type(similarities[0]), "compare", lambda self, a, c: compared.append(a.clone()) or compare(self, a, c)
    )
    monkeypatch.setattr(training.method.model.encoder, "forward", lambda x: encoded.append(x.clone()) or encode(x))
    training.learn(torch.arange(8), lambda inputs, *_: inputs)
    assert len(compared[0].unique()) == 8
    assert len(encoded[0].unique()) == 8


def test_validating_twice_says_the_same(training):
    state = {k: v.clone() for k, v in training.method.state_dict().items()}
    assert validate(training, 1, 2) == validate(training, 1, 2)
    assert all(torch.equal(v, state[k]) for k, v in training.method.state_dict().items())
