"""Invoice items: what waits for a customer's next invoice."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.nouns.catalogue import amount_of, price_for
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.invoice_lines import invoice_total, item_line
from billing.stripe_emulator.nouns.invoices import must_be
from billing.stripe_emulator.nouns.tax_rates import rates_given
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


@route("POST", "/v1/invoiceitems")
def item_create(world: World, params: Obj) -> Obj:
    if "customer" not in params:
        raise missing("customer")
    customer = customer_alive(world, params["customer"], "customer")
    invoice = None
    if "invoice" in params:
        invoice = world.get("invoice", params["invoice"], "invoice")
        must_be(invoice, "draft", doing="add to")
    item = item_make(world, customer, params)
    if "subscription" in params:
        subscription = world.get("subscription", params["subscription"], "subscription")
        item["_subscription"] = subscription["id"]
        item["parent"] = {
            "type": "subscription_details",
            "subscription_details": {"subscription": subscription["id"], "subscription_item": None},
        }
    if invoice is not None:
        if item["currency"] != invoice["currency"]:
            raise StripeError(
                f"The currency of the item ({item['currency']}) is not that of the invoice ({invoice['currency']}).",
                param="currency",
            )
        item["invoice"] = invoice["id"]
    world.save(item, "invoiceitem.created")
    if invoice is not None:
        item_line(world, invoice, item)
        invoice_total(world, invoice)
        world.save(invoice, "invoice.updated")
    return item


def item_make(world: World, customer: Obj, params: Obj, **fields: Any) -> Obj:
    """An invoice item from `amount`, a price, or an exact unit amount; not stored yet."""
    quantity = params.get("quantity", 1)
    item = world.new(
        "invoiceitem",
        "ii",
        customer=customer["id"],
        date=world.now,
        description=params.get("description"),
        discountable=params.get("discountable", params.get("amount", 1) > 0),
        period={"start": world.now, "end": world.now},
        quantity=quantity,
        quantity_decimal=str(quantity),
        metadata={},
        discounts=[],
        tax_rates=rates_given(world, params, "tax_rates"),
        **fields,
    )
    if "period" in params:
        if params["period"]["end"] < params["period"]["start"]:
            raise StripeError("The period's end lies before its start.", param="period[end]")
        item["period"] = {"start": params["period"]["start"], "end": params["period"]["end"]}
    assign(item, params, "metadata")
    _item_amount(world, item, params)
    item["net_amount"] = item["amount"]
    return item


def _item_amount(world: World, item: Obj, params: Obj) -> None:
    given = {**params.get("pricing", {}), **{k: params[k] for k in ("price_data",) if k in params}}
    if given:
        price = price_for(world, given, "pricing", recurring=False)
        if price["billing_scheme"] == "tiered":
            raise StripeError("An invoice item takes no tiered price.", param="pricing[price]")
        unit, item["currency"] = price["unit_amount_decimal"], price["currency"]
        details = {"price": price["id"], "product": price["product"]}
        item["pricing"] = {"price_details": details, "type": "price_details", "unit_amount_decimal": unit}
        item["amount"] = amount_of(price, item["quantity"])
        return
    else:
        if "amount" not in params and "unit_amount_decimal" not in params:
            raise missing("amount")
        if "currency" not in params:
            raise missing("currency")
        unit, item["currency"] = str(params.get("unit_amount_decimal", params.get("amount"))), params["currency"]
        item["currency"] = item["currency"].lower()
        item["pricing"] = {"price_details": None, "type": "price_details", "unit_amount_decimal": unit}
        if "amount" in params:
            item["amount"] = params["amount"]
            return
    item["amount"] = int((Decimal(unit) * item["quantity"]).quantize(Decimal(1), "ROUND_HALF_UP"))


@route("GET", "/v1/invoiceitems/{invoiceitem}")
def item_retrieve(world: World, params: Obj, item_id: str) -> Obj:
    return world.get("invoiceitem", item_id)


@route("POST", "/v1/invoiceitems/{invoiceitem}")
def item_update(world: World, params: Obj, item_id: str) -> Obj:
    item = world.get("invoiceitem", item_id)
    invoice = world.maybe(item["invoice"])
    if invoice is not None:
        must_be(invoice, "draft", doing="change")
    assign(item, params, "amount", "description", "discountable", "metadata")
    if "tax_rates" in params:
        item["tax_rates"] = rates_given(world, params, "tax_rates")
    item["net_amount"] = item["amount"]
    world.save(item)
    if invoice is not None:
        lines_without(invoice, item_id)
        item_line(world, invoice, item)
        invoice_total(world, invoice)
        world.save(invoice, "invoice.updated")
    return item


@route("DELETE", "/v1/invoiceitems/{invoiceitem}")
def item_delete(world: World, params: Obj, item_id: str) -> Obj:
    item = world.get("invoiceitem", item_id)
    invoice = world.maybe(item["invoice"])
    if invoice is not None:
        must_be(invoice, "draft", doing="change")
        lines_without(invoice, item_id)
        invoice_total(world, invoice)
        world.save(invoice, "invoice.updated")
    world.drop(item, "invoiceitem.deleted")
    return {"id": item_id, "object": "invoiceitem", "deleted": True}


def lines_without(invoice: Obj, item_id: str) -> None:
    """Take the line of an item off a draft."""
    invoice["lines"]["data"] = [
        line
        for line in invoice["lines"]["data"]
        if (line["parent"].get("invoice_item_details") or {}).get("invoice_item") != item_id
    ]


@route("GET", "/v1/invoiceitems")
def item_list(world: World, params: Obj) -> Obj:
    where = {"customer": params.get("customer"), "invoice": params.get("invoice")}
    found = page(world, "invoiceitem", params, "/v1/invoiceitems", where)
    if params.get("pending"):
        found["data"] = [item for item in found["data"] if item["invoice"] is None]
    return found
