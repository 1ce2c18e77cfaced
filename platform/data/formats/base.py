"""What every reader shares: limits, options, rows, and the `Source` they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps that keep memory and time bounded whatever is uploaded."""

    line_chars: int = 1 << 20
    rows: int = 5_000_000
    columns: int = 1_000
    json_depth: int = 32
    parquet_footer_bytes: int = 16 << 20
    parquet_group_bytes: int = 512 << 20


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may overrule. `has_header=None` means: look for yourself."""

    has_header: bool | None = None
    delimiter: str | None = None


@dataclass(slots=True)
class Row:
    """One example. `number` is 1-based as uploaded (header not counted); `line` the physical line where known."""

    number: int
    values: dict[str, Any]
    line: int | None = None


@dataclass(slots=True)
class Source:
    """An opened file. `rows` streams once per call; rows that cannot be used are reported and left out."""

    kind: str
    columns: Sequence[str]
    read: Callable[[], Iterator[Row]]
    encoding: str = "utf-8"
    delimiter: str | None = None
    has_header: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)
    raw: Callable[[], str] = str
    """The row that was read last (usable or just reported) as it stands in the file; JSON where that is binary."""

    def rows(self) -> Iterator[Row]:
        """Yield usable rows in file order."""
        return self.read()

    def as_dict(self) -> dict[str, Any]:
        """Return what a person may want to know about how the file was read."""
        return {
            "kind": self.kind,
            "columns": list(self.columns),
            "encoding": self.encoding,
            "delimiter": self.delimiter,
            "has_header": self.has_header,
            **self.details,
        }
