"""What time does to a subscription: trials end, periods turn, first payments lapse."""

from __future__ import annotations

from billing.stripe_emulator.nouns.invoices import FINALIZE_AFTER, invoice_close
from billing.stripe_emulator.nouns.pausing import collection_paused, collection_resume, pause
from billing.stripe_emulator.nouns.payment_methods import default_method
from billing.stripe_emulator.nouns.pending_updates import pending_expire
from billing.stripe_emulator.nouns.proration import period_next, renewal_draft, usage_bill
from billing.stripe_emulator.nouns.schedules import schedule_due, schedule_wake
from billing.stripe_emulator.nouns.subscriptions import ENDED, items_of, status_move, subscription_end
from billing.stripe_emulator.registry import timer
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

LAPSE_AFTER = 23 * 3600
WARN_BEFORE = 3 * 86400


def subscription_due(subscription: Obj) -> int | None:
    """When the subscription must move by itself."""
    if subscription["status"] in ENDED or not subscription["items"]:
        return None
    if subscription["status"] == "paused":
        return int(subscription["cancel_at"]) if subscription["cancel_at"] else None
    if subscription["status"] == "incomplete":
        return int(subscription["created"]) + LAPSE_AFTER
    moments = [item["current_period_end"] for item in items_of(subscription)]
    if subscription["cancel_at"]:
        moments.append(subscription["cancel_at"])
    if subscription["pause_collection"] and subscription["pause_collection"]["resumes_at"]:
        moments.append(subscription["pause_collection"]["resumes_at"])
    if subscription["status"] == "trialing" and not subscription.get("_warned"):
        moments.append(subscription["trial_end"] - WARN_BEFORE)
    if subscription["pending_update"]:
        moments.append(subscription["pending_update"]["expires_at"])
    return int(min(moments))


@timer("subscription", subscription_due)
def subscription_wake(world: World, subscription: Obj) -> None:
    """Lapse, end, or renew."""
    schedule = world.maybe(subscription["schedule"])
    if schedule is not None and (schedule_due(schedule) or world.now + 1) <= world.now:
        # The next phase's items are those of the next period.
        schedule_wake(world, schedule)
        return
    if subscription["status"] == "incomplete":
        invoice = world.maybe(subscription["latest_invoice"])
        if invoice is not None and invoice["status"] == "open":
            invoice_close(world, invoice, "void")
        status_move(world, subscription, "incomplete_expired")
        return
    if subscription["pending_update"] and subscription["pending_update"]["expires_at"] <= world.now:
        pending_expire(world, subscription)
        return
    if _on_the_way(world, subscription):
        return
    ends = subscription["cancel_at_period_end"] or (subscription["cancel_at"] or world.now + 1) <= world.now
    if ends:
        if subscription["status"] != "trialing":
            usage_bill(world, subscription)
        subscription_end(world, subscription, reason="cancellation_requested")
        return
    was_trial = subscription["status"] == "trialing"
    if was_trial and _without_card(world, subscription):
        return
    item = items_of(subscription)[0]
    # What is used in a trial is free.
    used = None if was_trial else (item["current_period_start"], item["current_period_end"])
    period_next(subscription)
    if was_trial:
        subscription["billing_cycle_anchor"] = world.now
    invoice = renewal_draft(world, subscription, used)
    if collection_paused(world, invoice) == "keep_as_draft":
        invoice["auto_advance"] = False
    else:
        invoice["automatically_finalizes_at"] = world.now + FINALIZE_AFTER
    subscription["latest_invoice"] = invoice["id"]
    world.save(invoice, "invoice.created")
    if was_trial:
        status_move(world, subscription, "active")
    else:
        world.save(subscription, "customer.subscription.updated")


def _on_the_way(world: World, subscription: Obj) -> bool:
    """What happens before the period's end: the trial's end is announced, collection goes on. Whether it was that."""
    resumes_at = (subscription["pause_collection"] or {}).get("resumes_at")
    if resumes_at and resumes_at <= world.now:
        collection_resume(world, subscription)
        return True
    soon = subscription["status"] == "trialing" and subscription["trial_end"] - WARN_BEFORE <= world.now
    if soon and not subscription.get("_warned"):
        subscription["_warned"] = True
        world.save(subscription)
        world.emit("customer.subscription.trial_will_end", subscription)
        return True
    return False


def _without_card(world: World, subscription: Obj) -> bool:
    """A trial that ends without a card ends as its settings say. Whether that was all."""
    end = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    by_mail = subscription["collection_method"] == "send_invoice"
    card = default_method(world, subscription["customer"], subscription["default_payment_method"])
    if end == "create_invoice" or by_mail or card is not None:
        return False
    if end == "pause":
        pause(world, subscription, "trial_end_without_payment_method")
    else:
        subscription_end(world, subscription, reason="payment_failed")
    return True
