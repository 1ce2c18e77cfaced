"""Subscriptions: their states, items and first invoice.

incomplete -> active | trialing | incomplete_expired | canceled
trialing -> active | past_due | canceled | paused
active <-> past_due -> canceled | unpaid
active | past_due <-> paused -> canceled
"""

from __future__ import annotations

from typing import Any

from billing.stripe_emulator.answers import assign, listing
from billing.stripe_emulator.errors import StripeError, missing, wrong_state
from billing.stripe_emulator.nouns.balance import currency_fix
from billing.stripe_emulator.nouns.catalogue import amount_of, plan_of, price_for
from billing.stripe_emulator.nouns.coupons import discounts_make
from billing.stripe_emulator.nouns.invoice_lines import invoice_total, line_add, pending_take
from billing.stripe_emulator.nouns.invoices import (
    invoice_attempt,
    invoice_close,
    invoice_draft,
    invoice_finalize,
    subscription_of,
    undone,
)
from billing.stripe_emulator.nouns.metering import item_cost, metered
from billing.stripe_emulator.nouns.payment_methods import asks_owner, default_method, method_attach, method_resolve
from billing.stripe_emulator.nouns.periods import period_end
from billing.stripe_emulator.nouns.setup_intents import setup_confirm, setup_make
from billing.stripe_emulator.nouns.tax_rates import no_automatic_tax, rates_given
from billing.stripe_emulator.registry import listens
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

DAY = 86400
MOVES = {
    "incomplete": {"active", "trialing", "incomplete_expired", "canceled"},
    "trialing": {"active", "past_due", "canceled", "paused"},
    "active": {"past_due", "canceled", "unpaid", "paused"},
    "past_due": {"active", "canceled", "unpaid", "paused"},
    "unpaid": {"active", "canceled"},
    "paused": {"active", "canceled"},
    "canceled": set(),
    "incomplete_expired": set(),
}
ENDED = ("canceled", "incomplete_expired")
_PLAIN = ("description", "days_until_due", "collection_method", "metadata", "cancel_at_period_end")


def trial_terms(params: Obj) -> Obj:
    """How a trial ends: what a call says of it, and Stripe's defaults."""
    given = (params.get("trial_settings") or {}).get("end_behavior") or {}
    if given.get("billing_cycle_anchor") == "unchanged":
        raise StripeError("The local emulator begins a period when a trial ends.", param="trial_settings[end_behavior]")
    return {"end_behavior": {"billing_cycle_anchor": None, "missing_payment_method": "create_invoice", **given}}


def status_move(world: World, subscription: Obj, status: str) -> None:
    """One move of the state machine. Raises for a move that does not exist."""
    if status == subscription["status"]:
        return
    if status not in MOVES[subscription["status"]]:
        raise wrong_state(f"A subscription cannot go from {subscription['status']} to {status}.")
    subscription["status"] = status
    if status in ENDED:
        subscription["ended_at"] = world.now
        subscription["canceled_at"] = subscription["canceled_at"] or world.now
        world.save(subscription)
        world.emit(
            "customer.subscription.deleted" if status == "canceled" else "customer.subscription.updated", subscription
        )
    else:
        world.save(subscription, "customer.subscription.updated")


def item_make(world: World, subscription: Obj, given: Obj, param: str) -> Obj:
    """A subscription item from one entry of `items`."""
    price = price_for(world, given, param, recurring=True)
    counted = metered(price)
    if counted and "quantity" in given:
        raise StripeError(
            f"You cannot set the quantity of a metered price ({price['id']}).", param=f"{param}[quantity]"
        )
    item = world.new(
        "subscription_item",
        "si",
        subscription=subscription["id"],
        price=price,
        plan=plan_of(price),
        quantity=0 if counted else given.get("quantity", 1),
        metadata=given.get("metadata") or {},
        tax_rates=rates_given(world, given, "tax_rates", f"{param}[tax_rates]"),
    )
    if item["quantity"] < 0:
        raise StripeError("Invalid quantity: must not be negative", param=f"{param}[quantity]")
    return item


def items_of(subscription: Obj) -> list[Obj]:
    """The items, in order."""
    return list(subscription["items"]["data"])


def rhythm(subscription: Obj) -> tuple[str, int]:
    """Interval and count that all items share. Raises when they do not."""
    found = {
        (i["price"]["recurring"]["interval"], i["price"]["recurring"]["interval_count"]) for i in items_of(subscription)
    }
    if len(found) != 1:
        raise StripeError("All items of one subscription must have the same billing interval here.", param="items")
    return found.pop()


def period_set(subscription: Obj, start: int, end: int) -> None:
    """Put a period on every item (the subscription itself has none since 2025)."""
    for item in items_of(subscription):
        item["current_period_start"], item["current_period_end"] = start, end


def subscription_make(world: World, customer: Obj, params: Obj) -> Obj:
    """Create a subscription, its first invoice, and try to have it paid.

    `payment_behavior` decides what a refusal does: `allow_incomplete` (default) leaves the subscription
    incomplete, `error_if_incomplete` raises and leaves nothing, `default_incomplete` does not try.
    """
    if not params.get("items"):
        raise missing("items")
    no_automatic_tax(params)
    behavior = params.get("payment_behavior", "allow_incomplete")
    if behavior == "pending_if_incomplete":
        raise StripeError(
            "You can only use `payment_behavior=pending_if_incomplete` when you update a subscription.",
            param="payment_behavior",
        )
    subscription = _blank(world, customer, params)
    trial_end = _trial_end(world, params)
    start = world.now
    end = trial_end or period_end(start, *rhythm(subscription), start)
    subscription["billing_cycle_anchor"] = trial_end or start
    period_set(subscription, start, end)
    if trial_end:
        subscription.update(status="trialing", trial_start=start, trial_end=trial_end)
        subscription["trial_settings"] = trial_terms(params)
    by_mail = subscription["collection_method"] == "send_invoice"
    if not trial_end and not by_mail and behavior != "default_incomplete":
        _needs_card(world, customer, subscription)
    discounts_redeem(world, subscription, params)
    world.save(subscription, "customer.subscription.created")
    invoice = first_invoice(world, subscription)
    _first_payment(world, subscription, invoice, behavior, off_session=bool(params.get("off_session")))
    if trial_end:
        _set_up_later(world, subscription)
    return subscription


def _blank(world: World, customer: Obj, params: Obj) -> Obj:
    subscription = world.new(
        "subscription",
        "sub",
        customer=customer["id"],
        status="incomplete",
        metadata={},
        start_date=world.now,
        default_tax_rates=rates_given(world, params, "default_tax_rates"),
    )
    subscription["billing_mode"] = {
        "type": "flexible",
        "flexible": {"proration_discounts": "included"},
        "updated_at": None,
    }
    subscription["cancellation_details"] = {"comment": None, "feedback": None, "feedback_option": None, "reason": None}
    subscription["payment_settings"] = {
        "payment_method_options": None,
        "payment_method_types": None,
        "save_default_payment_method": "off",
    }
    subscription["invoice_settings"]["issuer"] = {"type": "self"}
    assign(subscription, params, *_PLAIN)
    if subscription["collection_method"] == "send_invoice" and "days_until_due" not in params:
        raise missing("days_until_due")
    if "default_payment_method" in params:
        method = method_resolve(world, params["default_payment_method"], "default_payment_method")
        subscription["default_payment_method"] = method_attach(world, method, customer)["id"]
    items = [item_make(world, subscription, entry, f"items[{i}]") for i, entry in enumerate(params["items"])]
    subscription["items"] = listing(items, f"/v1/subscription_items?subscription={subscription['id']}")
    currencies = {item["price"]["currency"] for item in items}
    if len(currencies) > 1:
        raise StripeError("All prices of one subscription must have the same currency.", param="items")
    subscription["currency"] = currencies.pop()
    currency_fix(world, customer, subscription["currency"])
    if isinstance(params.get("cancel_at"), int):
        subscription["cancel_at"] = params["cancel_at"]
    if subscription["cancel_at_period_end"]:
        subscription["canceled_at"] = world.now
    return subscription


def _trial_end(world: World, params: Obj) -> int | None:
    if "trial_period_days" in params and "trial_end" in params:
        raise StripeError(
            "You may only specify one of these parameters: trial_end, trial_period_days.", param="trial_period_days"
        )
    if params.get("trial_period_days", 0) > 0:
        return world.now + DAY * int(params["trial_period_days"])
    end = params.get("trial_end")
    if isinstance(end, int):
        if end <= world.now:
            raise StripeError("The trial must end in the future.", param="trial_end")
        return end
    return None


def _needs_card(world: World, customer: Obj, subscription: Obj) -> None:
    costs = any(item_cost(item) for item in items_of(subscription))
    if costs and default_method(world, customer["id"], subscription["default_payment_method"]) is None:
        raise StripeError(
            "This customer has no attached payment source or default payment method. Please consider adding a default "
            "payment method. For more information, visit "
            "https://stripe.com/docs/billing/subscriptions/payment-methods-setting#payment-method-priority.",
            code="resource_missing",
        )


def discounts_redeem(world: World, subscription: Obj, params: Obj) -> None:
    """Set the discounts that a call names."""
    subscription["discounts"] = discounts_make(
        world,
        params.get("discounts"),
        buyer=subscription["customer"],
        amount=sum(item_cost(item) for item in items_of(subscription)),
        currency=subscription["currency"],
        customer=subscription["customer"],
        subscription=subscription["id"],
    )


def invoice_for(world: World, subscription: Obj, reason: str, **fields: Any) -> Obj:
    """A draft that belongs to a subscription, without lines."""
    customer = world.fetch(subscription["customer"])
    invoice = invoice_draft(world, customer, currency=subscription["currency"], reason=reason, **fields)
    invoice["collection_method"] = subscription["collection_method"]
    invoice["_days_until_due"] = subscription["days_until_due"] or 30
    invoice["auto_advance"] = True
    invoice["parent"] = {
        "type": "subscription_details",
        "quote_details": None,
        "subscription_details": {"metadata": subscription["metadata"], "subscription": subscription["id"]},
    }
    invoice["discounts"] = list(subscription["discounts"])
    invoice["default_tax_rates"] = list(subscription["default_tax_rates"])
    return invoice


def period_lines(world: World, invoice: Obj, subscription: Obj, start: int, end: int, *, free: bool = False) -> None:
    """One line per item for a period; `free` during a trial."""
    for item in items_of(subscription):
        price, quantity = item["price"], item["quantity"]
        if metered(price):
            continue
        product = world.maybe(price["product"])
        name = product["name"] if product else price["id"]
        amount = 0 if free else amount_of(price, quantity)
        unit = "Free trial" if free else f"at {amount / 100:.2f} / {price['recurring']['interval']}"
        line_add(
            world,
            invoice,
            amount=amount,
            description=f"{quantity} × {name} ({unit})",
            period=(start, end),
            price=price,
            quantity=quantity,
            metadata=item["metadata"],
            rates=item["tax_rates"],
            parent=item_parent(subscription, item, proration=False),
        )


def item_parent(subscription: Obj, item: Obj, *, proration: bool) -> Obj:
    """The `parent` of a line that comes from a subscription item."""
    return {
        "type": "subscription_item_details",
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": proration,
            "proration_details": {"credited_items": None},
            "subscription": subscription["id"],
            "subscription_item": item["id"],
        },
    }


def first_invoice(world: World, subscription: Obj) -> Obj:
    """The invoice of the first period, as a draft."""
    item = items_of(subscription)[0]
    invoice = invoice_for(world, subscription, "subscription_create")
    period_lines(
        world,
        invoice,
        subscription,
        item["current_period_start"],
        item["current_period_end"],
        free=subscription["status"] == "trialing",
    )
    pending_take(world, invoice, subscription["id"])
    invoice_total(world, invoice)
    subscription["latest_invoice"] = invoice["id"]
    world.save(invoice, "invoice.created")
    world.save(subscription)
    return invoice


def _first_payment(world: World, subscription: Obj, invoice: Obj, behavior: str, *, off_session: bool) -> None:
    invoice_finalize(world, invoice)
    if subscription["collection_method"] == "send_invoice":
        if subscription["status"] == "incomplete":
            status_move(world, subscription, "active")
        world.emit("invoice.sent", invoice)
        return
    if invoice["status"] != "open" or behavior == "default_incomplete":
        return
    try:
        invoice_attempt(world, invoice, off_session=off_session)
    except StripeError as error:
        if behavior == "error_if_incomplete":
            raise undone(error) from error
        subscription["latest_invoice"] = invoice["id"]
        world.save(subscription)


def _set_up_later(world: World, subscription: Obj) -> None:
    """A card that will want its owner at the end of the trial is set up now, while he is here."""
    method = default_method(world, subscription["customer"], subscription["default_payment_method"])
    if method is None or not asks_owner(method, off_session=True):
        return
    intent = setup_make(world, customer=subscription["customer"], _subscription=subscription["id"])
    subscription["pending_setup_intent"] = intent["id"]
    setup_confirm(world, intent, method)
    world.save(subscription, "customer.subscription.updated")


@listens("invoice.paid")
def on_paid(world: World, invoice: Obj) -> None:
    """A paid invoice starts a subscription, or brings it back."""
    subscription = world.maybe(subscription_of(invoice))
    if subscription is None or subscription["status"] in (*ENDED, "trialing", "paused"):
        return
    if subscription["status"] == "incomplete" and invoice["billing_reason"] != "subscription_create":
        return
    open_ones = world.find("invoice", parent__subscription_details__subscription=subscription["id"], status="open")
    if subscription["status"] == "incomplete" or not open_ones:
        status_move(world, subscription, "active")


@listens("invoice.payment_failed")
def on_failed(world: World, invoice: Obj) -> None:
    """A refused renewal makes it past due; the end of the retries ends it."""
    subscription = world.maybe(subscription_of(invoice))
    if subscription is None or subscription["status"] in (*ENDED, "incomplete", "paused"):
        return
    if (subscription.get("_pending") or {}).get("invoice") == invoice["id"]:
        return
    if subscription["status"] in ("active", "trialing"):
        status_move(world, subscription, "past_due")
    if invoice["next_payment_attempt"] is None and subscription["status"] == "past_due" and invoice["auto_advance"]:
        subscription["cancellation_details"]["reason"] = "payment_failed"
        end = world.store.setting("dunning_end", "canceled")
        status_move(world, subscription, end)


def subscription_end(
    world: World, subscription: Obj, *, reason: str, comment: str | None = None, feedback: str | None = None
) -> None:
    """Cancel now. The open first invoice of an incomplete one goes too."""
    details = subscription["cancellation_details"]
    details.update(reason=reason, comment=comment or details["comment"], feedback=feedback or details["feedback"])
    if subscription["status"] == "incomplete":
        invoice = world.maybe(subscription["latest_invoice"])
        if invoice is not None and invoice["status"] == "open":
            invoice_close(world, invoice, "void")
    status_move(world, subscription, "canceled")


@listens("customer.deleted")
def on_customer_deleted(world: World, customer: Obj) -> None:
    """Whoever goes takes his subscriptions along."""
    for subscription in world.find("subscription", customer=customer["id"]):
        if subscription["status"] not in ENDED:
            subscription_end(world, subscription, reason="cancellation_requested")
