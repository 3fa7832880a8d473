"""The search over subsets of columns: what it mixes, and that it finds a planted column."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from mscon.method.cores.column_search import ColumnSearch


def test_subsets_come_by_size_and_their_scores_are_means():
    search = ColumnSearch(["a", "b", "c"], most=2)
    assert search.subsets == (("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"))
    scores = torch.randn(3, 4, 5)
    expected = [scores[["abc".index(name) for name in subset]].mean(dim=0) for subset in search.subsets]
    torch.testing.assert_close(search.subset_scores(scores), torch.stack(expected))


def test_the_mixture_by_loops_and_its_gradient():
    search = ColumnSearch(["a", "b"]).double()
    with torch.no_grad():
        search.logits.copy_(torch.tensor([0.3, -1.0, 0.5]))
    scores = torch.randn(3, 4, dtype=torch.float64)
    total = search.logits.exp().sum()
    expected = sum(search.logits[s].exp() / total * scores[s] for s in range(3))
    torch.testing.assert_close(search(scores), expected)
    assert torch.autograd.gradcheck(search, (scores.requires_grad_(),))
    assert search.weights[("a", "b")] == pytest.approx((search.logits[2].exp() / total).item())
    assert sum(search.weights.values()) == pytest.approx(1) == pytest.approx(sum(search.column_weights.values()))


def test_it_finds_the_column_that_holds_the_answer():
    """Rows of a class are near in the space of "kind", and anywhere in the others."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    centres = normalize(torch.randn(4, 8, generator=generator), dim=1)
    spaces = [normalize(torch.randn(40, 8, generator=generator), dim=1) for _ in range(2)]
    spaces.insert(1, normalize(centres[labels] + 0.1 * torch.randn(40, 8, generator=generator), dim=1))
    prototypes = [torch.stack([space[labels == k].mean(dim=0) for k in range(4)]) for space in spaces]
    search = ColumnSearch(["colour", "kind", "size"])
    scores = search.subset_scores(torch.stack([s @ p.T for s, p in zip(spaces, prototypes, strict=True)])) / 0.1
    optimiser = torch.optim.Adam(search.parameters(), lr=0.05)
    for _step in range(100):
        optimiser.zero_grad()
        cross_entropy(search(scores), labels).backward()
        optimiser.step()
    assert search.best == ("kind",)
    assert search.column_weights["kind"] > 0.8


@pytest.mark.parametrize(("columns", "most"), [([], None), (["a", "a"], None), (["a"], 2), (["a", "b"], 0)])
def test_columns_that_cannot_be_searched_are_refused(columns, most):
    with pytest.raises(ValueError, match=r"columns must be distinct names|most must be between 1 and the number"):
        ColumnSearch(columns, most)
