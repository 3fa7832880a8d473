"""Environment: versions, machine and data of a run, which may explain later why a number differs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl
import torch

from mscon import __version__
from mscon.data.inputs.open import vectors_file
from mscon.data.table.table import Table
from mscon.run.recipe import Recipe
from mscon.train.gather import processes
from mscon.train.hardware import cpu_info
from mscon.train.module import Method

_PACKAGES = ("torch", "lightning-fabric", "timm", "numpy", "polars", "pillow", "safetensors")


def describe(
    recipe: Recipe, table: Table, rows: pl.DataFrame, images_root: Path, method: Method, device: str
) -> dict[str, Any]:
    """The facts of a run that is about to begin; plain JSON values.

    Args:
        recipe: with every "auto" resolved.
    """
    counts = rows.group_by("split", maintain_order=True).len()
    return {
        "versions": versions(),
        "machine": machine(device),
        "table": {
            "name": table.name,
            "path": str(table.path.resolve()) if table.path.exists() else "",
            "sha256": table.sha256,
            "rows": dict(counts.iter_rows()),
        },
        **_vectors(recipe, table, images_root),
        "images_root": str(images_root.resolve()),
        "precision": recipe.train.precision,
        "channels_last": recipe.train.channels_last,
        "parameters": {
            "encoder": _count([method.model.encoder]),
            "heads": _count([method.model.heads]),
            "others": _count([method.objective, method.weighting]),
        },
    }


def _vectors(recipe: Recipe, table: Table, root: Path) -> dict[str, Any]:
    """The file of vectors, where there is one; what is compared later is its fingerprints, row by row."""
    if recipe.data.input != "vectors" or recipe.data.vectors in table.vectors:
        return {}
    path = vectors_file(root, recipe.data, table.name).resolve()
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = os.fstat(file.fileno()).st_size
    return {"vectors": {"path": str(path), "bytes": size, "sha256": sha256}}


def versions() -> dict[str, str]:
    """Of mscon, Python and the packages that numbers depend on; those not installed are left out."""
    numbers = {"mscon": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            numbers[package] = version(package)
    return numbers


def machine(device: str) -> dict[str, Any]:
    """System, processor, and the device that trains."""
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_info("model name") or platform.processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "processes": processes()[1],
        "device": device,
        **gpu,
    }


def _count(modules: Sequence[torch.nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())
