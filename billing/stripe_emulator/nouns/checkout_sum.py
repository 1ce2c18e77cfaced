"""What a Checkout session comes to: its lines, the discounts tried on them, their taxes."""

from __future__ import annotations

from billing.stripe_emulator.answers import unset
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.catalogue import amount_of, price_for
from billing.stripe_emulator.nouns.coupons import coupon_redeem, take_off
from billing.stripe_emulator.nouns.promotion_codes import code_find
from billing.stripe_emulator.nouns.tax_rates import exclusive, rates_given, taxes_of, taxes_sum
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def session_lines(world: World, session: Obj, params: Obj) -> None:
    """Take the lines that a call names. Raises for prices that cannot be sold together."""
    mode, lines, rates = session["mode"], [], {}
    common = rates_given(world, params.get("subscription_data", {}), "default_tax_rates")
    for index, entry in enumerate(params.get("line_items") or []):
        param = f"line_items[{index}]"
        price = price_for(world, entry, param, recurring=False if mode == "payment" else None)
        quantity = entry.get("quantity", 1)
        if quantity < 1:
            raise StripeError("Invalid quantity: must be at least 1", param=f"{param}[quantity]")
        product = world.fetch(price["product"])
        amount = amount_of(price, quantity)
        line = world.new(
            "item",
            "li",
            currency=price["currency"],
            description=product["name"],
            price=price,
            quantity=quantity,
            amount_subtotal=amount,
            amount_total=amount,
            discounts=[],
            taxes=[],
        )
        rates[line["id"]] = rates_given(world, entry, "tax_rates", f"{param}[tax_rates]") or common
        lines.append(line)
    if mode == "subscription" and not any(line["price"]["type"] == "recurring" for line in lines):
        raise StripeError(
            "You must provide at least one recurring price in `subscription` mode when using prices.",
            param="line_items",
        )
    if len({line["currency"] for line in lines}) > 1:
        raise StripeError("All prices must have the same currency.", param="line_items")
    session["_lines"], session["_rates"] = lines, rates
    if lines:
        session["currency"] = lines[0]["currency"]


def session_sum(world: World, session: Obj) -> None:
    """Sum up, with the coupons and codes that the session has. They are counted as used when it is paid.

    Raises when one of them cannot be used.
    """
    lines = session["_lines"]
    subtotal = sum(line["amount_subtotal"] for line in lines)
    left = [line["amount_subtotal"] for line in lines]
    shown = []
    for index, entry in enumerate(session["_coupons"]):
        coupon, code = coupon_redeem(
            world,
            entry,
            f"discounts[{index}]",
            customer=session["customer"],
            amount=subtotal,
            currency=session["currency"],
            count=False,
        )
        off = take_off(coupon, left, [line["price"]["product"] for line in lines], session["currency"])
        left = [amount - part for amount, part in zip(left, off, strict=True)]
        shown.append({"coupon": coupon["id"], "promotion_code": code["id"] if code else None})
    exempt = (world.maybe(session["customer"]) or {}).get("tax_exempt")
    taxes = []
    for line, net in zip(lines, left, strict=True):
        mine = taxes_of(session["_rates"].get(line["id"], []), net, exempt)
        taxes.append(mine)
        line["amount_discount"] = line["amount_subtotal"] - net
        line["amount_tax"] = sum(tax["amount"] for tax in mine)
        line["amount_total"] = net + exclusive(mine)
    session["discounts"] = shown
    session["amount_subtotal"] = subtotal
    session["amount_total"] = 0 if _trial(session) else sum(line["amount_total"] for line in lines)
    session["total_details"] = {
        "amount_discount": subtotal - sum(left),
        "amount_shipping": 0,
        "amount_tax": sum(tax["amount"] for tax in taxes_sum(taxes)),
    }


def _trial(session: Obj) -> bool:
    data = unset(session["_subscription_data"])
    return bool(data.get("trial_period_days") or data.get("trial_end"))


def session_code(world: World, session: Obj, text: str) -> None:
    """The buyer typed a promotion code in; an empty one takes it out again. Raises when it cannot be used."""
    if not session["allow_promotion_codes"] or session["status"] != "open":
        raise StripeError("This page takes no promotion codes.", status=404)
    session["_coupons"] = [{"promotion_code": code_find(world, text)["id"]}] if text.strip() else []
    session_sum(world, session)
    world.save(session)
