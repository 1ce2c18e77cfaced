"""Invoices into the ledger: what they ask for, what was paid, what was given up.

Derived from the mirror of Stripe's invoices by a tick, not by hooks in the webhook's path: an invoice that was missed,
doubled or came out of order is booked once, by its id, when its mirror says so.

Usage on an invoice was booked as receivable, exactly, when its month closed; the invoice says it in cents. The parts of
a cent between the two stand in the rounding account, whose balance is what the next invoices carry.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Exists, F, OuterRef

from billing.models import Account, Invoice, InvoiceLinePush, LedgerTransaction, PeriodClose
from billing.services.ledger import ledger_post
from billing.services.sweeps import for_each
from kit.money import CENT
from tenants.scope import ops_scope, tenant_scope

ISSUED = ("open", "paid", "uncollectible", "void")
LOST = {"void": "voided", "uncollectible": "given up"}


def invoice_book(*, invoice: Invoice) -> None:
    """Book one mirrored invoice in the caller's scope, as far as it has come. Safe to repeat."""
    if invoice.status not in ISSUED:
        return
    asked = invoice.total * CENT
    cents_nano, exact_nano = _usage_of(invoice)
    if asked:
        ledger_post(
            kind="invoice",
            key=invoice.stripe_id,
            entries={
                Account.RECEIVABLE: asked - exact_nano,
                Account.SUBSCRIPTION_REVENUE: -(asked - cents_nano),
                Account.ROUNDING: exact_nano - cents_nano,
            },
            memo=f"Invoice {invoice.number or invoice.stripe_id}",
        )
    if invoice.status == "paid" and invoice.amount_paid:
        ledger_post(
            kind="payment",
            key=invoice.stripe_id,
            entries={Account.CASH: invoice.amount_paid * CENT, Account.RECEIVABLE: -invoice.amount_paid * CENT},
            memo=f"Invoice {invoice.number or invoice.stripe_id} paid",
        )
    elif invoice.status in LOST and invoice.total > invoice.amount_paid:
        unpaid = (invoice.total - invoice.amount_paid) * CENT
        ledger_post(
            kind="loss",
            key=invoice.stripe_id,
            entries={Account.CREDIT: unpaid, Account.RECEIVABLE: -unpaid},
            memo=f"Invoice {invoice.number or invoice.stripe_id} {LOST[invoice.status]}",
        )


def invoices_book_all() -> int:
    """Book every mirrored invoice whose booking is behind; how many."""
    with ops_scope("find invoices to book"):
        mine = LedgerTransaction.ops.filter(tenant_id=OuterRef("tenant_id"), key=OuterRef("stripe_id"))
        behind = [
            *Invoice.ops.filter(status__in=ISSUED).exclude(total=0).exclude(Exists(mine.filter(kind="invoice"))),
            *Invoice.ops.filter(status="paid", amount_paid__gt=0).exclude(Exists(mine.filter(kind="payment"))),
            *Invoice.ops.filter(status__in=LOST, total__gt=F("amount_paid")).exclude(Exists(mine.filter(kind="loss"))),
        ]
    found = {(invoice.tenant_id, invoice.pk) for invoice in behind}
    return for_each("invoice_book", sorted(found), _book)


def _book(entry: tuple[uuid.UUID, uuid.UUID]) -> int:
    tenant_id, pk = entry
    with tenant_scope(tenant_id):
        invoice = Invoice.objects.filter(pk=pk).first()
        if invoice is None:
            return 0
        invoice_book(invoice=invoice)
        return 1


def _usage_of(invoice: Invoice) -> tuple[int, int]:
    """Usage on an invoice: (nano-USD of its whole cents, exact nano-USD as its month was closed)."""
    items = [item for line in invoice.raw.get("lines", {}).get("data", []) if (item := _item_of(line))]
    pushes = list(InvoiceLinePush.objects.filter(stripe_item_id__in=items)) if items else []
    closes = {close.period: close for close in PeriodClose.objects.filter(period__in={p.period for p in pushes})}
    exact = 0
    for push in pushes:
        lines = closes[push.period].lines if push.period in closes else []
        exact += sum(line["amount_nano"] for line in lines if line["key"] == push.line_key)
    return sum(push.amount_cents for push in pushes) * CENT, exact


def _item_of(line: dict[str, Any]) -> str:
    details = (line.get("parent") or {}).get("invoice_item_details") or {}
    item = details.get("invoice_item") or ""
    return str(item["id"] if isinstance(item, dict) else item)
