"""What becomes of a trained run: embeddings of new images, exports, a place on a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mscon.deploy.rows import Rows as Rows


def __getattr__(name: str) -> Any:
    if name != "Rows":
        raise AttributeError(f"module 'mscon.deploy' has no attribute {name!r}")
    from mscon.deploy.rows import Rows  # loads torch

    return Rows
