"""Nothing in mscon unpickles, evaluates text, or starts a program: seen in its source, call by call."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mscon

SOURCE = Path(mscon.__file__).parent

# Modules by which data could execute. Their names may not even be imported; of pickle only the error is used, which
# torch raises for what it refuses.
BANNED_MODULES = {"cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "code", "runpy"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "np.fromfile", "torch.jit.load"}
# Calls that are safe with one argument only, and who may import a module by a name.
NEEDED = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
IMPORTERS = {
    "__init__.py",
    "data/inputs/text.py",
    "deploy/databases/database.py",  # its own modules, one for each engine
    "method/catalogue.py",
    "model/lite.py",
}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


FILES = sorted(SOURCE.rglob("*.py"))


def test_no_file_imports_a_module_by_which_data_executes():
    imported: set[str] = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    assert len(imported) > 20
    assert not imported & BANNED_MODULES
    assert "from pickle" not in "".join(path.read_text("utf-8") for path in FILES)
    nodes = [node for path in FILES for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    used = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    assert {name for name in used if name.startswith("pickle.")} <= {"pickle.UnpicklingError"}


def test_no_call_evaluates_text_or_starts_a_shell():
    banned = [(path.name, name) for path in FILES for name, _ in calls(path) if name in BANNED_CALLS]
    assert banned == []


def test_files_of_arrays_and_weights_are_read_without_objects():
    faults, seen = [], 0
    for path in FILES:
        for name, call in calls(path):
            if name in NEEDED:
                keyword, value = NEEDED[name]
                found = {k.arg: ast.literal_eval(k.value) for k in call.keywords if isinstance(k.value, ast.Constant)}
                seen += 1
                if found.get(keyword) is not value:
                    faults.append(f"{path.name}, line {call.lineno}: {name} without {keyword}={value}")
    assert seen >= 5
    assert faults == []


def test_modules_are_imported_by_a_name_in_known_places_only():
    importers = {
        path.relative_to(SOURCE).as_posix()
        for path in FILES
        for name, _ in calls(path)
        if name.endswith("import_module")
    }
    assert importers <= IMPORTERS
