from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mscon.data.table.table import read_table
from mscon.errors import RecipeError, RunError, TableError
from mscon.model.model import load_model
from mscon.run import checksums, folder
from mscon.run.run import Run
from mscon.train import assembly, epochs
from mscon.train.fit import fit, resume
from mscon.train.loop import Training

QUIET = {"progress": False}
CROSS_ENTROPY = [
    "objective.name=cross_entropy",
    "heads.name=identity",
    'similarity=[{column="shape", name="categorical"}, {column="shade", name="categorical"}]',
]


@pytest.fixture
def stopped(monkeypatch):
    """Makes training stop, as by ctrl-c, in the middle of an epoch."""

    def stop_in(epoch: int) -> None:
        train_epoch = epochs.train_epoch

        def interrupted(training, number, step):
            for record in train_epoch(training, number, step):
                yield record
                if number == epoch:
                    raise KeyboardInterrupt

        monkeypatch.setattr(epochs, "train_epoch", interrupted)

    yield stop_in
    monkeypatch.undo()


def tensors(run: Run, name: str = "last") -> dict[str, torch.Tensor]:
    return run.read_checkpoint(name)[0]


def assert_same(a: Run, b: Run) -> None:
    """Every tensor and every logged number of two runs, bit for bit."""
    for name in ("last", "best"):
        (one, state), (other, other_state) = a.read_checkpoint(name), b.read_checkpoint(name)
        assert set(one) == set(other)
        assert [k for k in one if not torch.equal(one[k], other[k])] == []
        assert {**state, "seconds": 0} == {**other_state, "seconds": 0}
    assert a.read_log() == b.read_log()


def test_a_run_holds_all_that_later_verbs_need(recipe, table, tmp_path):
    run = fit(recipe, table, tmp_path / "run", **QUIET)
    assert run.read_recipe() == recipe
    assert run.read_rows().height == 64
    assert [s["name"] for s in run.read_similarities()] == ["categorical", "categorical", "same_row"]
    facts = run.read_facts()
    assert facts["table"]["rows"] == {"train": 40, "validation": 12, "test": 12}
    assert facts["table"]["name"] == "bars.csv"
    assert Path(facts["images_root"]) == table.path.parent
    assert facts["parameters"]["others"] == 3  # the log-variances
    assert facts["trained"]["steps"] == 4  # 40 rows in batches of 16: two full ones an epoch
    features, projections = load_model(run)(torch.rand(5, 1, 16, 16))
    assert features.shape == (5, 32)
    assert projections.shape == (3, 5, 32)


def test_the_log_says_everything_of_every_similarity(recipe, table, tmp_path):
    log = fit(recipe, table, tmp_path / "run", **QUIET).read_log()
    assert [(r["kind"], r["epoch"], r["step"]) for r in log] == [
        ("step", 1, 2), ("validation", 1, 2), ("step", 2, 4), ("validation", 2, 4),
    ]  # fmt: skip
    for record in log:
        of_each = ["loss", "floor", "ceiling", "relative_excess", "positive_share"]
        for key in [*of_each, "weight"] if record["kind"] == "step" else of_each:
            assert list(record[key]) == ["shape", "shade", "same_row"]
    first = log[0]
    for column in ("shape", "shade", "same_row"):
        span = first["ceiling"][column] - first["floor"][column]
        expected = (first["loss"][column] - first["floor"][column]) / span
        assert first["relative_excess"][column] == pytest.approx(expected)
    assert first["floor"]["same_row"] == 0
    assert first["total"] > 0


def test_the_seed_decides_everything(recipe_with, table, tmp_path):
    one, same, other = (
        fit(recipe_with(f"train.seed={s}"), table, tmp_path / n, **QUIET) for s, n in [(1, "a"), (1, "b"), (2, "c")]
    )
    assert_same(one, same)
    assert one.read_log() != other.read_log()


def test_the_callers_random_numbers_are_left_alone(recipe, table, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(recipe, table, tmp_path / "run", **QUIET)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["train.precision=bfloat16", "train.channels_last=yes"],
        ["train.optimiser=sgd", "train.schedule=cosine", "weighting.name=relative"],
        ["train.schedule=constant", "train.validate_every=3"],
        [*CROSS_ENTROPY, "weighting.name=equal"],
        ["candidates.memory_size=60", "candidates.warm_up=3"],
    ],
    ids=["adamw", "bfloat16", "sgd", "constant", "cross_entropy", "memory"],
)
def test_resuming_gives_what_never_stopping_would_have(recipe_with, overrides, table, tmp_path, stopped, monkeypatch):
    recipe = recipe_with("train.epochs=4", *overrides)
    whole = fit(recipe, table, tmp_path / "whole", **QUIET)
    stopped(3)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, table, tmp_path / "halves", **QUIET)
    halves = Run.open(tmp_path / "halves")
    assert halves.read_checkpoint("last")[1]["epoch"] == 2
    assert halves.read_log()[-1]["epoch"] == 3  # of a part that is done again
    monkeypatch.undo()
    resume(halves, progress=False)
    assert_same(whole, halves)
    assert [r["after_epoch"] for r in halves.read_facts()["resumed"]] == [2]


def test_a_run_stopped_in_its_first_epoch_begins_anew(table, tmp_path, stopped, monkeypatch, recipe):
    whole = fit(recipe, table, tmp_path / "whole", **QUIET)
    stopped(1)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, table, tmp_path / "again", **QUIET)
    monkeypatch.undo()
    again = Run.open(tmp_path / "again")
    assert not again.has_checkpoint("last")
    assert_same(whole, resume(again, progress=False))


def test_resuming_keeps_the_precision_that_was_resolved(recipe_with, table, tmp_path, stopped, monkeypatch):
    from mscon.train import environment

    recipe = recipe_with('train.precision="auto"', 'train.channels_last="auto"')
    monkeypatch.setattr(environment, "cpu_info", lambda key: "")
    monkeypatch.setattr(environment, "device_type", lambda: "cpu")
    stopped(2)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, table, tmp_path / "run", **QUIET)
    run = Run.open(tmp_path / "run")
    assert (run.read_recipe().train.precision, run.read_recipe().train.channels_last) == ("float32", "yes")
    assert (run.read_facts()["precision"], run.read_facts()["channels_last"]) == ("float32", "yes")
    logged = []
    assembled = assembly.training_of
    monkeypatch.setattr(assembly, "training_of", lambda *a: logged.append(assembled(*a)) or logged[-1])
    monkeypatch.setattr(environment, "cpu_info", lambda key: "amx_bf16 amx_tile")
    with pytest.raises(KeyboardInterrupt):
        resume(run, progress=False)
    assert logged[0].recipe.train.precision == "float32"


def test_a_finished_run_says_so_and_stays_as_it_is(recipe, table, tmp_path, capsys):
    run = fit(recipe, table, tmp_path / "run", **QUIET)
    before = {p.name: p.read_bytes() for p in sorted(run.root.rglob("*")) if p.is_file()}
    capsys.readouterr()
    resume(run)
    assert "is finished: 2 of 2 epochs" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in sorted(run.root.rglob("*")) if p.is_file()} == before


def test_a_checkpoint_that_does_not_fit_is_refused(recipe, table, tmp_path):
    run = fit(recipe, table, tmp_path / "run", **QUIET)
    run.write_recipe(replace(recipe, encoder=replace(recipe.encoder, width=16), train=replace(recipe.train, epochs=3)))
    with pytest.raises(RunError, match="last checkpoint does not fit its recipe"):
        resume(run, progress=False)


def test_validation_moves_nothing(recipe_with, table, tmp_path):
    """Neither running means of the network nor of the weighting: training goes the same way without it."""
    often = fit(recipe_with("train.epochs=3", "weighting.name=relative"), table, tmp_path / "often", **QUIET)
    rarely = fit(
        recipe_with("train.epochs=3", "weighting.name=relative", "train.validate_every=3"),
        table,
        tmp_path / "rarely",
        **QUIET,
    )
    assert [r["epoch"] for r in rarely.read_log() if r["kind"] == "validation"] == [3]
    ours, theirs = tensors(often), tensors(rarely)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("overrides", [[], CROSS_ENTROPY], ids=["contrastive", "classifying"])
def test_the_best_checkpoint_is_of_the_best_validation(recipe_with, overrides, table, tmp_path):
    run = fit(recipe_with("train.epochs=4", *overrides), table, tmp_path / "run", **QUIET)
    validations = [r for r in run.read_log() if r["kind"] == "validation"]
    quantity = "accuracy" if overrides else "relative_excess"
    means = [sum(r[quantity].values()) / len(r[quantity]) for r in validations]
    merits = means if overrides else [-m for m in means]
    assert [r["merit"] for r in validations] == pytest.approx(merits)
    state = run.read_checkpoint("best")[1]
    assert state["best_epoch"] == state["epoch"] == 1 + merits.index(max(merits))
    assert run.read_facts()["trained"]["best_epoch"] == state["epoch"]


def test_the_best_checkpoint_holds_weights_and_no_optimiser(recipe, table, tmp_path):
    run = fit(recipe, table, tmp_path / "run", **QUIET)
    assert {k.partition(".")[0] for k in tensors(run, "best")} == {"model", "weighting"}
    assert {k.partition(".")[0] for k in tensors(run)} == {"model", "weighting", "optimiser"}


def test_a_memory_is_in_the_last_checkpoint_and_not_in_the_best(recipe_with, table, tmp_path):
    run = fit(recipe_with("candidates.memory_size=50"), table, tmp_path / "run", **QUIET)
    last = tensors(run)
    assert last["candidates.projections"].shape == (3, 50, 32)
    assert last["candidates.steps"] == 4
    assert {k.partition(".")[0] for k in tensors(run, "best")} == {"model", "weighting"}
    assert load_model(run)(torch.rand(2, 1, 16, 16))[0].shape == (2, 32)


def test_a_memory_changes_what_is_learnt(recipe_with, recipe, table, tmp_path):
    with_memory = fit(recipe_with("candidates.memory_size=50"), table, tmp_path / "with", **QUIET)
    without = fit(recipe, table, tmp_path / "without", **QUIET)
    assert with_memory.read_log()[0]["ceiling"]["same_row"] > without.read_log()[0]["ceiling"]["same_row"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*CROSS_ENTROPY, "weighting.name=equal"], "'cross_entropy' compares no rows"),
        (
            ["triplets.count=20", "objective.name=triplet_margin", 'similarity=[{column="shape", name="categorical"}]'],
            "a triplet is compared",
        ),
    ],
)
def test_a_memory_that_nothing_would_be_compared_with_is_refused(recipe_with, overrides, message, table, tmp_path):
    with pytest.raises(RecipeError, match=message):
        fit(recipe_with("candidates.memory_size=50", *overrides), table, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_a_table_without_validation_rows_trains(recipe_with, table, tmp_path, recipe):
    path = tmp_path / "t.csv"
    path.write_text(table.path.read_text().replace(",validation,", ",train,"))
    run = fit(recipe, read_table(path), tmp_path / "run", images=table.path.parent, **QUIET)
    assert {r["kind"] for r in run.read_log()} == {"step"}
    assert not run.has_checkpoint("best")
    best = recipe_with("train.checkpoint=best")
    with pytest.raises(TableError, match=r't\.csv has no validation row, but \[train\] checkpoint is "best"'):
        fit(best, read_table(path), tmp_path / "other", images=table.path.parent, **QUIET)
    assert not (tmp_path / "other").exists()


def test_a_similarity_absent_from_every_batch_is_null_in_the_log_and_does_not_move(recipe_with, table, tmp_path):
    """One view of each row, and shades that nobody shares with anybody: no anchor has a positive."""
    path = tmp_path / "t.csv"
    header, *rows = table.path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{row.rsplit(',', 1)[0]},shade{i}" for i, row in enumerate(rows))]))
    recipe = recipe_with(
        "views.count=1", 'similarity=[{column="shape", name="categorical"}, {column="shade", name="categorical"}]'
    )
    run = fit(recipe, read_table(path), tmp_path / "run", images=table.path.parent, **QUIET)
    record = run.read_log()[0]
    assert all(record[k]["shade"] is None for k in ("loss", "weight", "relative_excess", "positive_share"))
    assert record["loss"]["shape"] > 0
    assert tensors(run)["weighting.log_variance"][1] == 0


def test_a_batch_larger_than_the_table_is_all_of_it(recipe_with, table, tmp_path):
    run = fit(recipe_with("train.batch_size=512"), table, tmp_path / "run", **QUIET)
    assert run.read_facts()["trained"]["steps"] == 2


def test_a_dry_run_takes_a_step_and_writes_nothing(recipe, table, tmp_path, monkeypatch, capsys):
    steps = []
    learn = Training.learn
    monkeypatch.setattr(Training, "learn", lambda self, *batch: steps.append(batch) or learn(self, *batch))
    assert fit(recipe, table, tmp_path / "run", dry_run=True) is None
    assert len(steps) == 2
    assert not (tmp_path / "run").exists()
    length, warning, needed = capsys.readouterr().err.splitlines()
    assert length == "Training takes 4 steps: 2 epochs of 2 steps."
    assert warning.startswith("warning: 4 steps are few")
    assert re.fullmatch(r"About \d+ seconds? on this machine for 4 steps, at [\d.]+ s a step; validation .*", needed)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoder.name=resnet81", "no encoder 'resnet81'"),
        ("heads.output_dim=0", "output_dim"),
        ("objective.temperature=0", "temperature must be positive"),
        ('weighting={name="relative", softening=0.0}', "softening must be positive"),
        ('similarity=[{column="same_row", name="same_row"}]', "compares the views of a row"),
        ("objective.name=cross_entropy", "needs classes"),
        ("candidates.warm_up=5", "warm_up is 5 but there is no memory"),
        ("candidates.memory_size=-1", "memory_size must be 0"),
        ("candidates.memory=5", "Did you mean 'memory_size'"),
        ("heads.output_dim=9223372036854775807", "hidden_dim and output_dim must be positive and at most 65536"),
        ("heads.hidden_dim=9223372036854775807", "hidden_dim and output_dim must be positive and at most 65536"),
        ("probe.kinds.siez=ordinal", "kinds names column 'siez', which is not probed"),
        ('similarity=[{column="shade", name="multi_label", separator=""}]', "separator must be text such as"),
    ],
)
def test_what_is_wrong_with_the_recipe_leaves_nothing(recipe_with, override, message, table, tmp_path):
    overrides = [override] + (["views.count=1"] if "views of a row" in message else [])
    with pytest.raises(RecipeError, match=message):
        fit(recipe_with(*overrides), table, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_whose_loss_cannot_be_computed_says_so(recipe_with, table, monkeypatch):
    def learn(self, *arguments):
        raise ValueError("3 of 3 anchors are not finite.")

    monkeypatch.setattr("mscon.train.loop.Training.learn", learn)
    with pytest.raises(RunError, match="epoch 1, step 1: training broke down: the loss could not be computed: 3 of 3"):
        fit(recipe_with(), table, dry_run=True, **QUIET)


def test_an_image_at_fault_leaves_nothing(recipe, table, tmp_path):
    for path in table.path.parent.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "7.png").write_bytes(b"not an image")
    (tmp_path / "t.csv").write_text(table.path.read_text())
    with pytest.raises(TableError, match=r"t\.csv, line 9: image '7\.png' is not an image"):
        fit(recipe, read_table(tmp_path / "t.csv"), tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_a_table_of_one_training_row_is_refused(recipe_with, table, tmp_path):
    header, *rows = table.path.read_text().splitlines()
    path = tmp_path / "t.csv"
    path.write_text("\n".join([header, rows[0], *rows[52:]]))
    recipe = recipe_with('similarity=[{column="same_row", name="same_row"}]')
    with pytest.raises(TableError, match="1 train row; a loss that compares rows needs 2"):
        fit(recipe, read_table(path), tmp_path / "run", images=table.path.parent, **QUIET)


def test_a_folder_in_the_way_is_refused_before_anything_is_read(recipe, table, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    monkeypatch.setattr("mscon.train.fit.select_rows", lambda *a, **k: pytest.fail("read the table first"))
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"not empty|not a run"):
            fit(recipe, table, tmp_path / "run", overwrite=overwrite, **QUIET)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


def test_a_run_is_overwritten_when_asked_and_not_by_a_recipe_at_fault(recipe_with, recipe, table, tmp_path):
    first = fit(recipe, table, tmp_path / "run", **QUIET)
    with pytest.raises(RecipeError):
        fit(recipe_with("encoder.name=resnet81"), table, first.root, overwrite=True, **QUIET)
    assert first.has_checkpoint("last")
    second = fit(recipe_with("train.seed=9"), table, first.root, overwrite=True, **QUIET)
    assert second.read_recipe().train.seed == 9
    assert len([r for r in second.read_log() if r["kind"] == "step"]) == 2


def everything(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != ".lock"}


def test_the_old_run_stays_until_the_new_one_has_a_checkpoint(recipe, table, tmp_path, stopped, monkeypatch, capsys):
    old = fit(recipe, table, tmp_path / "run", **QUIET)
    (old.root / "notes.txt").write_text("mine")
    before = everything(old.root)
    stopped(1)
    with pytest.raises(KeyboardInterrupt):
        fit(replace(recipe, train=replace(recipe.train, seed=9)), table, old.root, overwrite=True)
    assert "is unchanged" in capsys.readouterr().err
    assert everything(old.root) == before
    monkeypatch.undo()
    stopped(2)
    with pytest.raises(KeyboardInterrupt):
        fit(replace(recipe, train=replace(recipe.train, seed=9)), table, old.root, overwrite=True, **QUIET)
    monkeypatch.undo()
    new = Run.open(old.root)
    assert new.read_recipe().train.seed == 9 and new.read_checkpoint("last")[1]["epoch"] == 1
    assert (new.root / "notes.txt").read_text() == "mine"
    whole = fit(replace(recipe, train=replace(recipe.train, seed=9)), table, tmp_path / "whole", **QUIET)
    assert_same(whole, resume(new, progress=False))


def test_other_loggers_get_all_of_a_run_that_replaces_another(recipe, table, tmp_path):
    pytest.importorskip("tensorboard")
    recipe_with_logger = replace(recipe, log=replace(recipe.log, to=("tensorboard",)))
    fit(recipe_with_logger, table, tmp_path / "run", **QUIET)
    first = sorted(p.name for p in (tmp_path / "run" / "tensorboard").iterdir())
    fit(recipe_with_logger, table, tmp_path / "run", overwrite=True, **QUIET)
    second = list((tmp_path / "run" / "tensorboard").iterdir())
    assert len(second) == 1 and second[0].name not in first
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(second[0]))
    events.Reload()
    assert [event.step for event in events.Scalars("total")] == [
        r["step"] for r in Run.open(tmp_path / "run").read_log() if r["kind"] == "step"
    ]


def test_a_run_that_holds_its_own_table_is_not_overwritten(recipe, table, tmp_path):
    run = fit(recipe, table, tmp_path / "run", **QUIET)
    inside = run.root / "data"
    shutil.copytree(table.path.parent, inside)
    before = everything(run.root)
    with pytest.raises(RunError, match="which this training reads, lies in it"):
        fit(recipe, read_table(inside / table.path.name), run.root, overwrite=True, **QUIET)
    with pytest.raises(RunError, match="which this training reads, lies in it"):
        fit(recipe, table, run.root, overwrite=True, images=inside, **QUIET)
    with pytest.raises(RunError, match="which this training reads, lies in it"):
        fit(recipe, table, run.root, overwrite=True, protected=[run.root / "recipe.toml"], **QUIET)
    assert everything(run.root) == before


def test_one_process_trains_a_run(recipe, table, tmp_path):
    run = fit(recipe, table, tmp_path / "run", **QUIET)
    with folder.training_lock(run.root):
        with pytest.raises(RunError, match="another process trains run"):
            resume(run, progress=False)
        with pytest.raises(RunError, match="another process trains run"):
            fit(recipe, table, run.root, overwrite=True, **QUIET)


def test_a_run_stopped_before_it_wrote_down_that_it_is_trained_is_completed(recipe, table, tmp_path, monkeypatch):
    whole = fit(recipe, table, tmp_path / "whole", **QUIET)
    with monkeypatch.context() as patch:
        patch.setattr(epochs, "write_trained", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, table, tmp_path / "run", **QUIET)
    run = Run.open(tmp_path / "run")
    assert "trained" not in run.read_facts()
    resume(run, progress=False)
    assert {**run.read_facts()["trained"], "seconds": 0} == {**whole.read_facts()["trained"], "seconds": 0}


@pytest.mark.parametrize("files", range(1, 5))
def test_a_run_stopped_while_its_folder_was_filled_is_begun_anew(recipe, table, tmp_path, monkeypatch, files):
    """By the same call, without a word about overwriting: there is nothing in it yet."""
    left = files

    def stops(folder, name, write):
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        write_with(folder, name, write)

    write_with = checksums.write_with
    with monkeypatch.context() as patch:
        patch.setattr(checksums, "write_with", stops)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, table, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run" / "run.json").exists()
    if files > 1:
        with pytest.raises(RunError, match=r"the beginning of a run.*same `mscon train`"):
            Run.open(tmp_path / "run")
    assert_same(fit(recipe, table, tmp_path / "run", **QUIET), fit(recipe, table, tmp_path / "whole", **QUIET))


def test_a_torn_line_of_the_log_stops_nobody(recipe_with, table, tmp_path, stopped, monkeypatch):
    whole = fit(recipe_with("train.epochs=3"), table, tmp_path / "whole", **QUIET)
    stopped(3)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe_with("train.epochs=3"), table, tmp_path / "run", **QUIET)
    monkeypatch.undo()
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"kind": "st')
    assert_same(whole, resume(Run.open(tmp_path / "run"), progress=False))


@pytest.mark.parametrize("size", [None, 0, 300])
def test_a_log_that_lost_records_is_told_and_the_training_goes_on(
    recipe_with, table, tmp_path, stopped, monkeypatch, capsys, size
):
    whole = fit(recipe_with("train.epochs=3"), table, tmp_path / "whole", **QUIET)
    stopped(3)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe_with("train.epochs=3"), table, tmp_path / "run", **QUIET)
    monkeypatch.undo()
    steps = whole.read_facts()["trained"]["steps"] // 3
    path = tmp_path / "run" / "log.jsonl"
    if size is None:
        path.unlink()
    else:
        os.truncate(path, size)
    capsys.readouterr()
    run = resume(Run.open(tmp_path / "run"))
    assert f"ends at step 0, but its checkpoint is of step {2 * steps}" in capsys.readouterr().err
    assert run.read_facts()["resumed"][0]["log_lost_after_step"] == 0
    assert {k: v.tolist() for k, v in tensors(run).items()} == {k: v.tolist() for k, v in tensors(whole).items()}
    assert [r["epoch"] for r in run.read_log()] == [3, 3]


def test_a_recipe_that_was_edited_is_not_trained_on_and_another_epoch_has_a_way_in(
    recipe_with, recipe, table, tmp_path
):
    run = fit(recipe, table, tmp_path / "run", **QUIET)
    path = run.root / "recipe.toml"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"epochs = 2", b"epochs = 3"))
    with pytest.raises(
        RunError, match=r"recipe\.toml has changed since mscon wrote it(.|\n)*mscon resume .* --set KEY=VALUE"
    ):
        resume(run, progress=False)
    path.write_bytes(before)
    with pytest.raises(RecipeError, match=r"can change \[train\] and \[log\] only"):
        resume(run, progress=False, overrides=["encoder.width=16"])
    longer = resume(run, progress=False, overrides=["train.epochs=3"])
    assert longer.read_recipe().train.epochs == 3 and longer.read_facts()["trained"]["epochs"] == 3
    assert longer.read_log()[-1]["epoch"] == 3


@pytest.mark.parametrize("overrides", [[], CROSS_ENTROPY], ids=["contrastive", "classifying"])
def test_a_loss_that_explodes_stops_the_run_with_advice(recipe_with, overrides, table, tmp_path):
    recipe = recipe_with("train.learning_rate=1e30", "train.schedule=constant", "train.optimiser=sgd", *overrides)
    with pytest.raises(RunError, match=r"epoch 1, step 2: training broke down") as raised:
        fit(recipe, table, tmp_path / "run", **QUIET)
    text = str(raised.value)
    assert "lower train.learning_rate (it is 1e+30)" in text
    assert "shape, shade" in text
    assert "has no checkpoint yet" in text
    assert not Run.open(tmp_path / "run").has_checkpoint("last")


def test_a_breakdown_keeps_the_last_good_checkpoint(recipe_with, table, tmp_path, monkeypatch):
    train_epoch = epochs.train_epoch

    def poisoned(training, epoch, step):
        yield from train_epoch(training, epoch, step)
        if epoch == 2:  # as a last step of the epoch could: its loss was finite, its gradient was not
            next(training.method.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(epochs, "train_epoch", poisoned)
    with pytest.raises(RunError, match=r"epoch 2, step 4.*'model\.encoder.*not finite(?s:.*)checkpoint of epoch 1"):
        fit(recipe_with("train.epochs=3"), table, tmp_path / "run", **QUIET)
    checkpoint = Run.open(tmp_path / "run").read_checkpoint("last")
    assert checkpoint[1]["epoch"] == 1
    assert all(v.isfinite().all() for v in checkpoint[0].values() if v.is_floating_point())


def test_a_line_an_epoch_where_nobody_watches(recipe, table, tmp_path, capsys):
    fit(recipe, table, tmp_path / "run")
    out, err = capsys.readouterr()
    assert out == ""
    length, warning, legend, *lines = err.strip().splitlines()
    assert length == "Training takes 4 steps: 2 epochs of 2 steps."
    assert warning.startswith("warning: 4 steps are few") and "train.epochs = 100 or more" in warning
    assert "loss x weight" in legend and "Relative excess: 0" in legend
    assert "A positive is another sample of the batch with the same label" in legend
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2: total ")
    assert all(word in lines[1] for word in ("shape", "shade", "same_row", "with a positive", "relative excess"))


def test_without_progress_nothing_is_said(recipe, table, tmp_path, capfd):
    fit(recipe, table, tmp_path / "run", **QUIET)
    assert capfd.readouterr() == ("", "")


def test_stopping_says_how_to_go_on(recipe, table, tmp_path, stopped, capsys):
    stopped(2)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, table, tmp_path / "run")
    assert f"`mscon resume {tmp_path / 'run'}`" in capsys.readouterr().err.replace("\n", "")


def test_training_learns(recipe_with, table, tmp_path):
    """Lying and standing bars are told apart within seconds; a loop that does not train stays at chance."""
    run = fit(recipe_with("train.epochs=12", "train.batch_size=20", "views.flip=0.0"), table, tmp_path / "run", **QUIET)
    steps = [r for r in run.read_log() if r["kind"] == "step"]
    assert steps[-1]["relative_excess"]["shape"] < 0.3 * steps[0]["relative_excess"]["shape"]


def test_that_nothing_can_be_written_is_told_before_images_are_decoded(recipe, table, tmp_path, monkeypatch):
    def refused(dir, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RunError, match=r"new/run.json' cannot be written: Read-only file system \(in '.*'\)"):
        fit(recipe, table, tmp_path / "deep" / "new", **QUIET)
    assert list(tmp_path.iterdir()) == []
