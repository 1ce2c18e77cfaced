"""Changing a subscription in the middle of a period, and previews of what comes next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.nouns.coupons import running, take_off
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.invoice_items import item_make as waiting_make
from billing.stripe_emulator.nouns.invoice_lines import invoice_total, pending_take
from billing.stripe_emulator.nouns.invoices import FINALIZE_AFTER, invoice_draft
from billing.stripe_emulator.nouns.metering import item_cost, metered, usage_line
from billing.stripe_emulator.nouns.periods import period_end
from billing.stripe_emulator.nouns.subscriptions import (
    ENDED,
    first_invoice,
    invoice_for,
    item_make,
    item_parent,
    items_of,
    period_lines,
    period_set,
    rhythm,
    subscription_make,
)
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def items_change(world: World, subscription: Obj, given: list[Obj], behavior: str, moment: int) -> bool:
    """Apply an `items` parameter and write the prorations as waiting invoice items.

    Returns whether a new period must start now (another interval, or from free to paid).
    """
    before = [dict(item) for item in items_of(subscription)]
    old_rhythm, was_free = rhythm(subscription), not _cost(before)
    after = _merged(world, subscription, given)
    if not after:
        raise StripeError(
            "A subscription must have at least one active plan. To cancel one, cancel the subscription.", param="items"
        )
    subscription["items"]["data"] = after
    restart = rhythm(subscription) != old_rhythm or (was_free and _cost(after) > 0)
    start, end = before[0]["current_period_start"], before[0]["current_period_end"]
    period_set(subscription, start, end)
    if behavior != "none" and subscription["status"] != "trialing":
        part = max(0, end - moment) / (end - start)
        _prorate(world, subscription, before, after, part, moment, end, credits_only=restart)
    return restart


def unused_credit(world: World, subscription: Obj) -> None:
    """Write what is left of the paid period as waiting items that give it back; the subscription keeps its items. What
    a meter counts is not paid in advance, so there is nothing of it to give back."""
    before = [dict(item) for item in items_of(subscription)]
    nothing = [{"id": item["id"], "quantity": 0} for item in before if not metered(item["price"])]
    items_change(world, subscription, nothing, "create_prorations", world.now)
    subscription["items"]["data"] = before


def _cost(items: list[Obj]) -> int:
    return sum(item_cost(item) for item in items)


def _merged(world: World, subscription: Obj, given: list[Obj]) -> list[Obj]:
    items = {item["id"]: item for item in items_of(subscription)}
    for index, entry in enumerate(given):
        param = f"items[{index}]"
        if "id" not in entry:
            same = next((i for i in items.values() if i["price"]["id"] == entry.get("price")), None)
            if same is not None:
                raise StripeError(
                    f"Cannot add multiple subscription items with the same plan: {entry.get('price')}",
                    param=f"{param}[price]",
                )
            made = item_make(world, subscription, entry, param)
            items[made["id"]] = made
            continue
        if entry["id"] not in items:
            world.get("subscription_item", entry["id"], f"{param}[id]")
        if entry.get("deleted"):
            del items[entry["id"]]
            continue
        old = items[entry["id"]]
        source = entry
        if "price" not in entry and "price_data" not in entry:
            source = {**entry, "price": old["price"]["id"], "_agreed": True}
        kept = {} if metered(old["price"]) or _metered_next(world, source) else {"quantity": old["quantity"]}
        fresh = item_make(world, subscription, {**kept, **source}, param)
        notes = {**old["metadata"], **(entry.get("metadata") or {})}
        if "tax_rates" not in entry:
            fresh["tax_rates"] = old["tax_rates"]
        fresh.update(id=old["id"], created=old["created"], metadata=notes)
        items[old["id"]] = fresh
    return list(items.values())


def _metered_next(world: World, entry: Obj) -> bool:
    price = world.maybe(entry.get("price"))
    return price is not None and price["object"] == "price" and metered(price)


def _prorate(
    world: World,
    subscription: Obj,
    before: list[Obj],
    after: list[Obj],
    part: float,
    moment: int,
    end: int,
    *,
    credits_only: bool,
) -> None:
    then = {item["id"]: item for item in before}
    now = {item["id"]: item for item in after}
    day = f"{datetime.fromtimestamp(moment, UTC):%d %b %Y}"
    for item_id in {**then, **now}:
        old, new = then.get(item_id), now.get(item_id)
        same = old and new and (old["price"]["id"], old["quantity"]) == (new["price"]["id"], new["quantity"])
        if same and not credits_only:
            continue
        if old:
            amount = -round(_net(world, subscription, old) * part)
            _waiting(world, subscription, old, amount, f"Unused time on {_name(world, old)} after {day}", moment, end)
        if new and not credits_only:
            amount = round(_net(world, subscription, new) * part)
            text = f"Remaining time on {_name(world, new)} after {day}"
            _waiting(world, subscription, new, amount, text, moment, end)


def _net(world: World, subscription: Obj, item: Obj) -> int:
    """What a whole period of an item costs, after the percentages that go on. (Fixed sums are not prorated.)"""
    amount = item_cost(item)
    for _, coupon in running(world, subscription["discounts"]):
        if coupon["percent_off"] is not None and coupon["duration"] != "once":
            amount -= take_off(coupon, [amount], [item["price"]["product"]], subscription["currency"])[0]
    return amount


def _name(world: World, item: Obj) -> str:
    product = world.maybe(item["price"]["product"])
    return str(product["name"]) if product else str(item["price"]["id"])


def _waiting(world: World, subscription: Obj, item: Obj, amount: int, text: str, start: int, end: int) -> None:
    if amount == 0:
        return
    price = item["price"]
    made = world.new(
        "invoiceitem",
        "ii",
        customer=subscription["customer"],
        amount=amount,
        net_amount=amount,
        currency=subscription["currency"],
        date=start,
        description=text,
        discountable=False,
        proration=True,
        period={"start": start, "end": end},
        quantity=item["quantity"],
        quantity_decimal=str(item["quantity"]),
        metadata={},
        discounts=[],
        tax_rates=item["tax_rates"],
        pricing={
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
            "price_details": {"price": price["id"], "product": price["product"]},
        },
        parent={
            "type": "subscription_details",
            "subscription_details": {"subscription": subscription["id"], "subscription_item": item["id"]},
        },
    )
    made["_subscription"] = subscription["id"]
    world.save(made, "invoiceitem.created")


def period_restart(world: World, subscription: Obj, moment: int) -> None:
    """Begin a new period now, and anchor the following ones here."""
    subscription["billing_cycle_anchor"] = moment
    period_set(subscription, moment, period_end(moment, *rhythm(subscription), moment))


def change_invoice(world: World, subscription: Obj, *, restart: bool) -> Obj:
    """The draft that bills a change at once."""
    invoice = invoice_for(world, subscription, "subscription_update")
    if restart:
        item = items_of(subscription)[0]
        period_lines(world, invoice, subscription, item["current_period_start"], item["current_period_end"])
    pending_take(world, invoice, subscription["id"])
    invoice_total(world, invoice)
    return invoice


def renewal_draft(world: World, subscription: Obj, used: tuple[int, int] | None = None, **fields: Any) -> Obj:
    """The draft for the period that the items already show, waiting items included, and for what was `used` (start,
    end) by meters."""
    item = items_of(subscription)[0]
    invoice = invoice_for(world, subscription, "subscription_cycle", **fields)
    if used is not None:
        usage_lines(world, invoice, subscription, *used)
    period_lines(world, invoice, subscription, item["current_period_start"], item["current_period_end"])
    pending_take(world, invoice, subscription["id"])
    invoice_total(world, invoice)
    return invoice


def usage_lines(world: World, invoice: Obj, subscription: Obj, start: int, end: int) -> None:
    """One line per metered item, for what was used from start to end."""
    for item in items_of(subscription):
        if metered(item["price"]):
            usage_line(world, invoice, item, item_parent(subscription, item, proration=False), start, end)


def usage_bill(world: World, subscription: Obj) -> None:
    """A subscription ends: what its meters counted in this period is billed, an hour from now."""
    if not any(metered(item["price"]) for item in items_of(subscription)):
        return
    invoice = invoice_for(world, subscription, "subscription_cycle")
    usage_lines(world, invoice, subscription, items_of(subscription)[0]["current_period_start"], world.now)
    invoice_total(world, invoice)
    invoice["automatically_finalizes_at"] = world.now + FINALIZE_AFTER
    subscription["latest_invoice"] = invoice["id"]
    world.save(invoice, "invoice.created")
    world.save(subscription)


def period_next(subscription: Obj) -> None:
    """Move the items on to the following period."""
    end = items_of(subscription)[0]["current_period_end"]
    period_set(subscription, end, period_end(subscription["billing_cycle_anchor"], *rhythm(subscription), end))


def preview_draft(world: World, params: Obj) -> Obj:
    """What the next invoice would be. Changes the world: the caller undoes it."""
    if "schedule" in params or "schedule_details" in params:
        raise StripeError("The local emulator previews no subscription schedules.", param="schedule")
    subscription = None
    if "subscription" in params:
        subscription = world.get("subscription", params["subscription"], "subscription")
    customer_id = params.get("customer") or (subscription["customer"] if subscription is not None else None)
    if customer_id is None:
        raise missing("customer")
    customer = customer_alive(world, customer_id, "customer")
    currency = params.get("currency") or (subscription or customer)["currency"] or "usd"
    for entry in params.get("invoice_items", []):
        item = waiting_make(world, customer, {"currency": currency, **entry})
        world.save(item)
    details = params.get("subscription_details", {})
    if subscription is None and "items" in details:
        given = {"items": details["items"], "payment_behavior": "default_incomplete"}
        subscription = subscription_make(world, customer, given)
        invoice = first_invoice(world, subscription)
    elif subscription is None:
        invoice = invoice_draft(world, customer, currency=currency, reason="upcoming")
        pending_take(world, invoice, None)
        invoice_total(world, invoice)
    else:
        invoice = _preview_of(world, subscription, details)
    invoice["billing_reason"] = "upcoming"
    return invoice


def _preview_of(world: World, subscription: Obj, details: Obj) -> Obj:
    if subscription["status"] in ENDED or (subscription["cancel_at_period_end"] and "items" not in details):
        raise StripeError(
            "No upcoming invoices for customer: the subscription is ending.", status=404, code="invoice_upcoming_none"
        )
    if "items" in details:
        behavior = details.get("proration_behavior", "create_prorations")
        moment = details.get("proration_date", world.now)
        restart = items_change(world, subscription, details["items"], behavior, moment)
        if restart:
            period_restart(world, subscription, moment)
        if restart or behavior == "always_invoice":
            return change_invoice(world, subscription, restart=restart)
    item = items_of(subscription)[0]
    used = None if subscription["status"] == "trialing" else (item["current_period_start"], item["current_period_end"])
    with world.at(item["current_period_end"]):
        period_next(subscription)
        return renewal_draft(world, subscription, used)
