"""What training refuses of recipe and similarities, `mscon check` refuses in the same words, all at once."""

from __future__ import annotations

import pytest

from mscon import Categorical, SupCon
from mscon.cli import main
from mscon.evaluate.gradient_conflict import objective_of
from mscon.run import recipe as recipes
from vector_table import write_table

HEAD = """
[data]
input = "vectors"
vectors = "points.npy"
[encoder]
name = "mlp"
settings = { units = 16, layers = 1 }
"""

KINDS = """
objective = { name = "dcl" }
[[similarity]]
column = "height"
name = "continuous"
[[similarity]]
column = "weight"
name = "continuous"
[[similarity]]
column = "kind"
objective = "supremix"
[[similarity]]
column = "mood"
objective = { name = "simlap", partners = "distinct" }
[[similarity]]
column = "shade"
name = "continuous"
objective = "cross_entropy"
"""

NEEDS = """
[views]
count = 1
[candidates]
warm_up = 3
[[similarity]]
column = "kind"
objective = "l_spread"
[[similarity]]
column = "mood"
objective = { name = "sepclr", background = "ill" }
[[similarity]]
name = "same_row"
objective = { name = "sepclr", background = "ill" }
"""

WORDS = {
    KINDS: (
        "objective 'dcl' compares with rows that are not alike in anything, of which similarity 'height' of kind "
        "Continuous has hardly any. Use objective 'sincere'",
        "similarity 'weight' of kind Continuous has hardly any",
        "objective 'supremix' mixes numbers, but similarity 'kind' is of kind Categorical. Use objective 'supcon'",
        "needs a third class to compare with, but similarity 'mood' has 2",
        "objective 'cross_entropy' needs classes, but similarity 'shade' is of kind Continuous",
    ),
    NEEDS: (
        "objective 'l_spread' of similarity 'kind' compares the views of a row, but the count of [views] is 1",
        "similarity 'same_row' compares the views of a row",
        "background is 'ill', but the classes of column 'mood' are g, h. Name the class of background rows",
        "warm_up is 3 but there is no memory to fill",
    ),
    '[[similarity]]\ncolumn = "kind"\nobjective = { name = "sepclr", background = "a" }\n': (
        "serves two similarities together: one of kind same_row",
        "one column of kind categorical that marks background rows. Here it serves 'kind' (Categorical)",
    ),
    'objective = { name = "cross_entropy" }\n[candidates]\nmemory_size = 9\n[[similarity]]\ncolumn = "kind"\n': (
        "asks for a memory, but objective 'cross_entropy' compares no rows",
    ),
    'objective = { name = "clip" }\n[[similarity]]\ncolumn = "kind"\n': (
        "'clip' is no objective of a recipe but part of mscon.cores",
        "such as a second input of each row",
    ),
}


def test_an_objective_that_serves_two_similarities_has_a_stand_in_for_one():
    text = '[[similarity]]\ncolumn = "kind"\n[objective]\nname = "sepclr"\nbackground = "a"\n'
    assert isinstance(objective_of(recipes.parse(text), 0, Categorical("kind", ("a", "b")), 4), SupCon)


@pytest.mark.parametrize("recipe", WORDS, ids=["kinds", "needs", "flag", "memory", "input"])
def test_check_refuses_what_train_refuses_all_at_once_and_nothing_is_written(recipe, tmp_path, capsys):
    table, file = write_table(tmp_path), tmp_path / "mine.toml"
    if recipe is KINDS:  # shade is read as numbers
        table.write_text(table.read_text().replace(",x,", ",1,").replace(",y,", ",2,").replace(",z,", ",3,"))
    file.write_text(recipe + HEAD)
    before, messages = sorted(tmp_path.iterdir()), []
    for verb in (["check"], ["train", "--out", str(tmp_path / "run")]):
        assert main([*verb, str(file), "--table", str(table)]) == 2
        messages.append(capsys.readouterr().err.partition("mscon: ")[2])  # behind which kinds are inferred
    assert messages[0] == messages[1]
    for words in WORDS[recipe]:
        assert words in messages[0]
    assert sorted(tmp_path.iterdir()) == before
