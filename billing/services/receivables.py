"""Stripe's objects into the ledger: what invoices ask for, what was paid, given up, given back, disputed.

Derived from the mirrors by a tick, not by hooks in the webhook's path. For each object the accounts' position is worked
out from its present state (`ledger.stripe_books`) and compared with what is booked because of it; the difference is one
more transaction. So an object that was missed, doubled or came out of order is booked once, and one that changes its
mind (a given-up invoice that is paid, a refund that fails, a dispute that is won) is put right without touching a row.

Usage on an invoice was booked as receivable, exactly, when its month closed; the invoice says it in cents. The parts of
a cent between the two stand in the rounding account, whose balance is what the next invoices carry.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any

from django.db.models import QuerySet

from billing.ledger import stripe_books
from billing.models import Invoice, PaymentDispute, Refund
from billing.selectors.bookings import KINDS, MIRRORS, Mirror, booked_for, wanted_of
from billing.services.invoicing import pushes_mark
from billing.services.ledger import ledger_post
from billing.services.locks import money_lock
from billing.services.paid_back import money_back
from billing.services.sweeps import for_each
from kit.clock import now
from tenants.scope import current_tenant_id, ops_scope, tenant_scope

logger = logging.getLogger(__name__)

MEMOS = {
    "invoice": "Invoice {}",
    "payment": "Invoice {} paid",
    "loss": "Invoice {} given up",
    "credit_note": "Credit note {}",
    "refund": "Refund {}",
    "dispute": "Dispute {}",
}


def mirror_book(*, row: Mirror) -> int:
    """Bring the ledger up to one mirrored object in the caller's scope; how many transactions it took. Safe to repeat.

    Transactions are keyed by the object: the first by its id, the n-th by `id/n`. One that cannot be booked is marked
    with the reason, and what an earlier reading of it booked is taken back.
    """
    money_lock(current_tenant_id())  # nobody writes the mirror meanwhile, and nobody else books
    row.refresh_from_db()
    wanted, problem = wanted_of(row)
    posted = 0
    for kind in KINDS[type(row)]:
        booked, before = booked_for(kind, row.stripe_id)
        entries = stripe_books.difference(wanted.get(kind, {}), booked)
        if entries:
            name = getattr(row, "number", "") or row.stripe_id
            ledger_post(
                kind=kind,
                key=row.stripe_id if not before else f"{row.stripe_id}/{before + 1}",
                entries=entries,
                memo=MEMOS[kind].format(name)[:300],
                detail={"status": row.status},
            )
            posted += 1
    if problem and problem != row.problem:
        logger.error("cannot book %s %s: %s", type(row).__name__, row.stripe_id, problem)
    whole = True
    if isinstance(row, Invoice):
        pushes_mark(row)
    elif isinstance(row, Refund | PaymentDispute):
        whole = money_back(row)
    row.booked_at, row.problem = now() if whole else None, problem
    row.save(update_fields=["booked_at", "problem"])
    return posted


def mirrors_book_all() -> int:
    """Book every mirrored object whose booking is behind; how many."""
    with ops_scope("find what to book"):
        behind = [
            (tenant_id, model, pk)
            for model in MIRRORS
            for tenant_id, pk in _behind(model).order_by("tenant_id", "pk").values_list("tenant_id", "pk")
        ]
    return for_each("mirror_book", behind, _book)


def _behind(model: type[Mirror]) -> QuerySet[Any]:
    rows: QuerySet[Any] = model.ops.filter(booked_at=None)
    return rows.filter(status__in=stripe_books.ISSUED) if model is Invoice else rows


def _book(entry: tuple[uuid.UUID, type[Mirror], uuid.UUID]) -> int:
    tenant_id, model, pk = entry
    with tenant_scope(tenant_id):
        row = model.objects.filter(pk=pk).first()
        if row is None:
            return 0
        mirror_book(row=row)
        return 1
