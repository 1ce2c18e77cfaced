"""Findings: problems in a dataset, grouped by a stable code, with exact counts and a bounded list of rows.

A collector keeps memory bounded however bad a file is: the count is always exact, the row numbers are the first
`MAX_ROWS`, and only the first few rows carry a snippet. Snippets are shortened and personal data in them is masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from data.checks.codes import CODES, LEVELS, Code
from data.privacy import mask

MAX_ROWS = 1_000
MAX_SAMPLES = 5
MAX_GROUPS = 400
SNIPPET_CHARS = 120


def shorten(text: str, limit: int = SNIPPET_CHARS) -> str:
    """Return `text` on one line, at most `limit` characters, personal data masked and control characters shown."""
    head = text[: limit * 4]
    shown = "".join(_visible(char) for char in head)
    shown = mask(shown)
    return shown if len(shown) <= limit and len(head) == len(text) else shown[: limit - 1] + "…"


def _visible(char: str) -> str:
    if char == "\n":
        return "⏎"
    if char == "\t":
        return "→"
    return char if char.isprintable() else f"\\x{ord(char):02x}"


def _clean(value: Any) -> Any:
    """Make a parameter fit for JSON in a database: no NUL, no half characters."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return value


@dataclass(slots=True)
class Sample:
    """One place where a finding was seen: row as uploaded (1-based), physical line where known, masked snippet."""

    row: int | None
    line: int | None
    snippet: str

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"row": self.row, "line": self.line, "snippet": self.snippet}


@dataclass(slots=True)
class Finding:
    """All occurrences of one problem. `key` tells two groups of one code apart (a column, a pair of labels); `last` is
    the highest row number, which `rows` may be too short to hold."""

    code: str
    key: str = ""
    count: int = 0
    last: int = 0
    rows: list[int] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def definition(self) -> Code:
        """The registry entry behind the code."""
        return CODES[self.code]

    @property
    def level(self) -> str:
        """`blocking`, `warning` or `note`."""
        return self.definition.level

    def text(self, template: str) -> str:
        """Fill one of the registry's templates with this finding's numbers."""
        return template % {"count": f"{self.count:,}", **self.params}

    @property
    def message(self) -> str:
        """What was found, in English."""
        return self.text(self.definition.one if self.count == 1 else self.definition.message)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form: code, level, words, count, rows, samples, fix."""
        words = self.definition
        return {
            "code": self.code,
            "key": self.key,
            "level": words.level,
            "title": words.title,
            "message": self.message,
            "expected": words.expected,
            "hint": self.text(words.hint),
            "fix": words.fix,
            "count": self.count,
            "rows": self.rows,
            "rows_complete": len(self.rows) == self.count,
            "samples": [sample.as_dict() for sample in self.samples],
            "params": self.params,
        }


class Collector:
    """Gathers findings while a file streams past."""

    def __init__(self) -> None:
        """Start empty."""
        self._groups: dict[tuple[str, str], Finding] = {}

    def add(
        self,
        code: str,
        *,
        key: str = "",
        row: int | None = None,
        line: int | None = None,
        snippet: str = "",
        params: Mapping[str, Any] | None = None,
        count: int = 1,
    ) -> Finding:
        """Count one occurrence (or `count`) of `code`; unknown codes raise KeyError (a fault of ours)."""
        finding = self._group(code, key)
        finding.count += count
        if params:
            finding.params.update({name: _clean(value) for name, value in params.items()})
        if row is not None:
            finding.last = max(finding.last, row)
            if len(finding.rows) < MAX_ROWS:
                finding.rows.append(row)
        if len(finding.samples) < MAX_SAMPLES and (snippet or row is not None or line is not None):
            finding.samples.append(Sample(row, line, shorten(snippet)))
        return finding

    def add_rows(
        self,
        code: str,
        rows: Iterable[tuple[int, str]],
        *,
        key: str = "",
        params: Mapping[str, Any] | None = None,
    ) -> None:
        """Count many occurrences at once: (row, snippet) pairs in the order they should be shown."""
        for row, snippet in rows:
            self.add(code, key=key, row=row, snippet=snippet, params=params)

    def _group(self, code: str, key: str) -> Finding:
        group = self._groups.get((code, key))
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                key = ""
                group = self._groups.get((code, key))
            if group is None:
                _ = CODES[code]
                group = self._groups[(code, key)] = Finding(code, key)
        return group

    def __iter__(self) -> Iterator[Finding]:
        """Yield findings, blocking first, then by count."""
        order = {level: index for index, level in enumerate(LEVELS)}
        return iter(sorted(self._groups.values(), key=lambda f: (order[f.level], -f.count, f.code, f.key)))

    def __contains__(self, code: object) -> bool:
        """Tell whether a code was seen."""
        return any(found == code for found, _ in self._groups)

    def get(self, code: str, key: str = "") -> Finding | None:
        """Return one group, or None."""
        return self._groups.get((code, key))

    def levels(self) -> dict[str, int]:
        """Number of finding groups per level, all three levels present."""
        tally = dict.fromkeys(LEVELS, 0)
        for finding in self._groups.values():
            tally[finding.level] += 1
        return tally

    @property
    def fatal(self) -> Finding | None:
        """The finding that made the file unreadable, if any."""
        return next((finding for finding in self if finding.definition.fatal), None)
