"""Parts of the page that are numbers before they are pictures."""

from __future__ import annotations

import tomllib
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from mscon.cli import main
from mscon.evaluate.page.thumbnails import EXACT, data_uri
from mscon.evaluate.report.confusion import MOST_CLASSES, confusion
from mscon.evaluate.report.environment import bibtex
from mscon.evaluate.report.gather import gather
from mscon.evaluate.report.neighbours import grid, nearest
from mscon.evaluate.report.training import curves, endings, series, thin, ticks, verdict_on
from mscon.method import catalogue

from .runs import make_images

# Curves ---------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50), st.integers(1, 10))
def test_bins_keep_the_mean(values, bins):
    steps = np.arange(1.0, len(values) + 1)
    edges = np.linspace(0, steps[-1], bins + 1)
    x, y = thin(steps, np.array(values), edges)
    count = np.bincount(np.digitize(steps, edges[1:-1], right=True), minlength=bins)
    assert np.nansum(y * count) == pytest.approx(sum(values), abs=1e-9)
    assert (np.diff(x[~np.isnan(x)]) > 0).all()
    if bins == len(values):
        assert y.tolist() == values, "as many bins as records keep every record"


def test_a_similarity_absent_from_a_batch_leaves_a_gap_and_no_zero():
    log = [
        {"kind": "step", "step": 1, "loss": {"a": 2.0}},
        {"kind": "step", "step": 2, "loss": {"a": None}},
        {"kind": "validation", "step": 2, "loss": {"a": 9.0}},
        {"kind": "step", "step": 3, "loss": {"b": 7.0}},
        {"kind": "step", "step": 4},
        {"kind": "step", "step": 5, "loss": {"a": 4.0}},
    ]
    steps, values = series(log, "step", "loss", "a")
    assert steps.tolist() == [1, 5]
    assert values.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("excess", "validation", "words"),
    [
        (0.5, 0.05, "learnt"),
        (0.05, None, "learnt"),
        (0.05, 0.95, "hardly learnt, memorised"),
        (0.3, 0.3, "mostly learnt"),
        (0.7, None, "partly learnt"),
        (None, None, "not logged"),
    ],
)
def test_the_verdict_follows_the_validation_rows(excess, validation, words):
    assert verdict_on(excess, validation) == words


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_ticks_are_few_round_and_within_the_axis(low, extent):
    places = ticks(low, low + extent)
    assert 1 <= len(places) <= 6
    assert all(low - 1e-6 <= place <= low + extent + 1e-6 for place in places)
    assert len({round(b - a, 6) for a, b in pairwise(places)}) <= 1


def test_weights_are_drawn_where_they_change(a_run):
    changing, constant = a_run("a"), a_run("b", title="equal")
    log = constant.read_log()
    (constant.root / "log.jsonl").unlink()
    for record in log:
        constant.append_log(record | ({"weight": dict.fromkeys(record["weight"], 1.0)} if "weight" in record else {}))

    def titles(run):
        return [[chart.title for chart in one.charts] for one in curves(gather([run]).methods)]

    assert all("Weight in the total loss" in of_column for of_column in titles(changing))
    assert not any("Weight in the total loss" in of_column for of_column in titles(constant))


def test_lines_lie_within_their_chart_and_begin_where_training_does(a_run):
    for one in curves(gather([a_run("a"), a_run("b", seed=1)]).methods):
        for chart in one.charts:
            (line,) = chart.lines
            points = np.array([pair.split(",") for pair in line.mean.split()], dtype=float)
            assert (np.diff(points[:, 0]) > 0).all()
            assert points.min() >= 8 and 300 < points[:, 0].max() <= 314 and points[:, 1].max() <= 166
            assert len(line.seeds) == 2 and len(line.values) == len(one.ends) == 5


def test_the_end_of_training_is_a_mean_over_seeds(a_run):
    methods = gather([a_run("a"), a_run("b", seed=1)]).methods
    by_column = {record.column: record for record in endings(methods)}
    ends = [series(m.run.read_log(), "step", "loss", "slant")[1][-2:].mean() for m in methods[0].members]
    assert by_column["slant"].loss == pytest.approx(np.mean(ends))
    assert by_column["slant"].share == pytest.approx(0.97)


# Neighbours -----------------------------------------------------------------------------------------


def test_the_nearest_are_by_angle_and_never_the_row_itself():
    vectors = np.array([[1, 0], [2, 0.1], [0, 5], [-1, 0], [0.9, 0.2]], dtype=np.float32)
    rows, cosines = nearest(vectors, np.array([0, 2]), np.arange(5), count=3)
    assert rows.tolist() == [[1, 4, 2], [4, 1, 0]]
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert cosines[0, 2] == pytest.approx(0)


def test_a_query_finds_only_rows_of_the_gallery():
    vectors = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    gallery = np.array([3, 7, 11, 20])
    rows, _ = nearest(vectors, np.array([7]), gallery, count=6)
    assert sorted(rows[0].tolist()) == [3, 11, 20]


def test_agreement_follows_the_labels_of_the_table(a_run, rows):
    gathered = gather([a_run("a")])
    neighbours = grid(gathered.methods[0].members[0], rows, gathered.labels)
    assert not neighbours.has_pictures
    assert "does not say where its images are" in neighbours.missing
    for query in neighbours.queries:
        assert rows["split"][query.row.number] == "test"
        assert [one.by for one in query.nearest] == ["features", "character", "slant"]
        for one in query.nearest[1:]:
            for near in one.neighbours:
                mine, theirs = rows[one.by][query.row.number], rows[one.by][near.row.number]
                assert near.word == ("unknown" if None in (mine, theirs) else "same" if mine == theirs else "different")
                assert rows["split"][near.row.number] in ("test", "unseen")


def grid_of(run, rows):
    gathered = gather([run])
    return grid(gathered.methods[0].members[0], rows, gathered.labels)


def with_input(run, **data):
    """The same run, as if something else than images had been encoded."""
    path = run.root / "recipe.toml"
    recipe = tomllib.loads(path.read_text("utf-8"))
    path.write_text(tomli_w.dumps(recipe | {"data": recipe["data"] | data}), "utf-8")
    (run.root / "checksums.jsonl").unlink()
    return run


def test_texts_are_shown_as_neighbours(a_run, rows):
    table = rows.with_columns(text=pl.Series([f"sentence {n} " + "x" * 200 for n in range(rows.height)]))
    neighbours = grid_of(with_input(a_run("a", table), input="text"), table)
    assert neighbours.missing == "" and not neighbours.has_pictures
    for query in neighbours.queries:
        for near in query.nearest[0].neighbours:
            ((column, cell),) = near.row.cells
            assert column == "" and cell.startswith(f"sentence {near.row.number} ") and len(cell) == 160


def test_rows_of_columns_show_cells_that_are_no_labels_with_their_columns(a_run, rows):
    table = rows.with_columns(
        width=pl.Series([f"{n}" for n in range(rows.height)]),
        name=pl.Series([f"thing {n}" for n in range(rows.height)]),
    )
    run = with_input(a_run("a", table), input="columns", numbers=["width"])
    for query in grid_of(run, table).queries:
        number = query.row.number
        assert query.row.cells == (("name", f"thing {number}"), ("width", f"{number}"))
        assert query.row.name == f"line {table['line'][number]}"


def test_a_folder_of_images_for_rows_that_are_none_is_refused(a_run, tmp_path, capsys):
    run = with_input(a_run("a"), input="columns", numbers=["family"])
    assert main(["report", str(run.root), "--images", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    assert "was not trained on images. Leave out --images." in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_pictures_that_cannot_be_read_are_counted_and_the_others_shown(a_run, rows, tmp_path):
    make_images(tmp_path / "images", rows)
    run = a_run("a", images=tmp_path / "images")
    for name in rows["image"].to_list()[::3]:
        (tmp_path / "images" / name).unlink()
    neighbours = grid_of(run, rows)
    shown = {row.number: row for query in neighbours.queries for row in (query.row, *of_all(query))}
    gone = sorted(number for number in shown if number % 3 == 0)
    assert all((row.uri is None) == (number in gone) for number, row in shown.items())
    (note,) = neighbours.notes
    assert note.startswith(f"{len(gone)} of {len(shown)} pictures could not be read, the first is '{gone[0]:04d}.png'")
    assert str(tmp_path) not in note
    assert (
        f"(looked in '{tmp_path / 'images'}', where it does not exist). If the pictures moved, pass --images DIR."
        in (neighbours.missing)
    )


def of_all(query):
    return [near.row for one in query.nearest for near in one.neighbours]


def test_images_that_moved_are_found_where_the_user_says(a_run, rows, tmp_path, capsys):
    make_images(tmp_path / "moved", rows)
    run = a_run("a", images=tmp_path / "gone")
    arguments = ["report", str(run.root), "--no-maps", "--out", str(tmp_path / "page.html")]
    assert main(arguments) == 0
    assert "None of the" in (note := capsys.readouterr().err) and "pass --images DIR" in note
    assert main([*arguments, "--images", str(tmp_path / "moved"), "--title", "Shoes <b>"]) == 0
    assert capsys.readouterr().err == ""
    page = (tmp_path / "page.html").read_text("utf-8")
    assert 'src="data:image/webp;base64,' in page and "<h1>Shoes &lt;b&gt;</h1>" in page
    assert main([*arguments, "--images", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(1, 24, 24), (3, 24, 24), (3, 224, 224), (1, 112, 112)])
def test_a_thumbnail_is_small(shape):
    image = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    uri = data_uri(image, exact=shape[1] <= EXACT)
    assert uri.startswith("data:image/webp;base64,")
    assert len(uri) < 16_000


# Confusions -----------------------------------------------------------------------------------------


def test_confusions_are_shares_of_the_true_class_and_mistakes_come_by_frequency():
    matrix = confusion("c", ["a", "b", "empty"], np.array([[6, 2, 0], [5, 5, 0], [0, 0, 0]]))
    assert [(m.true, m.predicted, m.rows, m.share) for m in matrix.mistakes] == [
        ("b", "a", 5, 0.5),
        ("a", "b", 2, 0.25),
    ]
    assert matrix.counts == ((6, 2, 0), (5, 5, 0), (0, 0, 0))


def test_many_classes_have_mistakes_but_no_table():
    counts = np.eye(MOST_CLASSES + 1, dtype=int)
    counts[0, 1] = 3
    matrix = confusion("c", [str(i) for i in range(MOST_CLASSES + 1)], counts)
    assert matrix.counts == ()
    assert len(matrix.mistakes) == 1


# Citations ------------------------------------------------------------------------------------------


def recipe(*kinds: str, objective: str = "supcon", weighting: str = "equal") -> dict:
    return {
        "similarity": [{"column": str(i), "name": kind} for i, kind in enumerate(kinds)],
        "objective": {"name": objective},
        "weighting": {"name": weighting},
    }


def with_own(plain: dict, objective: str) -> dict:
    """The last similarity with an objective of its own."""
    plain["similarity"][-1]["objective"] = {"name": objective}
    return plain


def test_every_objective_has_its_source_and_its_settings_and_regularisers_theirs():
    for objective in set(catalogue.names("objective")) - {"supcon", "cross_entropy"}:
        cited = bibtex([recipe("categorical", objective=objective)])
        assert cited.count("@") == 2, objective
        assert cited != bibtex([recipe("categorical", objective="cross_entropy")])
    balanced = recipe("categorical")
    balanced["objective"]["balance"] = "classes"
    of_features = recipe("categorical") | {"train": {"vicreg": 1.0, "sigreg": 0.0}}
    for used, key in ((balanced, "zhu2022balanced"), (of_features, "bardes2022vicreg")):
        assert key in bibtex([used])
        assert key not in bibtex([recipe("categorical")])
    assert "balestriero2025lejepa" not in bibtex([of_features])


@pytest.mark.parametrize(
    ("used", "keys"),
    [
        (recipe("categorical", "categorical", weighting="uncertainty"), {"mscon", "supcon", "uncertainty"}),
        (recipe("categorical", "ordinal", weighting="excess_mtl"), {"mscon", "supcon", "excess"}),
        (recipe("categorical", "ordinal", weighting="torchjd"), {"mscon", "supcon", "jacobian"}),
        (recipe("categorical", weighting="torchjd"), {"mscon", "supcon"}),
        (recipe("same_row"), {"mscon", "simclr"}),
        (recipe("categorical", "same_row"), {"mscon", "supcon", "simclr"}),
        (recipe("categorical", objective="cross_entropy"), {"mscon"}),
        (with_own(recipe("categorical", "same_row", objective="cross_entropy"), "supcon"), {"mscon", "simclr"}),
    ],
)
def test_only_what_was_used_is_cited(used, keys):
    text = bibtex([used, used])
    names = {"mscon": "mu2023", "supcon": "khosla2020", "simclr": "chen2020", "uncertainty": "kendall2018"}
    names |= {"excess": "he2024", "jacobian": "quinton2024"}
    assert {key for key, name in names.items() if text.count(name) == 1} == keys
    assert "http" not in text
