"""A month's tiers and packages, brought up to what was posted of it. In the tenant's scope, under the ledger's lock.

They are rated lines without events: the wallet, the allowance and the bill take them as they take usage. Whatever posts
usage brings them up in the same transaction, so what is posted of a month is at any moment what its prices say of it,
and doing it again changes nothing.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable

from billing.ledger.adjustments import Counted, Group, as_billed, kinds_by_quantity, month_changes, within
from billing.ledger.lines import PACKAGES, TIERS
from billing.models import Budget, PeriodClose, RatedLine
from billing.periods import bounds
from billing.prices import PriceBooks, Usage, adjustment, price_books
from billing.selectors.adjustments import BY_QUANTITY, month_counted
from billing.selectors.budgets import WALLET, budget_name, cap_nano, promised_nano
from kit.clock import now
from tenants.scope import current_tenant_id

NO_PROJECT = uuid.UUID(int=0)
"""A month is counted over all projects."""
_SCOPES = ("tenant", WALLET)
"""Whose limits a package must fit in."""
_COUNTS = ("input_tokens", "output_tokens", "requests", "gpu_ms", "byte_hours")


def budgets_hold() -> None:
    """Take the budgets that a package must fit in. Before the ledger's lock: everybody takes them in this order."""
    names = [budget_name(scope, current_tenant_id().hex) for scope in _SCOPES]
    list(Budget.objects.select_for_update().filter(name__in=names).order_by("name"))


def months_adjust(months: Iterable[dt.date], *, fresh: Collection[uuid.UUID]) -> list[RatedLine]:
    """Set the lines of some months; those that changed, not posted yet. `fresh` are lines being posted now."""
    books = price_books()
    if not kinds_by_quantity(books):
        return []
    changed: list[RatedLine] = []
    for period in sorted(set(months)):
        counted = month_counted(period, fresh=fresh)
        wanted = month_changes(counted, books)
        known = _lines(period)
        if any(what == PACKAGES for what, _ in wanted):
            carried = within(wanted, _room(period, known.values()))
            if PeriodClose.objects.filter(period=period).exists():
                held = {key: line.amount_nano for key, line in known.items()}
                wanted = as_billed(wanted, carried, held, _let_off(period, known, books))
            else:
                wanted = carried
        changed += _set(period, wanted, counted, known)
    return changed


def _lines(period: dt.date) -> dict[tuple[str, Group], RatedLine]:
    found = {}
    for line in RatedLine.objects.filter(BY_QUANTITY, day=bounds(period)[0].date()).select_for_update():
        what = TIERS if line.price_version.startswith(TIERS) else PACKAGES
        found[what, (line.kind, line.model, line.price_version.removeprefix(what))] = line
    return found


def _room(period: dt.date, known: Iterable[RatedLine]) -> int | None:
    """What the organisation's spend limit and its wallet carry of packages, those of now among them."""
    held = sum(max(0, line.amount_nano) for line in known)
    free, tenant = [], current_tenant_id().hex
    for scope in _SCOPES:
        cap = cap_nano(scope, tenant, period)
        if cap is not None:
            whose = {"scope": scope, "scope_id": tenant}
            budget, _ = Budget.objects.get_or_create(
                tenant_id=current_tenant_id(), name=budget_name(scope, tenant), defaults=whose
            )
            free.append(cap - promised_nano(budget, period) + held)
    return min(free, default=None)


def _let_off(
    period: dt.date, known: dict[tuple[str, Group], RatedLine], books: PriceBooks
) -> dict[tuple[str, Group], int]:
    """What of packages the limits had not carried before now: of lines there are by their quantities, and all of what
    was posted and has no line."""
    found = {
        key: nano for key, nano in month_changes(month_counted(period, fresh=()), books).items() if key not in known
    }
    for key, line in known.items():
        _, (kind, base, version) = key
        month = Usage(
            kind, base, line.input_tokens, line.output_tokens, line.requests, line.gpu_ms, line.byte_hours
        )  # fmt: skip
        found[key] = max(0, adjustment(month, books.get(version)).packages - line.amount_nano)
    return found


def _set(
    period: dt.date,
    wanted: dict[tuple[str, Group], int],
    counted: dict[Group, Counted],
    known: dict[tuple[str, Group], RatedLine],
) -> list[RatedLine]:
    changed = []
    for key in sorted({*wanted, *known}):
        what, (kind, base, version) = key
        nano, line = wanted.get(key, 0), known.get(key)
        if line is None:
            nothing = dict.fromkeys((*_COUNTS, "amount_nano", "posted_nano", "invoiced_nano"), 0)
            line = RatedLine(
                tenant_id=current_tenant_id(), day=bounds(period)[0].date(), project_id=NO_PROJECT, model=base,
                kind=kind, price_version=what + version, **nothing,
            )  # fmt: skip
        counts = counted[key[1]].counts if key[1] in counted else (0,) * len(_COUNTS)
        same = line.amount_nano == nano == line.posted_nano
        if same and counts == tuple(getattr(line, name) for name in _COUNTS):
            continue
        line.amount_nano, line.rated_at = nano, now()
        for name, count in zip(_COUNTS, counts, strict=True):
            setattr(line, name, count)
        line.save()
        if not same:
            changed.append(line)
    return changed
