"""Numbered pages for tables: 50 rows, the exact range and total."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")
SIZE = 50
MOST = 100_000
MOST_WHOLE = 10**15
"""More than anything here is counted to, and less than the database's integers end at."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows of one page and where they stand. `about` marks an estimated total."""

    rows: Sequence[Row]
    number: int
    total: int
    size: int = SIZE
    about: bool = False

    @property
    def first(self) -> int:
        """Position of the first row, from 1; 0 on an empty page."""
        return (self.number - 1) * self.size + 1 if self.rows else 0

    @property
    def last(self) -> int:
        """Position of the last row."""
        return (self.number - 1) * self.size + len(self.rows)

    @property
    def previous(self) -> int | None:
        """Number of the page before."""
        return self.number - 1 if self.number > 1 else None

    @property
    def next(self) -> int | None:
        """Number of the page after."""
        return self.number + 1 if self.last < self.total and self.rows else None


def whole(text: str | None, *, most: int = MOST_WHOLE) -> int | None:
    """A number that a reader typed or an address carries; None for what is none, or is above `most`."""
    if not text or not text.isascii() or not text.isdigit() or len(text) > len(str(most)):
        return None
    number = int(text)
    return number if number <= most else None


def page_number(text: str | None) -> int:
    """The page a reader asked for; anything odd is page 1."""
    return min(max(1, whole(text) or 1), MOST)


def page_of(rows: Any, number: int, *, size: int = SIZE) -> Page[Any]:
    """A page of a queryset or list; a number past the end gives the last page."""
    total = rows.count() if hasattr(rows, "order_by") else len(rows)
    number = min(number, max(1, -(-total // size)))
    start = (number - 1) * size
    return Page(list(rows[start : start + size]), number, total, size)


def page_with(page: Any, rows: list[Any]) -> Any:
    """The same page with its rows replaced by what the template shows."""
    return type(page)(rows, page.number, page.total, page.size, page.about)
