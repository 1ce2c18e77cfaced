"""Pricing usage anew: a wrong price, a contract that was signed late. By compensation, never by change.

In a month that is still open a line of its own, beside the one it corrects, carries the difference, so that the bill,
the allowance and credit take it as they take usage. A month that was billed never becomes dearer; what it becomes
cheaper by comes back as credit, as far as the customer has paid for it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable
from functools import partial

from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import TruncDate

from billing.ledger.adjustments import Anew, month_changes
from billing.ledger.lines import RERATED
from billing.ledger.repricing import Alike, Change, Earlier, Line, changes
from billing.models import (
    CreditGrant,
    PeriodClose,
    RatedChange,
    RatedLine,
    Rerating,
    UsageEvent,
)
from billing.periods import month_of, start_of
from billing.prices import PriceVersion, Usage, price_books
from billing.selectors.adjustments import month_counted
from billing.selectors.month_paid import month_paid_nano
from billing.services.credits import credit_grant
from billing.services.effects import funds_changed
from billing.services.ledger import books_lock, lines_post_here
from kit.clock import now
from kit.errors import BadRequest, Conflict
from kit.money import currency, written
from tenants import audit
from tenants.scope import current_tenant_id, tenant_scope

_QUANTITIES = ("input_tokens", "output_tokens", "requests", "gpu_ms", "byte_hours")
_NAMES = ("project_id", "model", "kind", "price_version")


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """Which usage is priced anew, both days included, and by which price version."""

    first_day: dt.date
    last_day: dt.date
    price_version: str
    kind: str = ""
    base: str = ""

    def book(self) -> PriceVersion:
        """The version to price by, in the scope of whose usage it is. BadRequest where this is no question that can be
        answered: a version in another currency, for one."""
        if not self.first_day <= self.last_day <= now().date():
            raise BadRequest(
                "The first day must not be after the last one, nor the last one after today.", param="days"
            )
        books, paid_in = price_books().versions, currency()
        found = books.get(self.price_version)
        known = ", ".join(sorted(name for name, book in books.items() if book.currency == paid_in))
        if found is None:
            raise BadRequest(f"There is no price version {self.price_version!r}; there are {known}.", param="version")
        if found.currency != paid_in:
            raise BadRequest(
                f"The price version {self.price_version} is in {found.currency.upper()}, and this organisation pays in "
                f"{paid_in.upper()}. Price by one of {known}.",
                param="version",
            )
        return found


def rerating_preview(*, wanted: Wanted) -> list[Change]:
    """What it would change, in the caller's tenant scope; BadRequest and Conflict as `rerate`."""
    found = _changes(wanted)
    _due_back(found)
    return found


def rerate(
    *, tenant_id: uuid.UUID, wanted: Wanted, reason: str, created_by: str, actor: tuple[str, str, str] | None = None
) -> Rerating | None:
    """Price usage anew; None when that changes nothing, as when it was done before.

    BadRequest for days, a version or kinds that cannot be; Conflict where a month that was billed would become dearer.
    """
    with tenant_scope(tenant_id):
        books_lock(tenant_id)
        found = _changes(wanted)
        if not found:
            return None
        back, closed = _due_back(found), _closed()
        row: Rerating = Rerating.objects.create(
            **dataclasses.asdict(wanted), reason=reason.strip()[:300], created_by=created_by[:200]
        )
        RatedChange.objects.bulk_create([_row(row, one, billed=_month(one) in closed) for one in found])
        for one in found:
            if _month(one) not in closed and one.delta_nano:
                _line_set(one)
        for month, nano in back.items():
            credit_grant(
                kind=CreditGrant.Kind.GOODWILL,
                amount_nano=nano,
                source=f"rerating:{month:%Y-%m}:{row.pk}",
                reason=f"Usage of {month:%Y-%m}, priced anew: {reason.strip()}"[:300],
                created_by=created_by,
                actor=actor,
            )
        if set(map(_month, found)) - closed:  # calls hear of it, and a lease that funds no longer carry is recalled
            transaction.on_commit(partial(funds_changed, tenant_id))
        delta = sum(one.delta_nano for one in found)
        after = {"lines": len(found), "delta_nano": delta, "given_nano": sum(back.values())}
        audit.record(action="usage.rerated", target=row, after=after, reason=reason, actor=actor)
        lines_post_here(set(map(_month, found)) - closed)
    return row


def _changes(wanted: Wanted) -> list[Change]:
    book = wanted.book()
    try:
        return changes(
            _alike(wanted), books=price_books().versions, to=book, earlier=_earlier(wanted.first_day, wanted.last_day)
        )
    except KeyError as error:
        raise BadRequest(
            f"Price version {book.version} does not sell {error.args[0]!r}. Choose one kind, or another version.",
            param="kind",
        ) from None


def _alike(wanted: Wanted) -> Iterable[Alike]:
    start, end = start_of(wanted.first_day), start_of(wanted.last_day + dt.timedelta(days=1))
    rows = UsageEvent.objects.filter(occurred_at__gte=start, occurred_at__lt=end).order_by()
    if wanted.kind:
        rows = rows.filter(kind=wanted.kind)
    if wanted.base:
        rows = rows.filter(Q(model=wanted.base) | Q(model__startswith=f"ft:{wanted.base}:"))
    names = ("day", *_NAMES, *_QUANTITIES, "cached_tokens", "cost_nano")
    alike = rows.annotate(day=TruncDate("occurred_at", tzinfo=dt.UTC)).values(*names)
    for row in alike.annotate(count=Count("pk")).iterator(chunk_size=5000):
        usage = Usage(
            kind=row["kind"],
            model=row["model"],
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            requests=row["requests"],
            machine_ms=row["gpu_ms"],
            byte_hours=row["byte_hours"],
            cached_tokens=row["cached_tokens"],
        )
        line: Line = (row["day"], row["project_id"], row["model"], row["kind"], row["price_version"])
        yield Alike(line, usage, row["cost_nano"], row["count"])


def _earlier(first: dt.date, last: dt.date) -> dict[Line, Earlier]:
    found: dict[Line, Earlier] = {}
    rows = RatedChange.objects.filter(day__gte=first, day__lte=last).select_related("rerating")
    for row in rows.order_by("rerating_id", "pk"):
        line: Line = (row.day, row.project_id, row.model, row.kind, row.price_version)
        added = found[line].delta_nano if line in found else 0
        counts = (row.input_tokens, row.output_tokens, row.requests, row.gpu_ms, row.byte_hours)
        added += row.after_nano - row.before_nano
        found[line] = Earlier(added, row.rerating.price_version, counts, row.after_nano)
    return found


def _month(change: Change) -> dt.date:
    return month_of(change.line[0])


def _closed() -> set[dt.date]:
    return set(PeriodClose.objects.values_list("period", flat=True))


def _due_back(found: list[Change]) -> dict[dt.date, int]:
    """By closed month, what is given back: what it becomes cheaper by, as far as it was paid for in money."""
    closed, sums = _closed(), defaultdict[dt.date, int](int)
    for one in found:
        sums[_month(one)] += one.delta_nano
    for month in set(sums) & closed:
        sums[month] += _by_quantity(month, [one for one in found if _month(one) == month])
    back = {}
    for month in sorted(set(sums) & closed):
        if sums[month] > 0:
            raise Conflict(
                f"{month:%Y-%m} was billed, and would cost {written(sums[month])} more. A bill that stands never "
                "becomes dearer: choose days of a month that is not billed yet."
            )
        if nano := min(-sums[month], month_paid_nano(month)):
            back[month] = nano
    return back


def _by_quantity(month: dt.date, found: list[Change]) -> int:
    """What a closed month's tiers and packages change, once more of it is priced anew."""
    books, before = price_books(), _earlier(found[0].line[0], found[-1].line[0])
    more = []
    for one in found:
        _, _, model, kind, version = one.line
        was = before.get(one.line)
        if was is not None and was.version:  # it leaves what the one before had made of it
            cost = was.after_nano - was.delta_nano
            more.append(Anew(kind, model, was.version, version, was.counts, was.after_nano, cost))
        more.append(Anew(kind, model, version, one.to, one.counts, one.cost_nano, one.after_nano))
    sums = [
        sum(month_changes(month_counted(month, billed=True, books=books, more=part), books).values())
        for part in ([], more)
    ]
    return sums[1] - sums[0]


def _row(rerating: Rerating, one: Change, *, billed: bool) -> RatedChange:
    day, project_id, model, kind, version = one.line
    return RatedChange(
        tenant_id=rerating.tenant_id,
        rerating=rerating,
        day=day,
        project_id=project_id,
        model=model,
        kind=kind,
        price_version=version,
        events=one.events,
        **dict(zip(_QUANTITIES, one.counts, strict=True)),
        before_nano=one.before_nano,
        after_nano=one.after_nano,
        billed=billed,
    )


def _line_set(one: Change) -> None:
    """Bring the line beside the corrected one up to all that re-ratings changed of it."""
    day, project_id, model, kind, version = one.line
    nothing = dict.fromkeys((*_QUANTITIES, "amount_nano"), 0) | {"tenant_id": current_tenant_id()}
    line, _ = RatedLine.objects.get_or_create(
        day=day, project_id=project_id, model=model, kind=kind, price_version=RERATED + version, defaults=nothing
    )
    line.amount_nano += one.delta_nano
    line.rated_at = now()
    line.save(update_fields=["amount_nano", "rated_at"])
