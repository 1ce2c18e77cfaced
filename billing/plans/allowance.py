"""What of a month's usage is included, when the plan changed within it. Pure; exact nano."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable

from billing.periods import bounds

_SECOND = dt.timedelta(seconds=1)


@dataclasses.dataclass(frozen=True, slots=True)
class AllowanceFrom:
    """From this moment on, a plan included so much usage a month."""

    since: dt.datetime
    nano: int
    whole: bool = False
    """Whether it is there in full in every month in which the plan was in force for a while: of a plan without overage,
    whose spend limit it is. So such a month bills nothing for usage, however much of it was used in a few days."""


def allowance_of(period: dt.date, *, before: int, changes: Iterable[AllowanceFrom]) -> int:
    """Each plan's allowance by the share of the month it was in force, as its price is prorated; `before` held until
    the first change. A month of one plan includes that plan's allowance, to the nano; a month with a `whole` one, that
    at least."""
    start, end = bounds(period)
    total, moment, nano = 0, start, before
    least, whole = 0, 0
    for change in sorted(changes, key=lambda one: one.since):
        until = min(max(change.since, start), end)
        if until > start:
            least = max(least, whole)
        total += nano * ((until - moment) // _SECOND)
        moment += (until - moment) // _SECOND * _SECOND
        nano, whole = change.nano, change.nano if change.whole else 0
        if change.since >= end:
            whole = 0
            break
    total += nano * ((end - moment) // _SECOND)
    return max(total // ((end - start) // _SECOND), least, whole)
