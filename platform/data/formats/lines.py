"""Physical lines of a text file with a cap on their length, so that a 1 GB line costs one megabyte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data.findings import Collector


class TooLong(Exception):
    """A line is longer than the cap; reading stopped there."""

    def __init__(self, line: int) -> None:
        """Remember the 1-based physical line."""
        super().__init__(line)
        self.line = line


class Lines:
    """Iterate over lines with their original ends; `number` is the 1-based physical line just returned."""

    def __init__(self, path: Path, encoding: str, limit: int, *, universal: bool, keep: bool = False) -> None:
        """`universal`: a bare CR ends a line too (CSV); otherwise only LF does (JSONL). `keep`: whoever reads takes the
        lines of each record out of `taken`, where they wait as they were written."""
        self.path, self.encoding, self.limit, self.universal = path, encoding, limit, universal
        self.number = 0
        self.quotes = 0
        self.ends = {"LF": 0, "CRLF": 0, "CR": 0}
        self.last = ""
        self.keep = keep
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        """Yield lines; raise TooLong past the cap."""
        # UTF-16 knows no surrogate escapes; there a broken unit becomes U+FFFD, which readers report.
        errors = "replace" if self.encoding.startswith("utf-16") else "surrogateescape"
        newline = "" if self.universal else "\n"
        with self.path.open("r", encoding=self.encoding, errors=errors, newline=newline) as file:
            while line := file.readline(self.limit + 1):
                self.number += 1
                if len(line) > self.limit:
                    raise TooLong(self.number)
                self._count(line)
                self.last = line
                if self.keep:
                    self.taken.append(line)
                yield line

    def take(self) -> str:
        """The lines since the last call, as they were written, without the last line's end."""
        taken, self.taken = self.taken, []
        return "".join(taken).rstrip("\r\n")

    def _count(self, line: str) -> None:
        self.quotes += line.count('"')
        if line.endswith("\r\n"):
            self.ends["CRLF"] += 1
        elif line.endswith("\n"):
            self.ends["LF"] += 1
        elif line.endswith("\r"):
            self.ends["CR"] += 1

    def report_ends(self, collector: Collector) -> None:
        """Note a file whose lines end in several ways."""
        kinds = {name: count for name, count in self.ends.items() if count}
        if len(kinds) > 1:
            words = ", ".join(f"{count:,} {name}" for name, count in kinds.items())
            collector.add("mixed_line_ends", params={"kinds": words})


def broken_code(text: str) -> str | None:
    """Return the finding code for characters that cannot be used in `text`, or None."""
    if text.isascii():
        return "nul_bytes" if "\0" in text else None
    if "\0" in text:
        return "nul_bytes"
    if "\ufffd" in text:
        return "invalid_characters"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        # surrogateescape maps a bad byte to U+DC80–U+DCFF; anything else came as an escape in JSON.
        return "invalid_characters" if "\udc80" <= text[error.start] <= "\udcff" else "lone_surrogates"
    return None
