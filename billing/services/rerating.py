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
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import TruncDate

from billing.ledger.lines import RERATED
from billing.ledger.repricing import Alike, Change, Line, changes
from billing.models import (
    CreditDraw,
    CreditGrant,
    InvoiceLinePush,
    PeriodClose,
    RatedChange,
    RatedLine,
    Rerating,
    UsageEvent,
)
from billing.periods import month_of, start_of
from billing.prices import PriceVersion, Usage, price_books
from billing.selectors.bill_parts import invoices_of_pushes
from billing.selectors.meters import invoices_metered
from billing.selectors.statements import not_kept
from billing.services.credits import credit_grant
from billing.services.effects import funds_changed
from billing.services.ledger import lines_post
from billing.services.locks import ledger_lock
from kit.clock import now
from kit.errors import BadRequest, Conflict
from kit.money import CENT, usd
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
        """The version to price by. BadRequest where this is no question that can be answered."""
        if not self.first_day <= self.last_day <= now().date():
            raise BadRequest(
                "The first day must not be after the last one, nor the last one after today.", param="days"
            )
        found = price_books().versions.get(self.price_version)
        if found is None:
            known = ", ".join(sorted(price_books().versions))
            raise BadRequest(f"There is no price version {self.price_version!r}; there are {known}.", param="version")
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
        ledger_lock(tenant_id)
        found = _changes(wanted)
        if not found:
            return None
        back, closed = _due_back(found), _closed()
        row: Rerating = Rerating.objects.create(
            **dataclasses.asdict(wanted), reason=reason.strip()[:300], created_by=created_by[:200]
        )
        RatedChange.objects.bulk_create([_row(row, one, billed=_month(one) in closed) for one in found])
        for one in found:
            if _month(one) not in closed:
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
    lines_post(tenant_id=tenant_id)
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


def _earlier(first: dt.date, last: dt.date) -> dict[Line, int]:
    rows = RatedChange.objects.filter(day__gte=first, day__lte=last).order_by().values_list("day", *_NAMES)
    sums = rows.annotate(n=Sum(F("after_nano") - F("before_nano")))
    return {(day, project, model, kind, version): int(n) for day, project, model, kind, version, n in sums}


def _month(change: Change) -> dt.date:
    return month_of(change.line[0])


def _closed() -> set[dt.date]:
    return set(PeriodClose.objects.values_list("period", flat=True))


def _due_back(found: list[Change]) -> dict[dt.date, int]:
    """By closed month, what is given back: what it becomes cheaper by, as far as it was paid for in money."""
    closed, sums = _closed(), defaultdict[dt.date, int](int)
    for one in found:
        sums[_month(one)] += one.delta_nano
    back = {}
    for month in sorted(set(sums) & closed):
        if sums[month] > 0:
            raise Conflict(
                f"{month:%Y-%m} was billed, and would cost {usd(sums[month])} more. A bill that stands never becomes "
                "dearer: choose days of a month that is not billed yet."
            )
        if nano := min(-sums[month], _paid(month)):
            back[month] = nano
    return back


def _paid(month: dt.date) -> int:
    """What a closed month cost its customer in money, by its bill and out of prepaid credit, and was not given back.

    Of the invoices that its lines are on, what is unpaid or went back counts as the month's first: better too little
    credit than money nobody paid. Lines that are on no invoice yet count as paid.
    """
    close = PeriodClose.objects.get(period=month)
    pushed = invoices_of_pushes(list(InvoiceLinePush.objects.filter(period=month)), close).values()
    invoices = [*pushed, *invoices_metered(month)]
    unpaid = sum(not_kept(one) for one in {one.pk: one for one in invoices}.values()) * CENT
    billed = max(0, close.net_nano - unpaid)
    prepaid = CreditDraw.objects.filter(
        kind=CreditDraw.Kind.USED, grant__kind=CreditGrant.Kind.PREPAID, period=month
    ).aggregate(n=Sum("amount_nano"))["n"]
    given = CreditGrant.objects.filter(source__startswith=f"rerating:{month:%Y-%m}:").aggregate(n=Sum("amount_nano"))
    return max(0, billed + int(prepaid or 0) - int(given["n"] or 0))


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
