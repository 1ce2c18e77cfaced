"""Lines of a draft, added, changed and taken out; payments attached to an open invoice."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, merged_metadata
from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.nouns.invoice_items import item_make, lines_without
from billing.stripe_emulator.nouns.invoice_lines import invoice_total, item_line
from billing.stripe_emulator.nouns.invoices import invoice_settle, must_be
from billing.stripe_emulator.nouns.tax_rates import rates_given
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_UNSERVED = ("discounts", "tax_amounts", "quantity_decimal")


def _draft(world: World, invoice_id: str, params: Obj) -> Obj:
    invoice = world.get("invoice", invoice_id)
    must_be(invoice, "draft", doing="change")
    if "invoice_metadata" in params:
        invoice["metadata"] = merged_metadata(invoice["metadata"], params["invoice_metadata"])
    return invoice


def _done(world: World, invoice: Obj) -> Obj:
    invoice_total(world, invoice)
    return world.save(invoice, "invoice.updated")


def _served(entry: Obj, param: str) -> None:
    for name in _UNSERVED:
        if name in entry:
            raise StripeError(f"The local emulator takes no {name} on a line.", param=f"{param}[{name}]")


@route("POST", "/v1/invoices/{invoice}/add_lines")
def lines_add(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = _draft(world, invoice_id, params)
    customer = world.fetch(invoice["customer"])
    for index, entry in enumerate(params["lines"]):
        param = f"lines[{index}]"
        _served(entry, param)
        if "invoice_item" in entry:
            item = world.get("invoiceitem", entry["invoice_item"], f"{param}[invoice_item]")
            if item["customer"] != customer["id"] or item["invoice"] not in (None, invoice_id):
                raise StripeError("This invoice item is not waiting for this customer.", param=f"{param}[invoice_item]")
            lines_without(invoice, item["id"])
        else:
            item = item_make(world, customer, {"currency": invoice["currency"], **entry})
            if item["currency"] != invoice["currency"]:
                raise StripeError(f"The invoice is in {invoice['currency']}.", param=f"{param}[pricing]")
            world.save(item, "invoiceitem.created")
        item_line(world, invoice, item)
    return _done(world, invoice)


def _line(invoice: Obj, line_id: str, param: str) -> Obj:
    found = next((line for line in invoice["lines"]["data"] if line["id"] == line_id), None)
    if found is None:
        raise StripeError(f"No such line item: '{line_id[:80]}'", code="resource_missing", param=param)
    return found


def _change(world: World, invoice: Obj, line: Obj, entry: Obj, param: str) -> None:
    _served(entry, param)
    for name in ("price_data", "pricing"):
        if name in entry:
            raise StripeError("The local emulator changes no price of a line; take it out and add one.", param=param)
    assign(line, entry, "description", "discountable", "metadata")
    if "period" in entry:
        line["period"] = dict(entry["period"])
    if "amount" in entry:
        line.update(amount=entry["amount"], subtotal=entry["amount"])
        if "quantity" not in entry:
            line.update(quantity=1, quantity_decimal="1")
    if "quantity" in entry:
        line.update(quantity=entry["quantity"], quantity_decimal=str(entry["quantity"]))
    if "tax_rates" in entry:
        invoice.setdefault("_rates", {})[line["id"]] = rates_given(world, entry, "tax_rates")


@route("POST", "/v1/invoices/{invoice}/update_lines")
def lines_update(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = _draft(world, invoice_id, params)
    for index, entry in enumerate(params["lines"]):
        line = _line(invoice, entry["id"], f"lines[{index}][id]")
        _change(world, invoice, line, entry, f"lines[{index}]")
    return _done(world, invoice)


@route("POST", "/v1/invoices/{invoice}/lines/{line_item_id}")
def line_update(world: World, params: Obj, invoice_id: str, line_id: str) -> Obj:
    invoice = _draft(world, invoice_id, params)
    line = _line(invoice, line_id, "id")
    _change(world, invoice, line, params, "")
    _done(world, invoice)
    return line


@route("POST", "/v1/invoices/{invoice}/remove_lines")
def lines_remove(world: World, params: Obj, invoice_id: str) -> Obj:
    invoice = _draft(world, invoice_id, params)
    for index, entry in enumerate(params["lines"]):
        line = _line(invoice, entry["id"], f"lines[{index}][id]")
        item = world.maybe((line["parent"].get("invoice_item_details") or {}).get("invoice_item"))
        if item is not None:
            if entry["behavior"] == "delete":
                world.drop(item, "invoiceitem.deleted")
            else:
                item["invoice"] = None
                world.save(item)
        invoice["lines"]["data"].remove(line)
    return _done(world, invoice)


@route("POST", "/v1/invoices/{invoice}/attach_payment")
def payment_attach(world: World, params: Obj, invoice_id: str) -> Obj:
    """Pay an open invoice with an intent that was paid elsewhere. Parts and payment records are not served."""
    invoice = world.get("invoice", invoice_id)
    must_be(invoice, "open", doing="attach a payment to")
    if "payment_intent" not in params:
        raise missing("payment_intent")
    intent = world.get("payment_intent", params["payment_intent"], "payment_intent")
    if intent["status"] != "succeeded" or intent["amount"] != invoice["amount_remaining"]:
        raise StripeError(
            "The local emulator attaches a payment intent that succeeded over exactly what is due.",
            param="payment_intent",
        )
    if world.find("invoice_payment", payment__payment_intent=intent["id"]):
        raise StripeError("This payment intent pays an invoice already.", param="payment_intent")
    payment = world.fetch(invoice["_payment"])
    mine = world.fetch(payment["payment"]["payment_intent"])
    mine.update(status="canceled", canceled_at=world.now)
    world.save(mine, "payment_intent.canceled")
    payment["payment"] = {"type": "payment_intent", "payment_intent": intent["id"]}
    world.save(payment)
    invoice_settle(world, invoice, paid=intent["amount"])
    return invoice
