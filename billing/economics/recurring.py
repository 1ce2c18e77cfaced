"""Monthly recurring revenue: what plans cost a month, how it moved, who stayed. Whole nano-USD, without Django.

MRR is what the plans that are paid for or owed at a month's end cost in a month, at their published prices. A month's
movements are the differences between its end and the end of the month before, tenant by tenant, so they add up to the
change whatever happened in between. Definitions and what was rejected: docs/decisions/0060-mrr-from-plan-prices.md.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from billing.periods import month_of, next_month, start_of

COUNTED = ("active", "past_due")
"""States of a subscription that is paid for or owed. A trial pays nothing yet; one that is unpaid, paused or not begun
pays nothing any more, or not yet."""
MONTHS = {"month": 1, "year": 12}
CENT_NANO = 10_000_000
YEAR = 12
NEW, EXPANSION, REACTIVATION, CONTRACTION, CHURN = KINDS = (
    "new",
    "expansion",
    "reactivation",
    "contraction",
    "churn",
)

Paid = Mapping[Any, int]
"""What each tenant pays a month, nano-USD; who pays nothing is not in it."""


def monthly_nano(cents: int, interval: str, seats: int = 1) -> int:
    """Nano-USD a month of a price in cents per interval and seat; parts of a nano go to the even neighbour. ValueError
    for an interval that is neither `month` nor `year`."""
    if interval not in MONTHS:
        raise ValueError(f"a plan is paid by the month or by the year, not by the {interval}")
    return round(Fraction(cents * seats * CENT_NANO, MONTHS[interval]))


@dataclass(frozen=True, slots=True)
class Change:
    """From when on a subscription brought how much a month (nano-USD; 0 while it does not count)."""

    tenant: Any
    subscription: str
    at: dt.datetime
    nano: int


def month_ends(changes: Iterable[Change], last: dt.date) -> dict[dt.date, dict[Any, int]]:
    """What each tenant paid at the end of each month, from the first change's to `last` (first days). Changes come
    ordered by time; one at the very end of a month belongs to the next."""
    found: dict[dt.date, dict[Any, int]] = {}
    held: dict[Any, dict[str, int]] = {}
    paid: dict[Any, int] = {}
    month: dt.date | None = None
    for change in changes:
        month = month or month_of(change.at.astimezone(dt.UTC))
        while change.at >= start_of(next_month(month)) and month <= last:
            found[month] = dict(paid)
            month = next_month(month)
        if month > last:
            return found
        own = held.setdefault(change.tenant, {})
        own[change.subscription] = change.nano
        paid[change.tenant] = sum(own.values())
        if not paid[change.tenant]:
            del paid[change.tenant]
    while month is not None and month <= last:
        found[month] = dict(paid)
        month = next_month(month)
    return found


@dataclass(frozen=True, slots=True)
class Moves:
    """Between two moments: nano-USD a month, and tenants. `nano` and `tenants` are by kind of movement; contraction and
    churn are negative amounts and positive numbers of tenants."""

    start: int
    end: int
    start_tenants: int
    end_tenants: int
    nano: Mapping[str, int]
    tenants: Mapping[str, int]

    @property
    def change(self) -> int:
        """What all movements come to: the end less the start."""
        return sum(self.nano.values())

    @property
    def net_retention(self) -> Fraction | None:
        """Of what was paid at the start, the share that the same tenants pay at the end; None where nothing was."""
        return self._of_start(self.start + self.nano[EXPANSION] + self.nano[CONTRACTION] + self.nano[CHURN])

    @property
    def gross_retention(self) -> Fraction | None:
        """The same without what grew: never over 1."""
        return self._of_start(self.start + self.nano[CONTRACTION] + self.nano[CHURN])

    @property
    def revenue_churn(self) -> Fraction | None:
        """Share of what was paid at the start that tenants who left took along."""
        return self._of_start(-self.nano[CHURN])

    @property
    def logo_churn(self) -> Fraction | None:
        """Share of the tenants paying at the start that pay nothing at the end."""
        return Fraction(self.tenants[CHURN], self.start_tenants) if self.start_tenants else None

    def _of_start(self, nano: int) -> Fraction | None:
        return Fraction(nano, self.start) if self.start else None


def moves(before: Paid, after: Paid, ever: Iterable[Any]) -> Moves:
    """How `before` became `after`. `ever` are the tenants that had paid at any earlier month's end: of those, one who
    pays again is a reactivation, all others are new."""
    ever = ever if isinstance(ever, (set, frozenset)) else set(ever)
    nano, tenants = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for tenant in {**before, **after}:
        was, now = before.get(tenant, 0), after.get(tenant, 0)
        if was == now:
            continue
        if not was:
            kind = REACTIVATION if tenant in ever else NEW
        elif not now:
            kind = CHURN
        else:
            kind = EXPANSION if now > was else CONTRACTION
        nano[kind] += now - was
        tenants[kind] += 1
    return Moves(sum(before.values()), sum(after.values()), len(before), len(after), nano, tenants)


@dataclass(frozen=True, slots=True)
class Month:
    """A month's movements, and those of the twelve months that end with it (None in the first year)."""

    month: dt.date
    moves: Moves
    year: Moves | None

    @property
    def annual(self) -> int:
        """ARR, nano-USD: twelve times the MRR at the month's end."""
        return YEAR * self.moves.end


def months_told(ends: Mapping[dt.date, Paid]) -> list[Month]:
    """Every month of `month_ends` in order. Before the first nobody paid anything."""
    told: list[Month] = []
    ever: set[Any] = set()
    order = sorted(ends)
    before: Paid = {}
    for place, month in enumerate(order):
        after = ends[month]
        year_ago = ends[order[place - YEAR]] if place >= YEAR else None
        year = None if year_ago is None else moves(year_ago, after, ever)
        told.append(Month(month, moves(before, after, ever), year))
        ever.update(after)
        before = after
    return told


@dataclass(frozen=True, slots=True)
class Cohort:
    """The tenants that first paid at one month's end, and what became of them: at that end (place 0) and each later."""

    month: dt.date
    tenants: tuple[int, ...]
    nano: tuple[int, ...]

    def share(self, place: int, *, revenue: bool) -> Fraction:
        """Of the tenants, or of the revenue, that it began with."""
        row = self.nano if revenue else self.tenants
        return Fraction(row[place], row[0])


def cohorts(ends: Mapping[dt.date, Paid]) -> list[Cohort]:
    """Tenants by the month at whose end they first paid; the oldest first. Months in which nobody began have none."""
    order = sorted(ends)
    begun: dict[Any, int] = {}
    size = len(order)
    tenants, nano = ([[0] * size for _ in order] for _ in range(2))
    for place, month in enumerate(order):
        for tenant, paid in ends[month].items():
            first = begun.setdefault(tenant, place)
            tenants[first][place] += 1
            nano[first][place] += paid
    return [
        Cohort(month, tuple(tenants[place][place:]), tuple(nano[place][place:]))
        for place, month in enumerate(order)
        if tenants[place][place]
    ]
