"""An objective and a temperature for each similarity in one's own loop: as a recipe has them, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mscon import Categorical, Continuous, CrossEntropy, MSConLoss, RankNContrast, SupCon, TripletMargin
from mscon.errors import RecipeError
from mscon.method.objective_groups import ObjectiveGroups, objective_of_each
from mscon.method.objectives import supcon
from mscon.method.weightings.equal import Equal
from mscon.run import recipe as recipes
from mscon.train.assembly import method_of
from mscon.train.gather import InBatch, Samples
from mscon.train.step import measure
from reference import supcon_loops

F64 = torch.float64
SIMILARITIES = [Categorical("make", 4), Continuous("price", width=5.0), "colour", Categorical("shape", 3), "same_row"]
NAMES = ["make", "price", "colour", "shape", "same_row"]
RECIPE = """
[[similarity]]
column = "make"
objective = { name = "supcon", temperature = 0.2 }
[[similarity]]
column = "price"
name = "continuous"
width = 5.0
objective = "rank_n_contrast"
[[similarity]]
column = "colour"
[[similarity]]
column = "shape"
objective = "cross_entropy"
[[similarity]]
name = "same_row"
temperature = 0.3
[weighting]
name = "equal"
"""


def batch(rows: int = 12, dim: int = 6) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    projections = torch.randn(5, rows, 2, dim, generator=generator, dtype=F64)
    labels = {
        "make": torch.randint(-1, 4, (rows,), generator=generator),
        "price": torch.rand(rows, generator=generator, dtype=F64) * 30,
        "colour": torch.randint(0, 5, (rows,), generator=generator),
        "shape": torch.randint(-1, 3, (rows,), generator=generator),
    }
    return projections, labels


def of_recipe(criterion: MSConLoss, projections: Tensor, labels: dict[str, Tensor]) -> Tensor:
    """The total of the same batch by the objective that the recipe builds, with the classifier of the criterion."""
    objective = method_of(recipes.parse(RECIPE, ["heads.output_dim=6"]), criterion.similarities).objective.double()
    assert [type(o).__name__ for o in objective.objectives] == [
        "SupCon",
        "RankNContrast",
        "SupCon",
        "CrossEntropy",
        "SupCon",
    ]
    objective.load_state_dict(criterion.objective.state_dict())
    rows, views = projections.shape[1:3]
    codes = [s.encode_tensor(labels[s.column]) if s.columns else torch.arange(rows) for s in criterion.similarities]
    return measure(
        Samples.of_views(projections.transpose(1, 2).flatten(1, 2), codes, torch.arange(rows), [0] * views),
        similarities=criterion.similarities,
        objective=objective,
        weighting=Equal(5),
        candidates=InBatch(),
    ).total


def test_it_is_the_loss_of_the_recipe_that_says_the_same_and_so_is_its_gradient():
    projections, labels = batch()
    criterion = MSConLoss(
        SIMILARITIES,
        temperature={"same_row": 0.3},
        weighting="equal",
        objective={"make": SupCon(temperature=0.2), "price": "rank_n_contrast", "shape": "cross_entropy"},
        dim=6,
    ).double()
    ours, theirs = (projections.clone().requires_grad_() for _ in range(2))
    loss, expected = criterion(ours, labels), of_recipe(criterion, theirs, labels)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert (ours.grad.flatten(1) != 0).any(dim=1).all()
    assert all(p.grad is not None for p in criterion.parameters())


def test_each_similarity_has_the_loss_that_its_objective_gives_it_alone():
    projections, labels = batch()
    objectives = {"make": SupCon(temperature=0.2), "price": RankNContrast(), "colour": SupCon(positives="inside")}
    together = MSConLoss(NAMES[:1] + SIMILARITIES[1:3], weighting="equal", objective=objectives)
    together(projections[:3], {name: labels[name] for name in objectives})
    for number, (name, objective) in enumerate(objectives.items()):
        alone = MSConLoss([together.similarities[number]], weighting="equal", objective=objective)
        alone(projections[number : number + 1], {name: labels[name]})
        assert together.summary()[number].loss == pytest.approx(alone.summary()[0].loss)


def test_a_temperature_of_each_similarity_is_the_one_of_the_equation():
    projections, labels = batch(rows=9)
    temperatures = {"make": 0.05, "colour": 0.7}
    criterion = MSConLoss(["make", "colour", "same_row"], temperature=temperatures, weighting="equal")
    criterion(projections[:3], {name: labels[name] for name in ("make", "colour")})
    columns = [labels["make"], labels["colour"], torch.arange(9)]
    for summary, space, column, t in zip(criterion.summary(), projections[:3], columns, (0.05, 0.7, 0.1), strict=True):
        z = torch.nn.functional.normalize(space.flatten(0, 1), dim=1)
        y = column.repeat_interleave(2)
        known = (y >= 0)[:, None] & (y >= 0)[None, :] & ~torch.eye(18, dtype=torch.bool)
        weight = (y[:, None] == y[None, :]).double()
        losses = torch.tensor(
            supcon_loops(z.numpy(), z.numpy(), weight.numpy(), known.numpy(), t, "outside"), dtype=F64
        )
        assert summary.loss == pytest.approx(losses[((weight > 0) & known).any(dim=1)].mean().item())


def test_similarities_of_equal_objectives_go_through_one_call_of_the_kernels(monkeypatch):
    """Equal is what computes the same: a name, an object of the same settings, or one object."""
    calls = []
    contrast = supcon.contrast
    monkeypatch.setattr(supcon, "contrast", lambda a, *rest, **more: calls.append(len(a)) or contrast(a, *rest, **more))
    projections, labels = batch()
    objective = {"make": SupCon(0.1), "price": "rank_n_contrast", "shape": SupCon(0.2)}
    criterion = MSConLoss(SIMILARITIES, weighting="equal", objective=objective)
    criterion(projections, labels)
    assert sorted(calls) == [1, 3]
    for same in ({"make": SupCon(0.1)}, {"make": "supcon", "price": SupCon()}, {}):
        assert isinstance(MSConLoss(["make", "price"], objective=same).objective, SupCon)
    assert isinstance(MSConLoss(["make", "price"], objective={"price": SupCon(0.2)}).objective, ObjectiveGroups)


def test_objectives_that_learn_are_never_taken_for_equal():
    class Learned(SupCon):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

    class WithTable(SupCon):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.ones(3)

    for kind in (CrossEntropy, Learned, WithTable):
        assert len(objective_of_each([kind(), kind()]).groups) == 2
        one = kind()
        assert objective_of_each([one, one]) is one


def test_settings_and_one_temperature_are_those_of_the_default_objective():
    criterion = MSConLoss(["a", "b"], 0.2, objective={"b": "rank_n_contrast"}, positives="inside")
    default, other = criterion.objective.objectives
    assert (default.temperature, default.positives) == (0.2, "inside")
    assert other.of_distances == 2.0
    by_name = MSConLoss(["a", "b"], objective={"b": "rank_n_contrast"}, temperature={"b": 0.5})
    assert [by_name.objective.objectives[0].temperature, by_name.objective.objectives[1].of_distances] == [0.1, 0.5]


def test_settings_that_nobody_has_are_refused():
    everything = {"a": "rank_n_contrast", "b": "rank_n_contrast"}
    with pytest.raises(ValueError, match="'positives' is of neither"):
        MSConLoss(["a", "b"], objective=everything, positives="inside")
    with pytest.raises(ValueError, match="'temperature' is of neither"):
        MSConLoss(["a", "b"], 0.2, objective=everything)


def test_a_memory_and_learned_weights_go_with_several_objectives():
    projections, labels = batch()
    criterion = MSConLoss(
        ["make", Continuous("price", width=5.0)],
        objective={"price": "triplet_margin"},
        weighting="uncertainty",
        memory_size=30,
    )
    for _ in range(2):
        criterion(projections[:2].requires_grad_(), {name: labels[name] for name in ("make", "price")}).backward()
    assert criterion.weighting.log_variance.grad.ne(0).all()
    assert criterion.candidates.filled == 30


@pytest.mark.usefixtures("as_users_run_it")
def test_all_complaints_come_at_once():
    with pytest.raises(ValueError, match=r"^objective is given for") as caught:
        MSConLoss(
            ["make", "price", "colour", "shape"],
            objective={"make": "supcom", "price": SupCon, "colour": TripletMargin(), "size": "supcon"},
            temperature={"colour": 0.2, "shape": -1.0, "cost": 0.1},
            importance={"brand": 2.0},
        )
    lines = str(caught.value).splitlines()
    similarities = "but the similarities are ['make', 'price', 'colour', 'shape']."
    assert f"objective is given for ['size'], {similarities}" in lines
    assert f"temperature is given for ['cost'], {similarities}" in lines
    assert f"importance is given for ['brand'], {similarities}" in lines
    assert any(line.startswith("there is no objective 'supcom'. Did you mean 'supcon'?") for line in lines)
    assert any(
        line.startswith("objective must be a name or an Objective object, for 'price' got <class") for line in lines
    )
    assert "temperature is given for 'colour', but its objective is an object, which has its settings already." in lines
    assert "temperature of 'shape' must be positive and finite, got -1.0." in lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"objective": {"a": "triplet_margin"}, "temperature": {"a": 0.1}},
            "'a', but objective 'triplet_margin' has none",
        ),
        ({"objective": {"a": "cross_entropy"}}, "CrossEntropy learns weights of its own: give dim="),
        (
            {"objective": {"a": "rank_n_contrast"}, "weighting": "exact"},
            "needs a temperature, but RankNContrast has none",
        ),
        ({"objective": SupCon}, "objective must be a name or an Objective object"),
        ({"temperature": {"a": "warm"}}, "temperature of 'a' must be a number, got 'warm'"),
        ({"objective": "cross_entropy", "dim": 4, "memory_size": 9}, "CrossEntropy compares no rows"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_objectives_that_cannot_be_meant_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        MSConLoss([Categorical("a", 3), "b"], **arguments)


def test_an_unknown_objective_is_refused_as_everywhere():
    with pytest.raises(RecipeError, match=r"no objective 'supcom'\. Did you mean 'supcon'"):
        MSConLoss(["a"], objective="supcom")


def test_exact_weights_go_with_temperatures_of_each_similarity():
    z = torch.randn(2, 40, 2, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.stack([torch.arange(40) % 4, torch.arange(40) % 5], dim=1)
    criterion = MSConLoss(["a", "b"], weighting="exact", temperature={"b": 0.4})
    criterion.fit_weights(z, labels)
    for number, temperature in enumerate((0.1, 0.4)):
        alone = MSConLoss(["a"], temperature, weighting="exact")
        alone.fit_weights(z[number : number + 1], labels[:, number : number + 1])
        torch.testing.assert_close(criterion.weighting.log_variance[number], alone.weighting.log_variance[0])
