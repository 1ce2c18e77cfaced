"""What must always be true between the ledger and the mirrors of Stripe's objects.

The first three say that each object is booked as it stands; the last four come to the same sums another way, from the
amounts that Stripe itself tells, so that a mistake in how objects are read shows as well. What is still to be booked is
counted as if it were.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from django.db.models import Sum

from billing.ledger import stripe_books
from billing.ledger.stripe_books import Position
from billing.models import Account, CreditGrant, CreditNote, Invoice, LedgerEntry, PaymentDispute, PeriodClose, Refund
from billing.selectors.bookings import MIRRORS, Mirror, differences, invoice_facts, invoices_issued, tax_noted, usage_on
from kit.clock import now
from kit.money import CENT, currency

PATIENCE = dt.timedelta(hours=1)
"""For how long an object may wait to be booked; the tick comes every minute."""


def objects_can_be_booked() -> Iterator[str]:
    """Nothing at Stripe is left out of the books, in another currency for example."""
    for model in MIRRORS:
        for row in model.objects.exclude(problem=""):
            yield f"{object_name(row)} is not in the books: {row.problem}"


def objects_are_booked_soon() -> Iterator[str]:
    """Nothing waits long to be booked."""
    for model in MIRRORS:
        late = model.objects.filter(booked_at=None, fetched_at__lt=now() - PATIENCE)
        if model is Invoice:
            late = late.filter(status__in=stripe_books.ISSUED)
        for row in late:
            yield f"{object_name(row)} has waited to be booked since {row.fetched_at:%Y-%m-%d %H:%M}"


def bookings_are_what_stripe_says() -> Iterator[str]:
    """The ledger holds for each object what its present state asks for."""
    for model in MIRRORS:
        for row in model.objects.exclude(booked_at=None):
            for kind, left in differences(row).items():
                yield f"{object_name(row)}: the ledger is off by {left} in {kind}"


def receivable_is_what_is_open() -> Iterator[str]:
    """What tenants owe is what Stripe says is open on their invoices, and usage of closed months on its way there."""
    closed = int(PeriodClose.objects.aggregate(n=Sum("net_nano"))["n"] or 0)
    expected = closed
    for invoice, sums in invoices_issued():
        told = invoice_facts(invoice).get("amount_remaining", sums.left)
        expected += (told if invoice.status == "open" else 0) * CENT - usage_on(invoice).exact_nano
    yield from _differs(Account.RECEIVABLE, expected, "open invoices and closed months")


def tax_is_what_was_asked() -> Iterator[str]:
    """Tax owed to the state is that of the invoices, less what credit notes and void invoices took back."""
    expected = 0
    for invoice, sums in invoices_issued():
        noted = tax_noted(invoice)
        expected += sums.tax - noted - sums.tax_given_up(noted)
    yield from _differs(Account.TAX, -expected * CENT, "invoices and credit notes")


def contracts_are_what_orders_asked() -> Iterator[str]:
    """Revenue of custom models is what their invoices ask for, without tax; plans and usage are apart."""
    expected = 0
    for invoice, sums in invoices_issued():
        if stripe_books.of_contract(invoice.raw):
            expected += sums.subtotal - sums.tax_inside
    yield from _differs(Account.CONTRACT_REVENUE, -expected * CENT, "invoices of orders")


def cash_is_what_stripe_took() -> Iterator[str]:
    """Money is what was paid through Stripe, for credit as well, less refunds and what banks hold or took back."""
    expected = sum(sums.paid - sums.outside for _, sums in invoices_issued())
    back = Refund.objects.filter(currency=currency(), status__in=stripe_books.REFUNDED)
    away = PaymentDispute.objects.filter(currency=currency(), status__in=(*stripe_books.WITHDRAWN, "lost"))
    for rows in (back, away):
        expected -= int(rows.aggregate(n=Sum("amount"))["n"] or 0)
    by_invoice = Invoice.objects.filter(raw__metadata__purpose=stripe_books.TOPUP).values("stripe_id")
    grants = CreditGrant.objects.filter(kind=CreditGrant.Kind.PREPAID).exclude(source__in=by_invoice)
    bought = grants.aggregate(n=Sum("amount_nano"))["n"] or 0
    yield from _differs(Account.CASH, expected * CENT + int(bought), "payments, refunds and disputes")


def credit_sold_is_on_open_invoices() -> Iterator[str]:
    """Credit on an invoice is in the wallet once it is paid, and not before."""
    expected = 0
    for invoice, sums in invoices_issued():
        expected += stripe_books.credit_on(invoice.raw, sums) if invoice.status == "open" else 0
    yield from _differs(Account.CREDIT_SOLD, -expected * CENT, "open invoices for credit")


def _differs(account: Account, expected: int, source: str) -> Iterator[str]:
    entries = LedgerEntry.objects.filter(account=account)
    found = int(entries.aggregate(n=Sum("amount_nano"))["n"] or 0) + _on_its_way().get(account, 0)
    if found != expected:
        yield f"account {account} holds {found} nano; {source} say {expected}"


def _on_its_way() -> Position:
    waiting = [row for model in MIRRORS for row in model.objects.filter(booked_at=None)]
    return stripe_books.total(position for row in waiting for position in differences(row).values())


def object_name(row: Mirror) -> str:
    """How findings call an object."""
    names = {Invoice: "invoice", CreditNote: "credit note", Refund: "refund", PaymentDispute: "dispute"}
    return f"{names[type(row)]} {row.stripe_id}"


CHECKS = (
    objects_can_be_booked,
    objects_are_booked_soon,
    bookings_are_what_stripe_says,
    receivable_is_what_is_open,
    tax_is_what_was_asked,
    contracts_are_what_orders_asked,
    cash_is_what_stripe_took,
    credit_sold_is_on_open_invoices,
)
