"""Environment: which device trains, in which precision and memory layout, and what a run records of all this.

The one file that knows Fabric. "auto" is resolved once, by rules and never by timing: a run that chose by the clock
would choose otherwise on a busy machine. What the rules rest on is measured in docs/decisions/0006-precision.md.
Versions, machine and data are recorded since they may explain later why a number differs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from mscon import __version__
from mscon.data.inputs.open import vectors_file
from mscon.data.table.table import Table
from mscon.run.recipe import Recipe, Train
from mscon.train.gather import processes
from mscon.train.module import TrainingModule
from mscon.train.sources import sources
from mscon.train.torchrun import claim_group, is_group_of_others, is_started

# Dense filters wider than this are slower in channels-last float32 on a CPU; narrower ones are faster.
_WIDEST_CHANNELS_LAST = 128

# Units for bfloat16 matrices, by the names that Linux has for them: Intel's, and AMD's from Zen 4 on.
# Intel's processors have the latter too, and are slower with them than in float32.
_INTEL_UNITS, _AMD_UNITS = {"amx_bf16", "amx_tile"}, {"avx512_bf16"}

# Packages whose versions numbers depend on.
_PACKAGES = ("torch", "lightning-fabric", "timm", "numpy", "polars", "pillow", "safetensors")


def device_type() -> str:
    """ "cuda" or "mps" where there is one, else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve(settings: Train, encoder: nn.Module, device: str) -> Train:
    """The settings with "auto" replaced by what suits this machine and encoder.

    - bfloat16 where there are matrix units for it: CUDA from compute capability 8.0, a CPU with AMX, AMD's
      from Zen 4 on. Without them it is up to 10 times slower than float32. On a CPU not for grouped
      convolutions (EfficientNet, MobileNet), which are 2 times slower in it.
    - channels_last together with bfloat16; in float32 on a CPU for encoders whose dense filters are
      narrow (small_cnn) or that have grouped ones.

    Args:
        settings: as the recipe has them; a value other than "auto" is kept.
        encoder: what will be trained.
        device: "cpu", "cuda" or "mps".
    """
    precision, channels_last = settings.precision, settings.channels_last
    if precision == "auto":
        is_slow = device == "cpu" and _has_grouped_filters(encoder)
        precision = "bfloat16" if _has_bfloat16_units(device) and not is_slow else "float32"
    if channels_last == "auto":
        pays = precision == "bfloat16" or (device == "cpu" and _has_narrow_filters(encoder))
        channels_last = "yes" if pays and device != "mps" else "no"
    return dataclasses.replace(settings, precision=precision, channels_last=channels_last)


def precisions(device: str) -> dict[str, str]:
    """What precision "auto" stands for on a device: for encoders with grouped convolutions, and for all others."""
    kinds = {
        "grouped convolutions, such as EfficientNet": nn.Conv2d(2, 2, 3, groups=2),
        "other encoders": nn.Identity(),
    }
    return {kind: resolve(Train(), encoder, device).precision for kind, encoder in kinds.items()}


class _Processes(DDPStrategy):
    """Fabric's processes, devices and process group, without its wrapper around the module.

    `mscon.train.gather.average_gradients` does in one go what that would do during the backward pass.
    """

    def __init__(self) -> None:
        # The first process decodes all images while the others wait. That one is gone is noticed at once, or by
        # torchrun, so nothing is gained by impatience.
        super().__init__(timeout=timedelta(hours=12))

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        return module


def meet(device: str) -> None:
    """Find the other processes that torchrun started; nothing where there are none, or a group was made already."""
    if is_started() and not is_group_of_others():
        _fabric(device, "32-true")


def start(settings: Train, device: str) -> Fabric:
    """One process on one device, or one of several, in a precision that is resolved already."""
    if settings.precision == "auto":
        raise ValueError("precision is still 'auto': call resolve() first.")
    if device == "cpu":
        _keep_freed_memory()
    return _fabric(device, "bf16-mixed" if settings.precision == "bfloat16" else "32-true")


def _fabric(device: str, precision: Literal["bf16-mixed", "32-true"]) -> Fabric:
    # Fabric reports choices that are ours, and that the run directory holds.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if is_group_of_others():
        # Each process has chosen its GPU; and Fabric would compare SLURM's variables with the one device here.
        here = [torch.cuda.current_device()] if device == "cuda" else 1
        return Fabric(accelerator=device, devices=here, precision=precision, plugins=LightningEnvironment())
    if not is_started():
        return Fabric(accelerator=device, devices=1, precision=precision)
    local, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    fabric = Fabric(
        accelerator=device, devices=local, num_nodes=everywhere // local, strategy=_Processes(), precision=precision
    )
    fabric.launch()
    claim_group()
    return fabric


@contextlib.contextmanager
def repeatable(seed: int, device: str) -> Iterator[None]:
    """Within it torch's random numbers follow from the seed; the caller's go on afterwards as if nothing had been."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        # The fastest convolution is found by timing, and may add up in another order in the next run.
        cudnn.deterministic, cudnn.benchmark = True, False
        torch.manual_seed(seed)
        try:
            yield
        finally:
            cudnn.deterministic, cudnn.benchmark = before


def _keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next one, instead of handing it back to the system.

    glibc raises its thresholds to the largest block that was ever freed, up to 32 MiB. Without this,
    a step of small_cnn faults 2,000 pages in anew, a sixth of its time. Other C libraries do not care.
    """
    block = torch.empty(31 * 2**20, dtype=torch.uint8)  # never written to, so it takes no memory
    del block


def _has_bfloat16_units(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    needed = _AMD_UNITS if cpu_info("vendor_id") == "AuthenticAMD" else _INTEL_UNITS
    return device == "cpu" and needed <= set(cpu_info("flags").split())


def cpu_info(key: str) -> str:
    """What Linux says of the first CPU; "" on other systems."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return ""


def _convolutions(encoder: nn.Module) -> list[nn.Conv2d]:
    """Those that look at more than one pixel; the others are plain products in any layout."""
    return [m for m in encoder.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]


def _has_grouped_filters(encoder: nn.Module) -> bool:
    return any(m.groups > 1 for m in _convolutions(encoder))


def _has_narrow_filters(encoder: nn.Module) -> bool:
    convolutions = _convolutions(encoder)
    is_narrow = [m.groups > 1 or m.out_channels <= _WIDEST_CHANNELS_LAST for m in convolutions]
    return bool(is_narrow) and all(is_narrow)


def describe(
    recipe: Recipe, table: Table, rows: pl.DataFrame, images_root: Path, method: TrainingModule, device: str
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
        **({"sources": digests} if (digests := sources(recipe, images_root, table.name)) else {}),
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


def _count(modules: Sequence[nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())
