"""CSV that a spreadsheet may open: no cell of somebody else's making runs as a formula.

A cell that opens with `=`, `+`, `-`, `@`, `|`, `%` (or the full-width forms, blanks before them or not), a tab or a
line end gets an apostrophe before it; so does such a sign after a semicolon, a tab or a line end inside a cell, because
a spreadsheet of a country that separates by semicolons cuts there. Every cell is quoted. Numbers stay numbers. What
needs the exact characters should be read from a JSON form, which nothing here touches.
"""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

BOM = "\ufeff"
"""Opens a file meant for spreadsheets: without it Excel takes UTF-8 for the local code page."""
_SIGN = "[ \u00a0]*[=+\\-@|%\uff1d\uff0b\uff0d\uff20]"
_OPENS = re.compile(f"\\A(?=[\t\r\n]|{_SIGN})")
_INSIDE = re.compile(f"(?<=[;\t\r\n])(?={_SIGN})")


def safe(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe; other values stay as they are."""
    return _INSIDE.sub("'", _OPENS.sub("'", value)) if isinstance(value, str) else value


def csv_line(cells: Sequence[Any]) -> str:
    """One line, every cell safe and quoted, ended by CRLF as RFC 4180 wants it."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow([safe(cell) for cell in cells])
    return out.getvalue()
