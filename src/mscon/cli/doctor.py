"""The verb that says what is installed, on which hardware, and what lies in the caches."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mscon
from mscon.cli.arguments import flag, verb

if TYPE_CHECKING:
    from mscon.run.cache import Cached
    from mscon.run.installation import Extra, Package


@verb(
    flag("--clean", "list the caches, then remove what mscon wrote there; it is computed again when it is needed"),
    flag("--json", "print one JSON object instead"),
    examples="""
    mscon doctor
    mscon doctor --json > doctor.json    # attach it to a report of an error
    mscon doctor --clean
    """,
    fault="a package that mscon needs is missing, or has a version that it cannot use",
)
def doctor(arguments: argparse.Namespace) -> None:
    """Say what is installed, on which hardware, and what lies in the caches.

    Versions of Python and of all packages that mscon needs; extras, and what a missing one would
    give; processor, memory and accelerator, and which precision training takes by itself
    (`[train] precision = "auto"`); where the caches are, and how large.

    --clean removes the contents of these caches: decoded images, stored features, vectors of
    texts. Other files in these folders stay, and so do runs, and data sets that `mscon prepare`,
    `demo` or `reproduce` made. Do not use it while mscon is at work in another process.
    """
    from mscon.errors import RunError
    from mscon.run import cache, installation

    packages, extras, caches = installation.packages(), installation.extras(), cache.caches()
    hardware = _hardware()
    if not arguments.json:
        print(_as_text(packages, extras, hardware, caches))
    if arguments.clean:
        _need_own_folder()
    removed = sum(map(cache.clear, caches)) if arguments.clean else 0
    if arguments.json:
        print(_as_json(packages, extras, hardware, caches, removed))
    elif arguments.clean:
        print(f"  removed: {cache.size_in_words(removed)}")
    wrong = [_in_words(package) for package in packages if not package.is_right]
    wrong += [f"torch does not load ({hardware['problem']})"] if "problem" in hardware else []
    if wrong:
        raise RunError(
            f"mscon needs what is not there: {', '.join(wrong)}.\n"
            "  Install it again: pip install --upgrade mscon, or pip install --upgrade . in its folder."
        )


def _need_own_folder() -> None:
    from mscon.errors import RunError, first_few
    from mscon.run import cache
    from mscon_paper import sources

    if names := cache.strangers(sources.names()):
        raise RunError(
            f"'{cache.cache_folder().parent}' holds more than caches of mscon ({first_few(names, 3)}), so nothing was "
            "removed: files there may be yours.\n  Remove by hand what you do not need, or set MSCON_CACHE to a folder "
            "for caches alone."
        )


def _hardware() -> dict[str, Any]:
    """Processor, memory, accelerator and precision; with `problem` in place of the latter if torch does not load."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    has_memory = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if has_memory else None
    facts: dict[str, Any] = {"cores": cores, "memory_bytes": memory}
    try:  # torch for another system or driver fails with more than ImportError
        import torch

        from mscon.train.environment import device_type, machine, precisions

        device = device_type()
        if device == "cuda":
            facts["gpu_memory_bytes"] = torch.cuda.get_device_properties(0).total_memory
        return {**machine(device), **facts, "precision": precisions(device)}
    except Exception as error:
        return {**facts, "problem": f"{type(error).__name__}: {error}".partition("\n")[0]}


def _as_json(
    packages: Sequence[Package],
    extras: Sequence[Extra],
    hardware: dict[str, Any],
    caches: Sequence[Cached],
    removed: int,
) -> str:
    value = {
        "mscon": mscon.__version__,
        "python": platform.python_version(),
        "packages": [dataclasses.asdict(package) for package in packages],
        "extras": [{**dataclasses.asdict(extra), "is_complete": not extra.missing} for extra in extras],
        "hardware": hardware,
        "caches": [
            {"folder": str(one.folder), "contents": one.contents, "entries": len(one.entries), "bytes": one.size}
            for one in caches
        ],
        "removed_bytes": removed,
    }
    return json.dumps(value, indent=2)


def _as_text(
    packages: Sequence[Package], extras: Sequence[Extra], hardware: dict[str, Any], caches: Sequence[Cached]
) -> str:
    from mscon.errors import counted, first_few
    from mscon.run.cache import size_in_words

    memory, folder = hardware["memory_bytes"], caches[0].folder.parent
    there = next(path for path in (folder, *folder.parents) if path.exists())
    lines = [
        f"mscon {mscon.__version__}, Python {platform.python_version()}",
        *_wrapped("packages: " + ", ".join(map(_in_words, packages))),
        "",
        "hardware",
        f"  {platform.system()} {platform.machine()}, {counted(hardware['cores'], 'core')}, "
        f"{size_in_words(memory) if memory else 'unknown size'} of memory",
    ]
    if "problem" in hardware:
        lines.append(f"  torch does not load: {hardware['problem']}")
    else:
        size = f", {size_in_words(hardware['gpu_memory_bytes'])}" if "gpu_memory_bytes" in hardware else ""
        lines.append(f"  trains on {hardware['device']}: {hardware.get('gpu', hardware['cpu'])}{size}")
        lines += [f'  precision "auto" of {kind}: {value}' for kind, value in hardware["precision"].items()]
    lines += ["", "extras"]
    for extra in extras:
        lacks = first_few([one.name if one.version is None else _in_words(one) for one in extra.missing], 3)
        state = f'missing {lacks}; pip install "mscon[{extra.name}]"' if lacks else "installed"
        lines += _wrapped(f"{extra.name:<11} {': '.join(filter(None, (extra.gives, state)))}", "  ")
    lines += ["", f"caches in {folder}, where {size_in_words(shutil.disk_usage(there).free)} are free"]
    lines += [f"  {one.folder.name:<11} {one.contents}: {size_in_words(one.size)}" for one in caches]
    return "\n".join(lines)


def _in_words(package: Package) -> str:
    if package.version is None:
        return f"{package.name} (missing)"
    return f"{package.name} {package.version}" + ("" if package.is_right else f" (needs {package.needed})")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, 100, initial_indent=indent, subsequent_indent=indent + "    ", break_on_hyphens=False)
