"""Bought credit whose money went back: what its grant has to lose for that, and what it has lost. In a tenant's
scope."""

from __future__ import annotations

from django.db.models import Q, QuerySet, Sum

from billing.ledger import stripe_books
from billing.ledger.stripe_books import Position
from billing.models import CreditDraw, CreditGrant, PaymentDispute, Refund
from billing.selectors.bookings import booked_for
from kit.money import CENT, currency

BOOKED = "credit_returned"
"""The kind of transaction, keyed by the grant."""


def granted_and_back() -> QuerySet[CreditGrant]:
    """Grants of whose money something went back, as far as that is booked."""
    refunds = Refund.objects.filter(grant__isnull=False, booked_at__isnull=False).values("grant")
    disputes = PaymentDispute.objects.filter(grant__isnull=False, booked_at__isnull=False).values("grant")
    waits = Q(pk__in=Refund.objects.filter(grant__isnull=False, booked_at=None).values("grant"))
    waits |= Q(pk__in=PaymentDispute.objects.filter(grant__isnull=False, booked_at=None).values("grant"))
    found: QuerySet[CreditGrant] = CreditGrant.objects.filter(Q(pk__in=refunds) | Q(pk__in=disputes)).exclude(waits)
    return found


def returned_wanted(grant: CreditGrant) -> Position:
    """What the accounts must hold because money of a grant went back.

    A refund takes the credit that it pays back, beyond what staff had taken out for it; a dispute takes as long as the
    bank holds the money, and for good when it is lost. Together never more than was bought.
    """
    refunds = Refund.objects.filter(grant=grant, currency=currency(), status__in=stripe_books.REFUNDED)
    disputes = PaymentDispute.objects.filter(grant=grant, currency=currency())
    drawn = CreditDraw.objects.filter(grant=grant, kind=CreditDraw.Kind.REFUNDED)
    return stripe_books.credit_back(
        grant.amount_nano,
        by_staff=int(drawn.aggregate(n=Sum("amount_nano"))["n"] or 0),
        refunded=_nano(refunds),
        lost=_nano(disputes.filter(status="lost")),
        held=_nano(disputes.filter(status__in=stripe_books.WITHDRAWN)),
    )


def returned_left(grant: CreditGrant) -> Position:
    """What of that is not booked."""
    return stripe_books.difference(returned_wanted(grant), booked_for(BOOKED, str(grant.pk))[0])


def _nano(rows: QuerySet[Refund] | QuerySet[PaymentDispute]) -> int:
    return int(rows.aggregate(n=Sum("amount"))["n"] or 0) * CENT
