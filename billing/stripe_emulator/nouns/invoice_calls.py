"""The calls on invoices."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, page, render, slice_of
from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.nouns.coupons import discounts_make
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.invoice_lines import invoice_total, pending_take
from billing.stripe_emulator.nouns.invoices import (
    FINALIZE_AFTER,
    invoice_attempt,
    invoice_close,
    invoice_draft,
    invoice_finalize,
    invoice_settle,
    must_be,
    subscription_of,
)
from billing.stripe_emulator.nouns.payment_methods import method_known, method_resolve
from billing.stripe_emulator.nouns.proration import preview_draft
from billing.stripe_emulator.nouns.tax_rates import no_automatic_tax, rates_given
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
    method_known(world, params)
    assign(invoice, params, *_INVOICE)
    if "days_until_due" in params:
        invoice["_days_until_due"] = params["days_until_due"]
    if subscription is not None:
        invoice["parent"] = {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": {"metadata": {}, "subscription": subscription["id"]},
        }
    no_automatic_tax(params)
    invoice["default_tax_rates"] = rates_given(world, params, "default_tax_rates")
    if subscription is not None and "default_tax_rates" not in params:
        invoice["default_tax_rates"] = subscription["default_tax_rates"]
    if invoice["auto_advance"]:
        invoice["automatically_finalizes_at"] = world.now + FINALIZE_AFTER
    if subscription is not None or params.get("pending_invoice_items_behavior") == "include":
        pending_take(world, invoice, subscription["id"] if subscription else None)
    invoice["discounts"] = _discounts(world, invoice, params)
    if subscription is not None and "discounts" not in params:
        invoice["discounts"] = list(subscription["discounts"])
    invoice_total(world, invoice)
    return world.save(invoice, "invoice.created")


def _discounts(world: World, invoice: Obj, params: Obj) -> list[str]:
    return discounts_make(
        world,
        params.get("discounts"),
        buyer=invoice["customer"],
        amount=sum(line["amount"] for line in invoice["lines"]["data"]),
        currency=invoice["currency"],
        invoice=invoice["id"],
    )


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
    method_known(world, params)
    assign(invoice, params, *_INVOICE)
    if "days_until_due" in params:
        invoice["_days_until_due"] = params["days_until_due"]
    if "discounts" in params:
        invoice["discounts"] = _discounts(world, invoice, params)
    no_automatic_tax(params)
    if "default_tax_rates" in params:
        invoice["default_tax_rates"] = rates_given(world, params, "default_tax_rates")
    if {"discounts", "default_tax_rates"} & set(params):
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
        raise StripeError("Invoice is already paid")
    if invoice["status"] == "draft":
        invoice_finalize(world, invoice)
    if invoice["status"] == "paid":
        return invoice
    if params.get("paid_out_of_band"):
        must_be(invoice, "open", "uncollectible", doing="pay")
        invoice_settle(world, invoice, paid=invoice["amount_due"], out_of_band=True)
        return invoice
    method = method_resolve(world, params["payment_method"]) if "payment_method" in params else None
    invoice_attempt(world, invoice, method, off_session=params.get("off_session", True))
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
