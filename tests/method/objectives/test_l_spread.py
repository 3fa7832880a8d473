"""L_spread: against its formula; its limits; what it does to rows of a class; that it needs views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.reference import template_loops
from torch import Tensor
from torch.nn.functional import normalize

from mscon import MSConLoss
from mscon.errors import RecipeError
from mscon.method.comparison import Comparison, SampleOrigin
from mscon.method.objectives.l_spread import LSpread
from mscon.method.objectives.sincere import SINCERE
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import Categorical, same_class
from mscon.method.similarities.same_row import SameRow
from mscon.run import recipe as recipes
from mscon.train.requirements import check_recipe

F64 = torch.float64


def comparison_of(z: Tensor, labels: Tensor) -> Comparison:
    """Of vectors [views, rows, dim]."""
    views, rows, _ = z.shape
    codes, ids = labels.repeat(views), torch.arange(views * rows)
    origin = SampleOrigin.of_views(torch.arange(rows), [0] * views)
    pairs = [LazyPairs(same_class, codes, codes, ids, ids, is_partition=True)]
    return Comparison(z.reshape(1, views * rows, -1), None, pairs, origin, origin)


def drawn(views: int = 2, rows: int = 6) -> Tensor:
    return torch.randn(views, rows, 4, dtype=F64, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 1, -1, 0, 0])


@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_it_is_its_formula(views, spread):
    comparison = comparison_of(drawn(views), LABELS)
    losses = LSpread(0.4, spread)(comparison)
    unit = normalize(comparison.anchors[0], dim=1).numpy()
    pairs = comparison.pairs[0].dense()
    logits, alike = unit @ unit.T / 0.4, np.where(pairs.known, pairs.weight, 0.0)
    rows = comparison.anchor_origin.rows.numpy()
    attract = template_loops(logits, alike, pairs.negative.double().numpy(), itself=1.0)
    apart = template_loops(logits, alike * (rows[:, None] == rows[None, :]), alike)
    np.testing.assert_allclose(losses.per_anchor[0].numpy(), (1 - spread) * attract + spread * apart, atol=1e-12)


def test_without_spread_it_is_sincere():
    comparison = comparison_of(drawn(), LABELS)
    one, other = LSpread(0.2, 0.0)(comparison), SINCERE(0.2)(comparison)
    for name in ("per_anchor", "floor", "ceiling"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name))


def test_rows_of_a_class_that_coincide_are_pushed_apart_only_with_spread():
    z = torch.eye(4, dtype=F64)[LABELS.clamp_min(0)].expand(2, -1, -1).clone()
    z += 1e-3 * drawn(1)  # the views of a row coincide, those of a class nearly
    pulls = {}
    for spread in (0.0, 0.5):
        vectors = z.clone().requires_grad_()
        LSpread(0.1, spread)(comparison_of(vectors, LABELS)).per_anchor.sum().backward()
        assert vectors.grad is not None
        moved = normalize(z - 1e-3 * vectors.grad, dim=2)
        pulls[spread] = (moved[0, 0] - moved[0, 4]).norm() - (
            normalize(z, dim=2)[0, 0] - normalize(z, dim=2)[0, 4]
        ).norm()
    assert pulls[0.0] < 0 < pulls[0.5]


def test_it_says_that_it_needs_views():
    with pytest.raises(ValueError, match=r"compares views of a row: .* with 2 views or more, got 1"):
        MSConLoss(["make"], objective="l_spread")(torch.randn(1, 6, 4), torch.arange(6)[:, None] % 2)
    text = (
        '[[similarity]]\ncolumn = "make"\n[[similarity]]\ncolumn = "kind"\nobjective = "l_spread"\n[views]\ncount = 1\n'
    )
    columns = [Categorical("make", 2), Categorical("kind", 2), SameRow("same")]
    with pytest.raises(RecipeError, match=r"objective 'l_spread' of similarity 'kind' .* is 1. Set count = 2 or more"):
        check_recipe(recipes.parse(text), columns[:2])
    check_recipe(recipes.parse(text.replace("count = 1", "count = 3")), columns[:2])
    equal = 'corrupt = 0.0\n[data]\ninput = "vectors"\nvectors = "points.npy"\n[encoder]\nname = "mlp"\n'
    words = r"'l_spread' of similarity 'kind' .* these are equal.*\n.*'same' compares"
    same = '[[similarity]]\nname = "same_row"\ncolumn = "same"\n[views]'
    with pytest.raises(RecipeError, match=words):
        check_recipe(
            recipes.parse(text.replace("[views]", same).replace("count = 1\n", f"count = 2\n{equal}")), columns
        )


def test_a_spread_that_is_no_share_is_refused():
    for spread in (-0.1, 1.1):
        with pytest.raises(ValueError, match="spread must be"):
            LSpread(spread=spread)
