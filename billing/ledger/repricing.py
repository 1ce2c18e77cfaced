"""What usage costs under another price version. Pure; exact nano.

What a call was let off (a ceiling below its price) it stays let off. The new cost is of the events themselves, so that
a second re-rating of the same days replaces the first, and the same one again changes nothing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Mapping

from billing.ledger.adjustments import NOTHING, Counts
from billing.prices import PriceVersion, Usage, rate

Line = tuple[dt.date, uuid.UUID, str, str, str]
"""Day, project, model, kind, price version: what names a rated line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Alike:
    """So many events of one line, of the same quantities and cost."""

    line: Line
    usage: Usage
    cost_nano: int
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What a rated line cost, with earlier re-ratings, and what it shall cost."""

    line: Line
    events: int
    before_nano: int
    after_nano: int
    counts: Counts = NOTHING
    """What those events have of each quantity."""
    cost_nano: int = 0
    """What they had cost when they were made."""
    to: str = ""
    """The version that it costs so by."""

    @property
    def delta_nano(self) -> int:
        """What is added to the line."""
        return self.after_nano - self.before_nano


@dataclasses.dataclass(frozen=True, slots=True)
class Earlier:
    """What re-ratings of before added to a line; of the last one, the version, what it counted and what that cost."""

    delta_nano: int
    version: str = ""
    counts: Counts = NOTHING
    after_nano: int = 0


def changes(
    events: Iterable[Alike], *, books: Mapping[str, PriceVersion], to: PriceVersion, earlier: Mapping[Line, Earlier]
) -> list[Change]:
    """Lines whose cost changes, in order, and those that a month counts under another version's tiers from now on.

    KeyError for a kind that the new version does not sell.
    """
    sums: dict[Line, list[int]] = {}
    for one in events:
        let_off = rate(one.usage, books[one.line[4]]) - one.cost_nano
        found = sums.setdefault(one.line, [0] * 8)
        use = one.usage
        counts = (use.input_tokens, use.output_tokens, use.requests, use.machine_ms, use.byte_hours)
        each = (1, one.cost_nano, max(0, rate(use, to) - let_off), *counts)
        for place, amount in enumerate(each):
            found[place] += one.count * amount
    made = []
    for line, (number, cost, after, *rest) in sums.items():
        counts = (rest[0], rest[1], rest[2], rest[3], rest[4])
        before = earlier.get(line, Earlier(0, line[4], counts))
        change = Change(line, number, cost + before.delta_nano, after, counts, cost, to.version)
        moved = (before.version, before.counts) != (to.version, counts)
        if change.delta_nano or (moved and _by_quantity(line, books.get(before.version), to)):
            made.append(change)
    return sorted(made, key=lambda one: (one.line[0], *map(str, one.line[1:])))


def _by_quantity(line: Line, *versions: PriceVersion | None) -> bool:
    """Whether one of them prices such a line by a month's quantity."""
    _, _, model, kind, _ = line
    return any(book.price(kind, model).scales for book in versions if book is not None and kind in book.kinds)
