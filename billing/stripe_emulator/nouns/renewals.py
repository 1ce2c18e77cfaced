"""What time does to a subscription: trials end, periods turn, first payments lapse."""

from __future__ import annotations

from billing.stripe_emulator.nouns.invoices import FINALIZE_AFTER, invoice_close
from billing.stripe_emulator.nouns.pending_updates import pending_expire
from billing.stripe_emulator.nouns.proration import period_next, renewal_draft
from billing.stripe_emulator.nouns.subscriptions import ENDED, items_of, status_move, subscription_end
from billing.stripe_emulator.registry import timer
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

LAPSE_AFTER = 23 * 3600


def subscription_due(subscription: Obj) -> int | None:
    """When the subscription must move by itself."""
    if subscription["status"] in ENDED or not subscription["items"]:
        return None
    if subscription["status"] == "incomplete":
        return int(subscription["created"]) + LAPSE_AFTER
    moments = [item["current_period_end"] for item in items_of(subscription)]
    if subscription["cancel_at"]:
        moments.append(subscription["cancel_at"])
    if subscription["pending_update"]:
        moments.append(subscription["pending_update"]["expires_at"])
    return int(min(moments))


@timer("subscription", subscription_due)
def subscription_wake(world: World, subscription: Obj) -> None:
    """Lapse, end, or renew."""
    if subscription["status"] == "incomplete":
        invoice = world.maybe(subscription["latest_invoice"])
        if invoice is not None and invoice["status"] == "open":
            invoice_close(world, invoice, "void")
        status_move(world, subscription, "incomplete_expired")
        return
    if subscription["pending_update"] and subscription["pending_update"]["expires_at"] <= world.now:
        pending_expire(world, subscription)
        return
    ends = subscription["cancel_at_period_end"] or (subscription["cancel_at"] or world.now + 1) <= world.now
    if ends:
        subscription_end(world, subscription, reason="cancellation_requested")
        return
    was_trial = subscription["status"] == "trialing"
    period_next(subscription)
    if was_trial:
        subscription["billing_cycle_anchor"] = world.now
    invoice = renewal_draft(world, subscription)
    invoice["automatically_finalizes_at"] = world.now + FINALIZE_AFTER
    subscription["latest_invoice"] = invoice["id"]
    world.save(invoice, "invoice.created")
    if was_trial:
        status_move(world, subscription, "active")
    else:
        world.save(subscription, "customer.subscription.updated")
