"""Months by quantity: what each kind, base and price version has, and what tiers and packages make of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Iterator

from django.db.models import F, Q, Sum

from billing.ledger.adjustments import Anew, Counted, Counts, Group, kinds_by_quantity, month_changes, months_of
from billing.ledger.lines import NOT_OF_EVENTS, PACKAGES, TIERS
from billing.models import RatedChange, RatedLine
from billing.periods import bounds, month_of
from billing.prices import PriceBooks, Scale, price_books
from billing.prices.rating import COUNTED
from kit.clock import now

BY_QUANTITY = Q(price_version__startswith=TIERS) | Q(price_version__startswith=PACKAGES)
"""Lines that say what a month's quantities change."""
NO_EVENTS = Q(*[("price_version__startswith", prefix) for prefix in NOT_OF_EVENTS], _connector=Q.OR)
"""Lines that no event is summed in."""
_COUNTS = ("input_tokens", "output_tokens", "requests", "gpu_ms", "byte_hours")
_LINE = ("day", "project_id", "model", "kind", "price_version")


def month_counted(
    period: dt.date,
    *,
    fresh: Collection[uuid.UUID] | None = None,
    billed: bool = False,
    more: Iterable[Anew] = (),
    books: PriceBooks | None = None,
) -> dict[Group, Counted]:
    """A month's quantities by group, of kinds that some version prices by quantity, in the caller's tenant scope.

    Rated lines as they are, or as far as they are posted with `fresh` being posted now. `billed` takes along what was
    priced anew after the month's bill, which its lines do not say, and `more` what would be.
    """
    kinds = kinds_by_quantity(books or price_books())
    start, end = (moment.date() for moment in bounds(period))
    lines = RatedLine.objects.filter(kind__in=kinds, day__gte=start, day__lt=end).exclude(NO_EVENTS)
    if fresh is not None:
        lines = lines.filter(Q(amount_nano=F("posted_nano")) | Q(pk__in=fresh))
    names = ("kind", "model", "price_version")
    sums = lines.order_by().values_list(*names).annotate(*[Sum(name) for name in (*_COUNTS, "amount_nano")])
    rows = [(kind, model, version, _counts(counts), int(nano)) for kind, model, version, *counts, nano in sums]
    return months_of(rows, [*_anew(period, kinds, billed=billed), *more])


def _counts(values: list[int]) -> Counts:
    read, written, requests, machine_ms, byte_hours = (int(value) for value in values)
    return read, written, requests, machine_ms, byte_hours


def _anew(period: dt.date, kinds: set[str], *, billed: bool) -> list[Anew]:
    """What was priced anew of a month, each line as the last re-rating left it."""
    start, end = (moment.date() for moment in bounds(period))
    rows = RatedChange.objects.filter(kind__in=kinds, day__gte=start, day__lt=end)
    if not billed:
        rows = rows.filter(billed=False)
    last: dict[tuple[object, ...], RatedChange] = {}
    added: dict[tuple[object, ...], int] = {}
    for row in rows.select_related("rerating").order_by("rerating_id", "pk"):
        line = tuple(getattr(row, name) for name in _LINE)
        last[line] = row
        added[line] = added.get(line, 0) + row.after_nano - row.before_nano
    return [
        Anew(
            kind=row.kind,
            model=row.model,
            price_version=row.price_version,
            to=row.rerating.price_version,
            counts=_counts([getattr(row, name) for name in _COUNTS]),
            cost_nano=row.after_nano - added[line],
            after_nano=row.after_nano,
        )
        for line, row in last.items()
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class ByQuantity:
    """One price by quantity and what a month has of it so far."""

    kind: str
    base: str
    price_version: str
    unit: str
    scale: Scale
    quantity: int
    """In what is counted: tokens, requests, ms, byte-hours."""
    change_nano: int
    """What it adds to the month (negative: takes off), as its prices say."""


def month_by_quantity(period: dt.date | None = None) -> list[ByQuantity]:
    """What the running month, or another one, has of each price by quantity, in the caller's tenant scope."""
    months, books = month_counted(month_of(period or now())), price_books()
    changes = month_changes(months, books)
    found = []
    for group, counted in sorted(months.items()):
        kind, base, version = group
        book = books.versions.get(version)
        if book is None or kind not in book.kinds:
            continue
        usage = counted.usage(kind, base)
        for unit, scale in book.price(kind, base).scales:
            quantity = getattr(usage, COUNTED[unit][0])
            change = changes.get((TIERS, group), 0) + changes.get((PACKAGES, group), 0)
            if quantity:
                found.append(ByQuantity(kind, base, version, unit, scale, quantity, change))
    return found


def lines_by_quantity() -> Iterator[tuple[dt.date, RatedLine]]:
    """Every line that says what a month's quantities change, with its month."""
    for line in RatedLine.objects.filter(BY_QUANTITY).order_by("day", "pk"):
        yield month_of(line.day), line
