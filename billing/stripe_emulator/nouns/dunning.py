"""What time does to an invoice: drafts are finalised, open ones are charged again."""

from __future__ import annotations

import contextlib

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.invoices import invoice_attempt, invoice_finalize
from billing.stripe_emulator.nouns.pausing import collection_paused, invoice_rest
from billing.stripe_emulator.registry import timer
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def invoice_due(invoice: Obj) -> int | None:
    """When the invoice must move by itself."""
    if not invoice["auto_advance"]:
        return None
    if invoice["status"] == "draft":
        return invoice["automatically_finalizes_at"]
    if invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically":
        return invoice["next_payment_attempt"]
    return None


@timer("invoice", invoice_due)
def invoice_wake(world: World, invoice: Obj) -> None:
    """Finalise a draft (and charge it at once), or try an open one again. A refusal is an outcome, not an error."""
    if invoice["status"] == "draft":
        if behavior := collection_paused(world, invoice):
            invoice_rest(world, invoice, behavior)
            return
        invoice_finalize(world, invoice, next_attempt=world.now)
        if invoice["collection_method"] == "send_invoice" and invoice["status"] == "open":
            world.emit("invoice.sent", invoice)
    if invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically":
        with contextlib.suppress(StripeError):
            invoice_attempt(world, invoice)
