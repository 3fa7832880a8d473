"""Views of vectors: columns from the training rows, whole, as often as asked, whoever draws them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mscon.data.inputs.augment_vectors import MOST_DONORS, Marginals, corrupt
from mscon.data.inputs.tabular import ColumnCoding
from mscon.data.inputs.vectors import VectorStore
from mscon.data.inputs.views import Part


def store(values: np.ndarray) -> VectorStore:
    dim = values.shape[1]
    return VectorStore(values, np.zeros(dim, dtype=np.float32), np.ones(dim, dtype=np.float32))


def drawn(vectors: torch.Tensor, marginals: Marginals, share: float, noise: float = 0.0, seed: int = 0, **more):
    generator = torch.Generator().manual_seed(seed)
    return corrupt(vectors, marginals, share=share, noise=noise, generator=generator, **more)


def marginals(rows: int = 50, dim: int = 4) -> Marginals:
    values = 100 + np.arange(rows * dim, dtype=np.float32).reshape(rows, dim)
    return Marginals.of(store(values), torch.arange(rows), seed=0)


def test_with_nothing_to_do_a_view_is_the_vector():
    x = torch.randn(8, 4)
    assert torch.equal(drawn(x, marginals(), 0.0), x)


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_so_many_columns_are_exchanged_as_asked(share):
    x = torch.zeros(20_000, 4)
    exchanged = (drawn(x, marginals(), share) != 0).double().mean(dim=0)
    torch.testing.assert_close(exchanged, torch.full((4,), share, dtype=torch.float64), atol=0.015, rtol=0)


def test_each_column_is_drawn_from_itself_and_from_all_training_rows_alike():
    corrupted = drawn(torch.zeros(40_000, 4), marginals(), 0.999_999)
    for column in range(4):
        values, counts = corrupted[:, column].unique(return_counts=True)
        known = values[values != 0]
        assert known.tolist() == (100 + 4 * torch.arange(50) + column).tolist()
        assert counts[values != 0].min() > 600  # of 800 expected


def test_columns_are_drawn_apart_from_each_other():
    corrupted = drawn(torch.zeros(2_000, 4), marginals(), 0.999_999)
    donors = ((corrupted - 100) // 4).long()
    assert (donors[:, 0] == donors[:, 1]).double().mean() < 0.1


def test_dimensions_of_one_column_go_together():
    frame = pl.DataFrame({"line": range(6), "split": ["train"] * 6, "make": list("aabbcc"), "size": list("123456")})
    corrupted = ColumnCoding.fit(frame, ("size",), ("make",), "t").encode(frame, "t")
    views = drawn(torch.from_numpy(corrupted[[0] * 500]), Marginals.of(corrupted, torch.arange(6), 0), 0.5)
    assert (views[:, 1:].sum(dim=1) == 1).all()
    assert len(views[:, 1:].unique(dim=0)) == 3


def test_noise_is_in_standard_deviations_of_each_dimension():
    distribution = marginals()
    corrupted = drawn(torch.zeros(20_000, 4), distribution, 0.0, noise=0.5)
    torch.testing.assert_close(corrupted.std(dim=0), 0.5 * distribution.std, rtol=0.03, atol=0)


@given(st.integers(1, 12), st.integers(0, 1_000))
def test_a_part_draws_what_it_would_in_the_whole_batch(cut, seed):
    x, distribution = torch.randn(12, 4), marginals()
    whole = drawn(x, distribution, 0.5, noise=0.1, seed=seed)
    places = torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:cut]
    assert torch.equal(drawn(x[places], distribution, 0.5, noise=0.1, seed=seed, part=Part(places, 12)), whole[places])


def test_donors_are_training_rows_and_not_more_than_needed():
    values = np.arange(2 * MOST_DONORS + 10, dtype=np.float32)[:, None]
    train = torch.arange(10, 2 * MOST_DONORS + 10)
    distribution = Marginals.of(store(values), train, seed=3)
    assert len(distribution.donors) == MOST_DONORS
    assert distribution.donors.min() >= 10
    assert len(distribution.donors.unique()) == MOST_DONORS
    assert torch.equal(distribution.donors, Marginals.of(store(values), train, seed=3).donors)
    assert {
        t.device.type
        for t in (distribution.to("meta").donors, distribution.to("meta").columns, distribution.to("meta").std)
    } == {"meta"}
