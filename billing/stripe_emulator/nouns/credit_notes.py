"""Credit notes: issued -> void. What they take off an open invoice, and what they give back of a paid one."""

from __future__ import annotations

from decimal import Decimal

from billing.stripe_emulator.answers import assign, listing, page, render, slice_of
from billing.stripe_emulator.errors import StripeError, missing, wrong_state
from billing.stripe_emulator.nouns.balance import balance_move
from billing.stripe_emulator.nouns.invoices import intent_cancel, intent_of, invoice_settle
from billing.stripe_emulator.nouns.refunds import refund_make
from billing.stripe_emulator.nouns.tax_rates import exclusive, taxes_sum
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import DryRun, World


def notes_of(world: World, invoice: Obj) -> list[Obj]:
    """The notes of an invoice that count, newest first."""
    return world.find("credit_note", invoice=invoice["id"], status="issued")


def note_make(world: World, params: Obj) -> Obj:
    """Issue a note: its lines, then what it does to the invoice, the charge and the customer's balance.

    Raises when it is above what the invoice has left, or when the parts do not sum up to what was paid too much.
    """
    if "invoice" not in params:
        raise missing("invoice")
    invoice = world.get("invoice", params["invoice"], "invoice")
    if invoice["status"] not in ("open", "paid"):
        raise wrong_state(f"A credit note needs an open or paid invoice. This invoice is {invoice['status']}.")
    before = notes_of(world, invoice)
    note = world.new(
        "credit_note",
        "cn",
        currency=invoice["currency"],
        customer=invoice["customer"],
        effective_at=params.get("effective_at", world.now),
        invoice=invoice["id"],
        metadata={},
        number=f"{invoice['number']}-CN-{len(world.find('credit_note', invoice=invoice['id'])) + 1:02d}",
        reason=params.get("reason"),
        total_taxes=[],
    )
    note["pdf"] = f"{world.public_url}/i/{invoice['id']}"
    assign(note, params, "memo", "metadata")
    lines = _lines(world, note, invoice, params, before)
    note["lines"] = listing(lines, f"/v1/credit_notes/{note['id']}/lines")
    _sum(note, lines)
    left = invoice["total"] - sum(other["total"] for other in before)
    if not 0 < note["total"] <= left:
        raise StripeError(
            f"The credit note's total ({note['total']}) must be above 0 and not above what the invoice has left "
            f"({left}).",
            param="amount",
        )
    if "amount" in params and params["amount"] != note["total"]:
        raise StripeError(f"The amount must be the lines' total ({note['total']}).", param="amount")
    _split(world, note, invoice, params)
    return note


def _lines(world: World, note: Obj, invoice: Obj, params: Obj, before: list[Obj]) -> list[Obj]:
    if not params.get("lines"):
        if "amount" not in params:
            raise missing("amount")
        return [_line(world, params["amount"], f"Credit for invoice {invoice['number']}", "custom_line_item")]
    return [
        _invoice_line(world, invoice, entry, index, before)
        if entry["type"] == "invoice_line_item"
        else _custom_line(world, entry, index)
        for index, entry in enumerate(params["lines"])
    ]


def _line(world: World, amount: int, description: str | None, kind: str, **fields: object) -> Obj:
    return world.new(
        "credit_note_line_item",
        "cnli",
        amount=amount,
        description=description,
        metadata={},
        taxes=[],
        type=kind,
        **fields,
    )


def _custom_line(world: World, entry: Obj, index: int) -> Obj:
    param = f"lines[{index}]"
    for name in ("invoice_line_item", "tax_rates", "tax_amounts", "amount"):
        if name in entry:
            raise StripeError(f"A custom line of the local emulator takes no {name}.", param=f"{param}[{name}]")
    if "description" not in entry:
        raise missing(f"{param}[description]")
    unit = entry.get("unit_amount_decimal", entry.get("unit_amount"))
    if unit is None:
        raise missing(f"{param}[unit_amount]")
    quantity = entry.get("quantity", 1)
    amount = int((Decimal(unit) * quantity).quantize(Decimal(1), "ROUND_HALF_UP"))
    whole = Decimal(unit) == int(Decimal(unit))
    return _line(
        world,
        amount,
        entry["description"],
        "custom_line_item",
        quantity=quantity,
        unit_amount=int(Decimal(unit)) if whole else None,
        unit_amount_decimal=format(Decimal(unit), "f"),
    )


def _invoice_line(world: World, invoice: Obj, entry: Obj, index: int, before: list[Obj]) -> Obj:
    """A part of a line of the invoice, with the same part of its discounts and taxes."""
    param = f"lines[{index}]"
    if "invoice_line_item" not in entry:
        raise missing(f"{param}[invoice_line_item]")
    source = next((line for line in invoice["lines"]["data"] if line["id"] == entry["invoice_line_item"]), None)
    if source is None:
        world.get("line_item", "", f"{param}[invoice_line_item]")
        raise AssertionError("an empty id is never there")
    if ("amount" in entry) == ("quantity" in entry):
        raise StripeError("Pass either the amount or the quantity of an invoice line.", param=f"{param}[amount]")
    whole = source["amount"]
    quantity = entry.get("quantity")
    amount = entry["amount"] if quantity is None else round(whole * quantity / (source["quantity"] or 1))
    mine = [line for note in before for line in note["lines"]["data"] if line["invoice_line_item"] == source["id"]]
    left = whole - sum(line["amount"] for line in mine)
    if not 0 < amount <= left:
        raise StripeError(
            f"The invoice line has {left} left to credit, not {amount}.",
            param=f"{param}[{'amount' if quantity is None else 'quantity'}]",
        )
    off = [{**entry, "amount": round(entry["amount"] * amount / whole)} for entry in source["discount_amounts"]]
    taxes = [
        {
            **tax,
            "amount": round(tax["amount"] * amount / whole),
            "taxable_amount": round((tax["taxable_amount"] or 0) * amount / whole),
        }
        for tax in source["taxes"]
    ]
    made = _line(
        world,
        amount,
        source["description"],
        "invoice_line_item",
        invoice_line_item=source["id"],
        quantity=quantity,
        discount_amount=sum(entry["amount"] for entry in off),
        discount_amounts=off,
    )
    made["taxes"] = taxes
    return made


def _sum(note: Obj, lines: list[Obj]) -> None:
    taxes = [tax for line in lines for tax in line["taxes"]]
    on_top = exclusive(taxes)
    inside = sum(tax["amount"] for tax in taxes) - on_top
    subtotal = sum(line["amount"] for line in lines)
    off: dict[str, int] = {}
    for entry in (entry for line in lines for entry in line["discount_amounts"]):
        off[entry["discount"]] = off.get(entry["discount"], 0) + entry["amount"]
    total = subtotal - sum(off.values()) + on_top
    note.update(
        amount=total,
        discount_amount=sum(off.values()),
        discount_amounts=[{"amount": amount, "discount": discount} for discount, amount in off.items()],
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal - inside,
        total=total,
        total_excluding_tax=total - on_top - inside,
        total_taxes=taxes_sum([line["taxes"] for line in lines]),
    )


def _split(world: World, note: Obj, invoice: Obj, params: Obj) -> None:
    """What was not paid yet needs not be paid; what was paid goes back, as the call says."""
    ahead = min(note["total"], invoice["amount_remaining"]) if invoice["status"] == "open" else 0
    back = note["total"] - ahead
    note.update(pre_payment_amount=ahead, post_payment_amount=back)
    note["type"] = "mixed" if ahead and back else "pre_payment" if ahead else "post_payment"
    linked = params.get("refunds") or []
    ways = ("refund_amount", "credit_amount", "out_of_band_amount")
    parts: dict[str, int] = {name: params.get(name, 0) for name in ways}
    for name, part in parts.items():
        if part < 0:
            raise StripeError(f"Invalid {name}: must not be negative", param=name)
    refunds = [(_refund(world, invoice, entry, index), entry) for index, entry in enumerate(linked)]
    given = sum(parts.values()) + sum(entry.get("amount_refunded", refund["amount"]) for refund, entry in refunds)
    if given != back:
        raise StripeError(
            "The sum of credit amount, refund amount and out of band amount must equal the post payment amount of "
            f"the credit note ({back}); it is {given}.",
            param="credit_amount",
        )
    for refund, entry in refunds:
        note["refunds"].append(_linked(refund, entry.get("amount_refunded", refund["amount"])))
    note["out_of_band_amount"] = parts["out_of_band_amount"] or None
    if parts["refund_amount"]:
        made = refund_make(world, _charge(world, invoice), {"amount": parts["refund_amount"]})
        note["refunds"].append(_linked(made, made["amount"]))
    if parts["credit_amount"]:
        customer = world.fetch(invoice["customer"])
        credit = balance_move(
            world,
            customer,
            -parts["credit_amount"],
            "credit_note",
            currency=invoice["currency"],
            credit_note=note["id"],
            invoice=invoice["id"],
        )
        note["customer_balance_transaction"] = credit["id"]
        world.save(customer, "customer.updated")
    _apply(world, invoice, ahead, back)


def _linked(refund: Obj, amount: int) -> Obj:
    return {"amount_refunded": amount, "payment_record_refund": None, "refund": refund["id"], "type": "refund"}


def _charge(world: World, invoice: Obj) -> Obj:
    intent = intent_of(world, invoice) if invoice.get("_payment") else None
    if intent is None or intent["status"] != "succeeded":
        raise StripeError("This invoice has no charge to refund.", param="refund_amount")
    return world.fetch(intent["latest_charge"])


def _refund(world: World, invoice: Obj, entry: Obj, index: int) -> Obj:
    param = f"refunds[{index}]"
    if "refund" not in entry:
        raise missing(f"{param}[refund]")
    refund = world.get("refund", entry["refund"], f"{param}[refund]")
    if refund["charge"] != _charge(world, invoice)["id"]:
        raise StripeError("The refund is not of this invoice's charge.", param=f"{param}[refund]")
    part = int(entry["amount_refunded"] if "amount_refunded" in entry else refund["amount"])
    if not 0 < part <= refund["amount"]:
        raise StripeError(f"The refund is of {refund['amount']}.", param=f"{param}[amount_refunded]")
    return refund


def _apply(world: World, invoice: Obj, ahead: int, back: int) -> None:
    invoice["pre_payment_credit_notes_amount"] += ahead
    invoice["post_payment_credit_notes_amount"] += back
    _owed_less(world, invoice, ahead)
    world.save(invoice, "invoice.updated")
    if ahead and invoice["amount_remaining"] == 0:
        # Nothing is left to pay: as if it had been paid elsewhere, with no money at all.
        invoice_settle(world, invoice, paid=invoice["amount_paid"], out_of_band=True)


def _owed_less(world: World, invoice: Obj, amount: int) -> None:
    invoice["amount_due"] -= amount
    invoice["amount_remaining"] -= amount
    payment = world.maybe(invoice.get("_payment"))
    if not amount or payment is None:
        return
    if invoice["amount_remaining"] == 0:
        intent_cancel(world, invoice)
        return
    payment["amount_requested"] = invoice["amount_remaining"]
    world.save(payment)
    intent = intent_of(world, invoice)
    intent["amount"] = invoice["amount_remaining"]
    world.save(intent)


@route("POST", "/v1/credit_notes")
def note_create(world: World, params: Obj) -> Obj:
    return world.save(note_make(world, params), "credit_note.created")


@route("GET", "/v1/credit_notes/preview")
def note_preview(world: World, params: Obj) -> Obj:
    raise DryRun(render(world, note_make(world, params), params.get("expand")))


@route("GET", "/v1/credit_notes/preview/lines")
def note_preview_lines(world: World, params: Obj) -> Obj:
    lines = note_make(world, params)["lines"]["data"]
    raise DryRun(render(world, slice_of(lines, params, "/v1/credit_notes/preview/lines"), None))


@route("GET", "/v1/credit_notes/{id}")
def note_retrieve(world: World, params: Obj, note_id: str) -> Obj:
    return world.get("credit_note", note_id)


@route("POST", "/v1/credit_notes/{id}")
def note_update(world: World, params: Obj, note_id: str) -> Obj:
    note = world.get("credit_note", note_id)
    assign(note, params, "memo", "metadata")
    return world.save(note, "credit_note.updated")


@route("GET", "/v1/credit_notes/{credit_note}/lines")
def note_lines(world: World, params: Obj, note_id: str) -> Obj:
    note = world.get("credit_note", note_id)
    return slice_of(note["lines"]["data"], params, note["lines"]["url"])


@route("POST", "/v1/credit_notes/{id}/void")
def note_void(world: World, params: Obj, note_id: str) -> Obj:
    note = world.get("credit_note", note_id)
    invoice = world.fetch(note["invoice"])
    if note["status"] != "issued" or note["post_payment_amount"] or invoice["status"] != "open":
        raise wrong_state(
            "You can only void an issued credit note that took nothing but what an open invoice still has to be paid."
        )
    note.update(status="void", voided_at=world.now)
    invoice["pre_payment_credit_notes_amount"] -= note["pre_payment_amount"]
    _owed_less(world, invoice, -note["pre_payment_amount"])
    world.save(invoice, "invoice.updated")
    return world.save(note, "credit_note.voided")


@route("GET", "/v1/credit_notes")
def note_list(world: World, params: Obj) -> Obj:
    where = {"customer": params.get("customer"), "invoice": params.get("invoice")}
    return page(world, "credit_note", params, "/v1/credit_notes", where)
