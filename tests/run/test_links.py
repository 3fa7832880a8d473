"""Links in the folder of a run that lead out of it: whoever sends a run must not reach other files by it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mscon.cli import main
from mscon.errors import RunError
from mscon.run import folder
from mscon.run.run import Run
from reliability.content import tree
from reliability.jobs import write_job

# What each would do: receive features, checksums or records of the log, be uploaded as the card, be made, be moved into
# the run, or have its files of a logger removed.
NAMES = (
    "features",
    "checkpoints",
    "checksums.jsonl",
    "log.jsonl",
    "README.md",
    ".lock",
    ".next",
    "wandb",
    "tensorboard",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a run."""
    job = write_job(tmp_path_factory.mktemp("links") / "job")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(job.folder)
        assert main([*job.train("run"), "--set", "train.epochs=1"]) == 0
    return job.folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch) -> Path:
    """A copy of it, in the current folder, beside a folder "outside" with files of the user's."""
    shutil.copytree(trained, tmp_path / "job")
    monkeypatch.chdir(tmp_path / "job")
    (tmp_path / "outside" / "run-1").mkdir(parents=True)
    for name in ("features.safetensors", "recipe.toml", "run.json", "README.md", "run-1/precious.txt"):
        (tmp_path / "outside" / name).write_text("precious")
    return Path("run")


def link(run: Path, name: str, target: str) -> None:
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("name", NAMES)
def test_no_verb_follows_a_link_out_of_a_run(run, name, capsys):
    new, folders = (".lock", "checksums.jsonl"), ("features", "checkpoints", ".next", "wandb", "tensorboard")
    (run / "checksums.jsonl").unlink()  # as in a run of an older mscon, so that nothing else is in the way
    link(run, name, f"../../outside/{'' if name in folders else 'new' if name in new else 'README.md'}")
    before = tree(Path("..") / "outside")
    for arguments in (
        ["probe", "run", "--no-start"],
        ["resume", "run", "--no-probe", "--set", "train.epochs=2"],
        ["push", "run", "owner/name", "--dry-run", "upload"],
        ["train", "r.toml", "--table", "t.csv", "--no-probe", "--out", "run", "--overwrite"],
    ):
        capsys.readouterr()
        assert main(arguments) == 2, arguments
        message = capsys.readouterr().err
        assert f"1 link out of its folder: 'run/{name}' to" in message and message.count("mscon: ") == 1
    assert tree(Path("..") / "outside") == before
    assert not Path("upload").exists()


def test_links_within_a_run_and_to_a_run_are_followed(run):
    (run / "kept").mkdir()
    os.replace(run / "log.jsonl", run / "kept" / "log.jsonl")
    link(run, "log.jsonl", "kept/log.jsonl")
    (run / "notes").symlink_to("../../outside")  # no name of mscon's
    Path("other").symlink_to("run")
    assert Run.open("other").read_log() == Run.open("run").read_log() != []


def test_a_lock_is_not_made_where_a_link_leads(tmp_path):
    """In a folder that need not be a run, such as that of a comparison."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to("../new")
    with pytest.raises(RunError, match="cannot be written"), folder.locked(tmp_path / "out"):
        pass
    assert not (tmp_path / "new").exists()


def test_a_name_that_no_folder_can_have_is_no_run():
    with pytest.raises(RunError, match="is not a run directory"):
        Run.open("a\0b")
