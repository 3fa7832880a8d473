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
    from mscon.method.loss import MSConLoss as MSConLoss
    from mscon.method.loss import NTXentLoss as NTXentLoss
    from mscon.method.loss import SupConLoss as SupConLoss
    from mscon.method.objectives.base import Objective as Objective
    from mscon.method.objectives.supcon import supcon as supcon
    from mscon.method.pairs import LazyPairs as LazyPairs
    from mscon.method.pairs import Pairs as Pairs
    from mscon.method.similarities.base import Similarity as Similarity
    from mscon.method.weightings.base import Weighting as Weighting
    from mscon.run.recipe import Recipe as Recipe
    from mscon.run.run import Run as Run
    from mscon.search.index import open_index as open_index

_HOME = {
    "load": "mscon.deploy.embedder",
    "MSConError": "mscon.errors",
    "MSConLoss": "mscon.method.loss",
    "NTXentLoss": "mscon.method.loss",
    "SupConLoss": "mscon.method.loss",
    "Objective": "mscon.method.objectives.base",
    "supcon": "mscon.method.objectives.supcon",
    "LazyPairs": "mscon.method.pairs",
    "Pairs": "mscon.method.pairs",
    "Recipe": "mscon.run.recipe",
    "Run": "mscon.run.run",
    "open_index": "mscon.search.index",
    "Similarity": "mscon.method.similarities.base",
    "Weighting": "mscon.method.weightings.base",
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
