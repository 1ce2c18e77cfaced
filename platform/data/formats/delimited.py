"""CSV and TSV: delimiter and header found by looking, every odd row reported with its number and physical line."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.findings import Collector
from data.formats.base import Limits, Options, Row, Source
from data.formats.header import looks_like_data, name_columns
from data.formats.lines import Lines, TooLong, broken_code

DELIMITERS = (",", "\t", ";", "|")
SNIFF_CHARS = 1 << 16
SNIFF_ROWS = 100
FIELD_CHARS = 1 << 20

# The csv module keeps this cap per process; without it a quote never closed would eat the whole file.
csv.field_size_limit(FIELD_CHARS)


def open_delimited(path: Path, encoding: str, collector: Collector, options: Options, limits: Limits) -> Source | None:
    """Open a delimited file; None after a fatal finding."""
    sample = _head(path, encoding)
    delimiter = options.delimiter or sniff_delimiter(sample)
    first_rows = _parse(sample, delimiter)
    if not first_rows:
        collector.add("empty_file")
        return None
    header = first_rows[0]
    if len(header) > limits.columns:
        collector.add("too_many_columns", params={"found": len(header), "limit": limits.columns})
        return None
    has_header = options.has_header
    if has_header is None:
        has_header = not looks_like_data(header, first_rows[1:])
        if not has_header:
            collector.add("missing_header", line=1, snippet=delimiter.join(header),
                          params={"first": delimiter.join(header)[:80]})  # fmt: skip
    columns = name_columns(header, collector) if has_header else [f"column_{i}" for i in range(1, len(header) + 1)]
    quoting = csv.QUOTE_MINIMAL if delimiter != "\t" or tabs_quote(path, encoding, limits) else csv.QUOTE_NONE
    dialect = {"delimiter": delimiter, "quoting": quoting}
    reader = _Reader(path, encoding, dialect, columns, has_header, collector, limits)
    return Source(
        kind="tsv" if delimiter == "\t" else "csv",
        columns=columns,
        read=reader.rows,
        encoding=encoding,
        delimiter=delimiter,
        has_header=has_header,
        raw=lambda: reader.raw,
    )


def _head(path: Path, encoding: str) -> str:
    with path.open("r", encoding=encoding, errors="replace", newline="") as file:
        return file.read(SNIFF_CHARS)


def _parse(sample: str, delimiter: str) -> list[list[str]]:
    """Parse the first rows of a sample; the last one is dropped if the sample may have cut it."""
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):  # a wrong guess may break off in mid-sample: the rows so far are its score
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) > SNIFF_ROWS:
                break
    if len(sample) == SNIFF_CHARS and 1 < len(rows) <= SNIFF_ROWS:
        rows.pop()
    return rows


def sniff_delimiter(sample: str) -> str:
    """Return the delimiter that cuts most rows into the header's number of columns, at least two."""
    best, best_score = ",", 0.0
    for delimiter in DELIMITERS:
        rows = _parse(sample, delimiter)
        if not rows or len(rows[0]) < 2:
            continue
        width = len(rows[0])
        widths = Counter(len(row) for row in rows)
        score = widths[width] / len(rows) + (0.001 if delimiter in ",\t" else 0)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def tabs_quote(path: Path, encoding: str, limits: Limits) -> bool:
    """Tell whether quotes in a tab-separated file enclose values, as Excel writes them, or are plain characters.

    Most such files know no quoting, and a message that opens with a quote would swallow the rows after it. Quotes
    enclose if every value that begins with one ends with one, or goes on in a line of another number of columns.
    """
    unclosed = odd_lines = width = 0
    try:
        for line in Lines(path, encoding, limits.line_chars, universal=True):
            fields = line.rstrip("\r\n").split("\t")
            width = width or len(fields)
            odd_lines += len(fields) != width
            if '"' in line:
                unclosed += sum(
                    field.startswith('"') and not (len(field) > 1 and field.endswith('"')) for field in fields
                )
    except TooLong:
        return True  # the reader proper reports it
    return unclosed <= odd_lines


class _Reader:
    """One pass over a delimited file."""

    def __init__(
        self,
        path: Path,
        encoding: str,
        dialect: dict[str, Any],
        columns: list[str],
        has_header: bool,
        collector: Collector,
        limits: Limits,
    ) -> None:
        self.path, self.encoding, self.dialect = path, encoding, dialect
        self.delimiter: str = dialect["delimiter"]
        self.columns, self.has_header = columns, has_header
        self.collector, self.limits = collector, limits
        self.raw = ""

    def rows(self) -> Iterator[Row]:
        """Yield usable rows; report ragged, broken and blank ones."""
        # A record may span lines, so the line cap is above the field cap: the field cap speaks first inside quotes.
        lines = Lines(self.path, self.encoding, self.limits.line_chars, universal=True, keep=True)
        try:
            yield from self._records(lines)
        except TooLong as error:
            self.collector.add("line_too_long", line=error.line,
                               params={"line": error.line, "limit": f"{self.limits.line_chars:,}"})  # fmt: skip
        except csv.Error as error:
            self._report_csv_error(lines, error)
        lines.report_ends(self.collector)

    def _report_csv_error(self, lines: Lines, error: csv.Error) -> None:
        if "field limit" in str(error):
            params = {"line": self._start, "limit": f"{FIELD_CHARS:,}"}
            self.collector.add("unclosed_quote", line=self._start, params=params)
        else:
            params = {"kind": "CSV", "reason": f"line {lines.number}: {error}"}
            self.collector.add("unreadable", line=lines.number, params=params)

    def _records(self, lines: Lines) -> Iterator[Row]:
        reader = csv.reader(iter(lines), **self.dialect)
        skip_header, number, width = self.has_header, 0, len(self.columns)
        self._start = self._last_start = 1
        quotes_after = self._quotes_before = 0
        for record in reader:
            self.raw = lines.take()
            start, self._start = self._start, lines.number + 1
            self._last_start = start
            self._quotes_before, quotes_after = quotes_after, lines.quotes
            if not record:
                self.collector.add("blank_lines", line=start)
                continue
            if skip_header:
                skip_header = False
                continue
            number += 1
            if lines.number > start:
                self.collector.add("multiline_values", row=number, line=start, snippet=self.delimiter.join(record))
            if number > self.limits.rows:
                self.collector.add("too_many_rows", params={"limit": f"{self.limits.rows:,}"})
                return
            if len(record) != width:
                self._report_ragged(number, start, record)
                continue
            code = broken_code("".join(record))
            if code:
                self.collector.add(code, row=number, line=start, snippet=self.delimiter.join(record),
                                   params={"encoding": self.encoding.upper()})  # fmt: skip
                continue
            yield Row(number, dict(zip(self.columns, record, strict=True)), start)
        self._check_last_quote(lines, number)

    def _report_ragged(self, number: int, line: int, record: list[str]) -> None:
        self.collector.add("ragged_rows", row=number, line=line, snippet=self.delimiter.join(record),
                           params={"expected_columns": len(self.columns)})  # fmt: skip

    def _check_last_quote(self, lines: Lines, number: int) -> None:
        """A quote left open swallows the rest of the file into one row without any error: say so."""
        if (
            self.dialect["quoting"] != csv.QUOTE_NONE
            and lines.number > self._last_start
            and (lines.quotes - self._quotes_before) % 2
        ):
            params = {"line": self._last_start, "limit": f"{FIELD_CHARS:,}"}
            self.collector.add("unclosed_quote", row=number, line=self._last_start, params=params)
