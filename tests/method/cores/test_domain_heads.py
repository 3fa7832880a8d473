"""Heads by domain: each row through its own."""

from __future__ import annotations

import pytest
import torch

from mscon.method.cores.domain_heads import DomainHeads


def test_each_row_goes_through_the_head_of_its_domain():
    heads = DomainHeads(3, 5, output_dim=4, hidden_dim=6)
    features, domains = torch.randn(7, 5), torch.tensor([2, 0, 0, 2, 0, 2, 2])
    projections = heads(features, domains)
    expected = torch.stack([heads.heads[int(d)](x) for x, d in zip(features, domains, strict=True)])
    torch.testing.assert_close(projections, expected)
    projections.sum().backward()
    # A domain that is not in the batch learns nothing.
    assert [(head[0].weight.grad != 0).any().item() for head in heads.heads] == [True, False, True]


def test_the_gradient_is_that_of_finite_differences():
    heads = DomainHeads(2, 3, output_dim=2).double()
    features = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: heads(x, torch.tensor([1, 0, 1, 1])), (features,))


@pytest.mark.parametrize("number", [-1, 2])
def test_a_row_of_no_domain_is_refused(number):
    with pytest.raises(
        ValueError, match=f"1 of 3 rows are of no domain, the first is row 1 with {number}. Domains are 0"
    ):
        DomainHeads(2, 3)(torch.randn(3, 3), torch.tensor([0, number, 1]))


def test_widths_that_are_none_are_refused():
    with pytest.raises(ValueError, match="must be positive"):
        DomainHeads(0, 3)
