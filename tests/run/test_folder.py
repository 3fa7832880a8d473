"""A run replaces nothing but a run, and only once there is something to replace it with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mscon.errors import RunError
from mscon.run import folder, recipe
from mscon.run.run import Run

RECIPE = recipe.parse('[[similarity]]\ncolumn = "kind"')
FACTS = {"versions": {"mscon": "0.1.0"}}


def make(root: Path, seed: int = 0, overwrite: bool = False, epochs: int = 1) -> Run:
    run = Run.create(root, overwrite)
    run.write_recipe(RECIPE)
    run.write_facts(FACTS | {"seed": seed})
    for epoch in range(1, epochs + 1):
        run.append_log({"epoch": epoch, "seed": seed})
        run.write_checkpoint("last", {"weight": torch.full((2,), float(seed))}, {"epoch": epoch})
    return run


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != ".lock"}


def refused(root: Path, overwrite: bool = True, protected: tuple[Path, ...] = ()) -> str:
    with pytest.raises(RunError) as error:
        Run.create(root, overwrite, protected)
    return str(error.value)


def test_a_run_is_replaced_only_where_that_is_asked_for_and_no_message_asks_for_it(tmp_path):
    run = make(tmp_path / "run")
    before = files(run.root)
    message = refused(run.root, overwrite=False)
    assert (
        "exists and is not empty: it holds a run" in message
        and "mscon resume" in message
        and "--overwrite" not in message
    )
    assert files(run.root) == before


@pytest.mark.parametrize("name", ["recipe.toml", "run.json", "README.md", "notes.txt", "checksums.jsonl"])
def test_a_folder_that_is_no_run_is_never_replaced(tmp_path, name):
    project = tmp_path / "project"
    project.mkdir()
    (project / name).write_text('{"versions": {}}' if name == "run.json" else "mine")
    before = files(project)
    for overwrite in (False, True):
        message = refused(project, overwrite)
        assert "is not a run" in message and "--overwrite" not in message
    assert files(project) == before


def test_a_file_is_not_replaced(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refused(tmp_path / "file")


@pytest.mark.parametrize("where", ["inside", "itself", "through a link"])
def test_a_run_that_holds_what_the_new_one_reads_is_not_replaced(tmp_path, where):
    run = make(tmp_path / "run")
    (run.root / "data").mkdir()
    (tmp_path / "link").symlink_to(run.root / "data")
    protected = {"inside": run.root / "data", "itself": run.root, "through a link": tmp_path / "link" / "t.csv"}[where]
    before = files(run.root)
    assert "which this training reads, lies in it" in refused(run.root, protected=(protected,))
    assert files(run.root) == before
    Run.create(run.root, overwrite=True, protected=(tmp_path,))  # a folder above it is none of its business


def test_a_run_that_holds_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    run = make(tmp_path / "run")
    monkeypatch.chdir(run.root / "checkpoints")
    assert "the current folder lies in it" in refused(run.root)


def test_the_old_run_stays_until_the_new_one_takes_its_place(tmp_path):
    old = make(tmp_path / "run", seed=1)
    old.write_masks([[1.0]])
    old.write_card("a card")
    (old.root / "notes.txt").write_text("mine")
    (old.root / "checkpoints" / "mine.pt").write_text("mine")
    (old.root / "tensorboard").mkdir()
    (old.root / "tensorboard" / "events.out.tfevents.1").write_text("old")
    before = files(old.root)
    new = make(old.root, seed=2, overwrite=True)
    assert {k: v for k, v in files(old.root).items() if not k.startswith(".next")} == before
    moved = new.take_place()
    assert moved.root == old.root and moved.read_facts()["seed"] == 2 and moved.read_log() == [{"epoch": 1, "seed": 2}]
    assert moved.read_checkpoint("last")[0]["weight"].tolist() == [2.0, 2.0]
    left = files(old.root)
    assert left.keys() == {
        "recipe.toml",
        "run.json",
        "log.jsonl",
        "checksums.jsonl",
        "checkpoints/last.safetensors",
        "notes.txt",
        "checkpoints/mine.pt",
    }
    assert left["notes.txt"] == left["checkpoints/mine.pt"] == b"mine"
    assert not (old.root / "tensorboard").exists()


def test_a_model_card_that_a_person_has_edited_survives(tmp_path):
    old = make(tmp_path / "run")
    old.write_card("a card")
    (old.root / "README.md").write_text("a card, and what I know of it")
    make(old.root, seed=2, overwrite=True).take_place()
    assert Run.open(old.root).read_card() == "a card, and what I know of it"


def test_an_exchange_goes_on_wherever_it_was_stopped(tmp_path, monkeypatch):
    """Killed before any single change to the disk, it is whole at the next look: the old run, or the new one."""

    class Killed(BaseException):
        pass

    def exchange(root: Path, after: int) -> int:
        """Changes that were made, of which there may be `after`."""
        changes = 0

        def counted(change):
            def counting(*args, **kwargs):
                nonlocal changes
                if changes == after:
                    raise Killed
                changes += 1
                return change(*args, **kwargs)

            return counting

        with monkeypatch.context() as patch:
            for name in ("unlink", "replace", "rmdir"):
                patch.setattr(Path, name, counted(getattr(Path, name)))
            Run(root / folder.NEXT).take_place()
        return changes

    make(tmp_path / "whole", seed=1)
    make(tmp_path / "whole", seed=2, overwrite=True)
    number = exchange(tmp_path / "whole", after=-1)
    assert number > 10
    for after in range(number):
        root = tmp_path / f"stopped{after}"
        make(root, seed=1).write_masks([[1.0]])
        make(root, seed=2, overwrite=True)
        with pytest.raises(Killed):
            exchange(root, after)
        assert Run.open(root).read_facts()["seed"] == 2
        assert files(root) == files(tmp_path / "whole")


def test_a_new_run_without_a_checkpoint_leaves_the_old_one_and_is_swept_away(tmp_path):
    run = make(tmp_path / "run", seed=1)
    before = files(run.root)
    make(run.root, seed=2, overwrite=True, epochs=0)
    assert Run.open(run.root).read_facts()["seed"] == 1
    with folder.training_lock(run.root):
        pass
    assert files(run.root) == before and not (run.root / ".next").exists()


def test_what_a_run_left_that_never_began_is_not_in_the_way(tmp_path):
    root = tmp_path / "run"
    Run.create(root).write_recipe(RECIPE)
    (root / ".run.json.abcd1234.json").write_text("{")
    (root / ".lock").touch()
    with pytest.raises(RunError, match="the beginning of a run"):
        Run.open(root)
    run = make(root)
    assert sorted(files(root)) == [
        "checkpoints/last.safetensors",
        "checksums.jsonl",
        "log.jsonl",
        "recipe.toml",
        "run.json",
    ]
    assert Run.open(root).root == run.root


def test_one_process_holds_a_run(tmp_path):
    run = make(tmp_path / "run")
    code = "from pathlib import Path\nfrom mscon.run.folder import training_lock\n"
    code += f"with training_lock(Path({str(run.root)!r})): pass"
    with folder.training_lock(run.root):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert "another process trains run" in other.stderr
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, env=os.environ).returncode == 0


def test_a_beginning_that_holds_the_starting_weights_already_is_no_dead_end(tmp_path):
    """They are written before run.json, into a folder of their own."""
    root = tmp_path / "run"
    run = Run.create(root)
    run._write_text("recipe.toml", "x")
    run.write_checkpoint("start", {"a": torch.zeros(2)}, {})
    (root / "checkpoints" / ".start.safetensors.00c0ffee.safetensors").mkdir()
    assert folder.is_beginning(root)
    folder.refuse_if_taken(root)
    (root / "checkpoints" / "mine.txt").write_text("of the user")
    assert not folder.is_beginning(root)
