"""Is the first line a header, and what are the columns called?"""

from __future__ import annotations

import re
from collections import Counter

from data.findings import Collector

KNOWN_NAMES = """
    text label labels category intent class target message sentence utterance query question content body comment review
    description title subject prompt completion response answer id row_id uuid index split tag topic sentiment document
    input output instruction name date time timestamp created_at email phone score rating language lang source url
    complaint feedback note notes remark ticket type priority status product customer user
"""
KNOWN = frozenset(KNOWN_NAMES.split())
NAME_CHARS = 64
NAME_LIMIT = 200
NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")


def normal(name: str) -> str:
    """Return a column name lower-cased, with blanks and dashes as underscores."""
    return re.sub(r"[\s\-.]+", "_", name.strip().casefold()).strip("_")


def looks_like_data(header: list[str], rows: list[list[str]]) -> bool:
    """Tell whether the first line is more likely an example than a header.

    A known column name settles it. Otherwise a value of the first line that returns further down, a sentence, a long
    value or a number speak for data.
    """
    if any(normal(cell) in KNOWN for cell in header):
        return False
    body = [row for row in rows if len(row) == len(header)]
    for index, cell in enumerate(header):
        value = cell.strip()
        if value and sum(row[index].strip() == value for row in body) >= 2:
            return True
        if len(value) > NAME_CHARS or value.count(" ") >= 4 or value.endswith(("?", "!", ".")):
            return True
        if NUMBER.fullmatch(value):
            return True
    return False


def name_columns(header: list[str], collector: Collector) -> list[str]:
    """Return unique, non-empty column names, reporting the ones that had to be changed."""
    cleaned = [cell.replace("\0", "").strip()[:NAME_LIMIT] for cell in header]
    tally = Counter(cleaned)
    names: list[str] = []
    for position, name in enumerate(cleaned, start=1):
        if not name:
            name = _free(f"column_{position}", names)
            collector.add("unnamed_column", key=name, line=1, params={"position": position, "renamed": name})
        elif name in names:
            times = tally[name]
            fresh = _free(f"{name}_2", names)
            params = {"column": name, "times": times, "renamed": fresh}
            collector.add("duplicate_columns", key=name, line=1, params=params)
            name = fresh
        names.append(name)
    return names


def _free(name: str, taken: list[str]) -> str:
    stem, number = name.rstrip("0123456789"), 2
    while name in taken:
        number += 1
        name = f"{stem}{number}"
    return name
