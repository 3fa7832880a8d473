"""Conditional similarity networks on the one trainer: triplets, masks, penalties."""

from __future__ import annotations

import pytest
import torch
from tests.reference import csn_loss_loops, csn_penalty_loops
from tests.train.test_processes import assert_close, train

from mscon.data.batches.triplet_dataset import TripletRule
from mscon.errors import RecipeError, TableError
from mscon.evaluate.features import extract
from mscon.method.objectives.triplet_margin import TripletMargin
from mscon.method.weightings.equal import Equal
from mscon.model.encoder import Encoder
from mscon.model.heads.masks import Masks
from mscon.model.model import Model, load_model
from mscon.run.run import Run
from mscon.train import epochs
from mscon.train.fit import fit, resume
from mscon.train.gather import InBatch
from mscon.train.grad_cache import cached_backward
from mscon.train.module import TrainingModule

QUIET = {"progress": False}
CSN = [
    "heads.name=masks",
    "heads.output_dim=8",
    "objective.name=triplet_margin",
    "weighting.name=equal",
    "views.count=1",
    "triplets.count=50",
    "triplets.validation=20",
    'similarity=[{column="shape", name="categorical"}, {column="shade", name="categorical"}]',
]


def make(kind: str = "learned") -> TrainingModule:
    """A network of one matrix, in float64."""
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 6))
    heads = Masks(2, 6, 5, masks=kind)
    return TrainingModule(
        Model(Encoder(backbone, 6, [0.0], [1.0]), heads), TripletMargin(), Equal(2), InBatch(),
        [TripletRule("a"), TripletRule("b")],
    ).double()  # fmt: skip


def batch(condition: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    count = len(condition)
    images = torch.randint(0, 256, (3 * count, 1, 3, 3), dtype=torch.uint8, generator=generator)
    part = torch.arange(3).repeat_interleave(count)
    codes = [torch.stack([torch.arange(count).where(condition == c, -1).repeat(3), part], 1) for c in range(2)]
    return images, codes, torch.arange(3 * count)


def view(images: torch.Tensor) -> torch.Tensor:
    return images.double() / 255


@pytest.mark.parametrize("kind", ["learned", "disjoint", "preinitialised"])
def test_the_total_is_the_formula_of_the_authors_for_every_similarity(kind):
    """As many triplets of both: the sum over similarities is then twice the authors' mean, penalties included."""
    condition = torch.tensor([0, 1, 1, 0, 1, 0])
    method = make(kind)
    images, codes, rows = batch(condition)
    total = method(images, codes, rows, [view]).total.item()
    embedded = method.model.heads.embedding(method.model.encoder(view(images))).detach()
    mask = method.model.heads.mask.detach()
    masked = [(part * mask.relu()[condition]).numpy() for part in embedded.unflatten(0, (3, 6))]
    anchor, near, far = masked
    expected = csn_loss_loops(anchor, near, far, 0.2) + csn_penalty_loops(
        embedded.numpy(), mask.numpy(), 5e-3, 5e-4, False
    )
    assert total == pytest.approx(2 * expected, rel=1e-10)


@pytest.mark.parametrize("mini_batch_size", [1, 5, 18, 40])
@pytest.mark.parametrize("condition", [[0, 1, 1, 0, 1, 0], [1] * 6])
def test_cached_gradients_hold_the_penalties_too(mini_batch_size, condition):
    whole, cached = make(), make()
    images, codes, rows = batch(torch.tensor(condition))
    expected = whole(images, codes, rows, [view]).total
    expected.backward()
    total = cached_backward(cached, images, codes, rows, make_views=[view], mini_batch_size=mini_batch_size).total
    torch.testing.assert_close(total, expected.detach())
    for one, other in zip(whole.parameters(), cached.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)


def test_a_batch_without_a_triplet_still_has_its_penalties():
    method = make()
    images, codes, rows = batch(torch.tensor([0, 1]))
    codes = [torch.stack([torch.full((6,), -1), c[:, 1]], 1) for c in codes]
    cached_backward(method, images, codes, rows, make_views=[view], mini_batch_size=2)
    assert (method.model.heads.mask.grad != 0).any()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_a_run_logs_triplets_and_their_accuracy(recipe_with, table, tmp_path):
    run = fit(recipe_with(*CSN), table, tmp_path / "run", **QUIET)
    assert run.read_facts()["trained"]["steps"] == 6  # 50 triplets in batches of 16: three full ones an epoch
    assert [r["kind"] for r in run.read_log()] == ["step", "validation"] * 2
    for record in run.read_log():
        assert record["ceiling"] == pytest.approx({"shape": 0.2, "shade": 0.2})
        assert record["floor"] == {"shape": 0, "shade": 0}
        assert record["positive_share"] == {"shape": 1, "shade": 1}
        assert all(0 <= share <= 1 for share in record["accuracy"].values())
    last = run.read_log()[-1]
    assert last["merit"] == pytest.approx(sum(last["accuracy"].values()) / 2)


@pytest.mark.usefixtures("as_users_run_it")
def test_it_learns(recipe_with, table, tmp_path):
    run = fit(
        recipe_with(*CSN, "train.epochs=8", "triplets.count=200", "views.flip=0.0"), table, tmp_path / "run", **QUIET
    )
    assert run.read_log()[-1]["kind"] == "validation"
    assert run.read_log()[-1]["accuracy"]["shape"] > 0.9


def test_masks_are_left_as_plain_numbers(recipe_with, table, tmp_path):
    run = fit(recipe_with(*CSN), table, tmp_path / "run", **QUIET)
    assert run.read_masks() is None
    extract(run, progress=False)
    masks = torch.tensor(run.read_masks())
    assert masks.shape == (2, 8)
    torch.testing.assert_close(masks, load_model(run).heads.mask.detach().relu())
    other = fit(recipe_with("train.epochs=1"), table, tmp_path / "other", **QUIET)
    extract(other, progress=False)
    assert other.read_masks() is None


def test_training_moves_learned_masks_and_no_disjoint_ones(recipe_with, table, tmp_path):
    for kind, moves in (("learned", True), ("preinitialised", True), ("disjoint", False)):
        ends = [
            load_model(
                fit(
                    recipe_with(*CSN, f"heads.masks={kind}", f"train.epochs={n}"),
                    table,
                    tmp_path / f"{kind}{n}",
                    **QUIET,
                )
            )
            for n in (1, 2)
        ]
        assert torch.equal(ends[0].heads.mask, ends[1].heads.mask) is not moves


@pytest.mark.parametrize(
    "overrides", [[], ["heads.masks=disjoint", "train.mini_batch_size=20"]], ids=["learned", "cached"]
)
def test_resuming_gives_what_never_stopping_would_have(recipe_with, overrides, table, tmp_path, monkeypatch):
    recipe = recipe_with(*CSN, "train.epochs=3", *overrides)
    whole = fit(recipe, table, tmp_path / "whole", **QUIET)
    train_epoch = epochs.train_epoch

    def interrupted(training, number, step):
        yield from train_epoch(training, number, step)
        if number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(epochs, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, table, tmp_path / "halves", **QUIET)
    monkeypatch.undo()
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    halves = resume(Run.open(tmp_path / "halves"), progress=False)
    for name in ("last", "best"):
        one, other = whole.read_checkpoint(name)[0], halves.read_checkpoint(name)[0]
        assert [k for k in one if not torch.equal(one[k], other[k])] == []
    assert whole.read_log() == halves.read_log()


def test_a_mini_batch_holds_rows_and_not_triplets(recipe_with, table, tmp_path, monkeypatch):
    """16 triplets are 48 rows, more than 20."""
    sizes = []
    monkeypatch.setattr(Encoder, "forward", counting(Encoder.forward, sizes))
    recipe = recipe_with(*CSN, "train.epochs=1", "triplets.validation=0", "train.mini_batch_size=20")
    fit(recipe, table, tmp_path / "run", **QUIET)
    assert max(sizes) == 20


def counting(forward, sizes):
    def counted(self, images):
        sizes.append(len(images))
        return forward(self, images)

    return counted


def test_other_objectives_take_triplets_too_but_those_that_read_labels_do_not(recipe_with, table, tmp_path):
    run = fit(recipe_with(*CSN, "objective.name=supcon", "train.epochs=1"), table, tmp_path / "softmax", **QUIET)
    assert run.read_log()[0]["ceiling"]["shape"] == pytest.approx(torch.tensor(2.0).log().item())
    with pytest.raises(RecipeError, match=r"objective 'cross_entropy' reads labels(?s:.*)triplet_margin"):
        fit(recipe_with(*CSN, "objective.name=cross_entropy"), table, tmp_path / "classes", **QUIET)
    assert not (tmp_path / "classes").exists()


def test_batches_of_triplets_are_not_balanced(recipe_with, table, tmp_path):
    with pytest.raises(RecipeError, match=r"'balanced' makes batches of rows, but \[triplets\] asks for triplets"):
        fit(recipe_with(*CSN, "sampler.name=balanced"), table, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_in_batch_triplets_need_no_section(recipe_with, table, tmp_path):
    recipe = recipe_with("objective.name=triplet_margin", "weighting.name=equal", "train.epochs=1")
    run = fit(recipe, table, tmp_path / "run", **QUIET)
    assert set(run.read_log()[-1]["accuracy"]) == {"shape", "shade", "same_row"}


def test_views_of_a_row_make_no_triplet(recipe_with, table, tmp_path):
    recipe = recipe_with(
        *CSN[:-1], "views.count=2", 'similarity=[{name="same_row"}, {column="shape", name="categorical"}]'
    )
    with pytest.raises(TableError, match=r"bars\.csv: column 'same_row': no triplet can be drawn"):
        fit(recipe, table, tmp_path / "run", **QUIET)


def test_two_processes_train_what_one_does(recipe_with, table, tmp_path):
    """With uneven parts, and penalties large enough to be missed."""
    settings = ["encoder.name=test_convnext", "data.image_size=32", "train.learning_rate=1e-3", "train.batch_size=5"]
    penalties = ["heads.embedding_penalty=0.5", "heads.mask_penalty=0.05"]
    recipe = recipe_with(*CSN, *settings, *penalties, "triplets.count=15", "triplets.validation=6")
    alone = fit(recipe, table, tmp_path / "alone", **QUIET)
    outcome = train(recipe, table, tmp_path / "together")
    assert outcome.status == 0, outcome
    assert_close(alone, Run.open(tmp_path / "together"))
