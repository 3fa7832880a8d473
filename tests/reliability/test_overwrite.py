"""Nothing is deleted or replaced that mscon did not write, and no message invites to it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from process import Outcome, mscon
from reliability.content import changed, content, tree
from reliability.jobs import IMAGES, write_job


@pytest.fixture(scope="module")
def probed(tmp_path_factory) -> Path:
    """A run with all that `mscon probe` leaves in one."""
    job = write_job(tmp_path_factory.mktemp("probed") / "job")
    for arguments in (job.train("run"), ("probe", "run")):
        outcome = mscon(*arguments, cwd=job.folder)
        assert outcome.status == 0, outcome
    return job.folder / "run"


@pytest.fixture
def trained(job, probed) -> Path:
    """Such a run, in the folder "run" of the job."""
    return Path(shutil.copytree(probed, job.folder / "run"))


def assert_refused(outcome: Outcome, folder: Path, before: dict, advice: str | None = "--overwrite") -> None:
    """One message that does not advise this flag, and not a file of the folder is another."""
    after = tree(folder)
    lost = [name for name in before if after.get(name) != before[name]]
    assert not lost, f"{lost} of the user's gone or changed; {outcome}"
    assert outcome.is_one_message, outcome
    assert after.keys() == before.keys()
    if advice is not None:
        assert advice not in outcome.err, outcome


# A folder that is no run ---------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [[], ["--overwrite"]], ids=["plainly", "overwriting"])
@pytest.mark.parametrize("out", [".", "..", "thesis", "../job", "recipes", "link"])
def test_a_folder_that_is_no_run_stays(job, out, flag):
    (job.folder / "thesis").mkdir()
    (job.folder / "thesis" / "chapter1.tex").write_text("mine")
    (job.folder / "recipes").mkdir()  # looks like a run to whoever looks for a recipe.toml
    for name in ("recipe.toml", "mine.toml"):
        shutil.copy(job.folder / "r.toml", job.folder / "recipes" / name)
    shutil.copy(job.folder / "r.toml", job.folder / "recipe.toml")
    (job.folder / "link").symlink_to("recipes")
    before = tree(job.folder.parent)
    outcome = mscon(*job.train(out, *flag), cwd=job.folder)
    assert_refused(outcome, job.folder.parent, before)


def test_a_file_where_the_run_should_go_stays(job):
    before = tree(job.folder)
    assert_refused(mscon(*job.train("v.npy", "--overwrite"), cwd=job.folder), job.folder, before)


@pytest.mark.parametrize("content", ["{}", "[]", "null", "{", '{"scripts": {}}'])
def test_a_run_json_of_another_program_makes_no_run(job, content):
    folder = job.folder / "app"
    folder.mkdir()
    (folder / "run.json").write_text(content)
    shutil.copy(job.folder / "r.toml", folder / "recipe.toml")
    (folder / "features").mkdir()
    (folder / "features" / "mine.txt").write_text("mine")
    before = tree(job.folder)
    assert_refused(mscon(*job.train("app", "--overwrite"), cwd=job.folder), job.folder, before)


# A run that holds what the new training reads -------------------------------------------------------


@pytest.mark.parametrize(
    ("input_file", "command"),
    [
        ("t.csv", ["train", "r.toml", "--table", "run/t.csv", "--images", "."]),
        ("t.csv", ["train", "r.toml", "--table", "alias.csv", "--images", "."]),
        ("r.toml", ["train", "run/r.toml", "--table", "t.csv"]),
        ("recipe.toml", ["train", "run/recipe.toml", "--table", "t.csv"]),
        ("v.npy", ["train", "r.toml", "--table", "t.csv", "--images", "run"]),
        ("v.npy", ["train", "r.toml", "--table", "t.csv", "--set", "data.vectors=run/v.npy"]),
        ("features/v.npy", ["train", "r.toml", "--table", "t.csv", "--images", "run/features"]),
    ],
    ids=["table", "table by a link", "recipe", "the run's own recipe", "vectors", "vectors by name", "vectors below"],
)
def test_a_run_that_holds_an_input_stays(job, trained, input_file, command):
    if not (trained / input_file).exists():
        shutil.copy(job.folder / Path(input_file).name, trained / input_file)
    (job.folder / "alias.csv").symlink_to("run/t.csv")
    before = tree(job.folder)
    outcome = mscon(*command, "--out", "run", "--overwrite", cwd=job.folder)
    assert_refused(outcome, job.folder, before, advice=None)


@pytest.mark.parametrize("images", ["run", "run/pictures"])
def test_a_run_that_holds_the_pictures_stays(tmp_path, images):
    job = write_job(tmp_path / "job", IMAGES)
    assert mscon(*job.train("run"), cwd=job.folder).status == 0
    (job.folder / images).mkdir(exist_ok=True)
    for path in job.folder.glob("*.bmp"):
        path.rename(job.folder / images / path.name)
    before = tree(job.folder)
    outcome = mscon(*job.train("run", "--images", images, "--overwrite"), cwd=job.folder)
    assert_refused(outcome, job.folder, before, advice=None)


def test_a_run_around_the_current_folder_stays(job, trained):
    inside = trained / "work"
    inside.mkdir()
    before = tree(job.folder)
    command = ["train", "../../r.toml", "--table", "../../t.csv", "--overwrite", "--out"]
    for out in ("..", str(trained)):
        assert_refused(mscon(*command, out, cwd=inside), job.folder, before, advice=None)


def test_a_run_above_the_job_stays(tmp_path):
    job = write_job(tmp_path / "outer" / "job")
    outer = tmp_path / "outer"
    assert mscon(*job.train(tmp_path / "run"), cwd=job.folder).status == 0
    shutil.copytree(tmp_path / "run", outer, dirs_exist_ok=True)
    before = tree(outer)
    assert_refused(mscon(*job.train(outer, "--overwrite"), cwd=job.folder), outer, before, advice=None)


# A run that may be replaced --------------------------------------------------------------------------


def test_what_the_user_put_into_a_run_survives_its_replacement(job, trained):
    mine = ("notes.txt", "thesis/chapter1.tex", "checkpoints/mine.safetensors", "features/mine.npy")
    for name in mine:
        (trained / name).parent.mkdir(exist_ok=True)
        (trained / name).write_text("mine")
    assert mscon(*job.train("fresh", "--set", "train.seed=1"), cwd=job.folder).status == 0
    outcome = mscon(*job.train("run", "--set", "train.seed=1", "--overwrite"), cwd=job.folder)
    assert outcome.status == 0, outcome
    assert {name: (trained / name).read_text() for name in mine if (trained / name).exists()} == dict.fromkeys(
        mine, "mine"
    )
    now = content(trained)
    assert not changed(now, content(job.folder / "fresh"))
    # Nothing of the old run stays to be taken for the new one's.
    assert now.keys() - set(mine) == content(job.folder / "fresh").keys()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--set", "train.learning_rate=1e30", "--set", "train.schedule=constant"],
        ["--set", 'similarity=[{column="none"}]'],
        ["--set", 'data.vectors="none.npy"'],
    ],
    ids=["breaks down", "cannot begin", "has no inputs"],
)
def test_an_old_run_stays_where_the_new_one_comes_to_nothing(job, trained, wrong):
    (trained / "notes.txt").write_text("mine")
    before = tree(job.folder)
    assert_refused(mscon(*job.train("run", "--overwrite", *wrong), cwd=job.folder), job.folder, before, advice=None)


def test_a_run_is_not_replaced_unless_told_to(job, trained):
    before = tree(job.folder)
    assert_refused(mscon(*job.train("run"), cwd=job.folder), job.folder, before, advice=None)


# Outputs of other verbs ------------------------------------------------------------------------------

EXPORT = ["export", "run", "--to", "safetensors", "--out", "m.safetensors"]
REPORT = ["report", "run", "--out", "page.html"]
EMBED = ["embed", "run", "--table", "t.csv", "--out", "new.parquet"]
CARD = ["card", "run", "--out", "card.md"]
EXPLORE = ["explore", "run", "--no-open", "--out", "page.html"]
OUTPUTS = [
    pytest.param(EXPORT, "m.safetensors", id="export"),
    pytest.param(EXPORT, "m.json", id="export, beside it"),
    pytest.param(REPORT, "page.html", id="report"),
    pytest.param(REPORT, "page.json", id="report, beside it"),
    pytest.param(EMBED, "new.parquet", id="embed"),
    pytest.param(CARD, "card.md", id="card"),
    pytest.param(EXPLORE, "page.html", id="explore"),
]


@pytest.mark.parametrize(("command", "name"), OUTPUTS)
def test_a_file_of_the_users_is_not_replaced(job, trained, command, name):
    (job.folder / name).write_text("mine")
    before = tree(job.folder)
    assert_refused(mscon(*command, cwd=job.folder), job.folder, before)


@pytest.mark.parametrize(("command", "name"), OUTPUTS)
def test_it_is_where_the_user_says_so(job, trained, command, name):
    (job.folder / name).write_text("mine")
    outcome = mscon(*command, "--overwrite", cwd=job.folder)
    assert outcome.status == 0, outcome
    assert (job.folder / name).read_bytes() != b"mine"


@pytest.mark.parametrize(("command", "name"), OUTPUTS)
def test_a_folder_is_never_replaced(job, trained, command, name):
    (job.folder / name).mkdir()
    (job.folder / name / "mine.txt").write_text("mine")
    before = tree(job.folder)
    for flag in ([], ["--overwrite"]):
        assert_refused(mscon(*command, *flag, cwd=job.folder), job.folder, before)


@pytest.mark.parametrize("command", [["report", "run"], ["explore", "run", "--no-open"]], ids=["report", "explore"])
def test_a_page_is_written_anew_in_its_place(job, trained, command):
    for _ in range(2):
        outcome = mscon(*command, cwd=job.folder)
        assert outcome.status == 0, outcome


@pytest.mark.parametrize(
    "command",
    [
        # run.html has run.json beside it, and so has run.safetensors.
        ["report", "run", "--out", "run/run.html"],
        ["report", "run", "--out", "run/probe.html"],
        ["report", "run", "--out", "run/similarities.html"],
        ["export", "run", "--to", "safetensors", "--out", "run/run.safetensors"],
        ["export", "run", "--to", "safetensors", "--out", "run/inputs.safetensors"],
        ["export", "run", "--to", "safetensors", "--out", "run/checkpoints/last.safetensors"],
        ["export", "run", "--to", "safetensors", "--out", "run/predictions.safetensors"],
        ["export", "run", "--to", "safetensors", "--out", "link.safetensors"],
        ["embed", "run", "--table", "t.parquet", "--out", "t.parquet"],
        ["embed", "run", "--table", "t.parquet", "--out", "run/../t.parquet"],
        ["embed", "run", "--table", "t.parquet", "--out", "hard.parquet"],
        ["embed", "run", "--table", "t.parquet", "--out", "soft.parquet"],
        ["embed", "run", "--table", "t.csv", "--out", "run/rows.parquet"],
        ["card", "run", "--out", "run/recipe.toml"],
        ["card", "run", "--out", "run/log.jsonl"],
        ["explore", "run", "--no-open", "--out", "run/run.json"],
    ],
    ids=lambda command: f"{command[0]} {command[-1]}",
)
def test_no_verb_replaces_what_it_reads(job, trained, command):
    pl.read_csv(job.folder / "t.csv").write_parquet(job.folder / "t.parquet")
    os.link(job.folder / "t.parquet", job.folder / "hard.parquet")
    (job.folder / "soft.parquet").symlink_to("t.parquet")
    (job.folder / "link.safetensors").symlink_to("run/checkpoints/last.safetensors")
    before = tree(job.folder)
    for flag in ([], ["--overwrite"]):
        assert_refused(mscon(*command, *flag, cwd=job.folder), job.folder, before)


def test_a_packed_model_is_not_replaced_by_its_own_vectors(job, trained):
    assert mscon(*EXPORT, cwd=job.folder).status == 0
    shutil.copy(job.folder / "m.safetensors", job.folder / "m.npz")
    before = tree(job.folder)
    outcome = mscon("embed", "m.npz", "--table", "t.csv", "--out", "m.npz", "--overwrite", cwd=job.folder)
    assert_refused(outcome, job.folder, before)


def test_of_a_folder_of_shards_only_shards_are_deleted(job, trained):
    folder = job.folder / "new.parquet.shards"
    folder.mkdir()
    mine = ("mine.txt", "data.parquet", "00000-notes.parquet", "index.json")
    for name in mine[:3]:
        (folder / name).write_text("mine")
    assert mscon(*EMBED, cwd=job.folder).status == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(mine[:3], "mine")
    (folder / "index.json").write_text("mine")
    before = tree(job.folder)
    assert_refused(mscon(*EMBED, "--overwrite", "--shard-rows", "25", cwd=job.folder), job.folder, before)
