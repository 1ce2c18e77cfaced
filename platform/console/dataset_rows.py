"""Rows of a dataset version for its browser: one page of our own Parquet file, with what was found in its rows."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from console.dataset_page import Found
from console.paging import SIZE, Page, whole
from data import selectors
from data.columns import CLASSIFICATION
from data.models import DatasetVersion, File
from data.rows import RowFilter, text_of

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Chip:
    """One part of a filter in words, and the names it has in the query."""

    name: str
    words: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LengthBin:
    """Texts of `low` to `high` characters, both included; `share` is of the fullest bin."""

    low: int
    high: int
    count: int
    share: float

    @property
    def gap(self) -> float:
        """What of the height lies over the bar."""
        return 1 - self.share


MOST_BINS = 6


def length_bins(version: DatasetVersion) -> list[LengthBin]:
    """A histogram of the lengths of a version's texts to filter by, of all its rows; none where none was kept."""
    histogram = version.profile.get("lengths", {}).get("characters", {}).get("histogram")
    if not histogram or version.task != CLASSIFICATION:
        return []
    edges, counts = histogram["edges"], histogram["counts"]
    step = max(1, -(-len(counts) // MOST_BINS))
    sums = [
        (edges[i], edges[min(i + step, len(counts))] - 1, sum(counts[i : i + step]))
        for i in range(0, len(counts), step)
    ]
    most = max((count for _low, _high, count in sums), default=0) or 1
    return [LengthBin(low, high, count, count / most) for low, high, count in sums]


@dataclass(frozen=True, slots=True)
class Filter:
    """What the reader asked for; empty parts ask for nothing. `row` is a place to go to, not a filter."""

    label: str = ""
    split: str = ""
    text: str = ""
    finding: str = ""
    shortest: int | None = None
    longest: int | None = None
    behind: int = 0
    row: int | None = None

    @property
    def active(self) -> bool:
        """Whether anything is filtered."""
        ends = self.shortest is not None or self.longest is not None
        return bool(self.label or self.split or self.text or self.finding or ends)

    def chips(self, titles: Mapping[str, str]) -> list[Chip]:
        """What is filtered, each with the query's names that a reader takes away; `titles` are those of findings."""
        low, high = self.shortest, self.longest
        if low is not None and high is not None:
            length = _("%(low)s–%(high)s characters") % {"low": f"{low:,}", "high": f"{high:,}"}
        elif low is not None:
            length = _("%(low)s characters or more") % {"low": f"{low:,}"}
        else:
            length = _("%(high)s characters or fewer") % {"high": f"{high:,}"} if high is not None else ""
        asked = (
            (_("text"), _("text contains %(what)s"), self.text, ("q",)),
            (_("label"), _("label = %(what)s"), self.label, ("label",)),
            (_("split"), _("split = %(what)s"), self.split, ("split",)),
            (_("finding"), _("finding: %(what)s"), titles.get(self.finding, self.finding), ("finding",)),
            (_("length"), "%(what)s", length, ("min", "max")),
        )
        return [Chip(name, words % {"what": what}, keys) for name, words, what, keys in asked if what]

    @classmethod
    def read(cls, query: Any) -> "Filter":
        """From a query string; what makes no sense is left out."""
        split, row = query.get("split", ""), query.get("row", "").replace(",", "").strip()
        return cls(
            label=query.get("label", "")[:200],
            split=split if split in SPLITS else "",
            text=query.get("q", "").strip()[:200],
            finding=query.get("finding", "")[:40],
            shortest=whole(query.get("min")),
            longest=whole(query.get("max")),
            behind=whole(query.get("behind")) or 0,
            row=whole(row),
        )

    def where(self, file: File | None) -> RowFilter:
        """The same for the data room; findings name the rows of the version's first file."""
        rows = selectors.rows_of_finding(file, self.finding) if self.finding and file is not None else None
        return RowFilter(
            label=self.label or None,
            split=self.split or None,
            rows=rows,
            text=self.text,
            shortest=self.shortest,
            longest=self.longest,
            behind=self.behind,
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One row as the table shows it."""

    row_id: int
    text: str
    length: int
    split: str
    label: str
    answer: str
    turns: Sequence[Turn]
    found: Sequence[str]
    here: bool


def page_of_row(version: DatasetVersion, where: RowFilter, row: int) -> int:
    """The number of the page on which a row stands, or the next one if it is not among the rows."""
    with selectors.version_file(version) as rows:
        return rows.place(where, row) // SIZE + 1


def rows_page(
    version: DatasetVersion, wanted: Filter, number: int, *, file: File | None, findings: Sequence[Found]
) -> tuple[Page[Line], int | None]:
    """One page of the rows that pass, in the order of the upload; a number past the end gives the last page.

    The second part is the row at which a search of long texts stopped, None when all were looked at.
    """
    where = wanted.where(file)
    with selectors.version_file(version) as source:
        rows, total = source.page(where, offset=(number - 1) * SIZE, limit=SIZE)
        last = max(1, -(-total // SIZE))
        if number > last:
            number, (rows, total) = last, source.page(where, offset=(last - 1) * SIZE, limit=SIZE)
        stopped = source.stopped_at
    titles = _titles(file, {row["row_id"] for row in rows}, findings)
    lines = [_line(row, titles.get(row["row_id"], ()), wanted.row) for row in rows]
    return Page(lines, number, total), stopped


def _titles(file: File | None, shown: set[int], findings: Iterable[Found]) -> Mapping[int, list[str]]:
    """What is (still) wrong with the rows of a page."""
    open_codes = {finding.code: finding.title for finding in findings if not finding.fixed}
    titles: dict[int, list[str]] = {}
    if file is None or not open_codes or not shown:
        return titles
    for code, rows in selectors.findings(file).filter(code__in=open_codes).values_list("code", "rows"):
        for row in shown.intersection(rows):
            known = titles.setdefault(row, [])
            if open_codes[code] not in known:
                known.append(open_codes[code])
    return titles


def _line(row: Mapping[str, Any], found: Sequence[str], here: int | None) -> Line:
    messages = row.get("messages")
    turns = [_turn(message) for message in messages] if isinstance(messages, list) else []
    text = text_of(row) if not turns else next((t.text for t in reversed(turns) if t.role == "user"), turns[0].text)
    answer = str(row.get("completion") or "") or next((t.text for t in reversed(turns) if t.role == "assistant"), "")
    return Line(
        row_id=int(row["row_id"]),
        text=text,
        length=sum(len(turn.text) for turn in turns) or len(text),
        split=str(row["split"]),
        label=str(row.get("label") or ""),
        answer=answer,
        turns=turns,
        found=found,
        here=row["row_id"] == here,
    )


def _turn(message: Any) -> Turn:
    """A message in words; calls of tools as the JSON they are."""
    if not isinstance(message, dict):
        return Turn("", str(message))
    content = message.get("content")
    parts = [content] if isinstance(content, str) else [json.dumps(content, ensure_ascii=False)] if content else []
    if message.get("tool_calls"):
        parts.append(json.dumps(message["tool_calls"], ensure_ascii=False))
    return Turn(str(message.get("role", "")), "\n".join(parts))
