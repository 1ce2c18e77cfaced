"""No cell of somebody else's making runs as a formula, and every other cell stays as it is."""

import csv
import io

import pytest

from kit.spreadsheets import csv_line, safe


@pytest.mark.parametrize(
    "value", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\u00a0=1", "\r=1", "\n=1", "|cmd", "%0A", "\uff1d1"]
)
def test_a_cell_that_opens_like_a_formula_is_made_text(value: str) -> None:
    assert safe(value).startswith("'")
    assert safe(value).replace("'", "") == value


@pytest.mark.parametrize("value", ["a;=1", "a\t=1", "a\r\n=1", "a; @x"])
def test_a_sign_where_other_countries_cut_is_made_text(value: str) -> None:
    at = next(place for place, sign in enumerate(value) if sign in "=@ ")
    assert safe(value) == value[:at] + "'" + value[at:]


@pytest.mark.parametrize("value", ["", "ada@example.com", "1,204", "{}", "a - b", "5 %", -1, 0.5, None])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert safe(value) == value


def test_a_line_is_quoted_and_ends_as_the_standard_wants() -> None:
    line = csv_line(["=1", 'say "hi"', "two\nlines", 3])
    assert line.endswith("\r\n")
    assert next(csv.reader(io.StringIO(line, newline=""))) == ["'=1", 'say "hi"', "two\nlines", "3"]
