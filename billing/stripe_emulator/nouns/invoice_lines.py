"""The lines of an invoice, and how they sum up: amounts, then discounts, then taxes. Whole cents."""

from __future__ import annotations

from billing.stripe_emulator.nouns.coupons import running, take_off
from billing.stripe_emulator.nouns.credits import credit_of, credits_shown
from billing.stripe_emulator.nouns.tax_rates import exclusive, taxes_of, taxes_sum
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def line_add(
    world: World,
    invoice: Obj,
    *,
    amount: int,
    description: str | None,
    period: tuple[int, int],
    parent: Obj,
    price: Obj | None = None,
    quantity: int = 1,
    metadata: Obj | None = None,
    discountable: bool = True,
    rates: list[Obj] | None = None,
) -> Obj:
    """Append a line. `rates` are its own tax rates, in place of the invoice's."""
    line = world.new(
        "line_item",
        "il",
        amount=amount,
        subtotal=amount,
        currency=invoice["currency"],
        description=description,
        period={"start": period[0], "end": period[1]},
        parent=parent,
        quantity=quantity,
        quantity_decimal=str(quantity),
        invoice=invoice["id"],
        discountable=discountable,
        discount_amounts=[],
        taxes=[],
        metadata=metadata or {},
    )
    if price is not None:
        line["pricing"] = {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        }
    invoice["lines"]["data"].append(line)
    if rates:
        invoice.setdefault("_rates", {})[line["id"]] = rates
    return line


def item_line(world: World, invoice: Obj, item: Obj) -> None:
    """Take one invoice item onto a draft."""
    item["invoice"] = invoice["id"]
    world.save(item)
    line = line_add(
        world,
        invoice,
        amount=item["amount"],
        description=item["description"],
        period=(item["period"]["start"], item["period"]["end"]),
        quantity=item["quantity"],
        metadata=item["metadata"],
        discountable=item["discountable"],
        rates=item["tax_rates"],
        parent={
            "type": "invoice_item_details",
            "subscription_item_details": None,
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": item["proration"],
                "proration_details": {"credited_items": None},
                "subscription": item.get("_subscription"),
            },
        },
    )
    line["pricing"] = item["pricing"]


def pending_take(world: World, invoice: Obj, subscription: str | None) -> None:
    """Move the customer's waiting items of this subscription, and of none, onto a draft."""
    for item in reversed(world.find("invoiceitem", customer=invoice["customer"])):
        mine = item.get("_subscription") in (None, subscription)
        if item["invoice"] is None and mine and item["currency"] == invoice["currency"]:
            item_line(world, invoice, item)


def invoice_total(world: World, invoice: Obj) -> None:
    """Sum lines, discounts, taxes and the customer's balance into the amounts."""
    lines = invoice["lines"]["data"]
    _discount(world, invoice, lines)
    rates = invoice.get("_rates", {})
    for line in lines:
        net = line["amount"] - sum(entry["amount"] for entry in line["discount_amounts"]) - credit_of(line)
        mine = rates.get(line["id"]) or invoice["default_tax_rates"]
        line["taxes"] = taxes_of(mine, net, invoice["customer_tax_exempt"])
    subtotal = sum(line["amount"] for line in lines)
    off = sum(entry["amount"] for entry in invoice["total_discount_amounts"])
    taxes = taxes_sum([line["taxes"] for line in lines])
    on_top, whole = exclusive(taxes), sum(tax["amount"] for tax in taxes)
    total = subtotal - off - sum(credit_of(line) for line in lines) + on_top
    balance = invoice["starting_balance"]
    due = max(0, total + balance) if total >= 0 else 0
    invoice.update(
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal - (whole - on_top),
        total_taxes=taxes,
        total_pretax_credit_amounts=credits_shown(lines),
        total=total,
        total_excluding_tax=total - whole,
        amount_due=due,
        amount_remaining=due - invoice["amount_paid"],
    )


def _discount(world: World, invoice: Obj, lines: list[Obj]) -> None:
    """One discount after the other, each off what the ones before left."""
    left = [line["amount"] if line["discountable"] else 0 for line in lines]
    products = [product_of(line) for line in lines]
    sums = []
    for line in lines:
        line["discount_amounts"] = []
    for discount_id, coupon in running(world, invoice["discounts"], invoice["id"]):
        off = take_off(coupon, left, products, invoice["currency"])
        for index, amount in enumerate(off):
            left[index] -= amount
            if amount:
                lines[index]["discount_amounts"].append({"amount": amount, "discount": discount_id})
        sums.append({"amount": sum(off), "discount": discount_id})
    invoice["total_discount_amounts"] = sums


def product_of(line: Obj) -> str | None:
    """The product that a line is for, if it is for one."""
    details = (line["pricing"] or {}).get("price_details") or {}
    product: str | None = details.get("product")
    return product
