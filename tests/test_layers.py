"""Arrows only point down: who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mscon

SOURCE = Path(mscon.__file__).parent

# Room -> rooms it may import from besides itself. A room is a folder, or a module at the top level.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "whole": set(),
    "agreement": set(),
    "checksums": {"whole"},
    "outputs": {"errors"},
    "bootstrap": set(),
    "measures": set(),
    "pairs": set(),
    "settings": {"errors"},
    "catalogue": {"errors"},
    "sections": {"errors"},
    "trust": {"errors"},
    "recipe": {"sections", "catalogue", "settings", "errors"},
    "run_folder": {"checksums", "whole", "errors"},
    "run": {"recipe", "trust", "run_folder", "checksums", "whole", "errors"},
    "written": {"pairs"},
    "counts": {"pairs", "written"},
    "kernels": {"pairs", "written"},
    "similarities": {"pairs", "errors"},
    "objectives": {"pairs", "counts", "kernels", "similarities", "errors"},
    "weightings": {"kernels"},
    "model": {"run", "recipe", "catalogue", "settings", "errors"},
    "data": {"recipe", "catalogue", "similarities", "pairs", "outputs", "whole", "errors"},
    "train": {
        "model",
        "data",
        "objectives",
        "weightings",
        "similarities",
        "pairs",
        "run",
        "recipe",
        "catalogue",
        "errors",
    },
    "evaluate": {"model", "data", "similarities", "bootstrap", "run", "recipe", "catalogue", "errors"},
    "deploy": {"model", "data", "run", "recipe", "trust", "checksums", "outputs", "whole", "errors"},
    "search": {"model", "data", "deploy", "similarities", "agreement", "run", "recipe", "outputs", "whole", "errors"},
    "report": {"data", "agreement", "bootstrap", "measures", "run", "recipe", "outputs", "whole", "errors"},
    "loss": {"train", "objectives", "weightings", "similarities", "catalogue"},
    "__init__": set(),
}
TOP = {
    "cli",
    "demo",
    "comparison",
    "listing",
    "experiment",
    "experiment_files",
    "readings",
    "reproduce",
    "__main__",
}  # may import anything below them


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> set[str]:
    """Rooms that a file imports from, wherever in the file; those for types alone do not count."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mscon"):
            if node.module == "mscon":
                rooms |= {alias.name for alias in node.names if alias.name != "__version__"}
            else:
                rooms.add(room_of(node.module))
        elif isinstance(node, ast.Import):
            rooms |= {room_of(alias.name) for alias in node.names if alias.name.startswith("mscon")}
    return rooms


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_arrow_points_up(path):
    relative = path.relative_to(SOURCE)
    room = relative.parts[0].removesuffix(".py")
    if room in TOP:
        return
    assert room in ALLOWED, f"a new room '{room}': say in this table what it may import"
    assert imports(path) - {room} <= ALLOWED[room]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_junk_drawer(path):
    assert path.stem not in {"utils", "util", "common", "misc", "helpers", "tools"}


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in memory after a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_loss_needs_torch_and_nothing_heavier():
    heavy = {"timm", "torchvision", "lightning", "lightning_fabric", "matplotlib", "sklearn", "polars", "PIL", "triton"}
    loaded = loaded_by("from mscon import MSConLoss")
    assert "torch" in loaded
    # torch itself loads triton on some builds; mscon must not add anything.
    assert not (loaded - loaded_by("import torch")) & heavy


def test_the_command_line_does_not_wait_for_torch():
    assert not loaded_by("import mscon.cli") & {"torch", "timm", "matplotlib", "sklearn", "polars", "lightning_fabric"}


def test_the_report_needs_no_torch():
    assert "torch" not in loaded_by("import mscon.report.page")


def test_only_one_file_knows_of_processes():
    knows = [p.name for p in FILES if "torch.distributed" in modules_of(p)]
    assert set(knows) <= {"candidates.py"}


def modules_of(path: Path) -> set[str]:
    """Every module that a file imports, in full."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


LOSSES = sorted((SOURCE / "objectives").glob("*.py"))


@pytest.mark.parametrize("path", LOSSES, ids=lambda p: p.name)
def test_no_loss_mentions_a_device_a_rank_or_a_tile(path):
    """Where rows lie, who holds them and in which order they are visited is for kernels and candidates to know."""
    text = re.sub(r"rank[-_]?n[-_]?contrast", "", path.read_text("utf-8").lower())  # whose ranks are no processes
    words = re.findall(r"[a-z]+", text)
    assert LOSSES
    assert not {"device", "devices", "cuda", "rank", "ranks", "tile", "tiles", "distributed"} & set(words)
