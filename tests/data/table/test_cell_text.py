"""Numbers and cells as short text."""

from __future__ import annotations

import pytest

from mscon.data.table.cell_text import cell_text, number_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(18432.7, "18433"), (1000.0, "1000"), (999.96, "1000"), (2.33333, "2.333"), (0.0, "0"), (-12345.6, "-12346")],
)
def test_a_number_has_no_exponent_where_people_write_none(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("cell", "text"),
    [("446.0300299212526", "446.03"), ("007.123456", "007.123456"), ("12.50", "12.50"), ("1.2.3456789", "1.2.3456789")],
)
def test_only_a_number_with_a_long_fraction_is_rounded(cell, text):
    assert cell_text(cell) == text
