"""Changes of a subscription that wait for their payment (`payment_behavior=pending_if_incomplete`).

The subscription keeps its old items; the new ones are its `pending_update` until the invoice of the change is paid,
or for 23 hours.
"""

from __future__ import annotations

from billing.stripe_emulator.nouns.invoices import invoice_close, subscription_of
from billing.stripe_emulator.nouns.subscriptions import items_of
from billing.stripe_emulator.registry import listens
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

LAPSE_AFTER = 23 * 3600
PENDING_ALLOWED = {
    "add_invoice_items",
    "billing_cycle_anchor",
    "collection_method",
    "expand",
    "items",
    "off_session",
    "payment_behavior",
    "proration_behavior",
    "proration_date",
    "trial_end",
    "trial_from_plan",
}


def pending_hold(world: World, subscription: Obj, invoice: Obj, before: list[Obj], anchor: int) -> None:
    """The change was not paid: put the old items back and keep the new ones for later."""
    after = items_of(subscription)
    moved = subscription["billing_cycle_anchor"] if subscription["billing_cycle_anchor"] != anchor else None
    subscription["_pending"] = {"invoice": invoice["id"], "items": after, "anchor": moved}
    subscription["items"]["data"] = before
    subscription["billing_cycle_anchor"] = anchor
    subscription["pending_update"] = {
        "billing_cycle_anchor": moved,
        "cancel_at_period_end": None,
        "discount": None,
        "discounts": None,
        "expires_at": world.now + LAPSE_AFTER,
        "metadata": None,
        "subscription_items": after,
        "trial_end": None,
        "trial_from_plan": False,
    }
    # Only its owner can pay it now, so nothing is tried by itself.
    invoice.update(auto_advance=False, next_payment_attempt=None)
    world.save(invoice)
    world.save(subscription, "customer.subscription.updated")


def pending_discard(world: World, subscription: Obj) -> None:
    """Give a waiting change up, and its invoice with it."""
    if subscription["pending_update"] is None:
        return
    invoice = world.fetch(subscription["_pending"]["invoice"])
    subscription.update(pending_update=None, _pending=None)
    if invoice["status"] == "open":
        invoice_close(world, invoice, "void")


def pending_expire(world: World, subscription: Obj) -> None:
    """Its time is over."""
    pending_discard(world, subscription)
    world.save(subscription)
    world.emit("customer.subscription.pending_update_expired", subscription)


@listens("invoice.paid")
def on_change_paid(world: World, invoice: Obj) -> None:
    """The change was paid: now it happens."""
    subscription = world.maybe(subscription_of(invoice))
    if subscription is None or subscription["pending_update"] is None:
        return
    held = subscription["_pending"]
    if held["invoice"] != invoice["id"]:
        return
    subscription["items"]["data"] = held["items"]
    subscription["billing_cycle_anchor"] = held["anchor"] or subscription["billing_cycle_anchor"]
    subscription.update(pending_update=None, _pending=None)
    world.save(subscription, "customer.subscription.updated")
    world.emit("customer.subscription.pending_update_applied", subscription)
