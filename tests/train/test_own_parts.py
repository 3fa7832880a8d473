"""Trainings in which similarities have objectives, heads and views of their own."""

from __future__ import annotations

import pytest
import torch
from tests.train.test_fit import assert_same

from mscon.data.table.table import Table, read_table
from mscon.deploy.packed import load_packed, pack
from mscon.errors import RecipeError
from mscon.evaluate.probe import probe
from mscon.model.heads.base import HeadGroups
from mscon.model.heads.masks import Masks
from mscon.model.heads.mlp import MLP
from mscon.model.model import load_model
from mscon.run import recipe as recipes
from mscon.run.starting_recipes import recipe_text
from mscon.search.index import open_index
from mscon.train import epochs
from mscon.train.fit import fit, resume

QUIET = {"progress": False}
MIXED = """similarity=[
  {column="shape", name="categorical", objective="cross_entropy", heads="identity", views={hue=0.0, brightness=0.0}},
  {column="size", name="continuous", width=8.0, objective="rank_n_contrast", heads={output_dim=8}},
  {column="shade", name="categorical", importance=2},
  {name="same_row", temperature=0.2},
]"""


@pytest.fixture(scope="module")
def sized(table_path) -> Table:
    """The table with a column of numbers."""
    path = table_path.with_name("sized.csv")
    header, *lines = table_path.read_text().splitlines()
    path.write_text("\n".join([f"{header},size", *(f"{line},{n}" for n, line in enumerate(lines))]) + "\n")
    return read_table(path)


@pytest.fixture(scope="module")
def inline() -> str:
    return "".join(line.strip() for line in MIXED.splitlines())


def test_cross_entropy_beside_contrastive_similarities_trains_resumes_and_goes_on_to_the_other_verbs(
    recipe_with, inline, sized, tmp_path, monkeypatch
):
    recipe = recipe_with(inline, "candidates.memory_size=30")
    run = fit(recipe, sized, tmp_path / "run", **QUIET)
    assert run.read_recipe() == recipe
    record = [r for r in run.read_log() if r["kind"] == "validation"][-1]
    assert all(loss is not None for loss in record["loss"].values())
    assert record["accuracy"]["shape"] is not None
    assert [record["accuracy"][c] for c in ("size", "shade", "same_row")] == [None] * 3
    assert record["merit"] == pytest.approx(-sum(record["relative_excess"].values()) / 4)

    def stopped(training, epoch, step):
        yield from train_epoch(training, epoch, step)
        if epoch == 2:
            raise KeyboardInterrupt

    train_epoch = epochs.train_epoch
    monkeypatch.setattr(epochs, "train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, sized, tmp_path / "again", **QUIET)
    monkeypatch.undo()
    (again := epochs.Run.open(tmp_path / "again"))
    assert_same(resume(again, **QUIET), run)

    model = load_model(run)
    assert model.heads.widths == (32, 8, 32, 32)
    probe(run, progress=False)
    projections = run.read_projections()
    assert projections.shape == (4, 64, 32)
    assert (projections[1, :, 8:] == 0).all()
    assert (projections[1, :, :8] != 0).any()
    assert open_index(run.root).search(query=[0], mix={"size": 1.0}, k=3)
    pack(run, tmp_path / "m.safetensors")
    images = torch.rand(3, 1, 16, 16)
    packed = load_packed(tmp_path / "m.safetensors").model
    for one, other in zip(model(images), packed.eval()(images), strict=True):
        assert torch.equal(one, other)


def test_a_similarity_with_views_of_its_own_sees_no_others(recipe_with, table, tmp_path):
    """Views of [views] that destroy everything teach `same_row` nothing; they must not reach `shape`."""
    same = '[{column="shape", views={translate=0.0, crop=[1.0, 1.0], flip=0.0}}, {name="same_row"}]'
    destroyed = ["views.crop=[0.01, 0.01]", "views.translate=0.9", "weighting.name=equal"]
    logs = [
        fit(
            recipe_with(f"similarity={same}", *more, "encoder.frozen=true"), table, tmp_path / str(n), **QUIET
        ).read_log()[0]
        for n, more in enumerate(([], destroyed))
    ]
    assert logs[0]["ceiling"] == logs[1]["ceiling"]
    assert torch.tensor(logs[0]["ceiling"]["shape"]).exp().item() == pytest.approx(15, rel=1e-3)  # 16 rows, one view
    assert torch.tensor(logs[0]["ceiling"]["same_row"]).exp().item() == pytest.approx(31, rel=1e-3)  # two views


def test_cached_gradients_and_one_pass_agree(recipe_with, inline, sized, tmp_path):
    # SGD: Adam would make steps of what is rounding alone, such as the gradient of a bias that moves no distance.
    settings = [
        "heads.batch_norm=false",
        "train.optimiser=sgd",
        "train.epochs=1",
        "encoder.name=tests.train.test_own_parts:Flat",
    ]
    whole, cached = (
        fit(recipe_with(inline, *settings, f"train.mini_batch_size={size}"), sized, tmp_path / str(size), **QUIET)
        for size in (0, 5)
    )
    one, other = (run.read_checkpoint("last")[0] for run in (whole, cached))
    for name, value in one.items():
        if name.startswith("model."):
            torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)


class Flat(torch.nn.Module):
    """An encoder without batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(256, 32)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1)).relu()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["weighting.name=exact"], "at the temperature of their objective, but objective"),
        (
            ['similarity=[{column="shape", name="categorical"}, {name="same_row", views={hue=0.0}}]'],
            "the count of its own views is 1",
        ),
        (
            [
                "triplets.count=50",
                "objective.name=triplet_margin",
                'similarity=[{column="shape", objective="cross_entropy"}, {column="shade", name="categorical"}]',
            ],
            "objective 'cross_entropy' reads labels",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(recipe_with, inline, sized, tmp_path, overrides, words):
    with pytest.raises(RecipeError, match=words):
        fit(recipe_with(inline, *overrides), sized, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_narrower_heads_are_filled_up_with_zeros_and_keep_their_order():
    torch.manual_seed(0)
    narrow, wide, masks = MLP(2, 6, output_dim=3), MLP(1, 6, output_dim=5), Masks(1, 6, 4)
    heads = HeadGroups([(narrow, (0, 3)), (wide, (2,)), (masks, (1,))]).eval()
    features = torch.randn(7, 6)
    projections = heads(features)
    assert projections.shape == (4, 7, 5)
    assert heads.widths == (3, 4, 5, 3)
    assert torch.equal(projections[[0, 3], :, :3], narrow(features))
    assert torch.equal(projections[2], wide(features)[0])
    assert torch.equal(projections[1, :, :4], masks(features)[0])
    assert not projections[[0, 3], :, 3:].any()
    assert torch.equal(heads.penalty(features), masks.penalty(features))
    assert masks.penalty(features) > 0


def test_the_recipe_for_photographs_has_mild_views_for_the_colour_column_and_strong_ones_for_the_others():
    """N2: a turn of hue, or a grey picture, is no longer of the colour that the column names."""
    recipe = recipes.parse(recipe_text("photos"))
    first, second, mild = recipe.drawn_views
    assert first == second == recipe.views
    assert (recipe.views.hue, recipe.views.grey) == (0.1, 0.2)
    assert (mild.hue, mild.grey) == (0.0, 0.0)
    assert mild.crop == recipe.views.crop
    compared = dict(zip(recipe.columns, recipe.compared_views, strict=True))
    assert compared == {"category": (0, 1), "colour": (2,), "same_row": (0, 1)}
