"""What a quote comes to: its lines, discounts and taxes, at the beginning and in every period."""

from __future__ import annotations

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.catalogue import amount_of, price_for
from billing.stripe_emulator.nouns.coupons import coupon_redeem, take_off
from billing.stripe_emulator.nouns.metering import metered
from billing.stripe_emulator.nouns.tax_rates import exclusive, rates_given, taxes_of, taxes_sum
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

MOST_LINES = 20


def lines_take(world: World, quote: Obj, given: list[Obj]) -> None:
    """Take the lines that a call names. Raises for prices that cannot be offered together."""
    if len(given) > MOST_LINES:
        raise StripeError(f"A quote has at most {MOST_LINES} lines here.", param="line_items")
    known = {line["id"]: line for line in quote["_lines"]}
    lines, rates = [], {}
    for index, entry in enumerate(given):
        param = f"line_items[{index}]"
        if entry.get("discounts"):
            raise StripeError("The local emulator takes discounts of the whole quote.", param=f"{param}[discounts]")
        if "id" in entry:
            if entry["id"] not in known:
                world.get("item", entry["id"], f"{param}[id]")
            old = known[entry["id"]]
            entry = {"price": old["price"]["id"], "quantity": old["quantity"] or 1, **entry}
        price = price_for(world, entry, param)
        counted = metered(price)
        quantity = None if counted else entry.get("quantity", 1)
        if quantity is not None and quantity < 1:
            raise StripeError("Invalid quantity: must be at least 1", param=f"{param}[quantity]")
        amount = 0 if quantity is None else amount_of(price, quantity)
        line = world.new(
            "item",
            "li",
            currency=price["currency"],
            description=world.fetch(price["product"])["name"],
            price=price,
            quantity=quantity,
            amount_subtotal=amount,
            amount_total=amount,
            discounts=[],
            taxes=[],
        )
        rates[line["id"]] = rates_given(world, entry, "tax_rates", f"{param}[tax_rates]")
        lines.append(line)
    if len({line["currency"] for line in lines}) > 1:
        raise StripeError("All prices must have the same currency.", param="line_items")
    rhythms = {(r["interval"], r["interval_count"]) for line in lines if (r := line["price"]["recurring"])}
    if len(rhythms) > 1:
        raise StripeError("All recurring prices must have the same billing interval.", param="line_items")
    quote["_lines"], quote["_rates"] = lines, rates
    quote["currency"] = lines[0]["currency"] if lines else None


def quote_sum(world: World, quote: Obj) -> None:
    """Sum up. A trial leaves nothing of what recurs at the beginning."""
    lines = quote["_lines"]
    recurring = [line for line in lines if line["price"]["type"] == "recurring"]
    trial = bool(quote["subscription_data"]["trial_period_days"])
    upfront = [line for line in lines if line not in recurring or not trial]
    if recurring:
        rhythm = recurring[0]["price"]["recurring"]
        names = {"interval": rhythm["interval"], "interval_count": rhythm["interval_count"]}
        quote["computed"]["recurring"] = {**names, **_sum(world, quote, recurring)}
    else:
        quote["computed"]["recurring"] = None
    now = _sum(world, quote, upfront)
    quote["computed"]["upfront"] = {**now, "line_items": None}
    quote.update(**now)


def _sum(world: World, quote: Obj, lines: list[Obj]) -> Obj:
    left = [line["amount_subtotal"] for line in lines]
    subtotal = sum(left)
    for index, entry in enumerate(quote["_coupons"]):
        coupon, _ = coupon_redeem(
            world,
            entry,
            f"discounts[{index}]",
            customer=quote["customer"],
            amount=subtotal,
            currency=quote["currency"] or "usd",
            count=False,
        )
        off = take_off(coupon, left, [line["price"]["product"] for line in lines], quote["currency"] or "usd")
        left = [amount - part for amount, part in zip(left, off, strict=True)]
    exempt = (world.maybe(quote["customer"]) or {}).get("tax_exempt")
    taxes = []
    for line, net in zip(lines, left, strict=True):
        mine = taxes_of(quote["_rates"].get(line["id"]) or quote["default_tax_rates"], net, exempt)
        taxes.append(mine)
        line["amount_discount"] = line["amount_subtotal"] - net
        line["amount_tax"] = sum(tax["amount"] for tax in mine)
        line["amount_total"] = net + exclusive(mine)
    return {
        "amount_subtotal": subtotal,
        "amount_total": sum(line["amount_total"] for line in lines),
        "total_details": {
            "amount_discount": subtotal - sum(left),
            "amount_shipping": 0,
            "amount_tax": sum(tax["amount"] for tax in taxes_sum(taxes)),
            "breakdown": None,
        },
    }
