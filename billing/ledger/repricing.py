"""What usage costs under another price version. Pure; exact nano-USD.

What a call was let off (a ceiling below its price) it stays let off. The new cost is of the events themselves, so that
a second re-rating of the same days replaces the first, and the same one again changes nothing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Mapping

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

    @property
    def delta_nano(self) -> int:
        """What is added to the line."""
        return self.after_nano - self.before_nano


def changes(
    events: Iterable[Alike], *, books: Mapping[str, PriceVersion], to: PriceVersion, earlier: Mapping[Line, int]
) -> list[Change]:
    """Lines whose cost changes, in order. `earlier` is what re-ratings of before added to lines.

    KeyError for a kind that the new version does not sell.
    """
    sums: dict[Line, list[int]] = {}
    for one in events:
        let_off = rate(one.usage, books[one.line[4]]) - one.cost_nano
        found = sums.setdefault(one.line, [0, 0, 0])
        found[0] += one.count
        found[1] += one.count * one.cost_nano
        found[2] += one.count * max(0, rate(one.usage, to) - let_off)
    made = [Change(line, n, cost + earlier.get(line, 0), after) for line, (n, cost, after) in sums.items()]
    return sorted((one for one in made if one.delta_nano), key=lambda one: (one.line[0], *map(str, one.line[1:])))
