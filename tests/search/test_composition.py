"""Composed queries: weights, moves along a column, and what each part adds to a score."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mscon
from mscon.cli import main
from mscon.errors import RunError
from mscon.search.spaces import unit

KIND, CLOSURE, HEEL = 0, 1, 2


@pytest.fixture(scope="module")
def exact(shared_index):
    """The index in float32, and its unit vectors [spaces, rows, dim]."""
    index = mscon.open_index(shared_index.run, dtype="float32")
    return index, unit(index.run.read_projections().astype(np.float64))


def scores(index, *queries, **settings) -> np.ndarray:
    """Scores in each space of all rows but the examples, by row; NaN of the examples."""
    by_row = np.full((3, len(index)), np.nan)
    for hit in index.search(*queries, k=len(index), **settings):
        by_row[:, hit.row] = list(hit.scores.values())
    return by_row


def near(found: np.ndarray, query: np.ndarray, x: np.ndarray) -> None:
    expected = np.einsum("sd,srd->sr", query, x)
    known = ~np.isnan(found)
    assert known.any()
    np.testing.assert_allclose(found[known], expected[known], atol=1e-6)


# Weights ------------------------------------------------------------------------------------------


def test_an_example_counts_as_often_as_its_weight_says(exact):
    index, x = exact
    goal = (2 * x[:, 1] + 0.5 * x[:, 2]) / 2 - 3 * x[:, 7]
    near(scores(index, [(1, 2), (2, 0.5)], unlike=[(7, 3)]), unit(goal), x)
    assert index.search([(1, 2), 2], unlike=[(7, 3)]).query == "row 1 (weight 2) and row 2, unlike row 7 (weight 3)"
    assert index.search([(1, 4), (2, 4)]).hits[0].score == pytest.approx(index.search([1, 2]).hits[0].score)


def test_weights_of_one_change_nothing_at_all(exact):
    index, _ = exact
    assert index.search([(1, 1), (2, 1.0)], unlike=[(7, 1)]).hits == index.search((1, 2), unlike=7).hits


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "much", None])
def test_a_weight_that_is_none_is_told(exact, weight):
    with pytest.raises(RunError, match="weight of query 'row 1' must be a number above 0"):
        exact[0].search([(1, weight)])


def test_a_pair_of_three_is_told(exact):
    with pytest.raises(RunError, match=r"is a pair, such as \(17, 2\)"):
        exact[0].search([(1, 2, 3)])


# Moves --------------------------------------------------------------------------------------------


def labelled(index, column: str, label: str) -> list[int]:
    return [row for row, cell in enumerate(index.rows[column]) if cell == label]


def test_towards_a_label_is_the_mean_of_its_rows_in_one_space_and_the_query_in_the_others(exact):
    index, x = exact
    goal = x[:, 5].copy()
    goal[KIND] = unit(x[KIND, labelled(index, "kind", "boots")].mean(axis=0))
    for towards in ("kind=boots", {"kind": "boots"}, {"kind": ("boots", 1)}, [("kind=boots", 1)]):
        near(scores(index, 5, towards=towards), goal, x)
    goal[KIND] = unit(0.75 * x[KIND, 5] + 0.25 * goal[KIND])
    near(scores(index, 5, towards={"kind": ("boots", 0.25)}), goal, x)
    assert index.search(5, towards=[("kind=boots", 0.25)]).query == "row 5, towards kind=boots (amount 0.25)"


def test_towards_a_number_is_the_rows_near_it_by_the_weights_of_training(exact):
    index, x = exact
    heels = np.array([np.nan if cell is None else float(cell) for cell in index.rows["heel"]])
    weights = np.nan_to_num(np.exp(-((heels - 3.1) ** 2) / 2))
    goal = x[:, 5].copy()
    goal[HEEL] = unit(weights @ x[HEEL])
    near(scores(index, 5, towards={"heel": 3.1}), goal, x)


def test_towards_a_range_is_the_mean_of_the_rows_in_it(exact):
    index, x = exact
    rows = [row for row, cell in enumerate(index.rows["heel"]) if cell is not None and float(cell) >= 3]
    goal = x[:, 5].copy()
    goal[HEEL] = unit(x[HEEL, rows].mean(axis=0))
    near(scores(index, 5, towards="heel>=3"), goal, x)


def test_higher_and_lower_are_the_direction_in_which_the_column_rises(exact):
    index, x = exact
    known = [row for row, cell in enumerate(index.rows["heel"]) if cell is not None]
    ranks = np.argsort(np.argsort([float(index.rows["heel"][row]) for row in known])) + 1.0
    rise = unit((ranks - ranks.mean()) @ x[HEEL, known])
    for word, sign in (("higher", 1), ("lower", -1)):
        goal = x[:, 5].copy()
        goal[HEEL] = unit(0.5 * x[HEEL, 5] + 0.5 * sign * rise)
        near(scores(index, 5, towards={"heel": word}), goal, x)
        goal[HEEL] = sign * rise
        near(scores(index, 5, towards={"heel": (word, 1)}), goal, x)


def test_several_columns_move_at_once_and_examples_are_composed_before(exact):
    index, x = exact
    goal = unit((x[:, 1] + x[:, 2]) / 2 - x[:, 7])
    goal[KIND] = unit(x[KIND, labelled(index, "kind", "boots")].mean(axis=0))
    zips = [row for row, cell in enumerate(index.rows["closure"]) if cell and "zip" in cell]
    goal[CLOSURE] = unit(0.5 * goal[CLOSURE] + 0.5 * unit(x[CLOSURE, zips].mean(axis=0)))
    near(scores(index, [1, 2], unlike=7, towards={"kind": "boots", "closure": ("zip", 0.5)}), goal, x)


def test_agreement_in_a_column_that_moved_is_with_what_it_moved_to(exact):
    index, _ = exact  # row 5 is a pair of sandals
    for hit in index.search(5, towards={"kind": "boots", "heel": 0.1}, k=23):
        kind, heel = hit.labels["kind"], hit.labels["heel"]
        assert hit.agreement["kind"] == ("unknown" if kind is None else "same" if kind == "boots" else "different")
        assert hit.weights["heel"] == (None if heel is None else pytest.approx(np.exp(-((float(heel) - 0.1) ** 2) / 2)))
        gender = hit.labels["gender"]
        assert hit.agreement["gender"] == ("unknown" if gender is None else "same" if gender == "men" else "different")
    plain = {hit.row: hit.weights["heel"] for hit in index.search(5, k=23)}
    for hit in index.search(5, towards={"heel": "higher"}, k=3):
        assert hit.weights["heel"] == plain[hit.row]  # which is what it rises from


BAD_MOVES = [
    ("kind=bots", "no value 'bots'. Did you mean 'boots'"),
    ("knd=boots", "no label column 'knd'. Did you mean 'kind'"),
    ("gender=men", "'gender' has no similarity.*\n.*Columns with one: 'kind', 'closure', 'heel'"),
    ("split=test", "column 'split' has no similarity"),
    ("kind", "has no '=' and no comparison"),
    ("heel=99", "(?s)no value '99'.*goes from 0 to 5.5"),
    ("heel=nan", "no value 'nan'"),
    ("heel>99", "no row fulfils this"),
    ("kind=higher", "the values of column 'kind' have no order"),
    ({"kind": ("boots", 0)}, "above 0 and at most 1, got 0"),
    ({"kind": ("boots", 1.5)}, "above 0 and at most 1, got 1.5"),
    ({"kind": ("boots", "far")}, "above 0 and at most 1, got 'far'"),
    ({"kind": ("boots", 1, 2)}, "no value"),
    ([("kind=boots", 1, 2)], "a move is colour=dark"),
    ([7], "a move is colour=dark"),
    (["kind=boots", "kind=shoes"], "one similarity can move towards one thing only"),
]


@pytest.mark.parametrize(("towards", "words"), BAD_MOVES)
def test_a_move_that_cannot_be_is_told(exact, towards, words):
    with pytest.raises(RunError, match=words):
        exact[0].search(5, towards=towards)


def test_what_is_no_list_of_moves_is_told(exact, as_users_run_it):
    with pytest.raises(ValueError, match="towards must be text, a list or a dictionary, got 7"):
        exact[0].search(5, towards=7)


def test_a_move_that_would_change_nothing_is_told(exact):
    with pytest.raises(RunError, match="'kind' has weight 0 in the mix, so this changes nothing"):
        exact[0].search(5, towards="kind=boots", mix="heel=1")


def test_rows_without_a_direction_are_nothing_to_move_towards(run):
    projections = run.read_projections().copy()
    projections[KIND] = 0
    run.write_features(run.read_features(), projections)
    with pytest.raises(RunError, match="no common direction"):
        mscon.open_index(run).search(5, towards="kind=boots")


def test_a_column_of_one_value_does_not_rise(run):
    index = mscon.open_index(run)
    index.labels.rows.replace_column(
        index.rows.columns.index("heel"), index.rows["heel"].replace_strict({}, default="1")
    )
    with pytest.raises(RunError, match="has one value in all rows, or none"):
        index.search(5, towards="heel=higher")


# What a score is made of --------------------------------------------------------------------------


def test_contributions_add_up_to_the_score_by_similarity_and_in_all(exact):
    index, x = exact
    mix = {"kind": 1, "heel": 3}
    hits = index.search([(1, 2), "kind=boots", 1], unlike=[(7, 0.5)], towards={"heel": "higher"}, mix=mix, k=20)
    names = {
        "row 1",
        "the mean of 6 rows with kind=boots",
        "row 1 (2)",
        "unlike row 7",
        "towards heel=higher (amount 0.5)",
    }
    for hit in (*hits, *hits.examples):
        assert set(hit.contributions) == names
        for name, share in {"kind": 0.25, "closure": 0.0, "heel": 0.75}.items():
            assert sum(part[name] for part in hit.contributions.values()) == pytest.approx(share * hit.scores[name])
        assert sum(sum(part.values()) for part in hit.contributions.values()) == pytest.approx(hit.score)
        assert hit.contributions["row 1"] == pytest.approx(
            {n: 2 * v for n, v in hit.contributions["row 1 (2)"].items()}
        )
        assert hit.contributions["towards heel=higher (amount 0.5)"]["kind"] == 0
    boots = unit(x[KIND, labelled(index, "kind", "boots")].mean(axis=0))
    length = np.linalg.norm((2 * x[KIND, 1] + boots + x[KIND, 1]) / 3 - 0.5 * x[KIND, 7])
    part = hits[0].contributions["unlike row 7"]["kind"]
    assert part == pytest.approx(-0.25 * 0.5 * (x[KIND, 7] @ x[KIND, hits[0].row]) / length, abs=1e-6)


def test_an_explanation_says_the_sum(shared_index):
    hit = shared_index.search(5, towards="kind=boots", mix="kind=1,heel=1", k=1)[0]
    kind, heel = hit.scores["kind"] / 2, hit.scores["heel"] / 2
    parts = f"{kind:.3f} by kind ({kind:.3f} from towards kind=boots) + {heel:.3f} by heel ({heel:.3f} from row 5)"
    assert hit.explanation == f"{hit.score:.3f} = {parts}"


# The command line ---------------------------------------------------------------------------------


def test_the_command_line_says_weights_and_amounts_behind_what_they_are_of(run, capsys):
    argv = "--query 1 --weight 2 --query kind=boots --unlike 7 --weight 0.5 --towards heel=higher --amount 0.3"
    assert main(["search", str(run.root), *argv.split(), "--towards", "kind=boots", "-k", "2", "--json"]) == 0
    hits = mscon.open_index(run).search(
        [(1, 2), "kind=boots"], unlike=[(7, 0.5)], towards={"heel": ("higher", 0.3), "kind": "boots"}, k=2
    )
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(hits.to_json()))
    assert main(["search", str(run.root), *argv.split(), "-k", "2", "--explain"]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" by heel (") == 2 and "from unlike row 7" in printed


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--weight 2 --query 1", "must stand behind the --query or --unlike that it is of"),
        ("--query 1 --weight 2 --weight 3", "must stand behind the --query or --unlike that it is of, once"),
        ("--query 1 --towards kind=boots --weight 2", "must stand behind the --query or --unlike"),
        ("--query 1 --amount 0.5", "must stand behind the --towards"),
        ("--query 1 --towards kind=boots --amount 2", "must be a number from 0 to 1"),
        ("--query 1 --weight much", "must be a number, 0 or above"),
        ("--query 1 --weight 0", "must be a number above 0"),
        ("--query 1 --towards gender=men", "has no similarity"),
        ("--query 1 --towards kind=bots", "Did you mean 'boots'"),
    ],
)
def test_a_mistake_in_a_composed_query_is_one_message_and_status_2(run, capsys, argv, words):
    try:
        status = main(["search", str(run.root), *argv.split()])
    except SystemExit as error:  # of argparse
        status = error.code
    assert status == 2
    output = capsys.readouterr()
    assert words in output.err and "Traceback" not in output.err and output.out == ""
