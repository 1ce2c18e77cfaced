"""The calls on invoices and invoice items."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from billing.stripe_emulator.answers import assign, page, render, slice_of
from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.nouns.catalogue import price_for
from billing.stripe_emulator.nouns.coupons import discounts_make
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.invoices import (
    FINALIZE_AFTER,
    invoice_attempt,
    invoice_close,
    invoice_draft,
    invoice_finalize,
    invoice_settle,
    invoice_total,
    item_line,
    must_be,
    pending_take,
    subscription_of,
)
from billing.stripe_emulator.nouns.payment_methods import method_resolve
from billing.stripe_emulator.nouns.proration import preview_draft
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import DryRun, World

_INVOICE = (
    "auto_advance",
    "collection_method",
    "custom_fields",
    "default_payment_method",
    "description",
    "due_date",
    "footer",
    "metadata",
    "statement_descriptor",
)


@route("POST", "/v1/invoices")
def invoice_create(world: World, params: Obj) -> Obj:
    if "customer" not in params:
        raise missing("customer")
    customer = customer_alive(world, params["customer"], "customer")
    subscription = None
    if "subscription" in params:
        subscription = world.get("subscription", params["subscription"], "subscription")
    by_mail = params.get("collection_method") == "send_invoice"
    if by_mail and "days_until_due" not in params and "due_date" not in params:
        raise missing("days_until_due")
    currency = params.get("currency") or (subscription or customer).get("currency") or "usd"
    invoice = invoice_draft(world, customer, currency=currency, reason="manual")
    assign(invoice, params, *_INVOICE)
    if "days_until_due" in params:
        invoice["_days_until_due"] = params["days_until_due"]
    if subscription is not None:
        invoice["parent"] = {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": {"metadata": {}, "subscription": subscription["id"]},
        }
    invoice["discounts"] = discounts_make(world, params.get("discounts"), invoice=invoice["id"])
    if invoice["auto_advance"]:
        invoice["automatically_finalizes_at"] = world.now + FINALIZE_AFTER
    if subscription is not None or params.get("pending_invoice_items_behavior") == "include":
        pending_take(world, invoice, subscription["id"] if subscription else None)
    invoice_total(world, invoice)
    return world.save(invoice, "invoice.created")


@route("POST", "/v1/invoices/create_preview")
def invoice_preview(world: World, params: Obj) -> Obj:
    invoice = preview_draft(world, params)
    invoice["id"] = invoice["id"].replace("in_", "upcoming_in_", 1)
    for line in invoice["lines"]["data"]:
        line["invoice"] = invoice["id"]
    answer = render(world, invoice, params.get("expand"))
    raise DryRun(answer)


@route("GET", "/v1/invoices/{invoice}")
def invoice_retrieve(world: World, params: Obj, invoice_id: str) -> Obj:
    return world.get("invoice", invoice_id)


@route("POST", "/v1/invoices/{invoice}")
def invoice_update(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = world.get("invoice", invoice_id)
    if set(params) - {"metadata", "expand", "auto_advance", "default_payment_method"}:
        must_be(invoice, "draft", doing="change")
    assign(invoice, params, *_INVOICE)
    if "days_until_due" in params:
        invoice["_days_until_due"] = params["days_until_due"]
    if "discounts" in params:
        invoice["discounts"] = discounts_make(world, params["discounts"], invoice=invoice_id)
        invoice_total(world, invoice)
    if invoice["status"] == "draft":
        later = world.now + FINALIZE_AFTER if invoice["auto_advance"] else None
        invoice["automatically_finalizes_at"] = invoice["automatically_finalizes_at"] or later if later else None
    return world.save(invoice, "invoice.updated")


@route("DELETE", "/v1/invoices/{invoice}")
def invoice_delete(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = world.get("invoice", invoice_id)
    must_be(invoice, "draft", doing="delete")
    if subscription_of(invoice) and invoice["billing_reason"] != "manual":
        raise StripeError("You can't delete invoices created by subscriptions.")
    for item in world.find("invoiceitem", invoice=invoice_id):
        world.drop(item, "invoiceitem.deleted")
    world.drop(invoice, "invoice.deleted")
    return {"id": invoice_id, "object": "invoice", "deleted": True}


@route("GET", "/v1/invoices")
def invoice_list(world: World, params: Obj) -> Obj:
    where = {
        "customer": params.get("customer"),
        "status": params.get("status"),
        "collection_method": params.get("collection_method"),
        "parent.subscription_details.subscription": params.get("subscription"),
    }
    return page(world, "invoice", params, "/v1/invoices", where)


@route("GET", "/v1/invoices/{invoice}/lines")
def invoice_lines(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = world.get("invoice", invoice_id)
    return slice_of(invoice["lines"]["data"], params, f"/v1/invoices/{invoice_id}/lines")


@route("POST", "/v1/invoices/{invoice}/finalize")
def invoice_finalize_call(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = world.get("invoice", invoice_id)
    assign(invoice, params, "auto_advance")
    invoice_finalize(world, invoice, next_attempt=world.now + FINALIZE_AFTER)
    return invoice


@route("POST", "/v1/invoices/{invoice}/pay")
def invoice_pay_call(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = world.get("invoice", invoice_id)
    if invoice["status"] == "paid":
        raise StripeError("Invoice is already paid", code="invoice_payment_intent_requires_action")
    if invoice["status"] == "draft":
        invoice_finalize(world, invoice)
    if invoice["status"] == "paid":
        return invoice
    if params.get("paid_out_of_band"):
        must_be(invoice, "open", "uncollectible", doing="pay")
        invoice_settle(world, invoice, paid=invoice["amount_due"], out_of_band=True)
        return invoice
    method = method_resolve(world, params["payment_method"]) if "payment_method" in params else None
    invoice_attempt(world, invoice, method)
    return invoice


@route("POST", "/v1/invoices/{invoice}/void")
def invoice_void_call(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = world.get("invoice", invoice_id)
    invoice_close(world, invoice, "void")
    return invoice


@route("POST", "/v1/invoices/{invoice}/mark_uncollectible")
def invoice_uncollectible_call(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = world.get("invoice", invoice_id)
    must_be(invoice, "open", doing="mark uncollectible")
    invoice_close(world, invoice, "uncollectible")
    return invoice


@route("POST", "/v1/invoices/{invoice}/send")
def invoice_send_call(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = world.get("invoice", invoice_id)
    if invoice["status"] == "draft":
        invoice_finalize(world, invoice)
    world.emit("invoice.sent", invoice)
    return invoice


@route("GET", "/v1/invoice_payments/{invoice_payment}")
def payment_retrieve(world: World, params: Obj, payment_id: str) -> Obj:
    return world.get("invoice_payment", payment_id)


@route("GET", "/v1/invoice_payments")
def payment_list(world: World, params: Obj) -> Obj:
    where = {
        "invoice": params.get("invoice"),
        "status": params.get("status"),
        "payment.payment_intent": params.get("payment", {}).get("payment_intent"),
    }
    return page(world, "invoice_payment", params, "/v1/invoice_payments", where)


# Items


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
        tax_rates=[],
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
        unit, item["currency"] = price["unit_amount_decimal"], price["currency"]
        details = {"price": price["id"], "product": price["product"]}
        item["pricing"] = {"price_details": details, "type": "price_details", "unit_amount_decimal": unit}
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
    item["net_amount"] = item["amount"]
    world.save(item)
    if invoice is not None:
        _lines_without(invoice, item_id)
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
        _lines_without(invoice, item_id)
        invoice_total(world, invoice)
        world.save(invoice, "invoice.updated")
    world.drop(item, "invoiceitem.deleted")
    return {"id": item_id, "object": "invoiceitem", "deleted": True}


def _lines_without(invoice: Obj, item_id: str) -> None:
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
