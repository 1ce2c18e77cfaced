"""JSON lines: one object per line, every bad line reported with its number; duplicate keys and NaN are refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from data.findings import Collector
from data.formats.base import Limits, Row, Source
from data.formats.lines import Lines, TooLong, broken_code

SNIFF_ROWS = 200
SNIFF_CHARS = 1 << 20


class BadLine(Exception):
    """A line that cannot be used, with its finding code."""

    def __init__(self, code: str, **params: Any) -> None:
        """Keep the code and what fills its message."""
        super().__init__(code)
        self.code, self.params = code, params


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise BadLine("duplicate_keys", name=name[:60])
    return made


def _constant(_: str) -> NoReturn:
    raise BadLine("not_finite")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadLine("not_finite")
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_number)


def parse_line(line: str, depth_limit: int) -> dict[str, Any]:
    """Parse one line into an object; raise BadLine with the finding code."""
    value = parse_value(line, depth_limit)
    if not isinstance(value, dict):
        raise BadLine("not_an_object")
    return value


def parse_value(line: str, depth_limit: int) -> Any:
    """Parse one JSON text; raise BadLine with the finding code."""
    code = broken_code(line)
    if code:
        raise BadLine(code, encoding="UTF-8")
    if line.count("{") + line.count("[") > depth_limit and _depth(line) > depth_limit:
        raise BadLine("json_too_deep", limit=depth_limit)
    try:
        value = _decoder.decode(line)
    except json.JSONDecodeError as error:
        raise BadLine("invalid_json", reason=f"column {error.colno}: {error.msg}") from error
    except ValueError as error:
        raise BadLine("not_finite") from error
    if "\\u" in line and (code := _broken_inside(value)):
        raise BadLine(code, encoding="UTF-8")
    return value


def _depth(line: str) -> int:
    """Deepest nesting of brackets outside strings, found without recursion."""
    depth = deepest = 0
    in_string = escaped = False
    for char in line:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}]":
            depth -= 1
    return deepest


def _broken_inside(value: Any) -> str | None:
    """Look for characters that escapes smuggled in: halves of surrogate pairs and NUL."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item:
                return "nul_bytes"
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                return "lone_surrogates"
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return None


def open_jsonl(path: Path, encoding: str, collector: Collector, limits: Limits) -> Source | None:
    """Open JSON lines; the columns are the keys of the first rows, in order of appearance."""
    reader = _Reader(path, encoding, collector, limits)
    columns = reader.sniff_columns()
    return Source(kind="jsonl", columns=columns, read=reader.rows, encoding=encoding, raw=lambda: reader.raw)


class _Reader:
    """One pass over a JSONL file; row numbers are physical line numbers."""

    def __init__(self, path: Path, encoding: str, collector: Collector, limits: Limits) -> None:
        self.path, self.encoding = path, encoding
        self.collector, self.limits = collector, limits
        self.raw = ""

    def sniff_columns(self) -> list[str]:
        """Keys that at least a tenth of the first rows have; a scratch collector keeps findings from doubling."""
        scratch = _Reader(self.path, self.encoding, Collector(), self.limits)
        tally: Counter[str] = Counter()
        seen = 0
        for row in islice(scratch.rows(), SNIFF_ROWS):
            tally.update(row.values.keys())
            seen += 1
        return [name for name, count in tally.items() if count * 10 >= seen][: self.limits.columns]

    def rows(self) -> Iterator[Row]:
        """Yield usable rows; report the others."""
        lines = Lines(self.path, self.encoding, self.limits.line_chars, universal=False)
        try:
            for line in lines:
                if lines.number > self.limits.rows:
                    self.collector.add("too_many_rows", params={"limit": f"{self.limits.rows:,}"})
                    return
                row = self._row(line, lines.number)
                if row:
                    yield row
        except TooLong as error:
            self.collector.add("line_too_long", line=error.line,
                               params={"line": error.line, "limit": f"{self.limits.line_chars:,}"})  # fmt: skip

    def _row(self, line: str, number: int) -> Row | None:
        body = self.raw = line.strip()
        if not body:
            self.collector.add("blank_lines", line=number)
            return None
        try:
            return Row(number, parse_line(body, self.limits.json_depth), number)
        except BadLine as bad:
            cut = bad.code == "invalid_json" and number > 1 and not line.endswith("\n")
            code = "last_line_cut" if cut else bad.code
            params = {"line": number} if cut else bad.params
            known = self.collector.get(code)
            # The first reason stays in the words; later lines only add to the count.
            self.collector.add(code, row=number, line=number, snippet=body, params=None if known else params)
            return None
