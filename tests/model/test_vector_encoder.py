"""Encoders of vectors: standardised by the training rows, of the width they say, and no row minding another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mscon.errors import RecipeError
from mscon.model.vector_encoder import NAMES, VectorEncoder, build_vector_encoder
from mscon.run import recipe


def build(name: str = "mlp", dim: int = 5, **settings: object) -> VectorEncoder:
    return build_vector_encoder(recipe.Encoder(name=name, settings=settings), dim)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_as_wide_as_the_encoder_says(name):
    encoder = build(name)
    assert encoder(torch.randn(3, 5)).shape == (3, encoder.width)


def test_layers_and_units_are_settings():
    encoder = build("mlp", units=7, layers=3)
    assert encoder.width == 7
    assert [m.in_features for m in encoder.modules() if isinstance(m, nn.Linear)] == [5, 7, 7]
    assert build("linear", units=9).width == 9


@pytest.mark.parametrize("name", ["mlp", "linear"])
def test_the_unit_of_a_dimension_does_not_matter_once_standardised(name):
    torch.manual_seed(0)
    encoder, x = build(name), torch.randn(40, 5)
    before = encoder(x)
    scale, shift = torch.tensor([1.0, 10, 0.1, 1000, 1]), torch.tensor([0.0, 5, -1, 100, 3])
    encoder.standardise(shift.numpy(), scale.numpy())
    torch.testing.assert_close(encoder(x * scale + shift), before, rtol=1e-3, atol=1e-3)
    assert {"mean", "std"} <= encoder.state_dict().keys()


def test_identity_leaves_vectors_as_they_are():
    encoder, x = build("identity"), torch.randn(3, 5)
    encoder.standardise(np.full(5, 7, dtype=np.float32), np.full(5, 3, dtype=np.float32))
    assert torch.equal(encoder(x), x)


def test_no_row_minds_another_in_training():
    encoder, x = build("mlp").train(), torch.randn(8, 5)
    torch.testing.assert_close(encoder(x)[:3], encoder(x[:3]))


class Doubled(nn.Module):
    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x] * self.factor, dim=1)


class Scalar(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum()


def test_a_class_of_ones_own_takes_vectors_too(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mine", __import__("types").SimpleNamespace(D=Doubled, S=Scalar))
    assert build("mine:D", factor=3).width == 15
    with pytest.raises(RecipeError, match=r"features of shape \[\], not one vector .*, \[rows, width\]"):
        build("mine:S")


def test_what_is_for_images_is_refused():
    with pytest.raises(RecipeError, match="'small_cnn' does not read vectors"):
        build("small_cnn")
    with pytest.raises(RecipeError, match="Did you mean 'linear'"):
        build("linaer")
    with pytest.raises(RecipeError, match="no published weights"):
        build_vector_encoder(recipe.Encoder(name="mlp", pretrained=True), 5)
    with pytest.raises(RecipeError, match="vectors are standardised by the training rows"):
        build_vector_encoder(recipe.Encoder(name="mlp", mean=(0.5,)), 5)


def test_settings_out_of_range_are_refused():
    with pytest.raises(RecipeError, match=r"\[encoder.settings\] mlp: layers must be from 1 to 64, got 0"):
        build("mlp", layers=0)
    with pytest.raises(RecipeError, match="units must be from 1 to 65536"):
        build("linear", units=0)
    with pytest.raises(RecipeError, match="no setting 'depth'"):
        build("mlp", depth=2)
