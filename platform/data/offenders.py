"""The rows that findings name, as uploaded, one JSON line each: for people who mend their file elsewhere.

What a row shows by itself (ragged, empty, broken) is found while the file streams past once. What only the whole set
shows (copies, conflicts, lengths) takes a pass before, which remembers numbers alone. Nothing is cut at the thousand
rows that a finding lists.

Runs as a subprocess (`python -m data.offenders REQUEST.json`); each line is
`{"row", "line", "code", "key", "content"}`, in the order of the file.
"""

from __future__ import annotations

import json
import re
import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.checks.classification import ClassificationCheck, Rules
from data.checks.conversation import ConversationCheck
from data.columns import CLASSIFICATION, NEEDED, Roles
from data.findings import Collector, Finding
from data.formats import Options, Source, open_source
from data.guard import cap_memory

SET_CODES = frozenset(
    (
        "exact_duplicates", "duplicate_examples", "conflicting_labels", "near_duplicates", "split_leakage",
        "text_too_long", "label_spelling",
    )
)  # fmt: skip
"""Codes that only the whole set shows."""
BROKEN = re.compile("[\x00\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Offender:
    """One row under one finding. `content` is the row as it stands in the file."""

    row: int
    line: int | None
    code: str
    key: str
    content: str


class _Marks(Collector):
    """Remembers every row of the wanted codes that only the whole set shows."""

    def __init__(self, wanted: frozenset[str]) -> None:
        super().__init__()
        self.wanted = wanted
        self.rows, self.groups = array("q"), array("i")
        self.names: dict[tuple[str, str], int] = {}

    def add(self, code: str, *, key: str = "", row: int | None = None, **rest: Any) -> Finding:
        """Count as ever; keep the number."""
        if code in self.wanted and row is not None:
            self.rows.append(row)
            self.groups.append(self.names.setdefault((code, key), len(self.names)))
        return super().add(code, key=key, row=row, **rest)

    def by_row(self) -> dict[int, list[tuple[str, str]]]:
        """Row → its codes and keys."""
        names = list(self.names)
        order = np.argsort(np.array(self.rows, np.int64), kind="stable")
        found: dict[int, list[tuple[str, str]]] = {}
        for index in order.tolist():
            found.setdefault(self.rows[index], []).append(names[self.groups[index]])
        return found


class _Pending(Collector):
    """Holds what was reported since it was last emptied."""

    def __init__(self, wanted: frozenset[str]) -> None:
        super().__init__()
        self.wanted = wanted
        self.source: Source | None = None
        self.waiting: list[Offender] = []

    def add(self, code: str, *, key: str = "", row: int | None = None, line: int | None = None, **rest: Any) -> Finding:
        """Keep a wanted row with its content."""
        if code in self.wanted and row is not None and self.source is not None:
            self.waiting.append(Offender(row, line, code, key, shown(self.source.raw())))
        return super().add(code, key=key, row=row, line=line, **rest)

    def drain(self) -> Iterator[Offender]:
        """What is waiting."""
        yield from self.waiting
        self.waiting.clear()


def offenders(
    path: Path,
    wanted: frozenset[str],
    *,
    columns: Mapping[str, str],
    options: Options | None = None,
    rules: Rules | None = None,
    tokenizer: Path | None = None,
) -> Iterator[Offender]:
    """Stream the rows of the wanted finding codes, in the order of the file. `columns` are the roles in force."""
    roles, rules = Roles(columns), rules or Rules()
    marked: dict[int, list[tuple[str, str]]] = {}
    if wanted & SET_CODES:
        marks = _Marks(wanted & SET_CODES)
        source = open_source(path, marks, options=options)
        check = _check(roles, marks, rules, tokenizer)
        if source is None or check is None:
            return
        for row in source.rows():
            check.take(row)
        check.finish()
        marked = marks.by_row()
    pending = _Pending(wanted - SET_CODES)
    source = open_source(path, pending, options=options)
    if source is None:
        return
    pending.source = source
    look = _check(roles, pending, rules, None)
    for row in source.rows():
        if look is not None:
            look.look(row)
        yield from pending.drain()
        for code, key in marked.get(row.number, ()):
            yield Offender(row.number, row.line, code, key, shown(source.raw()))
    yield from pending.drain()


def _check(
    roles: Roles, collector: Collector, rules: Rules, tokenizer: Path | None
) -> ClassificationCheck | ConversationCheck | None:
    """The check of the roles' task; None while a column is missing, when rows have nothing to judge."""
    if any(roles.get(role) is None for role in NEEDED[roles.task]):
        return None
    if roles.task == CLASSIFICATION:
        return ClassificationCheck(roles, collector, rules, tokenizer)
    return ConversationCheck(roles, collector, rules.min_rows)


def shown(raw: str) -> str:
    """A row's characters; bytes that are none, and NUL, as \\xNN."""
    return BROKEN.sub(lambda found: f"\\x{ord(found.group()) & 0xFF:02x}", raw)


def main(argv: list[str]) -> int:
    """Print the rows that the request file asks for."""
    request = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    cap_memory(request.get("memory_bytes"))
    found = offenders(
        Path(request["path"]),
        frozenset(request["codes"]),
        columns=request["columns"],
        options=Options(**request.get("options", {})),
        rules=Rules(**request.get("rules", {})),
        tokenizer=Path(request["tokenizer"]) if request.get("tokenizer") else None,
    )
    for one in found:
        sys.stdout.write(json.dumps(asdict(one)) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
