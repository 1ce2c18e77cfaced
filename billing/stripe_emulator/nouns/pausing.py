"""Subscriptions that rest: paused for a while, or going on without being collected."""

from __future__ import annotations

import contextlib

from billing.stripe_emulator.errors import StripeError, wrong_state
from billing.stripe_emulator.nouns.invoices import invoice_attempt, invoice_close, invoice_finalize, subscription_of
from billing.stripe_emulator.nouns.proration import period_next, period_restart, renewal_draft, unused_credit
from billing.stripe_emulator.nouns.subscriptions import items_of, status_move
from billing.stripe_emulator.registry import listens, route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def collection_pause(world: World, subscription: Obj, given: Obj | str) -> None:
    """Take the `pause_collection` parameter; "" goes on collecting."""
    if not isinstance(given, dict):
        subscription["pause_collection"] = None
        return
    if (given.get("resumes_at") or world.now + 1) <= world.now:
        raise StripeError("resumes_at must be in the future.", param="pause_collection[resumes_at]")
    subscription["pause_collection"] = {"behavior": given["behavior"], "resumes_at": given.get("resumes_at")}


def collection_paused(world: World, invoice: Obj) -> str | None:
    """What becomes of an invoice of a subscription whose collection rests."""
    subscription = world.maybe(subscription_of(invoice))
    rest = subscription["pause_collection"] if subscription else None
    return str(rest["behavior"]) if rest else None


def invoice_rest(world: World, invoice: Obj, behavior: str) -> None:
    """A draft whose time has come, while its collection rests: final, and void or uncollectible at once."""
    invoice_finalize(world, invoice)
    if invoice["status"] == "open":
        invoice_close(world, invoice, "void" if behavior == "void" else "uncollectible")


def collection_resume(world: World, subscription: Obj) -> None:
    """The rest is over."""
    subscription["pause_collection"] = None
    world.save(subscription, "customer.subscription.updated")


def pause(world: World, subscription: Obj, why: str) -> None:
    """active | trialing | past_due -> paused: no invoices until it is resumed."""
    subscription["status_details"] = {
        "paused": {"subscription": {"type": why}, "transitioned_at": world.now, "type": "subscription"}
    }
    status_move(world, subscription, "paused")
    world.emit("customer.subscription.paused", subscription)


@route("POST", "/v1/subscriptions/{subscription}/pause")
def subscription_pause(world: World, params: Obj, subscription_id: str) -> Obj:
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] not in ("active", "trialing", "past_due"):
        raise wrong_state(f"Only a running subscription can be paused. This one is {subscription['status']}.")
    bill = params.get("bill_for") or {}
    unused = (bill.get("unused_time_from") or {}).get("type", "none")
    if params.get("invoicing_behavior") == "invoice" or unused == "item_current_period_start":
        raise StripeError(
            "The local emulator credits unused time from now on, onto the next invoice.", param="invoicing_behavior"
        )
    if unused == "now":
        unused_credit(world, subscription)
    pause(world, subscription, "pause_requested")
    return subscription


@route("POST", "/v1/subscriptions/{subscription}/resume")
def subscription_resume(world: World, params: Obj, subscription_id: str) -> Obj:
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] != "paused":
        raise wrong_state(f"Only a paused subscription can be resumed. This one is {subscription['status']}.")
    ended = items_of(subscription)[0]["current_period_end"] <= world.now
    if params.get("billing_cycle_anchor", {"type": "now"})["type"] == "now":
        period_restart(world, subscription, world.now)
    elif ended:
        while items_of(subscription)[0]["current_period_end"] <= world.now:
            period_next(subscription)
    else:
        _resumed(world, subscription)
        return subscription
    invoice = renewal_draft(world, subscription)
    invoice["billing_reason"] = "subscription_update"
    subscription["latest_invoice"] = subscription["_resume"] = invoice["id"]
    world.save(subscription)
    world.save(invoice, "invoice.created")
    invoice_finalize(world, invoice)
    if params.get("payment_behavior", "resume_on_payment_attempt") == "resume_on_payment_attempt":
        _resumed(world, subscription)
    if invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically":
        with contextlib.suppress(StripeError):
            invoice_attempt(world, invoice)
    return subscription


@listens("invoice.paid")
def on_resume_paid(world: World, invoice: Obj) -> None:
    """A paused subscription runs again once the invoice of its return is paid."""
    subscription = world.maybe(subscription_of(invoice))
    if subscription is not None and subscription["status"] == "paused" and subscription.get("_resume") == invoice["id"]:
        _resumed(world, subscription)


def _resumed(world: World, subscription: Obj) -> None:
    if subscription["status"] != "paused":
        return
    subscription.update(_resume=None, status_details=None)
    status_move(world, subscription, "active")
    world.emit("customer.subscription.resumed", subscription)
