"""Multistage contrastive learning: clusters of one run, a next run within them, both features together."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import mscon
from mscon.cli import main
from mscon.errors import RunError
from mscon.method.comparison import Comparison, SampleOrigin
from mscon.method.objectives.l_spread import LSpread
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class
from mscon.run import recipe as recipes
from mscon.train.fit import fit
from vector_table import RECIPE, ROWS, write_table

STAGE = RECIPE.replace('column = "kind"', 'name = "same_row"').replace('[[similarity]]\ncolumn = "shade"\n', "")
NEXT = RECIPE.replace(
    'column = "kind"', 'column = "cluster"\nname = "categorical"\nobjective = { name = "l_spread", spread = 1.0 }'
).replace('[[similarity]]\ncolumn = "shade"\n', "")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    return fit(recipes.parse(STAGE), write_table(folder), folder / "stage1", progress=False)


def test_a_stage_compares_within_clusters_only():
    """The loss of the paper: InfoNCE of a view among those of the rows of its cluster."""
    z = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    clusters, ids = torch.tensor([0, 1, 0, 0, 1, 2]).repeat(2), torch.arange(12)
    origin = SampleOrigin.of_views(torch.arange(6), [0, 0])
    pairs = [LazyPairs(same_class, clusters, clusters, ids, ids, is_partition=True)]
    losses = LSpread(0.5, 1.0)(Comparison(z.reshape(1, 12, 4), None, pairs, origin, origin))
    unit = torch.nn.functional.normalize(z.reshape(12, 4), dim=1)
    for i in range(12):
        among = [j for j in range(12) if j != i and clusters[j] == clusters[i]]
        expected = (unit[i] @ unit[among].T / 0.5).logsumexp(0) - unit[i] @ unit[(i + 6) % 12] / 0.5
        torch.testing.assert_close(losses.per_anchor[0, i], expected)
    assert losses.counted.all()


def test_clusters_are_a_column_that_next_stages_continue(first, tmp_path):
    table = first.root.parent / "stage2.csv"
    sizes = mscon.cluster(first, table, clusters=4, progress=False)
    frame = pl.read_csv(table, infer_schema=False)
    assert frame.drop("cluster").equals(pl.read_csv(first.root.parent / "things.csv", infer_schema=False))
    assert sum(sizes.values()) == ROWS
    assert [*sizes.values()] == sorted(sizes.values(), reverse=True)
    assert set(frame["cluster"]) == set(sizes) <= set("0123")
    features = first.read_features()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    of_cluster = [unit[(frame["cluster"] == name).to_numpy()] for name in sizes]
    spread = sum(((rows - rows.mean(axis=0)) ** 2).sum() for rows in of_cluster)
    assert spread < 0.7 * ((unit - unit.mean(axis=0)) ** 2).sum()

    overrides = [f"encoder.start_from={first.root}", "keep.beside=all"]
    second = fit(recipes.parse(NEXT, overrides), table, tmp_path / "stage2", progress=False)
    third = first.root.parent / "stage3.csv"
    mscon.cluster(second, third, clusters=3, progress=False)
    path = pl.read_csv(third, infer_schema=False)["cluster"].str.split("/")
    assert path.list.first().to_list() == frame["cluster"].to_list()
    assert set(path.list.len()) == {2}
    # The features of both stages together: those of the first, rotated and scaled, and then the learned ones.
    both = second.read_features()
    assert both.shape[1] == 2 * features.shape[1]
    ours, theirs = (x[:, : features.shape[1]].astype(np.float64) for x in (both, features))
    ours, theirs = (x @ x.T for x in (ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)))
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999


def test_the_verb_says_what_it_wrote_and_what_is_wrong(first, tmp_path, capsys):
    out = tmp_path / "stage2.csv"
    assert main(["cluster", str(first.root), "--out", str(out), "--clusters", "3", "--column", "group"]) == 0
    assert f"{out}: 3 clusters, of " in capsys.readouterr().out
    again = tmp_path / "again.csv"
    mscon.cluster(first, again, clusters=3, column="group", progress=False)
    assert again.read_bytes() == out.read_bytes()
    for arguments, words in (
        (["--out", str(out)], "Choose another --out"),
        (["--out", str(tmp_path / "out.parquet")], "its name must end in .csv"),
        (["--out", str(tmp_path / "new.csv"), "--clusters", "1"], "--clusters must be 2 or more"),
        (["--out", str(tmp_path / "new.csv"), "--clusters", "49"], "has 48 train rows, too few for 49 clusters"),
        (["--out", str(tmp_path / "new.csv"), "--table", str(out)], "is not the table that run"),
    ):
        assert main(["cluster", str(first.root), *arguments]) == 2
        assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.csv", "stage2.csv"]
    with pytest.raises(ValueError, match="clusters must be 2 or more"):
        mscon.cluster(first, tmp_path / "new.csv", clusters=1)


def test_rows_of_which_the_stage_before_knows_nothing_stay_empty(first, tmp_path):
    from mscon.data.table.table import read_table
    from mscon.evaluate.clusters import _with_column

    table = read_table(pl.DataFrame({"cluster": ["3", None, "4"], "x": ["a", "b", "c"]}))
    names = dict(zip(table.lines, ["0", "1"], strict=False))
    assert _with_column(table, names, "cluster")["cluster"].to_list() == ["3/0", None, None]


def test_a_table_that_is_gone_is_one_message(tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    run = fit(recipes.parse(STAGE, ["train.epochs=0"]), write_table(folder), tmp_path / "run", progress=False)
    (folder / "things.csv").unlink()
    assert main(["cluster", str(run.root), "--out", str(tmp_path / "out.csv")]) == 2
    assert "things.csv" in capsys.readouterr().err
    with pytest.raises(RunError, match=r"\.csv"):
        mscon.cluster(run, tmp_path / "out.txt")
