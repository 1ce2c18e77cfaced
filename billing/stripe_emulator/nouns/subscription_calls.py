"""The calls on subscriptions."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.errors import StripeError, missing, wrong_state
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.invoices import invoice_attempt, invoice_finalize, undone
from billing.stripe_emulator.nouns.pausing import collection_pause
from billing.stripe_emulator.nouns.payment_methods import method_attach, method_resolve
from billing.stripe_emulator.nouns.pending_updates import PENDING_ALLOWED, pending_discard, pending_hold
from billing.stripe_emulator.nouns.proration import (
    change_invoice,
    items_change,
    period_restart,
    unused_credit,
    usage_lines,
)
from billing.stripe_emulator.nouns.subscriptions import (
    ENDED,
    discounts_redeem,
    items_of,
    status_move,
    subscription_end,
    subscription_make,
    trial_terms,
)
from billing.stripe_emulator.nouns.tax_rates import no_automatic_tax, rates_given
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import ABSENT, Obj
from billing.stripe_emulator.world import World

_UPDATE = ("description", "days_until_due", "collection_method", "metadata")


@route("POST", "/v1/subscriptions")
def subscription_create(world: World, params: Obj) -> Obj:
    if "customer" not in params:
        raise missing("customer")
    return subscription_make(world, customer_alive(world, params["customer"], "customer"), params)


@route("GET", "/v1/subscriptions/{subscription_exposed_id}")
def subscription_retrieve(world: World, params: Obj, subscription_id: str) -> Obj:
    return world.get("subscription", subscription_id)


@route("POST", "/v1/subscriptions/{subscription_exposed_id}")
def subscription_update(world: World, params: Obj, subscription_id: str) -> Obj:
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] in ENDED and set(params) - {"metadata", "cancellation_details", "expand"}:
        raise wrong_state("A canceled subscription can only update its cancellation_details and metadata.")
    behavior = params.get("payment_behavior", "allow_incomplete")
    if behavior == "pending_if_incomplete" and (wrong := sorted(set(params) - PENDING_ALLOWED)):
        raise StripeError(
            f"When `payment_behavior` is `pending_if_incomplete`, you can only pass "
            f"{', '.join(sorted(PENDING_ALLOWED))}. Update {', '.join(wrong)} in a call of its own.",
            param=wrong[0],
        )
    assign(subscription, params, *_UPDATE)
    if "default_payment_method" in params:
        method = method_resolve(world, params["default_payment_method"], "default_payment_method")
        customer = world.fetch(subscription["customer"])
        subscription["default_payment_method"] = method_attach(world, method, customer)["id"]
    if "discounts" in params:
        discounts_redeem(world, subscription, params)
    no_automatic_tax(params)
    if "default_tax_rates" in params:
        subscription["default_tax_rates"] = rates_given(world, params, "default_tax_rates")
    if "pause_collection" in params:
        collection_pause(world, subscription, params["pause_collection"])
    if "trial_settings" in params:
        subscription["trial_settings"] = trial_terms(params)
    _cancel_terms(world, subscription, params)
    if params.get("trial_end") == "now" and subscription["status"] == "trialing":
        subscription["trial_end"] = world.now
        for item in items_of(subscription):
            item["current_period_end"] = world.now
    if "items" in params:
        pending_discard(world, subscription)
        _change(world, subscription, params, behavior)
    return world.save(subscription, "customer.subscription.updated")


def _cancel_terms(world: World, subscription: Obj, params: Obj) -> None:
    if "cancel_at_period_end" in params:
        ending = params["cancel_at_period_end"]
        subscription["cancel_at_period_end"] = ending
        subscription["canceled_at"] = world.now if ending else None
        subscription["cancel_at"] = items_of(subscription)[0]["current_period_end"] if ending else None
        subscription["cancellation_details"]["reason"] = "cancellation_requested" if ending else None
    elif "cancel_at" in params:
        given = params["cancel_at"]
        if isinstance(given, str) and given:
            given = items_of(subscription)[0]["current_period_end"]
        subscription["cancel_at"] = given or None
        subscription["canceled_at"] = world.now if given else None
    for name, value in (params.get("cancellation_details") or {}).items():
        subscription["cancellation_details"][name] = value or None


def _change(world: World, subscription: Obj, params: Obj, behavior: str) -> None:
    prorating = params.get("proration_behavior", "create_prorations")
    moment = params.get("proration_date", world.now)
    before, anchor = [dict(item) for item in items_of(subscription)], subscription["billing_cycle_anchor"]
    restart = items_change(world, subscription, params["items"], prorating, moment)
    if restart and subscription["status"] != "trialing":
        period_restart(world, subscription, world.now)
    elif prorating != "always_invoice":
        return
    if subscription["status"] == "trialing":
        return
    invoice = change_invoice(world, subscription, restart=restart)
    if not invoice["lines"]["data"]:
        return
    subscription["latest_invoice"] = invoice["id"]
    pending = behavior == "pending_if_incomplete"
    subscription["_pending"] = {"invoice": invoice["id"]} if pending else None
    world.save(subscription, None if pending else "customer.subscription.updated")
    world.save(invoice, "invoice.created")
    invoice_finalize(world, invoice)
    if invoice["status"] != "open" or invoice["collection_method"] != "charge_automatically":
        return
    if behavior == "default_incomplete":
        status_move(world, subscription, "past_due")
        return
    try:
        invoice_attempt(world, invoice, off_session=bool(params.get("off_session")))
    except StripeError as error:
        if behavior == "error_if_incomplete":
            raise undone(error) from error
        if pending:
            pending_hold(world, subscription, invoice, before, anchor)


@route("DELETE", "/v1/subscriptions/{subscription_exposed_id}/discount")
def discount_delete(world: World, params: Obj, subscription_id: str) -> Obj:
    subscription = world.get("subscription", subscription_id)
    if not subscription["discounts"]:
        raise StripeError("This subscription has no discount.", status=404, code="resource_missing")
    discount = world.fetch(subscription["discounts"][-1])
    subscription["discounts"] = []
    world.emit("customer.discount.deleted", discount)
    world.save(subscription, "customer.subscription.updated")
    return {**discount, "deleted": True}


@route("DELETE", "/v1/subscriptions/{subscription_exposed_id}")
def subscription_cancel(world: World, params: Obj, subscription_id: str) -> Obj:
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] in ENDED:
        world.get("subscription", "")
    details = params.get("cancellation_details") or {}
    if params.get("prorate"):
        unused_credit(world, subscription)
    if params.get("invoice_now"):
        invoice = change_invoice(world, subscription, restart=False)
        usage_lines(world, invoice, subscription, items_of(subscription)[0]["current_period_start"], world.now)
        if invoice["lines"]["data"]:
            world.save(invoice, "invoice.created")
            invoice_finalize(world, invoice, next_attempt=world.now)
    subscription_end(
        world,
        subscription,
        reason="cancellation_requested",
        comment=details.get("comment"),
        feedback=details.get("feedback"),
    )
    return subscription


def _with_price(world: World, price_id: str) -> list[str]:
    """The subscriptions with an item of a price, wherever it stands in the list."""
    every = (world.fetch(subscription_id) for subscription_id in world.store.ids("subscription"))
    return [one["id"] for one in every if any(item["price"]["id"] == price_id for item in items_of(one))]


@route("GET", "/v1/subscriptions")
def subscription_list(world: World, params: Obj) -> Obj:
    status = params.get("status")
    wanted = {
        "all": None,
        "ended": list(ENDED),
        None: ["incomplete", "trialing", "active", "past_due", "unpaid", "paused"],
    }
    where = {
        "customer": params.get("customer"),
        "collection_method": params.get("collection_method"),
        "status": wanted.get(status, status),
        "id": _with_price(world, params["price"]) if "price" in params else None,
        "test_clock": params.get("test_clock", None if "customer" in params else ABSENT),
    }
    return page(world, "subscription", params, "/v1/subscriptions", where)
