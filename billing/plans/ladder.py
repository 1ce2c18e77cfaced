"""What follows from invoices that are not paid, by days: pure, from the invoices and not from the subscription.

A subscription that the provider gave up looks like a free plan in good standing; its invoice is owed all the same.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable

NONE, WARNED, NO_JOBS, READ_ONLY, SUSPENDED, CLOSED = "", "warned", "no_jobs", "read_only", "suspended", "closed"
STEPS = (NONE, WARNED, NO_JOBS, READ_ONLY, SUSPENDED, CLOSED)
"""From nothing to the last. Each holds what those before it hold as well."""
DAYS = {WARNED: 0, NO_JOBS: 7, READ_ONLY: 14, SUSPENDED: 30, CLOSED: 60}
"""From how many days after the oldest overdue invoice became overdue."""


@dataclasses.dataclass(frozen=True, slots=True)
class Owed:
    """An invoice that is not paid, and when it became overdue (or will)."""

    invoice: str
    since: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """What staff allowed: no further than a step, until a moment or for good."""

    most: str
    until: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Rung:
    """Where a tenant stands."""

    step: str = NONE
    invoice: str = ""
    """The oldest overdue one."""
    since: dt.datetime | None = None
    """Since when that is overdue."""
    next_at: dt.datetime | None = None
    """When the answer changes without news."""


def at_least(step: str, other: str) -> bool:
    """Whether a step holds what another one holds. A step nobody knows holds nothing."""
    return step in STEPS and STEPS.index(step) >= STEPS.index(other)


def ladder(owed: Iterable[Owed], holds: Iterable[Hold], at: dt.datetime) -> Rung:
    """The step at a moment. Same facts, same answer, in whatever order they come."""
    every = sorted(owed, key=lambda one: (one.since, one.invoice))
    held = [hold for hold in holds if hold.until is None or at < hold.until]
    late = [one for one in every if one.since <= at]
    changes = [one.since for one in every if one.since > at]
    changes += [hold.until for hold in held if hold.until is not None]
    if not late:
        return Rung(next_at=min(changes, default=None))
    oldest = late[0]
    moments = {step: oldest.since + dt.timedelta(days=days) for step, days in DAYS.items()}
    changes += [moment for moment in moments.values() if moment > at]
    reached = max((step for step, moment in moments.items() if moment <= at), key=STEPS.index)
    step = min([reached, *(hold.most for hold in held)], key=STEPS.index)
    return Rung(step, oldest.invoice, oldest.since, min(changes, default=None))
