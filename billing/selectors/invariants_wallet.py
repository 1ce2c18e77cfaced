"""What must always be true of credit: its draws are what it lost, and the ledger holds what is left of it."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator

from django.db.models import Exists, F, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce

from billing.ledger.lines import CREDIT
from billing.models import Account, CreditDraw, CreditGrant, LedgerEntry, LedgerTransaction, PeriodClose, RatedLine
from billing.periods import month_of
from billing.selectors.bills import allowance_nano
from billing.selectors.paid_back import granted_and_back, returned_left
from billing.selectors.wallet import SETTLING, drawn_open, with_left
from kit.clock import now

Kind = CreditGrant.Kind
ROLLOVER = "rollover:"
"""How the source of such a grant begins; its month follows."""
PATIENCE = dt.timedelta(hours=1)
"""For how long the rest of a grant that ended may stay; the tick comes every minute."""


def grants_lose_what_they_have() -> Iterator[str]:
    """No grant lost more than it was, or got back more than it lost, but for money that went back after it was used;
    none that ended keeps its rest."""
    returned = dict(
        CreditDraw.objects.filter(kind=CreditDraw.Kind.RETURNED).values_list("grant").annotate(n=Sum("amount_nano"))
    )
    draws = CreditDraw.objects.filter(kind=CreditDraw.Kind.SETTLED).values_list("grant")
    settled = {grant for grant, nano in draws.annotate(n=Sum("amount_nano")) if nano}
    for grant in with_left():
        left = int(grant.left_nano)
        if left > 0 and grant.pk in settled:
            yield f"grant {grant.public_id} has {left} nano left, and credit that ended made up for a part of it"
        if not -int(returned.get(grant.pk, 0)) <= left <= grant.amount_nano:
            yield f"grant {grant.public_id} of {grant.amount_nano} nano has {left} left"
        if left > 0 and grant.expires_at is not None and grant.expires_at < now() - SETTLING - PATIENCE:
            yield f"grant {grant.public_id} ended at {grant.expires_at:%Y-%m-%d %H:%M} and still has {left} nano"


def credit_accounts_hold_what_is_left() -> Iterator[str]:
    """What was bought and what was given and is not used, to the nano."""
    left: dict[str, int] = defaultdict(int)
    for grant in with_left():
        left[Account.PREPAID if grant.kind == Kind.PREPAID else Account.PROMO] += int(grant.left_nano)
    rows = LedgerEntry.objects.filter(account__in=(Account.PREPAID, Account.PROMO)).values_list("account")
    held = {account: int(total) for account, total in rows.annotate(n=Sum("amount_nano"))}
    for account in (Account.PREPAID, Account.PROMO):
        if held.get(account, 0) != -left[account]:
            yield f"account {account} holds {held.get(account, 0)} nano; grants have {left[account]} left"


def draws_are_in_the_ledger() -> Iterator[str]:
    """Each transaction of credit moved what its draws say."""
    moved = LedgerEntry.objects.filter(
        transaction=OuterRef("transaction"), account__in=(Account.PREPAID, Account.PROMO)
    ).order_by()
    booked = Subquery(moved.values("transaction").annotate(n=Sum("amount_nano")).values("n"))
    drawn = (
        CreditDraw.objects.order_by().values("transaction").annotate(n=Sum("amount_nano"), booked=Coalesce(booked, 0))
    )
    for row in drawn.exclude(n=F("booked")):
        yield f"ledger transaction {row['transaction']} moved {row['booked']} nano; its draws say {row['n']}"
    drawn_by = ("credit_draw", "credit_expired", "credit_refunded", "credit_settled")
    of_credit = LedgerTransaction.objects.filter(kind__in=drawn_by)
    for made in of_credit.exclude(Exists(CreditDraw.objects.filter(transaction=OuterRef("pk")))):
        yield f"ledger transaction {made.public_id} is of credit and has no draws"


def credit_pays_for_usage_once() -> Iterator[str]:
    """Bills took off what credit had paid, each month's once, and no month was paid for beyond its usage."""
    for close in PeriodClose.objects.exclude(drawn_nano=0, drawn={}):
        line = sum(line["amount_nano"] for line in close.lines if line["key"] == CREDIT)
        if -line != close.drawn_nano or sum(close.drawn.values()) != close.drawn_nano:
            yield f"the bill of {close} took {-line} nano of credit off; it says {close.drawn_nano}: {close.drawn}"
    usage: dict[dt.date, int] = defaultdict(int)
    for day, nano in RatedLine.objects.exclude(posted_nano=F("invoiced_nano")).values_list(
        "day", F("posted_nano") - F("invoiced_nano")
    ):
        usage[month_of(day)] += nano
    for month, paid in drawn_open().items():
        if not 0 <= paid <= usage.get(month, 0):
            yield f"credit paid {paid} nano for {month:%Y-%m}, of which {usage.get(month, 0)} is not billed"


def credit_goes_with_its_money() -> Iterator[str]:
    """Bought credit lost what went back of its money, by refunds and disputes, and no more than it was."""
    for grant in granted_and_back():
        for account, nano in returned_left(grant).items():
            yield f"grant {grant.public_id} is off by {nano} nano in {account} of what went back of its money"


def no_more_rolls_over_than_was_left() -> Iterator[str]:
    """What was carried into a month is at most what the one before had included and its bill did not use, and ends."""
    used = {close.period: max(0, close.allowance_nano) for close in PeriodClose.objects.all()}
    for grant in CreditGrant.objects.filter(kind=Kind.ROLLOVER, source__startswith=ROLLOVER):
        month = dt.date.fromisoformat(f"{grant.source.removeprefix(ROLLOVER)}-01")
        left = allowance_nano(month) - used[month] if month in used else 0
        if grant.amount_nano > left or grant.expires_at is None:
            yield f"grant {grant.public_id} carries {grant.amount_nano} nano of {month:%Y-%m}, which left {left}"


CHECKS = (
    no_more_rolls_over_than_was_left,
    grants_lose_what_they_have,
    credit_accounts_hold_what_is_left,
    draws_are_in_the_ledger,
    credit_pays_for_usage_once,
    credit_goes_with_its_money,
)
