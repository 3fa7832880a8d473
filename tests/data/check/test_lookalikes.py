"""Values that people take for one, and words for "missing"."""

from __future__ import annotations

import pytest

from mscon.data.check.lookalikes import lookalikes


@pytest.mark.parametrize(
    "group",
    [
        ("Red", "red"),
        ("True", "true"),
        ("two words", "two  words"),
        ("two words", "two\N{NO-BREAK SPACE}words"),
        ("ros\N{LATIN SMALL LETTER E WITH ACUTE}", "rose\N{COMBINING ACUTE ACCENT}"),
        ("red", "red\N{ZERO WIDTH SPACE}"),
        ("red", "\N{LEFT-TO-RIGHT MARK}red"),
        ("1", "1.0"),
        ("007", "07", "7"),
        ("1e3", "1000"),
        ("\N{LATIN SMALL LIGATURE FI}sh", "fish"),
    ],
)
def test_values_that_look_alike_are_told_with_their_counts(group):
    counts = {value: number for number, value in enumerate(group, 3)} | {"blue": 9, "12": 1}
    (sentence,) = lookalikes(counts)
    assert sentence.startswith(f"{len(group)} values look like 1 value but count as different: ")
    assert all(f"{number:,}" in sentence for number in range(3, 3 + len(group)))
    assert "blue" not in sentence
    # Each is printed so that it can be told from the others.
    shown = sentence.partition(": ")[2].partition(". If")[0].split(" and ")
    visible = ["".join(letter for letter in one if letter.isprintable()) for one in shown]
    assert len(set(visible)) == len(group)


def test_values_that_differ_are_no_lookalikes():
    assert (
        lookalikes({"red": 1, "reds": 2, "rose": 3, "ros\N{LATIN SMALL LETTER E WITH ACUTE}": 1, "1": 2, "10": 3}) == ()
    )
    assert lookalikes({"Ma\N{LATIN SMALL LETTER SHARP S}e": 1, "Masse": 2}) == ()


def test_several_groups_are_counted_and_some_named():
    counts = {f"{letter}{number}": 1 for number in range(9) for letter in "aA"}
    (sentence,) = lookalikes(counts)
    assert sentence.startswith("18 values look like 9 values")
    assert "and 5 more" in sentence


@pytest.mark.parametrize("word", ["NA", "nan", "None", "null", "N/A", "#N/A", "<NA>", "unknown", "?", "-"])
def test_words_for_missing_are_told(word):
    (sentence,) = lookalikes({"red": 5, word: 12})
    assert sentence.startswith(f"{word!r} 12: a value like any other here.")
    assert "empty these cells" in sentence
