"""What meters counted: usage of a time, and the lines of invoices that bill it."""

from __future__ import annotations

from billing.stripe_emulator.nouns.catalogue import amount_of
from billing.stripe_emulator.nouns.invoice_lines import line_add
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

WINDOWS = {"hour": 3600, "day": 86400}


def metered(price: Obj) -> bool:
    """Whether a price is for what a meter counts."""
    return bool(price["recurring"]) and price["recurring"]["usage_type"] == "metered"


def item_cost(item: Obj) -> int:
    """What a period of a subscription item costs in advance: nothing, when it is metered."""
    return 0 if metered(item["price"]) else amount_of(item["price"], item["quantity"])


def usage(world: World, meter: Obj, customer: str, start: int, end: int) -> int:
    """A meter's aggregate for a customer in [start, end)."""
    values = world.store.readings(meter["id"], customer, start, end)
    if meter["event_time_window"]:
        # Events of such a meter are sums already: in one window the newest stands for all.
        span = WINDOWS[meter["event_time_window"]]
        values = list({at // span: (at, value) for at, value in values}.values())
    formula = meter["default_aggregation"]["formula"]
    if formula == "count":
        return len(values)
    if formula == "last":
        return values[-1][1] if values else 0
    return sum(value for _, value in values)


def usage_line(world: World, invoice: Obj, item: Obj, parent: Obj, start: int, end: int) -> None:
    """Bill what an item's meter counted from start to end. It is counted again when the invoice becomes final."""
    meter = world.maybe(item["price"]["recurring"]["meter"])
    if meter is None:
        return
    product = world.maybe(item["price"]["product"])
    line = line_add(
        world,
        invoice,
        amount=0,
        description=product["name"] if product else item["price"]["id"],
        period=(start, end),
        price=item["price"],
        quantity=0,
        metadata=item["metadata"],
        rates=item["tax_rates"],
        parent=parent,
    )
    invoice.setdefault("_usage", {})[line["id"]] = {"meter": meter["id"], "price": item["price"]}
    _count(world, invoice, line)


def usage_refresh(world: World, invoice: Obj) -> None:
    """Count the usage of a draft again: what came late, but before it became final, is in."""
    for line in invoice["lines"]["data"]:
        if line["id"] in invoice.get("_usage", {}):
            _count(world, invoice, line)


def _count(world: World, invoice: Obj, line: Obj) -> None:
    note = invoice["_usage"][line["id"]]
    period = line["period"]
    meter = world.fetch(note["meter"])
    # Below zero counts as nothing.
    units = max(0, usage(world, meter, invoice["customer"], period["start"], period["end"]))
    amount = amount_of(note["price"], units)
    line.update(amount=amount, subtotal=amount, quantity=units, quantity_decimal=str(units))
