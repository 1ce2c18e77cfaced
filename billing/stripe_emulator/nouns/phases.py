"""Phases of a subscription schedule: read from a call, and put onto the subscription."""

from __future__ import annotations

from typing import Any

from billing.stripe_emulator.answers import merged_metadata
from billing.stripe_emulator.contract.shapes import empty
from billing.stripe_emulator.errors import StripeError, wrong_state
from billing.stripe_emulator.nouns.catalogue import price_for
from billing.stripe_emulator.nouns.invoice_items import item_make as waiting_make
from billing.stripe_emulator.nouns.metering import metered
from billing.stripe_emulator.nouns.payment_methods import method_known
from billing.stripe_emulator.nouns.periods import step
from billing.stripe_emulator.nouns.subscription_calls import subscription_update
from billing.stripe_emulator.nouns.subscriptions import items_of
from billing.stripe_emulator.nouns.tax_rates import rates_given
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

MOST_PHASES = 10
_UNSERVED = ("application_fee_percent", "billing_thresholds", "invoice_settings", "on_behalf_of", "transfer_data")
_KEPT = ("collection_method", "default_payment_method", "description", "trial")


def phases_read(world: World, given: list[Obj], start: int) -> list[Obj]:
    """The phases of a call, one after the other from `start` on."""
    if not 1 <= len(given) <= MOST_PHASES:
        raise StripeError(f"A schedule has 1 to {MOST_PHASES} phases here.", param="phases")
    phases: list[Obj] = []
    for index, entry in enumerate(given):
        phases.append(_phase(world, entry, phases[-1]["end_date"] if phases else start, f"phases[{index}]"))
    if len({phase["currency"] for phase in phases}) > 1:
        raise StripeError("All phases must have the same currency.", param="phases")
    return phases


def _phase(world: World, entry: Obj, start: int, param: str) -> Obj:
    for name in _UNSERVED:
        if name in entry:
            raise StripeError(f"The local emulator takes no {name} in a phase.", param=f"{param}[{name}]")
    if entry.get("billing_cycle_anchor") == "phase_start" or (entry.get("automatic_tax") or {}).get("enabled"):
        raise StripeError("The local emulator takes no phase_start anchor and no automatic tax here.", param=param)
    if "end_date" in entry and "duration" in entry:
        raise StripeError("Pass either end_date or duration.", param=f"{param}[duration]")
    method_known(world, entry, f"{param}[default_payment_method]")
    phase = empty("subscription_schedule", "Phase")
    items = [_item(world, one, f"{param}[items][{i}]") for i, one in enumerate(entry["items"])]
    if not items:
        raise StripeError("A phase has at least one item.", param=f"{param}[items]")
    price = world.fetch(items[0]["price"])
    end = entry.get("end_date")
    if end == "now":
        end = world.now
    if end is None:
        length = entry.get("duration") or price["recurring"]
        count = length.get("interval_count", 1)
        if not 1 <= count <= 1200:
            raise StripeError("Invalid interval_count.", param=f"{param}[duration]")
        end = step(start, length["interval"], count, 1)
    if end <= start or end > start + 10 * 366 * 86400:
        raise StripeError("A phase ends after it began, and within ten years.", param=f"{param}[end_date]")
    phase.update(
        {name: entry[name] or None for name in _KEPT if name in entry},
        add_invoice_items=[_added(world, one, param) for one in entry.get("add_invoice_items", [])],
        currency=price["currency"],
        default_tax_rates=rates_given(world, entry, "default_tax_rates", f"{param}[default_tax_rates]") or None,
        discounts=[_discount(world, one, param) for one in entry.get("discounts") or []],
        start_date=start,
        end_date=end,
        items=items,
        metadata=merged_metadata({}, entry.get("metadata", {})),
        proration_behavior=entry.get("proration_behavior", "create_prorations"),
        trial_end=end if entry.get("trial") else _trial_end(entry, start, end, param),
    )
    return phase


def _trial_end(entry: Obj, start: int, end: int, param: str) -> int | None:
    given = entry.get("trial_end")
    if isinstance(given, int) and not start < given <= end:
        raise StripeError("A trial ends within its phase.", param=f"{param}[trial_end]")
    return given if isinstance(given, int) else None


def _item(world: World, entry: Obj, param: str) -> Obj:
    price = price_for(world, entry, param, recurring=True)
    if metered(price) and "quantity" in entry:
        raise StripeError("You cannot set the quantity of a metered price.", param=f"{param}[quantity]")
    item = empty("subscription_schedule", "Phase", "Item")
    item.update(
        price=price["id"],
        plan=price["id"],
        quantity=None if metered(price) else entry.get("quantity", 1),
        metadata=merged_metadata({}, entry.get("metadata", {})),
        tax_rates=rates_given(world, entry, "tax_rates", f"{param}[tax_rates]"),
    )
    if (item["quantity"] or 0) < 0 or entry.get("discounts"):
        raise StripeError("A quantity is not negative; discounts go with the phase here.", param=param)
    return item


def _added(world: World, entry: Obj, param: str) -> Obj:
    price = price_for(world, entry, f"{param}[add_invoice_items]", recurring=False)
    item = empty("subscription_schedule", "Phase", "AddInvoiceItem")
    item.update(price=price["id"], quantity=entry.get("quantity", 1), metadata=entry.get("metadata", {}))
    return item


def _discount(world: World, entry: Obj, param: str) -> Obj:
    for name in ("coupon", "promotion_code", "discount"):
        if name in entry:
            world.get(name, entry[name], f"{param}[discounts][{name}]")
    return {"coupon": None, "discount": None, "promotion_code": None, **entry}


def params_of(phase: Obj) -> Obj:
    """A phase as parameters of a new subscription."""
    out: dict[str, Any] = {
        "items": [_entry(item) for item in phase["items"]],
        "metadata": phase["metadata"],
        "default_tax_rates": [rate["id"] for rate in phase["default_tax_rates"] or []],
        "discounts": [{name: value for name, value in one.items() if value} for one in phase["discounts"]],
    }
    out |= {name: phase[name] for name in ("collection_method", "default_payment_method", "description") if phase[name]}
    return {**out, "trial_end": phase["trial_end"]} if phase["trial_end"] else out


def _entry(item: Obj) -> Obj:
    quantity = {} if item["quantity"] is None else {"quantity": item["quantity"]}
    return {
        "price": item["price"],
        "_agreed": True,
        "metadata": item["metadata"],
        "tax_rates": [rate["id"] for rate in item["tax_rates"] or []],
        **quantity,
    }


def waiting_add(world: World, phase: Obj, customer_id: str) -> None:
    """What a phase adds once waits for the customer's next invoice."""
    for entry in phase["add_invoice_items"]:
        given = {"pricing": {"price": entry["price"]}, "quantity": entry["quantity"]}
        world.save(waiting_make(world, world.fetch(customer_id), given), "invoiceitem.created")


def phase_apply(world: World, subscription: Obj, phase: Obj, behavior: str) -> None:
    """Give a running subscription the items and terms of a phase."""
    if phase["trial_end"] and subscription["status"] != "trialing":
        raise wrong_state("The local emulator starts no trial in the middle of a subscription.")
    old = {item["price"]["id"]: item["id"] for item in items_of(subscription)}
    entries = [_entry(item) for item in phase["items"]]
    for entry in entries:
        if entry["price"] in old:
            entry["id"] = old.pop(entry["price"])
    # What is left over on both sides is one price in the place of another.
    for entry in entries:
        if "id" not in entry and old:
            entry["id"] = old.pop(next(iter(old)))
    entries += [{"id": item_id, "deleted": True} for item_id in old.values()]
    given = {name: value for name, value in params_of(phase).items() if name not in ("items", "trial_end")}
    if not given["discounts"]:
        given.pop("discounts")
    subscription_update(world, {**given, "items": entries, "proration_behavior": behavior}, subscription["id"])
