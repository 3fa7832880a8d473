"""Installation: which packages mscon needs, which of them are installed, and what each missing extra would give."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass

from packaging.requirements import Requirement

from mscon.errors import RunError

# Extra -> what it gives.
EXTRAS = {
    "diamonds": "`mscon prepare diamonds`",
    "docs": "`make docs`, the documentation as a site",
    "fonts": "`mscon demo` and `mscon prepare glyphs`",
    "faiss": "`mscon export --to faiss`",
    "icons": "`mscon prepare icons`",
    "lancedb": "`mscon export --to lancedb`",
    "lora": "LoRA adapters: `[encoder] lora` in a recipe",
    "onnx": "`mscon export --to onnx`",
    "pgvector": "`mscon export --to pgvector`",
    "pretrained": "ImageNet weights without a hub: `[encoder] pretrained`",
    "qdrant": "`mscon export --to qdrant`",
    "remote": "images at addresses and in Parquet shards: `[data] remote`",
    "serve": "`mscon explore --serve`",
    "text": 'texts as inputs: `[data] input = "text"`',
    "torchjd": "weighting `torchjd`",
    "tracking": "TensorBoard and Weights & Biases: `[log] to`",
    "usearch": "`mscon export --to usearch`",
}
_NO_EXTRA = {"dev"}  # for those who change mscon


@dataclass(frozen=True, slots=True)
class Package:
    """A package that mscon, or one of its extras, needs.

    Attributes:
        name: as its registry spells it.
        needed: the versions that do, such as ">=2.6"; empty for any.
        version: the installed one; None if there is none.
        is_right: whether that version is one of those needed.
    """

    name: str
    needed: str
    version: str | None
    is_right: bool


@dataclass(frozen=True, slots=True)
class Extra:
    """An extra of mscon, such as "onnx".

    Attributes:
        name: in `pip install "mscon[name]"`.
        gives: what works with it, in words.
        packages: that it brings in, apart from what mscon itself needs.
    """

    name: str
    gives: str
    packages: tuple[Package, ...]

    @property
    def missing(self) -> tuple[Package, ...]:
        """Packages that are not installed, or in another version than the extra needs."""
        return tuple(package for package in self.packages if not package.is_right)


def packages() -> list[Package]:
    """What mscon cannot do without.

    Raises:
        RunError: if Python does not know mscon as an installed package, and so not what it needs.
    """
    return [_package(one) for one in _requirements() if one.marker is None or one.marker.evaluate({"extra": ""})]


def extras() -> list[Extra]:
    """Every extra for users, by name.

    Raises:
        RunError: as of `packages`.
    """
    optional = [one for one in _requirements() if one.marker is not None and not one.marker.evaluate({"extra": ""})]
    names = importlib.metadata.metadata("mscon").get_all("Provides-Extra") or []
    return [
        Extra(
            name,
            EXTRAS.get(name, ""),
            tuple(_package(one) for one in optional if one.marker and one.marker.evaluate({"extra": name})),
        )
        for name in sorted(set(names) - _NO_EXTRA)
    ]


def _requirements() -> list[Requirement]:
    try:
        return [Requirement(text) for text in importlib.metadata.requires("mscon") or []]
    except importlib.metadata.PackageNotFoundError:
        raise RunError(
            "mscon is not installed as a package, so what it needs is unknown. Install it: pip install ."
        ) from None


def _package(requirement: Requirement) -> Package:
    name, needed = re.sub(r"[-_.]+", "-", requirement.name), str(requirement.specifier)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Package(name, needed, None, False)
    # A build of one's own or a nightly build, such as 2.9.0.dev1 or 2.6.0+cu124, counts as what it says.
    return Package(name, needed, version, requirement.specifier.contains(version, prereleases=True))
