"""Arrows only point down: who may import whom."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import mscon

SOURCE = Path(mscon.__file__).parent

# Room -> rooms it may import from besides itself: with "run", all that begins with "run.". A room is a folder, or a
# module; the one of a file is the longest name in this table that its own begins with.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "method.pairs": set(),
    "method.agreement": set(),
    "method.catalogue": {"errors"},
    "method.kernels": {"method.pairs"},
    "method.kernels.precision": set(),
    "method.labels": set(),
    "method.near_values": set(),
    "method.similarities": {
        "method.pairs",
        "method.labels",
        "method.near_values",
        "method.kernels.precision",
        "errors",
    },
    "method.comparison": {"method.pairs"},
    "method.mixtures": set(),
    "method.refusals": {"method.similarities"},
    "method.class_balance": {"method.kernels", "method.pairs"},
    "method.objectives.base": {
        "method.comparison",
        "method.pairs",
        "method.kernels",
        "method.refusals",
        "method.similarities",
        "errors",
    },
    "method.competition": set(),
    "method.template": {
        "method.competition",
        "method.objectives.base",
        "method.kernels",
        "method.similarities",
        "errors",
    },
    "method.regularisers": {"method.kernels.precision"},
    "method.joint_views": {"method.template", "method.objectives.base", "method.kernels"},
    "method.objectives": {
        "method.class_balance",
        "method.joint_views",
        "method.sinkhorn",
        "method.template",
        "method.competition",
        "method.mixtures",
        "method.comparison",
        "method.pairs",
        "method.kernels",
        "method.refusals",
        "method.similarities",
        "errors",
    },
    "method.objective_groups": {"method.comparison", "method.objectives", "method.pairs", "method.similarities"},
    "method.matryoshka": {"method.comparison", "method.objectives", "method.similarities", "errors"},
    "method.sinkhorn": set(),
    "method.cores": {
        "method.comparison",
        "method.kernels",
        "method.objectives",
        "method.pairs",
        "method.similarities",
        "method.sinkhorn",
        "method.template",
    },
    "method.weightings": {"method.kernels", "errors"},
    "method.loss": {"method", "train"},
    "method.loss_batch": {"method", "train"},
    "method.loss_parts": {"method", "train", "errors"},
    "testing": {"method", "model", "errors"},
    "run.locks": set(),
    "run.atomic": {"run.locks"},
    "run.cache": {"run.atomic", "run.locks", "errors"},
    "run.installation": {"errors"},
    "run.layout": set(),
    "run.progress": {"run.terminal"},
    "run.terminal": set(),
    "run.checksums": {"run.layout", "run.atomic", "run.parsing", "run.contents", "errors"},
    "run.outputs": {"run.atomic", "errors"},
    "run.validate": {"run.parsing", "errors"},
    "run.ranges": set(),
    "run.parsing": set(),
    "run.contents": {"run.predictor_contents", "run.probe_contents"},
    "run.probe_contents": set(),
    "run.predictor_contents": set(),
    "run.schema": {"run.ranges"},
    "run.data": {"run.ranges"},
    "run.keep": set(),
    "run.doubt": set(),
    "run.trust": {"errors"},
    "run.starting_recipes": {"errors"},
    "run.parts": {"run.ranges", "run.schema", "run.validate", "method.catalogue", "errors"},
    "run.recipe": {
        "run.parsing",
        "run.parts",
        "run.ranges",
        "run.schema",
        "run.data",
        "run.keep",
        "run.doubt",
        "run.validate",
        "errors",
    },
    "run.folder": {"run.layout", "run.checksums", "run.atomic", "run.locks", "run.parsing", "errors"},
    "run.facts": {"run.checksums"},
    "run.evaluation_files": {"run.checksums", "run.facts", "run.layout", "errors"},
    "run.judgement_files": {"run.contents", "run.evaluation_files", "run.parsing"},
    "run.run": {"run", "errors"},
    "model": {"run", "method.catalogue", "errors"},
    "model.collapse": set(),
    "model.cka": set(),
    "data": {"run", "method", "errors"},
    "train": {"model", "data", "method", "run", "errors"},
    "evaluate.metrics": set(),
    "evaluate.page": {"run", "errors"},
    "evaluate.report": {
        "evaluate.page",
        "evaluate.metrics",
        "model.collapse",
        "model.cka",
        "data",
        "method.agreement",
        "run",
        "errors",
    },
    "estimator": {"train", "evaluate", "search", "deploy", "data", "model", "run", "errors"},
    "evaluate": {"evaluate.metrics", "model", "data", "method", "run", "errors"},
    "comparison": {"evaluate", "train", "model", "data", "method", "run", "errors"},
    "deploy": {"model", "data", "run", "errors"},
    "search": {"evaluate.metrics", "evaluate.page", "model", "data", "deploy", "method", "run", "errors"},
    "mscon": set(),
}
TOP = {"cli", "__main__"}  # may import anything below them, and the reproduction of the paper


def room_of(module: str) -> str:
    """Of a name such as "mscon.run.atomic"."""
    name = module.removeprefix("mscon").removeprefix(".")
    rooms = [room for room in (*ALLOWED, *TOP) if name == room or name.startswith(f"{room}.")]
    return max(rooms, key=len) if rooms else name or "mscon"


def imports(path: Path) -> set[str]:
    """Rooms that a file imports from, wherever in the file; those for types alone do not count."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0].startswith("mscon"):
            # What is imported may be a module of that package, or something in that module.
            for alias in node.names:
                if (node.module, alias.name) != ("mscon", "__version__"):
                    rooms.add(room_of(f"{node.module}.{alias.name}"))
        elif isinstance(node, ast.Import):
            rooms |= {room_of(alias.name) for alias in node.names if alias.name.partition(".")[0].startswith("mscon")}
    return rooms


FILES = sorted(SOURCE.rglob("*.py"))
PAPER = sorted(SOURCE.with_name("mscon_paper").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE.parent).as_posix()


def test_no_arrow_points_up():
    upward: dict[str, set[str]] = {}
    for path in FILES:
        room = room_of(name_of(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
        if room in TOP or path.name == "__init__.py":
            continue
        assert room in ALLOWED, f"{name_of(path)}: a new room '{room}': add what it may import to the table"
        may = ALLOWED[room] | {room}
        if up := {other for other in imports(path) if not any(other == m or other.startswith(f"{m}.") for m in may)}:
            upward[name_of(path)] = up
    assert upward == {}


def test_the_top_level_tells_the_architecture():
    # With `comparison`, which trains and evaluates, and `estimator`, which also deploys and searches: both lie above
    # the rooms for these.
    assert len([path for path in SOURCE.iterdir() if path.name != "__pycache__"]) <= 16


MOST_LINES = 300
# Files that are longer, and how long they may be; at most three, each with its reason.
LONGER = {
    # Forward and backward kernels share their tiles' layout and masks, and triton compiles no method of a class.
    "mscon/method/kernels/triton.py": 370,
}


def test_files_are_short():
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in [*FILES, *PAPER]}
    assert {name: lines for name, lines in lengths.items() if lines > LONGER.get(name, MOST_LINES)} == {}
    short_by_now = {name for name in LONGER if lengths.get(name, 0) <= MOST_LINES}
    assert not short_by_now, "take them off the list"
    assert len(LONGER) <= 3


def test_no_junk_drawer():
    drawers = {"utils", "util", "common", "misc", "helpers", "tools"}
    assert [name_of(path) for path in [*FILES, *PAPER] if path.stem in drawers] == []


@functools.cache
def loaded_by(statement: str) -> frozenset[str]:
    """Modules in memory after a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return frozenset(process.stdout.split())


def packages_loaded_by(statement: str) -> set[str]:
    return {name.partition(".")[0] for name in loaded_by(statement)}


def test_the_loss_needs_torch_and_nothing_heavier():
    heavy = {"timm", "torchvision", "lightning", "lightning_fabric", "matplotlib", "sklearn", "polars", "PIL", "triton"}
    heavy |= {"msgspec", "rich"}
    loaded = packages_loaded_by("from mscon import MSConLoss")
    assert "torch" in loaded
    # torch itself loads triton on some builds; mscon must not add anything.
    assert not (loaded - packages_loaded_by("import torch")) & heavy


def test_the_loss_needs_no_recipe_no_run_no_table_and_no_model():
    loaded = loaded_by("from mscon import MSConLoss")
    rooms = {name.split(".")[1] for name in loaded if name.startswith("mscon.")}
    assert rooms <= {"errors", "method", "train"}  # of train, what one step needs


def test_the_command_line_does_not_wait_for_torch():
    heavy = {"torch", "timm", "matplotlib", "sklearn", "polars", "lightning_fabric", "msgspec", "rich"}
    assert not packages_loaded_by("import mscon.cli") & heavy


def test_the_report_needs_no_torch():
    assert "torch" not in packages_loaded_by("import mscon.evaluate.report.page")


def test_models_load_without_scikit_learn():
    """Which takes a quarter of the time; probes need it, and the transformer is one of its classes."""
    needs = {
        name_of(path)
        for path in FILES
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom) and "sklearn" in ast.unparse(node)
    }
    assert needs == {
        "mscon/deploy/transformer.py",
        "mscon/estimator/estimator.py",
        "mscon/evaluate/calibration.py",
        "mscon/evaluate/estimators.py",
        "mscon/evaluate/linear.py",
    }


def test_only_two_files_know_of_processes():
    """What they exchange, and who of them prints."""
    knows = [p.name for p in FILES if "torch.distributed" in modules_of(p)]
    assert set(knows) <= {"gather.py", "torchrun.py"}


def modules_of(path: Path) -> set[str]:
    """Every module that a file imports, in full."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_no_loss_mentions_a_device_a_rank_or_a_tile():
    """Where rows lie, who holds them and in which order they are visited is for kernels and candidates to know."""
    banned = {"device", "devices", "cuda", "rank", "ranks", "tile", "tiles", "distributed"}
    losses = sorted((SOURCE / "method" / "objectives").glob("*.py"))
    assert losses
    mentions: dict[str, set[str]] = {}
    for path in losses:
        text = re.sub(r"rank[-_]?n[-_]?contrast", "", path.read_text("utf-8").lower())  # whose ranks are no processes
        if words := banned & set(re.findall(r"[a-z]+", text)):
            mentions[path.name] = words
    assert mentions == {}
