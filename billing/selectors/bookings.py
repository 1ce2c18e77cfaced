"""What the ledger holds because of each object at Stripe, and what it should hold. In the caller's tenant scope."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Q, Sum

from billing.ledger import stripe_books
from billing.ledger.stripe_books import InvoiceSums, NotBookable, Position, UsageOn
from billing.models import (
    CreditNote,
    Invoice,
    InvoiceLinePush,
    LedgerEntry,
    PaymentDispute,
    PeriodClose,
    Refund,
)
from billing.selectors.meters import METERED, metered_lines
from kit.money import CENT, currency

MIRRORS = (Invoice, CreditNote, Refund, PaymentDispute)
"""What is booked, in this order."""
Mirror = Invoice | CreditNote | Refund | PaymentDispute
KINDS: dict[type[Mirror], tuple[str, ...]] = {
    Invoice: ("invoice", "payment", "loss"),
    CreditNote: ("credit_note",),
    Refund: ("refund",),
    PaymentDispute: ("dispute",),
}
"""The kinds of transactions that an object causes."""


def invoice_facts(invoice: Invoice) -> dict[str, Any]:
    """The invoice as Stripe tells it; where that is not kept, as the columns say."""
    columns = {
        "currency": invoice.currency,
        "status": invoice.status,
        "total": invoice.total,
        "amount_due": invoice.amount_due,
        "amount_paid": invoice.amount_paid,
    }
    # The columns come last: they are what pages show, and the two must never differ.
    return {**invoice.raw, **columns}


def positions_of(row: Mirror) -> dict[str, Position]:
    """By kind of transaction, what the accounts must hold because of an object. Raises NotBookable."""
    if isinstance(row, CreditNote):
        return {"credit_note": stripe_books.credit_note(row.raw, currency())}
    if isinstance(row, Refund):
        return {"refund": stripe_books.refund(row.raw, currency())}
    if isinstance(row, PaymentDispute):
        return {"dispute": stripe_books.dispute(row.raw, currency())}
    if row.status not in stripe_books.ISSUED:
        return {}
    facts = invoice_facts(row)
    sums = stripe_books.invoice_sums(facts, currency())
    credit = stripe_books.credit_on(row.raw, sums)
    contract = stripe_books.of_contract(facts)
    return {
        "invoice": stripe_books.invoice_issued(sums, usage_on(row), credit, contract=contract),
        "payment": stripe_books.invoice_paid(sums),
        "loss": stripe_books.invoice_lost(sums, tax_noted(row) if sums.status == "void" else 0, credit),
    }


def wanted_of(row: Mirror) -> tuple[dict[str, Position], str]:
    """The positions of an object, and why there are none where nothing of it may be booked."""
    try:
        return positions_of(row), ""
    except NotBookable as problem:
        return {}, str(problem)[:300]


def booked_for(kind: str, stripe_id: str) -> tuple[Position, int]:
    """What the ledger holds because of an object by transactions of a kind, and how many there are."""
    mine = LedgerEntry.objects.filter(transaction__kind=kind).filter(
        Q(transaction__key=stripe_id) | Q(transaction__key__startswith=f"{stripe_id}/")
    )
    rows = mine.values_list("account").annotate(n=Sum("amount_nano"))
    position = {account: int(amount) for account, amount in rows if amount}
    return position, mine.values("transaction").distinct().count()


def differences(row: Mirror) -> dict[str, Position]:
    """By kind, what would have to be booked to bring the ledger up to an object; nothing where it is."""
    wanted, _ = wanted_of(row)
    found: dict[str, Position] = {}
    for kind in KINDS[type(row)]:
        left = stripe_books.difference(wanted.get(kind, {}), booked_for(kind, row.stripe_id)[0])
        if left:
            found[kind] = left
    return found


def pushed_lines(invoice: Invoice) -> list[tuple[InvoiceLinePush, Mapping[str, Any]]]:
    """The lines of an invoice that we sent, found by invoice item or by the mark each carries, and what was sent."""
    lines = invoice.raw.get("lines", {}).get("data", [])
    items = {item: line for line in lines if (item := _item_of(line))}
    marks = {mark: line for line in lines if (mark := _mark_of(line))}
    if not items and not marks:
        return []
    pushes = InvoiceLinePush.objects.filter(Q(stripe_item_id__in=items) | Q(pk__in=marks))
    return [(push, marks.get(push.pk) or items[push.stripe_item_id]) for push in pushes]


def usage_on(invoice: Invoice) -> UsageOn:
    """Usage among the lines of an invoice."""
    pushed, metered = pushed_lines(invoice), metered_lines(invoice.raw)
    if not pushed and not metered:
        return UsageOn()
    closes = {close.period: close for close in PeriodClose.objects.filter(period__in={p.period for p, _ in pushed})}
    exact = taxed = 0
    for push, line in pushed:
        closed = closes[push.period].lines if push.period in closes else []
        exact += sum(entry["amount_nano"] for entry in closed if entry["key"] == push.line_key)
        exact += push.amount_nano if push.line_key.startswith(METERED) else 0
        taxed += _tax_inside(line)
    # A meter counts whole cents: what the invoice says is exact.
    cents = sum(line["amount"] for line in metered)
    taxed += sum(_tax_inside(line) for line in metered)
    cents_all = cents + sum(push.amount_cents for push, _ in pushed)
    return UsageOn(exact_nano=exact + cents * CENT, cents=cents_all, inclusive_tax=taxed)


def _tax_inside(line: Mapping[str, Any]) -> int:
    return sum(tax["amount"] for tax in line.get("taxes") or [] if tax.get("tax_behavior") == "inclusive")


def tax_noted(invoice: Invoice) -> int:
    """Cents of tax that the credit notes of an invoice took back."""
    return sum(stripe_books.note_tax(note.raw) for note in CreditNote.objects.filter(invoice_id=invoice.stripe_id))


def invoices_issued() -> Iterator[tuple[Invoice, InvoiceSums]]:
    """Every invoice that asks for money, or did, and can be booked, with its sums."""
    for invoice in Invoice.objects.filter(status__in=stripe_books.ISSUED):
        try:
            yield invoice, stripe_books.invoice_sums(invoice_facts(invoice), currency())
        except NotBookable:
            continue


def not_bookable() -> int:
    """How many objects of all tenants cannot be booked. In an ops scope."""
    return sum(model.ops.exclude(problem="").count() for model in MIRRORS)


def _item_of(line: Mapping[str, Any]) -> str:
    details = (line.get("parent") or {}).get("invoice_item_details") or {}
    item = details.get("invoice_item") or ""
    return str(item["id"] if isinstance(item, dict) else item)


def _mark_of(line: Mapping[str, Any]) -> uuid.UUID | None:
    """Our row behind a line: known even where Stripe's answer to the sending never arrived."""
    try:
        return uuid.UUID((line.get("metadata") or {}).get("push", ""))
    except (ValueError, TypeError, AttributeError):
        return None
