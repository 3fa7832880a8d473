"""What pyproject.toml allows and what is tested are the same; licences; and the wheel that is built of it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import mscon
from licences import EXCEPTIONS, installed, is_permissive, licence

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EPOCH = "1767225600"


def test_the_lowest_versions_tested_are_the_lowest_allowed():
    project = PROJECT["project"]
    allowed = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", d).groups() for d in project["dependencies"])
    lines = (ROOT / "tests" / "lowest.txt").read_text("utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert allowed.keys() <= tested.keys()
    for name, version in allowed.items():
        assert tested[name].split(".")[: version.count(".") + 1] == version.split("."), name


def test_the_oldest_python_is_one_number_everywhere_and_its_grammar_reads_every_file():
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert f"Programming Language :: Python :: {oldest}" in PROJECT["project"]["classifiers"]
    assert str(tuple(map(int, oldest.split(".")))) in (ROOT / "Makefile").read_text("utf-8")
    assert f"Python {oldest}" in (ROOT / "README.md").read_text("utf-8")
    files = sorted((ROOT / "src").rglob("*.py"))
    assert files
    for path in files:
        ast.parse(path.read_text("utf-8"), str(path), feature_version=tuple(map(int, oldest.split("."))))


def test_the_pythons_named_are_those_that_make_versions_tests():
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    (tested,) = re.findall(r"^VERSIONS := (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert named == tested.split()
    assert named[0] == PROJECT["project"]["requires-python"].removeprefix(">=")


def test_every_package_that_mscon_brings_in_has_a_permissive_licence_or_is_a_listed_exception():
    project = PROJECT["project"]
    extras = [r for name, rs in project["optional-dependencies"].items() if name != "dev" for r in rs]
    packages = {
        p.metadata["Name"].lower().replace("_", "-"): licence(p) for p in installed([*project["dependencies"], *extras])
    }
    assert len(packages) > 30
    excepted = {name for name in packages if any(re.fullmatch(pattern, name) for pattern in EXCEPTIONS)}
    assert {name: text for name, text in packages.items() if name not in excepted and not is_permissive(text)} == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT", True),
        ("Apache-2.0 AND BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("Historical Permission Notice and Disclaimer (HPND)", True),
        ("MIT AND MPL-2.0", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("LicenseRef-NVIDIA-Proprietary", False),
        ("", False),
    ],
)
def test_what_is_permissive(text, expected):
    assert is_permissive(text) is expected


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The sdist and the wheel of this checkout, in one folder."""
    pytest.importorskip("hatchling")
    return _built(ROOT, tmp_path_factory.mktemp("dist"))


def _built(source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=source, env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH}, check=True, capture_output=True)
    return folder


def test_archives_built_elsewhere_and_later_of_the_same_files_are_the_same_bit_for_bit(archives, tmp_path):
    """The second time from the unpacked sdist, so that also holds everything."""
    (sdist,) = archives.glob("mscon-*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert {int(member.mtime) for member in archive} == {int(EPOCH)}
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    for path in source.rglob("*"):
        if path.is_file():
            path.chmod(path.stat().st_mode & 0o700)  # as under another umask
            os.utime(path)
    again = _built(source, tmp_path / "again")
    assert sorted(path.name for path in archives.iterdir()) == sorted(path.name for path in again.iterdir())
    for path in archives.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_a_wheel_holds_every_file_of_the_packages_and_runs_in_an_environment_of_its_own(archives, tmp_path):
    """As pipx does it: a new environment, the wheel, its command; without a network, and with packages from here."""
    (wheel,) = archives.glob("mscon-*.whl")
    tracked = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == tracked
    venv.create(tmp_path / "environment", symlinks=True)
    python = tmp_path / "environment" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input", "-q"]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(wheel)], check=True, capture_output=True)
    (packages,) = (tmp_path / "environment" / "lib").glob("python*/site-packages")
    # Names in a .pth file are searched after those of the environment itself.
    (packages / "here.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def output(*words: str | Path) -> str:
        return subprocess.run(words, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    assert output(python, "-c", "import mscon; print(mscon.__file__)").startswith(str(packages))
    assert output(python.with_name("mscon"), "--version") == f"mscon {mscon.__version__}\n"
    assert "glyphs" in output(python.with_name("mscon"), "list", "recipes")


def test_the_version_is_one_and_the_changelog_begins_with_it_or_with_what_is_unreleased():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## (?!Unreleased$)(.+)$", text, re.MULTILINE)
    headings = [re.fullmatch(r"(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)", heading) for heading in released]
    assert all(headings), "a release is `## 1.2.3 (2026-12-31)`"
    versions = [tuple(map(int, heading[1].split("."))) for heading in headings if heading]
    assert versions == sorted(set(versions), reverse=True)
    assert text.count("\n## Unreleased\n") <= 1
    if "\n## Unreleased\n" in text:
        assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "Unreleased"
    else:
        assert released[0].startswith(f"{mscon.__version__} ")
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [mscon.__version__]


def test_the_image_of_the_dockerfile_is_linted():
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    linted = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (linted.stdout, linted.returncode) == ("", 0)


def test_the_image_gets_what_a_build_needs_and_does_not_run_as_root():
    text = (ROOT / "Dockerfile").read_text("utf-8")
    copied = {word for words in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for word in words.split()}
    assert copied == {"pyproject.toml", "README.md", "LICENSE", "src"}
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE)[-1] == "10001"
    (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", text, re.MULTILINE)
    assert set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()
