from __future__ import annotations

import numpy as np
import pytest
import torch

from mscon.model.principal_components import PrincipalComponents


def vectors(rows: int = 60, dim: int = 8) -> np.ndarray:
    """On scales far apart, around a mean far from zero."""
    generator = np.random.default_rng(0)
    return (generator.normal(size=(rows, dim)) * 10.0 ** np.linspace(2, -2, dim) + 50).astype(np.float32)


def applied(fitted: PrincipalComponents, x: np.ndarray) -> np.ndarray:
    return fitted(torch.from_numpy(x)).numpy()


def test_they_are_those_of_a_singular_value_decomposition_up_to_the_sign():
    x = vectors()
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :3] * values[:3]
    expected /= np.sqrt(expected.var(axis=0).sum())
    np.testing.assert_allclose(np.abs(applied(PrincipalComponents(8, 3).fit(x), x)), np.abs(expected), atol=1e-4)


@pytest.mark.parametrize("components", [1, 3, 8])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_rows_have_a_mean_of_zero_and_a_total_variance_of_one(components, scale):
    x = vectors() * np.float32(scale)
    result = applied(PrincipalComponents(8, components).fit(x), x)
    assert result.shape == (60, components)
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=1e-4)
    assert result.var(axis=0).sum() == pytest.approx(1, abs=1e-4)


def test_all_components_are_the_dimensions_themselves_so_that_directions_stay():
    x = vectors()
    result = applied(PrincipalComponents(8, 8).fit(x), x)
    centred = x - x.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(result, centred / np.sqrt(centred.var(axis=0).sum()), atol=1e-6)


def test_they_are_the_same_however_often_they_are_fitted_and_travel_as_a_state():
    x = vectors()
    one, other = PrincipalComponents(8, 3).fit(x), PrincipalComponents(8, 3)
    other.load_state_dict(one.state_dict())
    assert np.array_equal(applied(one, x), applied(other, x))
    assert np.array_equal(applied(one, x), applied(other.fit(x), x))


@pytest.mark.parametrize("components", [2, 4])
@pytest.mark.parametrize("value", [0.0, 0.1, 3e4])
def test_where_nothing_varies_results_are_zeros(components, value):
    x = np.full((20, 4), value, dtype=np.float32)
    assert not applied(PrincipalComponents(4, components).fit(x), x).any()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="components must be from 1 to 8, got 9"):
        PrincipalComponents(8, 9)
    with pytest.raises(ValueError, match="components must be from 1 to 8, got 0"):
        PrincipalComponents(8, 0)
    with pytest.raises(ValueError, match="3 components need more rows than that, got 3"):
        PrincipalComponents(8, 3).fit(vectors(3))
