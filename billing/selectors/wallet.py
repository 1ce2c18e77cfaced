"""Reading the wallet: what credit is left, what it paid for, how much of it is promised. In the tenant's scope."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db import connection
from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncDate

from billing.ledger.waterfall import Credit, in_order
from billing.models import CreditDraw, CreditGrant, PeriodClose, Wallet
from kit.clock import now
from tenants.scope import current_tenant_id

SETTLING = dt.timedelta(minutes=15)
"""After a grant ended, usage of before is still on its way to the ledger: for so long it may pay for that."""


def postpaid_nano() -> int | None:
    """What may be owed in a month beyond credit; None where only the spend limits say. Nothing while credit is below
    zero, since its money went back after it was used: what was owed last is to be settled first."""
    if owed_nano() and balance_nano() < 0:
        return 0
    row = Wallet.objects.first()
    limits = [] if row is None else [row.postpaid_nano, row.postpaid_most_nano]
    return min((one for one in limits if one is not None), default=None)


def slow_nano() -> int | None:
    """At how much left of credit and what may be owed calls are slowed; None: never."""
    found: int | None = Wallet.objects.values_list("slow_nano", flat=True).first()
    return found


def grants_left(*, settling: bool = False) -> QuerySet[Any]:
    """Grants that have something left and have not ended, each with its `left_nano`; with `settling` those too that
    ended a moment ago and may still pay for usage of before."""
    since = now() - (SETTLING if settling else dt.timedelta(0))
    return with_left().filter(Q(expires_at=None) | Q(expires_at__gt=since)).filter(left_nano__gt=0)


def grants_ended() -> QuerySet[Any]:
    """Grants whose rest is to be taken."""
    return with_left().filter(expires_at__lte=now() - SETTLING, left_nano__gt=0)


def with_left() -> QuerySet[Any]:
    """All grants, each with its `left_nano`."""
    rows: QuerySet[Any] = CreditGrant.objects.all()
    return rows.annotate(left_nano=F("amount_nano") - Coalesce(Sum("draws__amount_nano"), 0))


def credits_of(grants: Iterable[Any]) -> list[Credit]:
    """Grants of `with_left` as the waterfall takes them."""
    return [Credit(one.pk, one.kind, one.left_nano, one.expires_at, one.priority, one.created_at) for one in grants]


def owed_nano() -> int:
    """What was used of bought credit whose money went back."""
    return -sum(int(one.left_nano) for one in with_left().filter(left_nano__lt=0))


def against_owed() -> dict[Any, int]:
    """What of each grant stands against credit that is owed for, and so can pay for nothing: of whose turn would come
    last."""
    owed, found = owed_nano(), {}
    for one in reversed(in_order(credits_of(with_left().filter(left_nano__gt=0)))) if owed else ():
        found[one.id] = part = min(owed, one.left_nano)
        owed -= part
    return found


def credits_usable() -> list[Credit]:
    """What may pay for usage: what grants have left, without what stands against credit that is owed for."""
    against = against_owed()
    usable = [
        dataclasses.replace(one, left_nano=one.left_nano - against.get(one.id, 0))
        for one in credits_of(grants_left(settling=True))
    ]
    return [one for one in usable if one.left_nano]


def balance_nano() -> int:
    """Credit that may be used now; negative where more was used than was paid for in the end. What is promised to
    running calls, or used and not posted, is still in it."""
    against = against_owed()
    usable = sum(int(one.left_nano) - against.get(one.pk, 0) for one in grants_left())
    return usable - (owed_nano() - sum(against.values()) if against else owed_nano())


def drawn_open(until: dt.date | None = None) -> dict[dt.date, int]:
    """By month of usage, what credit paid for and no bill has taken off; up to a month."""
    rows = CreditDraw.objects.filter(kind=CreditDraw.Kind.USED)
    found: dict[dt.date, int] = defaultdict(int)
    for period, total in rows.values_list("period").annotate(total=Sum("amount_nano")):
        found[period] += int(total)
    for period, nano in drawn_billed().items():
        found[period] -= nano
    return {period: nano for period, nano in found.items() if nano and (until is None or period <= until)}


def drawn_billed() -> dict[dt.date, int]:
    """By month of usage, what bills took off because credit had paid for it: that of the month, or a later one."""
    found: dict[dt.date, int] = defaultdict(int)
    for drawn in PeriodClose.objects.exclude(drawn={}).values_list("drawn", flat=True):
        for month, nano in drawn.items():
            found[dt.date.fromisoformat(f"{month}-01")] += nano
    return found


def balance_end() -> dt.datetime | None:
    """When the next grant that has something left ends."""
    ends = [one.expires_at for one in grants_left() if one.expires_at is not None]
    return min(ends, default=None)


@dataclasses.dataclass(frozen=True, slots=True)
class MonthFacts:
    """One month's usage as the ledger's side has it, in nano-USD."""

    rated_nano: int = 0
    invoiced_nano: int = 0
    drawn_nano: int = 0
    """What credit paid for, billed or not."""
    taken_nano: int = 0
    """What of that is on bills."""
    closed: bool = False
    """On a bill: its own, or that of a later month."""

    def covered_nano(self, allowance_nano: int) -> int:
        """Usage of it that needs no more credit: paid for, included, or on a bill."""
        if self.closed:
            return self.invoiced_nano + self.drawn_nano - self.taken_nano
        return self.drawn_nano + allowance_nano


_FACTS = """
SELECT 'left', NULL::date, COALESCE(SUM(g.amount_nano - d.lost), 0)
  FROM billing_creditgrant g
  CROSS JOIN LATERAL (
    SELECT COALESCE(SUM(amount_nano), 0) AS lost FROM billing_creditdraw
     WHERE tenant_id = g.tenant_id AND grant_id = g.id) d
 WHERE g.tenant_id = %(tenant)s AND (
   g.amount_nano < d.lost OR (g.expires_at IS NULL OR g.expires_at > %(now)s) AND g.amount_nano > d.lost)
UNION ALL
SELECT 'drawn', period, SUM(amount_nano) FROM billing_creditdraw
 WHERE tenant_id = %(tenant)s AND kind = 'used' AND period >= %(since)s GROUP BY period
UNION ALL
SELECT 'rated', date_trunc('month', day)::date, SUM(amount_nano) FROM billing_ratedline
 WHERE tenant_id = %(tenant)s AND day >= %(since)s GROUP BY 2
UNION ALL
SELECT 'invoiced', date_trunc('month', day)::date, SUM(invoiced_nano) FROM billing_ratedline
 WHERE tenant_id = %(tenant)s AND day >= %(since)s GROUP BY 2
UNION ALL
SELECT 'taken', (entry.key || '-01')::date, SUM(entry.value::bigint)
  FROM billing_periodclose c CROSS JOIN LATERAL jsonb_each_text(c.drawn) entry
 WHERE c.tenant_id = %(tenant)s AND c.period >= %(since)s GROUP BY 2
UNION ALL
SELECT 'closed', MAX(period), 1 FROM billing_periodclose WHERE tenant_id = %(tenant)s
"""


def credit_facts(months: set[dt.date]) -> tuple[int, dict[dt.date, MonthFacts]]:
    """Credit that may be used now, and these months, each of them even where nothing was used. One statement, so of
    one instant: what a posting moves from the one to the other is in exactly one of them."""
    left, closed, since = 0, dt.date.min, min(months)
    found: dict[dt.date, dict[str, int]] = defaultdict(dict, {month: {} for month in months})
    with connection.cursor() as cursor:
        cursor.execute(_FACTS, {"tenant": current_tenant_id(), "now": now(), "since": since})
        for what, period, amount in cursor.fetchall():
            if what == "left":
                left = int(amount)
            elif what == "closed":
                closed = period or closed
            else:
                found[period][what] = int(amount or 0)
    facts = {
        period: MonthFacts(
            rated_nano=one.get("rated", 0),
            invoiced_nano=one.get("invoiced", 0),
            drawn_nano=one.get("drawn", 0),
            taken_nano=one.get("taken", 0),
            closed=period <= closed,
        )
        for period, one in found.items()
    }
    return left, facts


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One line of the statement: what came (positive) or went on a day, of one kind of credit."""

    day: dt.date
    what: str
    """`granted`, or a kind of `CreditDraw`."""
    kind: str
    period: dt.date | None
    """The month whose usage was paid for."""
    amount_nano: int
    reason: str = ""


def statement(most: int | None = None) -> list[Entry]:
    """What came and went, newest first: grants one by one, the rest summed by day, kind and month of usage."""
    rows = CreditDraw.objects.order_by().annotate(day=TruncDate("at", tzinfo=dt.UTC))
    sums = rows.values_list("day", "kind", "grant__kind", "period").annotate(n=Sum("amount_nano"))
    went = [
        Entry(day, what, kind, period, -int(nano))
        for day, what, kind, period, nano in sums.order_by("-day")[:most]
        if nano
    ]
    grants = CreditGrant.objects.order_by("-created_at", "-pk")[:most]
    came = [Entry(one.created_at.date(), "granted", one.kind, None, one.amount_nano, one.reason) for one in grants]
    found = sorted([*came, *went], key=lambda one: (one.day, one.what != "granted", one.kind), reverse=True)
    return found[:most]


def in_turn(grants: Iterable[Any]) -> list[Any]:
    """Grants in the order in which they are used."""
    by_id = {one.pk: one for one in grants}
    return [by_id[one.id] for one in in_order(credits_of(by_id.values()))]


def grant_of(grant_id: uuid.UUID) -> Any:
    """One grant with its `left_nano`, or None."""
    return with_left().filter(pk=grant_id).first()
