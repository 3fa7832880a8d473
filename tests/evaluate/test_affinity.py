"""Affinity: what is known of label columns in pairs, on spaces and gradients that can be worked out."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import torch

from mscon.cli import main
from mscon.data.table.label_columns import LabelColumn
from mscon.data.table.table import read_table
from mscon.errors import RunError
from mscon.evaluate.affinity import Affinity, ColumnPair, Cosine, Target, affinity
from mscon.evaluate.affinity_words import tables
from mscon.evaluate.gradient_conflict import TrainedColumn, gradient_cosines
from mscon.evaluate.neighbour_affinity import affinities
from mscon.method.objectives.supcon import SupCon, supcon
from mscon.method.pairs import Pairs
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import Continuous
from mscon.model.heads.identity import Identity
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train.fit import fit
from vector_table import RECIPE, write_table


def trained(number: int, cells: list[str | None]) -> TrainedColumn:
    similarity = Categorical.fit("c", cells, range(len(cells)))
    return TrainedColumn(number, similarity, similarity.encode(cells), SupCon(0.5), 4)


def gradient(features: torch.Tensor, cells: list[str]) -> torch.Tensor:
    """Of the mean loss, from its formula."""
    leaf = features.clone().requires_grad_()
    names = np.array(cells)
    alike = torch.from_numpy(names[:, None] == names[None, :]).double()
    known = ~torch.eye(len(cells), dtype=torch.bool)
    supcon(leaf, leaf, Pairs(alike, known), temperature=0.5).mean().backward()
    return leaf.grad.flatten().double()


def test_the_cosine_of_gradients_is_that_of_the_losses_at_the_features():
    features = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = [*"aabbaabb"], [*"xyxyxyxy"]
    columns = [trained(0, a), trained(1, b), trained(2, a)]
    cosines = gradient_cosines(features, Identity(3, 4), columns, [torch.arange(8)])
    expected = torch.nn.functional.cosine_similarity(gradient(features, a), gradient(features, b), dim=0)
    assert cosines[0, 1] == pytest.approx([float(expected)], abs=1e-6)
    assert cosines[0, 2] == pytest.approx([1.0])


def test_two_columns_that_ask_for_opposite_changes_are_in_conflict():
    """Two rows near each other are alike by the one column and different by the other."""
    features = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]).repeat(2, 2)
    a, b = [*"aabbaabb"], [*"abbaabba"]
    cosines = gradient_cosines(features, Identity(2, 4), [trained(0, a), trained(1, b)], [torch.arange(8)])
    assert cosines[0, 1][0] < -0.1


def test_batches_without_anything_to_compare_are_left_out():
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    columns = [trained(0, [*"aabbab"]), trained(1, [None, None, None, *"xyx"])]
    assert gradient_cosines(features, Identity(2, 4), columns, [torch.arange(3)])[0, 1] == []
    assert len(gradient_cosines(features, Identity(2, 4), columns, [torch.arange(6)])[0, 1]) == 1


def column_of(cells: list[str | None], similarity=None) -> LabelColumn:
    rows = pl.DataFrame({"line": range(len(cells)), "c": pl.Series(cells, dtype=pl.String)})
    return LabelColumn("c", rows, similarity or Categorical("c", ()))


def test_a_space_that_tells_a_column_has_affinity_1_and_a_random_one_none():
    generator = np.random.default_rng(0)
    classes = generator.integers(4, size=600)
    cells = [None if n % 10 == 0 else f"c{k}" for n, k in enumerate(classes)]
    spaces = [np.eye(4)[classes], generator.normal(size=(600, 4)), np.eye(4)[generator.permutation(classes)]]
    exact, random, shuffled = affinities(spaces, column_of(cells), np.arange(400, 600), np.arange(400))
    assert exact == 1.0
    assert abs(random) < 0.06 and abs(shuffled) < 0.06


def test_a_row_is_never_its_own_neighbour():
    generator = np.random.default_rng(0)
    cells = [f"c{n % 3}" for n in range(90)]
    space = generator.normal(size=(90, 20))
    (value,) = affinities([space], column_of(cells), np.arange(90), np.arange(90))
    assert abs(value) < 0.1
    # With 2 rows there is one neighbour, which is of the other class.
    (value,) = affinities([space], column_of([*"ab", *[None] * 88]), np.arange(90), np.arange(90))
    assert value == 0.0


def test_numbers_count_by_how_near_they_are():
    numbers = np.linspace(0, 10, 300)
    cells = [str(n) for n in numbers]
    similarity = Continuous.fit("c", cells, range(300), width=1.0)
    angle = numbers / 10 * np.pi
    near, far = affinities(
        [np.stack([np.cos(angle), np.sin(angle)], axis=1), np.random.default_rng(0).normal(size=(300, 2))],
        column_of(cells, similarity),
        np.arange(0, 300, 3),
        np.arange(300),
    )
    assert near > 0.9 > 0.1 > far


@pytest.mark.parametrize("cells", [["a"] * 40, [None] * 40, ["a", *[None] * 39]])
def test_a_column_without_a_difference_cannot_be_judged(cells):
    assert affinities([np.ones((40, 2))], column_of(cells), np.arange(20, 40), np.arange(20)) == [None]


def result(pairs: tuple[ColumnPair, ...] = (), *targets: Target) -> Affinity:
    return Affinity("validation", pairs, targets)


def test_words_name_what_says_the_same_what_conflicts_and_what_has_not_learnt():
    pairs = (
        ColumnPair(("a", "b"), 50, 0.95, 0.9, Cosine(0.9, 0.8, 1.0)),
        ColumnPair(("a", "c"), 50, 0.0, 0.1, Cosine(-0.3, -0.4, -0.1)),
        ColumnPair(("b", "c"), 50, 0.0, 0.1, Cosine(-0.3, -0.8, 0.2)),
    )
    targets = (
        Target("a", True, {"a": 0.9, "b": 0.8, "c": 0.02}, 0.7),
        Target("c", True, {"a": 0.0, "b": 0.0, "c": 0.01}, 0.03),
        Target("d", False, {"a": 0.2, "b": 0.6, "c": 0.0}, 0.5),
        Target("e", False, {"a": None, "b": None, "c": None}, None),
    )
    assert result(pairs, *targets).sentences == [
        "'a' is helped by 'b' (0.80): so far nearest rows in that space agree in it, and to 0.70 in the features.",
        "No similarity helps 'c': nearest rows agree in it to 0.03 in the features, at most to 0.00 in another space "
        "('a').",
        "'d' is helped by 'b' (0.60): so far nearest rows in that space agree in it, and to 0.50 in the features.",
        "'a' and 'b' say nearly the same (normalised mutual information 0.95).",
        "'a' and 'c' pull the features apart: the cosine of their gradients is -0.30 on average, -0.40 to -0.10 in "
        "95 % of the batches.",
        "'c' does not show in its own space (0.01; 0 is chance): its head has learnt nothing that holds on validation "
        "rows.",
        "Of 'e' nothing can be said: too few validation rows differ in it.",
        "Try to leave out one of 'a' and 'b', one of 'a' and 'c', 'c': `mscon compare --held-out` shows what that "
        "changes.",
    ]
    lines = list(tables(result(pairs, *targets)))
    assert lines[0].split() == ["nearest", "rows", "agree", "in", "a", "b", "c", "features"]
    assert lines[4].split() == ["e", "-", "-", "-", "-"]
    assert len({len(line) for line in lines[:5]}) == 1


def test_without_a_fault_no_column_is_one_to_leave_out():
    pair = ColumnPair(("a", "b"), 50, 0.1, 0.1, None)
    assert result((pair,), Target("a", True, {"a": 0.9}, 0.9)).sentences[-1].startswith("No column is one to leave out")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Trained on kind, an exact copy of it, and shade; mood is probed."""
    folder = tmp_path_factory.mktemp("affinity")
    table = read_table(write_table(folder, 240))
    text = (
        RECIPE
        + '[[similarity]]\ncolumn = "copy"\n[[derived]]\ncolumn = "copy"\nof = "kind"\n[probe]\ncolumns=["mood"]\n'
    )
    return fit(recipes.parse(text, ["train.epochs=8"]), table, folder / "run", progress=False)


def test_affinity_of_a_run_is_what_its_file_and_the_terminal_say(run, capsys):
    before = {path: path.read_bytes() for path in run.root.rglob("*.safetensors")}
    answer = affinity(run, ["weight"], progress=False)
    record = json.loads((run.root / "affinity.json").read_text())
    assert record.pop("checkpoint") == "last" and len(record.pop("checkpoint_sha256")) == 64
    assert record == json.loads(json.dumps(answer.to_json()))
    assert all(path.read_bytes() == content for path, content in before.items())
    assert [(t.column, t.trained) for t in answer.targets] == [
        ("kind", True),
        ("shade", True),
        ("copy", True),
        ("mood", False),
        ("weight", False),
    ]
    pairs = {pair.columns: pair for pair in answer.pairs}
    # A batch of training has more rows than validation has: batches of all of these would have no spread.
    cosine = pairs["kind", "shade"].cosine
    assert cosine.low < cosine.value < cosine.high
    assert pairs["kind", "copy"].nmi > 0.99 > 0.2 > pairs["kind", "shade"].nmi
    assert pairs["kind", "copy"].cosine.value > 0.25 > abs(pairs["kind", "shade"].cosine.value)
    kind = answer.targets[0]
    assert kind.spaces["kind"] > 0.6 and kind.spaces["copy"] > 0.6 > kind.spaces["shade"]
    assert any("'kind' and 'copy' say nearly the same" in sentence for sentence in answer.sentences)
    assert main(["affinity", str(run.root), "--columns", "weight"]) == 0
    shown = capsys.readouterr().out
    assert "judged by validation rows" in shown and all(sentence in shown for sentence in answer.sentences)


def test_a_column_that_is_not_there_and_a_run_without_training_are_refused(run, tmp_path, capsys):
    affinity(run, progress=False)
    known = (run.root / "affinity.json").read_bytes()
    assert main(["affinity", str(run.root), "--columns", "mod", "weigth"]) == 2
    message = capsys.readouterr().err
    assert "no label column 'mod'. Did you mean 'mood'?" in message and "'weigth'. Did you mean 'weight'?" in message
    assert (run.root / "affinity.json").read_bytes() == known
    untrained = fit(
        recipes.parse(RECIPE, ["train.epochs=0"]), read_table(write_table(tmp_path)), tmp_path / "run", progress=False
    )
    with pytest.raises(RunError, match="was not trained"):
        affinity(untrained, progress=False)
    assert not (untrained.root / "affinity.json").exists()


@pytest.mark.parametrize(
    "settings",
    [
        ["keep.beside='all'"],
        ["heads.name='identity'", "objective.name='cross_entropy'"],
        ["objective.name='triplet_margin'"],
    ],
)
def test_features_beside_heads_without_weights_and_other_losses_are_handled(settings, tmp_path):
    run = fit(recipes.parse(RECIPE, settings), read_table(write_table(tmp_path)), tmp_path / "run", progress=False)
    answer = affinity(run, progress=False)
    (pair,) = answer.pairs
    assert all(bool(target.spaces) == ("heads.name='identity'" not in settings) for target in answer.targets)
    assert -1 <= pair.cosine.low <= pair.cosine.value <= pair.cosine.high <= 1
    assert (pair.cka is None) == ("heads.name='identity'" in settings)
