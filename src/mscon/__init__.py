"""mscon: one embedding from several notions of similarity.

Names are loaded when first used, so that `mscon --help` need not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mscon.deploy.embedder import load as load
    from mscon.errors import MSConError as MSConError
    from mscon.loss import MSConLoss as MSConLoss
    from mscon.loss import NTXentLoss as NTXentLoss
    from mscon.loss import SupConLoss as SupConLoss
    from mscon.objectives.base import Objective as Objective
    from mscon.objectives.supcon import supcon as supcon
    from mscon.pairs import LazyPairs as LazyPairs
    from mscon.pairs import Pairs as Pairs
    from mscon.recipe import Recipe as Recipe
    from mscon.run import Run as Run
    from mscon.search.index import open_index as open_index
    from mscon.similarities.base import Similarity as Similarity
    from mscon.weightings.base import Weighting as Weighting

_HOME = {
    "load": "mscon.deploy.embedder",
    "MSConError": "mscon.errors",
    "MSConLoss": "mscon.loss",
    "NTXentLoss": "mscon.loss",
    "SupConLoss": "mscon.loss",
    "Objective": "mscon.objectives.base",
    "supcon": "mscon.objectives.supcon",
    "LazyPairs": "mscon.pairs",
    "Pairs": "mscon.pairs",
    "Recipe": "mscon.recipe",
    "Run": "mscon.run",
    "open_index": "mscon.search.index",
    "Similarity": "mscon.similarities.base",
    "Weighting": "mscon.weightings.base",
}
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mscon' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # the next use finds it without asking here
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
