"""Matryoshka: the mean of a loss over whole projections and their first dimensions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mscon
from batches import draw
from mscon.cli import main
from mscon.errors import RecipeError, RunError
from mscon.method import catalogue
from mscon.method.matryoshka import Matryoshka
from mscon.method.objectives.base import Comparison, Losses, Objective
from mscon.method.objectives.beclr import BECLR
from mscon.method.objectives.cross_entropy import CrossEntropy
from mscon.method.objectives.supcon import SupCon
from mscon.method.similarities.categorical import Categorical
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train.assembly import method_of
from reference import supcon_loops
from vector_table import RECIPE, points, write_table

DIM = 6


def batch_of(rows: int = 12, candidates: int | None = None, graded: bool = False) -> Comparison:
    batch = draw(rows, candidates, dim=DIM, graded=graded, spread=2.0)
    return Comparison.of(batch.anchors, batch.candidates, batch.pairs)


def test_the_loss_is_the_mean_of_that_of_each_prefix():
    """In loops, with each prefix scaled to unit length."""
    for candidates in (None, 9):
        batch = batch_of(candidates=candidates)
        losses = Matryoshka(SupCon(0.2), (2, 3))(batch)
        for number, lazy in enumerate(batch.pairs):
            pairs, expected = lazy.dense(), []
            others = batch.anchors if batch.candidates is None else batch.candidates
            for dim in (2, 3, DIM):
                one, other = (x[number, :, :dim].numpy() for x in (batch.anchors, others))
                one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, other))
                expected.append(supcon_loops(one, other, pairs.weight.numpy(), pairs.known.numpy(), 0.2))
            np.testing.assert_allclose(losses.per_anchor[number].numpy(), np.mean(expected, axis=0), rtol=1e-9)


class BoundsByWidth(Objective):
    """Whose floor and ceiling are the width of the projections, and twice that."""

    def forward(self, comparison: Comparison) -> Losses:
        width = torch.full((len(comparison.pairs),), float(comparison.anchors.shape[2]))
        return replace(SupCon()(comparison), floor=width, ceiling=2 * width)


def test_floor_and_ceiling_are_those_of_the_mean():
    losses = Matryoshka(BoundsByWidth(), [2, 4])(batch_of())
    assert losses.floor.tolist() == [4.0] * 3 and losses.ceiling.tolist() == [8.0] * 3


@pytest.mark.parametrize("name", ["supcon", "sincere", "rank_n_contrast", "dcl"])
def test_every_field_of_the_losses_is_of_all_prefixes_together(name):
    objective = catalogue.find("objective", name)().eval()
    batch = batch_of(graded=name == "rank_n_contrast")
    whole, first = objective(batch), objective(replace(batch, anchors=batch.anchors[:, :, :4]))
    losses = Matryoshka(objective, [4])(batch)
    for field in ("per_anchor", "floor", "ceiling"):
        torch.testing.assert_close(getattr(losses, field), (getattr(whole, field) + getattr(first, field)) / 2)
    for field in ("counted", "has_positive", "labelled"):
        assert torch.equal(getattr(losses, field), getattr(whole, field))


def test_later_dimensions_get_the_gradient_of_whole_projections_alone():
    batch = batch_of()
    z, alone = batch.anchors.clone().requires_grad_(), batch.anchors.clone().requires_grad_()
    Matryoshka(SupCon(0.2), [4])(replace(batch, anchors=z)).per_anchor.sum().backward()
    SupCon(0.2)(replace(batch, anchors=alone)).per_anchor.sum().backward()
    torch.testing.assert_close(z.grad[:, :, 4:], alone.grad[:, :, 4:] / 2)
    assert not torch.allclose(z.grad[:, :, :4], alone.grad[:, :, :4] / 2)


@pytest.mark.parametrize("dimensions", [[], [0, 2], [4, 2], [2, 2]])
def test_dimensions_that_are_no_prefixes_are_refused(dimensions):
    with pytest.raises(ValueError, match="ascending whole numbers"):
        Matryoshka(SupCon(), dimensions)


@pytest.mark.parametrize("objective", [CrossEntropy(), BECLR(neighbours=3)])
def test_what_learns_something_of_the_width_says_that_it_refuses(objective):
    with pytest.raises(ValueError, match=rf"{type(objective).__name__} learns something of the width"):
        Matryoshka(objective, [2])


def test_a_prefix_as_wide_as_the_projections_is_refused():
    objective = Matryoshka(SupCon(), [4])
    objective.prepare([Categorical("a", ("x", "y"))], 5)
    with pytest.raises(RecipeError, match="a prefix of 4 dimensions, but projections have 4"):
        objective.prepare([Categorical("a", ("x", "y"))], 4)


# recipes ------------------------------------------------------------------------------------------


KINDS = (Categorical("kind", ("a", "b")), Categorical("shade", ("x", "y", "z")))


def test_off_nothing_of_it_is_there():
    recipe = recipes.of_columns(["kind", "shade"])
    assert "matryoshka" not in recipe.to_toml()
    assert type(method_of(recipe, KINDS).objective) is SupCon


def test_each_similarity_may_have_prefixes_of_its_own():
    recipe = recipes.parse(
        """
        heads = { name = "mlp", output_dim = 16, matryoshka = [4, 8] }
        [[similarity]]
        column = "kind"
        name = "categorical"
        [[similarity]]
        column = "shade"
        name = "categorical"
        heads = { name = "mlp", output_dim = 8, matryoshka = [] }
        """
    )
    assert recipes.parse(recipe.to_toml()) == recipe
    method = method_of(recipe, KINDS)
    one, other = (group.objective for group in method.objective.groups)
    assert isinstance(one, Matryoshka) and one.dimensions == (4, 8) and type(other) is SupCon


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["heads.matryoshka=[8, 32]"], r"below output_dim \(32\), got \[8, 32\]"),
        (["heads.matryoshka=[0]"], r"\[heads\] matryoshka must be ascending whole numbers of dimensions, got \[0\]"),
        (["heads.matryoshka=[8, 4]"], "ascending whole numbers of dimensions, got"),
        (
            ["heads.matryoshka=[8]", "objective.name=cross_entropy"],
            r"\[heads\] objective CrossEntropy learns something",
        ),
        (["heads.name=identity", "heads.matryoshka=[8]"], "'matryoshka'"),
        (["heads.matryoshka=8"], "matryoshka"),
    ],
)
def test_mistakes_are_told_before_training(tmp_path, capsys, overrides, words):
    table = write_table(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    settings = [word for override in overrides for word in ("--set", override)]
    out = tmp_path / "run"
    assert main(["train", str(tmp_path / "recipe.toml"), "--table", str(table), "--out", str(out), *settings]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not out.exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    table = write_table(folder)
    (folder / "recipe.toml").write_text(RECIPE)
    arguments = [
        "train",
        str(folder / "recipe.toml"),
        "--table",
        str(table),
        "--out",
        str(folder / "run"),
        "--no-probe",
    ]
    assert main([*arguments, "--set", "heads.matryoshka=[4, 8]"]) == 0
    return folder


def test_first_dimensions_are_a_space_of_their_own(trained, tmp_path):
    model, short = mscon.load(trained / "run"), mscon.load(trained / "run", truncate_dim=4)
    whole, first = model.embed_all(points()), short.embed_all(points())
    assert model.recipe.heads.settings["matryoshka"] == (4, 8) and short.width("kind") == 4
    expected = whole.projections[:, :, :4]
    expected = expected / np.linalg.norm(expected, axis=2, keepdims=True)
    np.testing.assert_allclose(first.projections, expected, rtol=1e-6)
    np.testing.assert_array_equal(first.features, whole.features)
    np.testing.assert_array_equal(short.embed(points(), "shade"), first.projections[1])
    assert first.mix.shape == (72, 8) and short.embed_all(np.zeros((0, 6))).mix.shape == (0, 8)
    assert short.digest != model.digest
    out, table = tmp_path / "v.npz", trained / "things.csv"
    arguments = ["embed", str(trained / "run"), "--table", str(table), "--out", str(out), "--all", "--dimensions", "4"]
    assert main(arguments) == 0
    np.testing.assert_allclose(np.load(out)["mix"], first.mix, atol=1e-6)


def test_a_packed_model_may_be_shortened_too(trained, tmp_path):
    assert main(["export", str(trained / "run"), "--to", "safetensors", "--out", str(tmp_path / "m.safetensors")]) == 0
    one, other = (mscon.load(source, truncate_dim=4) for source in (tmp_path / "m.safetensors", trained / "run"))
    np.testing.assert_array_equal(one.embed_all(points()).mix, other.embed_all(points()).mix)


def test_dimensions_that_a_model_does_not_have_are_told(trained, tmp_path, capsys):
    for number in (0, 33):
        with pytest.raises(RunError, match=rf"projections have 32 dimensions, so that {number} of them cannot be kept"):
            mscon.load(trained / "run", truncate_dim=number)
    arguments = [
        "embed",
        str(trained / "run"),
        "--table",
        str(trained / "things.csv"),
        "--out",
        str(tmp_path / "v.npz"),
    ]
    assert main([*arguments, "--dimensions", "4"]) == 2
    assert "--dimensions shortens projections, not features: give --all" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_recipe_of_a_run_keeps_its_prefixes(trained):
    assert Run.open(trained / "run").read_recipe().heads.settings["matryoshka"] == (4, 8)
